import { setTimeout as delay } from 'node:timers/promises';
import { errorText, type Logger, TokenwatchError } from '../core/index.ts';
import { placeOf, shutDown, startServer } from './server.ts';

/** PrivateRedis is a redis-server of our own on a unix socket in the data directory, which is kept running. */
export interface PrivateRedis {
  readonly socket: string;
  /** revive starts the server again when it is gone, and keeps trying; to be called when a connection to it ends. */
  revive(): void;
  /** fault is why it could not be started again; null while it runs, or nothing was tried in vain. */
  fault(): TokenwatchError | null;
  /** stop ends the server for good: processes that share it start it again. */
  stop(): Promise<void>;
}

/** Waits between starts of a server that does not stay: none before the first. */
const LONGEST_WAIT_MS = 30_000;
/** A server that ran for this long has its first start again. */
const STEADY_MS = 60_000;

/** restartWaitMs is the wait before restart number `tries`, from 0: none, then half a second doubling to 30 s. */
export function restartWaitMs(tries: number): number {
  return tries === 0 ? 0 : Math.min(500 * 2 ** Math.min(tries - 1, 10), LONGEST_WAIT_MS);
}

/** startPrivateRedis starts the private redis-server of `dataDir`, or takes over the one that is there. */
export async function startPrivateRedis(dataDir: string, log: Logger): Promise<PrivateRedis> {
  const place = placeOf(dataDir);
  const stopping = new AbortController();
  let fault: TokenwatchError | null = null;
  let reviving: Promise<void> | null = null;
  let tries = 0;
  let startedAt = performance.now();
  await startServer(place);

  const bringBack = async () => {
    if (performance.now() - startedAt > STEADY_MS) tries = 0;
    for (; !stopping.signal.aborted; tries++) {
      try {
        await delay(restartWaitMs(tries), undefined, { signal: stopping.signal });
        const started = await startServer(place, stopping.signal);
        fault = null;
        if (!started) return;
        startedAt = performance.now();
        tries++;
        const ended = new TokenwatchError(
          'queue_server_ended',
          'transient',
          `The private Redis in ${place.folder} ended.`,
        );
        log.warn({ code: ended.code, error: ended.message }, 'The private Redis was started again.');
        return;
      } catch (error) {
        if (stopping.signal.aborted) return;
        fault = startFault(error, place.folder);
        log.error(
          { code: fault.code, error: fault.message, fix: fault.fix },
          'The private Redis cannot be started again.',
        );
      }
    }
  };

  return {
    socket: place.socket,
    revive: () => {
      reviving ??= bringBack().finally(() => {
        reviving = null;
      });
    },
    fault: () => fault,
    stop: async () => {
      stopping.abort();
      await reviving;
      await shutDown(place.socket);
    },
  };
}

function startFault(error: unknown, folder: string): TokenwatchError {
  if (error instanceof TokenwatchError) return error;
  return new TokenwatchError(
    'queue_server_failed',
    'config',
    `The private Redis in ${folder} did not start: ${errorText(error)}`,
    {
      cause: error,
      fix: `Look at the files in ${folder}, or set REDIS_URL.`,
    },
  );
}
