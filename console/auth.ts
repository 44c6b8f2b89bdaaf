import type { FastifyRequest, onRequestAsyncHookHandler } from 'fastify';
import { type Authenticate, type Scope, TokenwatchError } from '../core/index.ts';

const callers = new WeakMap<FastifyRequest, string>();

/** requireScope lets a call through only with an access key that has the scope; it runs before the body is read. */
export function requireScope(authenticate: Authenticate, scope: Scope): onRequestAsyncHookHandler {
  return async (request) => {
    const result = await authenticate(request.headers.authorization, scope);
    if (result.kind === 'ok') callers.set(request, result.keyId);
    else if (result.kind === 'forbidden')
      throw new TokenwatchError('forbidden', 'poison', `This access key lacks the scope ${scope}.`, {
        fix: 'Use a key with that scope: tokenwatch key list.',
      });
    else
      throw new TokenwatchError('unauthorized', 'poison', 'This call needs a valid access key.', {
        fix: 'Send "Authorization: Bearer <access key>"; the first key is in the file access-key of the data directory.',
      });
  };
}

/** callerOf is the id of the access key that a call was made with. */
export function callerOf(request: FastifyRequest): string {
  return callers.get(request) ?? '';
}
