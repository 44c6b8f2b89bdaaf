import type { IncomingMessage } from 'node:http';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { type Authenticate, errorText, type Logger, TokenwatchError } from '../core/index.ts';
import { FORMATS, formatNamed, type LogFormat } from './formats/index.ts';
import type { IngestMetrics } from './metrics.ts';
import type { IngestOutcome, Pipeline } from './pipeline.ts';
import type { LineCounts, SkippedBy } from './result.ts';

/** Seconds after which a sender is asked to come again. */
const RETRY_AFTER_S = 5;

/** Content types that cannot hold JSON: refused at once, so that the sender's operator sees why. */
const BINARY = /^(?:application\/(?:x-)?(?:protobuf|msgpack)|application\/(?:avro|cbor)|multipart\/|image\/)/i;

/** Longest Idempotency-Key that is taken, in characters. */
const KEY_LIMIT = 255;

const MEDIA_TYPE = /^[\w!#$&^.+-]+\/[\w!#$&^.+-]+\s*(?:;|$)/;

/** RoutesContext is what the routes work with. */
export interface RoutesContext {
  readonly pipeline: Pipeline;
  readonly authenticate: Authenticate;
  readonly log: Logger;
  readonly metrics: IngestMetrics;
}

/** IngestAnswer is the body of every answer to `POST /v1/events`: what was stored, and what was wrong when something was. */
export interface IngestAnswer extends Omit<LineCounts, 'skippedBy'> {
  readonly skipped_by?: SkippedBy;
  readonly duplicate?: true;
  readonly error?: { readonly code: string; readonly message: string; readonly fix: string };
}

/**
 * registerRoutes adds `POST /v1/events` and its health probe. Statuses: 200 stored; 400 nothing usable; 401, 403; 413 and
 * 415; 503 with Retry-After for everything that a retry can mend, as the one code that every shipper retries.
 */
export async function registerRoutes(app: FastifyInstance, context: RoutesContext): Promise<void> {
  const { pipeline, authenticate, log, metrics } = context;
  await app.register(async (scope) => {
    // The body is read as a stream by the handler, whatever its type says it is.
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser('*', (_request, _payload, done) => done(null));
    scope.addHook('onRequest', async (request) => {
      // A type that is not one would be refused before the handler, and it says nothing that the body does not.
      const { headers } = request.raw;
      if (headers['content-type'] !== undefined && !MEDIA_TYPE.test(headers['content-type'])) {
        headers['content-type'] = 'application/octet-stream';
      }
    });
    scope.get('/v1/events', async () => ({ status: 'ok' }));
    scope.post('/v1/events', async (request, reply) => {
      const answer = await handle(request, reply);
      metrics.requests.inc({ status: String(reply.statusCode) });
      return answer;
    });
  });

  async function handle(request: FastifyRequest, reply: FastifyReply): Promise<IngestAnswer | FastifyReply> {
    let sender: string;
    try {
      const auth = await authenticate(request.headers.authorization, 'ingest');
      if (auth.kind === 'unknown') {
        reply.header('www-authenticate', 'Bearer realm="tokenwatch"');
        return refuse(
          reply,
          401,
          'unauthorized',
          'The access key is missing, unknown or has ended.',
          'Send the header Authorization: Bearer <access key>; make one with: tokenwatch key issue',
        );
      }
      if (auth.kind === 'forbidden') {
        return refuse(
          reply,
          403,
          'forbidden',
          'The access key does not have the scope ingest.',
          'Use a key with it: tokenwatch key issue --scope ingest',
        );
      }
      sender = auth.keyId;
    } catch (error) {
      return unavailable(reply, error);
    }
    const format = formatOf(request);
    if (format === undefined) {
      return refuse(
        reply,
        400,
        'unknown_format',
        'There is no such log format.',
        `Use ?format= with one of: auto, ${FORMATS.map(({ name }) => name).join(', ')}.`,
      );
    }
    const type = request.headers['content-type'] ?? '';
    if (BINARY.test(type)) {
      return refuse(
        reply,
        415,
        'unsupported_media_type',
        `The content type ${type.slice(0, 60)} is not supported.`,
        'Send JSON: NDJSON, an array, or one object.',
      );
    }
    // draft-ietf-httpapi-idempotency-key-header writes it as a quoted string; any text is one.
    const idempotencyKey = request.headers['idempotency-key'] as string | undefined;
    if (idempotencyKey !== undefined && (idempotencyKey === '' || idempotencyKey.length > KEY_LIMIT)) {
      return refuse(
        reply,
        400,
        'bad_idempotency_key',
        `The header Idempotency-Key is empty or longer than ${KEY_LIMIT} characters.`,
        'Send a unique id of the batch, the same when it is sent again, or leave it out.',
      );
    }
    try {
      // Not destroyed when reading stops early: the answer still has to go out over the same socket.
      const body = request.raw.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>;
      const encoding = request.headers['content-encoding'];
      return answerOf(reply, await pipeline.ingest({ body, encoding, idempotencyKey, format, sender }));
    } catch (error) {
      if (request.raw.destroyed && !request.raw.complete) {
        log.debug({ error: errorText(error) }, 'A sender went away in the middle of a request.');
        return reply.hijack();
      }
      return unavailable(reply, error);
    } finally {
      drain(request.raw);
    }
  }

  function answerOf(reply: FastifyReply, outcome: IngestOutcome): IngestAnswer {
    const { failure, duplicate, document, accepted, rejected, skipped, skippedBy, errors } = outcome;
    const by = skippedBy === undefined ? {} : { skipped_by: skippedBy };
    const counts = { accepted, rejected, skipped, ...by, errors };
    if (failure !== null) {
      const error = { code: failure.code, message: failure.message, fix: failure.fix };
      if (failure.code === 'unsupported_encoding') reply.code(415);
      else if (failure.code === 'body_too_large') reply.code(413);
      else reply.code(503).header('retry-after', RETRY_AFTER_S);
      return { error, ...counts };
    }
    if (accepted === 0 && (rejected > 0 || (skipped === 0 && !document))) {
      reply.code(400);
      const error =
        rejected === 0
          ? {
              code: 'empty_body',
              message: 'The body holds no events.',
              fix: 'Send NDJSON, a JSON array, or one object.',
            }
          : {
              code: 'nothing_usable',
              message: `None of the ${rejected} lines could be used.`,
              fix: 'See errors; the lines are kept in the table rejected_events.',
            };
      return { error, ...counts };
    }
    return duplicate ? { ...counts, duplicate } : counts;
  }

  function unavailable(reply: FastifyReply, error: unknown): IngestAnswer {
    const known = error instanceof TokenwatchError ? error : null;
    if (known?.kind !== 'transient') log.error({ error: errorText(error) }, 'A request failed.');
    reply.header('retry-after', RETRY_AFTER_S);
    return refuse(
      reply,
      503,
      known?.code ?? 'unavailable',
      known?.kind === 'transient' ? known.message : 'The request could not be handled now.',
      'Send the same request again.',
    );
  }
}

/**
 * drain lets the rest of a body that was not read to its end run off: a sender that is still writing reads the answer only
 * afterwards. The server's request timeout bounds it.
 */
function drain(raw: IncomingMessage): void {
  if (raw.readableEnded || raw.destroyed) return;
  // The listener of the reader that stopped would keep the stream from flowing.
  raw.removeAllListeners('readable');
  raw.resume();
}

function refuse(reply: FastifyReply, status: number, code: string, message: string, fix: string): IngestAnswer {
  reply.code(status);
  return { error: { code, message, fix }, accepted: 0, rejected: 0, skipped: 0, errors: [] };
}

/** formatOf reads `?format=`: null for auto, undefined for an unknown name. */
function formatOf(request: FastifyRequest): LogFormat | null | undefined {
  const name = (request.query as Record<string, unknown>).format ?? 'auto';
  if (name === 'auto' || name === '') return null;
  return typeof name === 'string' ? (formatNamed(name) ?? undefined) : undefined;
}
