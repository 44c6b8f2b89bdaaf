import { spawn } from 'node:child_process';
import { accessSync, constants, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import type { Redis } from 'ioredis';
import { makeDataFolder, stableId, TokenwatchError } from '../core/index.ts';

/** Longest path that a unix socket may have (sun_path on Linux is 108 bytes, on macOS 104). */
const SOCKET_PATH_LIMIT = 100;

/** findRedisServer is the path of redis-server or valkey-server on PATH, null when there is none. */
export function findRedisServer(path = process.env.PATH ?? ''): string | null {
  for (const name of ['redis-server', 'valkey-server'])
    for (const folder of path.split(delimiter)) {
      const file = join(folder, name);
      try {
        accessSync(file, constants.X_OK);
        return file;
      } catch {
        // Not here: try the next folder.
      }
    }
  return null;
}

/**
 * startServer starts a redis-server at `place` unless one answers there already, such as one that a killed process left or
 * another process started; true when it started one. Append-only file on and no eviction: what is queued survives a restart.
 */
export async function startServer(place: Place, signal?: AbortSignal): Promise<boolean> {
  makeDataFolder(place.folder);
  if (await answers(place.socket)) return false;
  return alone(place.folder, async () => {
    if (signal?.aborted || (await answers(place.socket))) return false;
    await launch(place);
    return true;
  });
}

/** How long another process may take to start the server that both want. */
const START_MS = 15_000;

/** alone runs `start` in one process at a time: two servers on one socket would both write the same append-only file. */
async function alone<T>(folder: string, start: () => Promise<T>): Promise<T> {
  const lock = join(folder, 'starting.pid');
  const deadline = Date.now() + 2 * START_MS;
  for (;;) {
    try {
      writeFileSync(lock, String(process.pid), { flag: 'wx', mode: 0o600 });
      break;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      if (Date.now() > deadline || !isAlive(pidIn(lock))) rmSync(lock, { force: true });
      else await new Promise((r) => setTimeout(r, 25));
    }
  }
  try {
    return await start();
  } finally {
    rmSync(lock, { force: true });
  }
}

function pidIn(file: string): number {
  try {
    return Number(readFileSync(file, 'utf8'));
  } catch {
    return 0;
  }
}

/** Our own number in the file is another start of this process, or in a container that of the one before: the deadline ends that. */
function isAlive(pid: number): boolean {
  try {
    return pid > 0 && process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

async function launch({ folder, socket }: Place): Promise<void> {
  const binary = findRedisServer();
  if (binary === null)
    throw new TokenwatchError(
      'queue_server_missing',
      'config',
      'No redis-server or valkey-server is on PATH and REDIS_URL is not set.',
      {
        fix: 'Install one (Debian: apt-get install redis-server; macOS: brew install redis), or set REDIS_URL.',
      },
    );
  const child = spawn(
    binary,
    // prettier-ignore
    [
      '--port',
      '0',
      '--unixsocket',
      socket,
      '--unixsocketperm',
      '700',
      '--dir',
      folder,
      '--appendonly',
      'yes',
      '--appendfsync',
      'everysec',
      '--save',
      '',
      '--maxmemory-policy',
      'noeviction',
      '--daemonize',
      'no',
      '--loglevel',
      'warning',
    ],
    { stdio: ['ignore', 'pipe', 'pipe'], detached: true },
  );
  let output = '';
  const collect = (chunk: Buffer) => {
    output = (output + chunk.toString()).slice(-2000);
  };
  child.stdout.on('data', collect);
  child.stderr.on('data', collect);
  let exited: string | null = null;
  child.on('error', (error) => {
    exited = error.message;
  });
  child.on('exit', (code, signal) => {
    exited ??= `it ended with ${signal ?? `exit code ${code}`}`;
  });
  const deadline = Date.now() + START_MS;
  while (!(await answers(socket))) {
    if (exited !== null || Date.now() > deadline)
      throw new TokenwatchError(
        'queue_server_failed',
        'config',
        `${binary} did not start: ${exited ?? 'no answer within 15 s'}. ${output.trim().split('\n').at(-1) ?? ''}`,
        {
          fix: `Look at the files in ${folder}, or set REDIS_URL.`,
        },
      );
    await new Promise((r) => setTimeout(r, 25));
  }
  // The process may end while Redis still writes: neither may hold the other.
  child.unref();
  (child.stdout as unknown as { unref(): void }).unref();
  (child.stderr as unknown as { unref(): void }).unref();
}

/** stopPrivateRedis ends the server that a killed process left in `dataDir`, if there is one: without its socket nobody could any more. */
export async function stopPrivateRedis(dataDir: string): Promise<void> {
  await shutDown(placeOf(dataDir).socket);
}

/** Place is where a private server keeps its files, and the socket that it listens on. */
export interface Place {
  readonly folder: string;
  readonly socket: string;
}

/** placeOf is the place of the private server of a data directory. */
export function placeOf(dataDir: string): Place {
  const folder = resolve(dataDir, 'redis');
  const inFolder = join(folder, 'redis.sock');
  const socket =
    inFolder.length <= SOCKET_PATH_LIMIT ? inFolder : join(tmpdir(), `tokenwatch-${stableId([folder], 12)}.sock`);
  return { folder, socket };
}

async function probe(socket: string): Promise<Redis> {
  const { Redis } = await import('ioredis');
  const redis = new Redis({
    path: socket,
    lazyConnect: true,
    retryStrategy: () => null,
    maxRetriesPerRequest: 0,
    enableOfflineQueue: false,
  });
  redis.on('error', () => {});
  return redis;
}

async function answers(socket: string): Promise<boolean> {
  const redis = await probe(socket);
  try {
    await redis.connect();
    return (await redis.ping()) === 'PONG';
  } catch {
    return false;
  } finally {
    redis.disconnect();
  }
}

/** shutDown asks the server to save and end, and waits until its socket is gone. */
export async function shutDown(socket: string): Promise<void> {
  const redis = await probe(socket);
  try {
    await redis.connect();
    await redis.call('SHUTDOWN', 'SAVE').catch(() => undefined);
  } catch {
    return;
  } finally {
    redis.disconnect();
  }
  for (let i = 0; i < 200 && (await answers(socket)); i++) await new Promise((r) => setTimeout(r, 25));
}
