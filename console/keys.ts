import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { type Authenticate, type Clock, SCOPES, type Scope } from '../core/index.ts';
import { requireScope } from './auth.ts';
import { badRequest } from './errors.ts';
import { readJson, TIME } from './input.ts';

/** KeyView is what is shown of an access key. Times are epoch milliseconds. */
export interface KeyView {
  readonly id: string;
  readonly name: string;
  readonly scopes: readonly Scope[];
  readonly status: 'active' | 'revoked';
  readonly createdAt: number;
  readonly expiresAt: number | null;
}

/** KeyDesk issues and ends access keys; `key` is the whole text, which is shown this once. */
export interface KeyDesk {
  issue(name: string, scopes: readonly Scope[], expiresAt?: number | null): Promise<KeyView & { readonly key: string }>;
  list(): Promise<readonly KeyView[]>;
  rotate(id: string, graceMs: number): Promise<KeyView & { readonly key: string }>;
  revoke(id: string): Promise<KeyView>;
}

const DAY_S = 86_400;

const ISSUE = z.strictObject({
  name: z.string().trim().min(1).max(200),
  scopes: z.array(z.enum(SCOPES, { error: `one of ${SCOPES.join(', ')}` })).min(1),
  expires_at: TIME.nullable().default(null),
});

/** The old key stays good for a day unless told otherwise, so that no shipper goes dark. */
const ROTATE = z.strictObject({
  grace_seconds: z
    .number()
    .min(0)
    .max(90 * DAY_S)
    .default(DAY_S),
});

interface ById {
  Params: { id: string };
}

/** keyRoutes serves the access keys to those who may manage them. */
export function keyRoutes(app: FastifyInstance, keys: KeyDesk, clock: Clock, authenticate: Authenticate): void {
  const manage = { onRequest: requireScope(authenticate, 'manage') };

  app.get('/v1/keys', manage, async () => ({ keys: (await keys.list()).map(toApiKey) }));

  app.post('/v1/keys', manage, async (request, reply) => {
    const { name, scopes, expires_at } = readJson(request, ISSUE);
    if (expires_at !== null && expires_at <= clock.now())
      throw badRequest('bad_body', 'expires_at: this time has passed', 'Name a time to come, or leave it out.');
    const issued = await keys.issue(name, [...new Set(scopes)], expires_at);
    return reply.code(201).send({ ...toApiKey(issued), key: issued.key });
  });

  app.post<ById>('/v1/keys/:id/rotate', manage, async (request, reply) => {
    const { grace_seconds } = readJson(request, ROTATE);
    const issued = await keys.rotate(request.params.id, grace_seconds * 1000);
    return reply.code(201).send({ ...toApiKey(issued), key: issued.key });
  });

  app.delete<ById>('/v1/keys/:id', manage, async (request) => toApiKey(await keys.revoke(request.params.id)));
}

function toApiKey(key: KeyView) {
  const iso = (time: number | null) => (time === null ? null : new Date(time).toISOString());
  return {
    id: key.id,
    name: key.name,
    scopes: key.scopes,
    status: key.status,
    created_at: iso(key.createdAt),
    expires_at: iso(key.expiresAt),
  };
}
