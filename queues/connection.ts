import { Redis, type RedisOptions } from 'ioredis';
import { errorText, type Logger, TokenwatchError } from '../core/index.ts';
import type { PrivateRedis } from './keeper.ts';

/** Target is where Redis is: an address, or the socket of a private server. */
export type Target = { readonly url: string } | { readonly socket: string };

/** backoffMs is the wait before reconnect number `times`: 50 ms doubling to 2 s. */
function backoffMs(times: number): number {
  return Math.min(50 * 2 ** Math.min(times, 6), 2_000);
}

function open(target: Target, options: RedisOptions): Redis {
  return 'url' in target ? new Redis(target.url, options) : new Redis({ ...options, path: target.socket });
}

/** openProducer is a connection that fails fast: a sender is told to come back rather than left waiting. */
export function openProducer(target: Target, log: Logger): Redis {
  const redis = open(target, {
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    commandTimeout: 10_000,
    retryStrategy: backoffMs,
    lazyConnect: true,
  });
  redis.on('error', (error) => log.debug({ error: error.message }, 'redis connection'));
  return redis;
}

/** openWorker is a connection that waits for ever: a worker picks up where it was when Redis is back. */
export function openWorker(target: Target, log: Logger): Redis {
  const redis = open(target, { maxRetriesPerRequest: null, retryStrategy: backoffMs });
  redis.on('error', (error) => log.debug({ error: error.message }, 'redis connection'));
  return redis;
}

/** connectFirst connects a producer; when that fails, the error says to which address (no password in it) and why. */
export async function connectFirst(redis: Redis, target: Target): Promise<void> {
  // connect() itself only says that the connection is closed; what closed it comes as an event.
  let cause: NodeJS.ErrnoException | null = null;
  const keep = (error: Error) => {
    cause = error;
  };
  redis.on('error', keep);
  try {
    await redis.connect();
  } catch (error) {
    throw queueError(cause ?? error, `connecting to ${addressOf(target)}`);
  } finally {
    redis.off('error', keep);
  }
}

function addressOf(target: Target): string {
  if ('socket' in target) return target.socket;
  const { protocol, host, pathname } = new URL(target.url);
  return `${protocol}//${host}${pathname}`;
}

/** queueError says that Redis did not do it: always transient, the caller may retry. `own` is the private Redis, if it is one. */
export function queueError(error: unknown, doing: string, own: PrivateRedis | null = null): TokenwatchError {
  if (error instanceof TokenwatchError) return error;
  const reason = reasonOf(error).slice(0, 200);
  const noRoom = (message: string, fix: string) =>
    new TokenwatchError('queue_full', 'transient', `${message} while ${doing}: ${reason}`, { cause: error, fix });
  if (reason.startsWith('OOM '))
    return noRoom(
      'Redis has no memory left',
      'Raise maxmemory of Redis, with maxmemory-policy noeviction, or give it more memory; senders are asked to retry meanwhile.',
    );
  if (reason.startsWith('MISCONF '))
    return noRoom(
      'Redis cannot write its files',
      `Free space on the disk of ${own === null ? 'the server of REDIS_URL' : 'TOKENWATCH_DATA'}; senders are asked to retry meanwhile.`,
    );
  if (own === null)
    return new TokenwatchError('queue_unreachable', 'transient', `Redis did not answer while ${doing}: ${reason}`, {
      cause: error,
      fix: 'Check that the server of REDIS_URL is up; senders are asked to retry meanwhile.',
    });
  const fault = own.fault();
  return new TokenwatchError(
    'queue_unreachable',
    'transient',
    `The private Redis did not answer while ${doing}: ${fault?.message ?? reason}`,
    {
      cause: error,
      fix: fault?.fix ?? 'It is started again by itself within seconds; senders are asked to retry meanwhile.',
    },
  );
}

/** Guard runs a Redis call and names what it was for when it fails. */
export type Guard = <T>(doing: string, call: () => Promise<T>) => Promise<T>;

/** createGuard guards the calls to one Redis; `own` is the private one, if it is one. */
export function createGuard(own: PrivateRedis | null): Guard {
  return async (doing, call) => {
    try {
      return await call();
    } catch (error) {
      throw queueError(error, doing, own);
    }
  };
}

/** A name with several addresses fails with an error that has a code and no message. */
function reasonOf(error: unknown): string {
  // A transaction that was given up says in the errors before it what for.
  const [first] = (error as { previousErrors?: readonly Error[] }).previousErrors ?? [];
  if (first !== undefined) return reasonOf(first);
  return errorText(error) || String((error as NodeJS.ErrnoException).code ?? 'no reason given');
}
