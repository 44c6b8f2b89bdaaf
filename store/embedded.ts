import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ClickHouseClient, type ClickHouseClientConfigOptions, createClient } from '@clickhouse/client';
import type { ChdbConnection } from 'chdb/connection';
import { errorText, makeDataFolder, TokenwatchError } from '../core/index.ts';
import { type ConnectionPool, createEmbeddedInsert } from './embedded-insert.ts';
import {
  attempt,
  DEFAULT_DATABASE,
  type Engine,
  type EngineOptions,
  INSERT_SETTINGS,
  literal,
  quoted,
  requireVersion,
  versionOf,
} from './engine.ts';
import { engineCode } from './errors.ts';
import { openRowFiles, type RowFiles } from './row-files.ts';
import { forgetUnfinished } from './unfinished.ts';

/** Inserts at once plus reads at once plus one to spare; a connection costs little. */
const EMBEDDED_CONNECTIONS = 5;

/** Lane is one connection: it runs one statement at a time, and keeps its settings. */
interface Lane {
  readonly client: ClickHouseClient;
  readonly connection: ChdbConnection;
}

/**
 * Set once per lane, because they stay. Statements carry their parameters, so they may be long. Expressions are not compiled: it takes up to
 * a tenth of a second at the fourth time that a query runs, and no query gains from it.
 */
const LANE_SETTINGS = [
  ...Object.entries(INSERT_SETTINGS).map(([name, value]) => `${name} = ${literal(String(value))}`),
  'max_query_size = 1073741824',
  'compile_expressions = 0',
  'compile_aggregate_expressions = 0',
  'compile_sort_description = 0',
].join(', ');

/**
 * Settings of the engine itself, which only its first connection can make. Merges make way for whoever waits for a read or an insert:
 * a nice value of 5 leaves them a quarter of a processor that everybody wants. The engine does it where it may (as root, or with
 * CAP_SYS_NICE), and says nothing where it may not.
 */
const ENGINE_ARGUMENTS = ['--os_threads_nice_value_merge_mutate=5'];

/** paramText writes a value as the engine reads parameters: escaped as in TabSeparated, strings within an array quoted. */
export function paramText(value: unknown): string {
  if (Array.isArray(value))
    return `[${value.map((item) => (typeof item === 'string' ? `'${paramText(item)}'` : paramText(item))).join(',')}]`;
  if (typeof value !== 'string') return String(value);
  return value
    .replaceAll('\\', '\\\\')
    .replaceAll("'", "\\'")
    .replaceAll('\t', '\\t')
    .replaceAll('\n', '\\n')
    .replaceAll('\r', '\\r')
    .replaceAll('\0', '\\0');
}

/**
 * withParams sets the parameters in front of a read. The client would bind them natively, but chDB lets only one such read
 * run at a time in the whole process; as settings they bind to the same typed placeholders, and reads run side by side.
 */
function withParams(sql: string, params: Record<string, unknown>): string {
  const set = Object.entries(params).map(([name, value]) => `param_${name} = ${literal(paramText(value))}`);
  return set.length === 0 ? sql : `SET ${set.join(', ')}; ${sql}`;
}

/** rowsIn reads an answer in JSONEachRow: one row a line. */
function rowsIn(answer: { text(): string }): Record<string, unknown>[] {
  const lines = answer.text().trimEnd();
  return lines === '' ? [] : (JSON.parse(`[${lines.replaceAll('\n', ',')}]`) as Record<string, unknown>[]);
}

/** openEmbedded opens chDB in the data directory; one process at a time may. */
export async function openEmbedded(options: EngineOptions): Promise<Engine> {
  const database = quoted(options.database ?? DEFAULT_DATABASE);
  const path = join(options.dataDir, 'clickhouse');
  makeDataFolder(path);
  const [{ createChdbConnection }, { Session }] = await Promise.all([import('chdb/connection'), import('chdb')]).catch(
    (error: unknown) => {
      throw new TokenwatchError(
        'store_engine_missing',
        'config',
        `The embedded engine could not be loaded: ${errorText(error).slice(0, 200)}`,
        {
          cause: error,
          fix: 'Install the npm package chdb (npm ci), or set CLICKHOUSE_URL to a ClickHouse server.',
        },
      );
    },
  );
  const connect = (): Lane => {
    try {
      const connection = createChdbConnection({ path });
      return {
        connection,
        client: createClient({ connection, log: { level: 127 } } as ClickHouseClientConfigOptions),
      };
    } catch (error) {
      throw embeddedOpenError(error, path);
    }
  };
  const all: Lane[] = [];
  let session: InstanceType<typeof Session> | undefined;
  const close = async () => {
    await Promise.allSettled(all.map(({ client }) => client.close()));
    session?.close();
  };
  const first = !openHere.has(path);
  let files: RowFiles;
  try {
    if (wasKilled(path)) forgetUnfinished(path);
    session = new Session(path, { connectionArgs: ENGINE_ARGUMENTS });
    for (let i = 0; i < EMBEDDED_CONNECTIONS; i++) {
      const lane = connect();
      const { client } = lane;
      all.push(lane);
      openHere.add(path);
      if (i === 0) {
        await requireVersion(await versionOf(client));
        await client.command({ query: `CREATE DATABASE IF NOT EXISTS ${database}` });
      }
      await client.command({ query: `USE ${database}` });
      await client.command({ query: `SET ${LANE_SETTINGS}` });
    }
    // Only now is it sure that no other process uses the directory.
    files = openRowFiles(options.dataDir, first);
  } catch (error) {
    await close();
    throw error instanceof TokenwatchError ? error : embeddedOpenError(error, path);
  }
  const pool = createPool(all);
  const rows: Engine['rows'] = (sql, params, doing) =>
    pool(({ connection }) =>
      // By way of the client an answer would become a stream, and a read cost some three milliseconds more.
      attempt(connection.chdb.queryAsync(withParams(sql, params), { format: 'JSONEachRow' }), doing).then(rowsIn),
    );
  const insert = createEmbeddedInsert({ pool, rows, files });
  return {
    embedded: true,
    analystConnection: async () => {
      const { client } = connect();
      await client.command({ query: `USE ${database}` });
      return { client, abortable: false, close: () => client.close() };
    },
    command: (sql, doing) => pool(({ client }) => attempt(client.command({ query: sql }), doing).then(() => undefined)),
    rows,
    insert,
    close,
  };
}

/** createPool lends idle lanes, first asked first served. */
function createPool(lanes: readonly Lane[]): ConnectionPool<Lane> {
  const idle = [...lanes];
  const waiting: ((lane: Lane) => void)[] = [];
  return async (use) => {
    const lane = idle.pop() ?? (await new Promise<Lane>((resolve) => waiting.push(resolve)));
    try {
      return await use(lane);
    } finally {
      const next = waiting.shift();
      if (next) next(lane);
      else idle.push(lane);
    }
  };
}

function embeddedOpenError(error: unknown, path: string): TokenwatchError {
  const text = errorText(error).replace(/\s+/g, ' ').slice(0, 300);
  const holder = holderOf(path);
  // 76 CANNOT_OPEN_FILE is what a taken lock file reads as; the wrapper hands some failures on without a code.
  if (holder !== null || engineCode(error) === '76' || /lock/i.test(text))
    return new TokenwatchError(
      'store_locked',
      'config',
      `The data directory ${path} is in use by ${holder === null ? 'another process' : `process ${holder}`}.`,
      {
        cause: error,
        fix: 'Stop the other Tokenwatch, or give this one its own directory with TOKENWATCH_DATA; several processes need a ClickHouse server (CLICKHOUSE_URL).',
      },
    );
  return new TokenwatchError('store_unusable', 'config', `The embedded engine could not open ${path}: ${text}`, {
    cause: error,
    fix: 'Check that the directory can be written and has free space, or choose another one with TOKENWATCH_DATA.',
  });
}

/** pidIn is the process that the engine's lock file names, 0 when there is none. */
function pidIn(path: string): number {
  return Number(/^PID: (\d+)/m.exec(readFileSync(join(path, 'status'), 'utf8'))?.[1] ?? 0);
}

/** Directories that this process has opened: a lock file with our number in it is our own there. */
const openHere = new Set<string>();

/** wasKilled tells that a data directory is open to nobody, and was left without being closed. */
function wasKilled(path: string): boolean {
  try {
    // In a container the process before had the same number.
    return pidIn(path) !== 0 && !openHere.has(path) && holderOf(path) === null;
  } catch {
    return false;
  }
}

/** The engine's lock file names the process that holds a data directory; null when none of the living does. */
function holderOf(path: string): number | null {
  let pid = 0;
  try {
    pid = pidIn(path);
    if (pid === 0 || pid === process.pid) return null;
    process.kill(pid, 0);
    return pid;
  } catch (error) {
    // Alive, and somebody else's.
    return (error as NodeJS.ErrnoException).code === 'EPERM' && pid > 0 ? pid : null;
  }
}
