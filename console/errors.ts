import { STATUS_CODES } from 'node:http';
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { type Logger, TokenwatchError } from '../core/index.ts';

/** ApiError is the body of every answer that is not 2xx: `{"error":{"code","message","fix"}}`. */
export interface ApiError {
  readonly status: number;
  readonly code: string;
  readonly message: string;
  readonly fix: string;
  /** ClickHouse's own error number, for a query that it refused. */
  readonly engineCode?: string;
  readonly retryAfterS?: number;
}

/** badRequest is an error in what the caller sent; `message` names the field and what was found. */
export function badRequest(code: string, message: string, fix: string): TokenwatchError {
  return new TokenwatchError(code, 'poison', message, { fix });
}

/** Codes with a status of their own; every other one follows from the error's kind. */
const STATUS_OF_CODE: Readonly<Record<string, number>> = {
  alert_not_found: 404,
  alert_resolved: 409,
  key_unknown: 404,
  not_found: 404,
  unauthorized: 401,
  forbidden: 403,
  body_too_large: 413,
};

/** How long a caller should wait before it tries again what failed for a reason that passes. */
const RETRY_AFTER_S = 5;

/** toApiError turns anything thrown into an answer. What is our own fault keeps its details to itself: they go to the log. */
export function toApiError(error: unknown): ApiError {
  if (error instanceof TokenwatchError) {
    const { code, message, fix } = error;
    const status = STATUS_OF_CODE[code] ?? { transient: 503, config: 503, poison: 400, bug: 500 }[error.kind];
    if (status === 500) return INTERNAL;
    return {
      ...{ status, code, message, fix },
      ...('engineCode' in error && typeof error.engineCode === 'string' ? { engineCode: error.engineCode } : {}),
      ...(status === 503 ? { retryAfterS: RETRY_AFTER_S } : {}),
    };
  }
  return fastifyError(error as Partial<FastifyError>) ?? INTERNAL;
}

const INTERNAL: ApiError = {
  status: 500,
  code: 'internal',
  message: 'Something went wrong on our side.',
  fix: 'The log has the details under this request id.',
};

/** What Fastify itself refuses before a route is reached: bodies that are too large, broken lengths, bad URLs. */
function fastifyError({ statusCode, code, message }: Partial<FastifyError>): ApiError | null {
  if (statusCode === undefined || statusCode < 400 || statusCode > 499) return null;
  if (statusCode === 413) {
    return { status: 413, code: 'body_too_large', message: 'The body is too large.', fix: 'Send a shorter one.' };
  }
  if (statusCode === 415) {
    return { status: 415, code: 'unsupported_media_type', message: 'This kind of body is not read here.', fix: '' };
  }
  if (code === 'FST_ERR_BAD_URL') {
    return {
      status: 400,
      code: 'bad_url',
      message: 'The path of the URL cannot be decoded.',
      fix: 'Write a % as %25, and other characters as the percent-encoded bytes of their UTF-8.',
    };
  }
  const name = (code ?? 'bad_request').toLowerCase().replace(/^fst_err_(ctp_)?/, '');
  return { status: statusCode, code: name, message: message ?? 'The request is not right.', fix: '' };
}

/** sendError answers with an error, and logs those that are ours. */
export function sendError(log: Logger, error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const answer = toApiError(error);
  if (answer.status >= 500)
    log.error({ err: error, request: request.id, route: request.routeOptions.url }, 'request failed');
  if (answer.retryAfterS !== undefined) reply.header('retry-after', String(answer.retryAfterS));
  if (answer.status === 401) reply.header('www-authenticate', 'Bearer realm="tokenwatch"');
  return reply.code(answer.status).send({
    error: {
      code: answer.code,
      message: answer.message,
      fix: answer.fix,
      ...(answer.engineCode === undefined ? {} : { engine_code: answer.engineCode }),
    },
  });
}

/** brokenRequest is the whole HTTP response to what the HTTP server could not read as a request, for Node's error code. */
export function brokenRequest(nodeCode: string): string {
  const { status, code, message, fix } = BROKEN[nodeCode] ?? NOT_HTTP;
  const body = JSON.stringify({ error: { code, message, fix } });
  return [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    'Content-Type: application/json; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
    '',
    body,
  ].join('\r\n');
}

const NOT_HTTP: ApiError = {
  status: 400,
  code: 'bad_request',
  message: 'The request is not valid HTTP: its head, or the chunks of its body, cannot be read.',
  fix: 'Look at the sender, or at a proxy in between.',
};

const BROKEN: Readonly<Record<string, ApiError>> = {
  ERR_HTTP_REQUEST_TIMEOUT: {
    status: 408,
    code: 'request_timeout',
    message: 'The request did not arrive in time.',
    fix: 'Send it again, in smaller pieces if the connection is slow.',
  },
  HPE_HEADER_OVERFLOW: {
    status: 431,
    code: 'headers_too_large',
    message: 'The headers of the request are too large.',
    fix: 'Send fewer or shorter ones.',
  },
};
