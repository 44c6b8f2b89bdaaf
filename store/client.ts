import { randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { type ClickHouseClient, type ClickHouseClientConfigOptions, createClient } from '@clickhouse/client';
import { errorText, TokenwatchError } from '../core/index.ts';
import type { AnalystConnection } from './analyst.ts';
import { engineCode, storeError } from './errors.ts';

/**
 * Engine is one ClickHouse, embedded or over HTTP, with the product's database in use. It hides the one difference that
 * matters: an embedded connection runs one statement at a time, so there are several of them.
 */
export interface Engine {
  /** command runs DDL or SET without a result. */
  command(sql: string, doing: string): Promise<void>;
  /** rows runs a read with typed parameters and returns JSON rows. */
  rows(sql: string, params: Record<string, unknown>, doing: string): Promise<Record<string, unknown>[]>;
  /** insert sends JSONCompactEachRow text. */
  insert(table: string, columns: readonly string[], lines: readonly string[], token: string): Promise<void>;
  /** analystConnection opens a connection of its own for one analyst's query; the caller restricts and closes it. */
  analystConnection(): Promise<AnalystConnection>;
  readonly embedded: boolean;
  close(): Promise<void>;
}

/** Inserts at once plus reads at once plus one to spare; an embedded connection costs little. */
const EMBEDDED_CONNECTIONS = 5;

/** EngineOptions say which engine, and where its data is. */
export interface EngineOptions {
  /** ClickHouse HTTP address; null for the embedded engine. */
  readonly url: string | null;
  /** Folder of the embedded engine. */
  readonly dataDir: string;
  /** Null: the one that the address names, else `tokenwatch`. */
  readonly database: string | null;
}

const DEFAULT_DATABASE = 'tokenwatch';

/** openEngine connects, makes the database when it is missing, and refuses an engine that is too old. */
export async function openEngine(options: EngineOptions): Promise<Engine> {
  return options.url === null ? openEmbedded(options) : openServer(options, options.url);
}

async function openServer(options: EngineOptions, address: string): Promise<Engine> {
  const url = new URL(address);
  const database = options.database ?? (decodeURIComponent(url.pathname.slice(1)) || DEFAULT_DATABASE);
  // The database may not exist yet: the first statements go without naming it.
  url.pathname = '';
  const config: ClickHouseClientConfigOptions = {
    url,
    application: 'tokenwatch',
    request_timeout: 60_000,
    max_open_connections: 12,
    compression: { request: true, response: true },
    keep_alive: { enabled: true, idle_socket_ttl: 2_000 },
    // The client's own logger writes whole error objects; ours says it once, without secrets.
    log: { level: 127 },
  };
  const bootstrap = createClient(config);
  try {
    await requireVersion(await versionOf(bootstrap));
    await attempt(
      bootstrap.command({ query: `CREATE DATABASE IF NOT EXISTS ${quoted(database)}` }),
      'creating the database',
    ).catch(async (error) => {
      // A user without CREATE may still own a database that is there.
      const found = await selectRows(bootstrap, 'SELECT 1 AS one FROM system.databases WHERE name = {name:String}', {
        name: database,
      });
      if (found.length === 0) throw error;
    });
  } finally {
    await bootstrap.close();
  }
  const client = createClient({ ...config, database });
  const analystClient = createClient({ ...config, database });
  return {
    embedded: false,
    // Over HTTP settings end with their request: one client serves them all.
    analystConnection: async () => ({ client: analystClient, close: async () => {} }),
    command: (sql, doing) => attempt(client.command({ query: sql }), doing).then(() => undefined),
    rows: (sql, params, doing) => attempt(selectRows(client, sql, params), doing),
    insert: (table, columns, lines, token) =>
      attempt(insertLines(client, table, columns, lines, token), `storing rows of ${table}`),
    close: async () => {
      await Promise.all([client.close(), analystClient.close()]);
    },
  };
}

/** quoted is an identifier as SQL takes it. */
function quoted(name: string): string {
  return `\`${name.replaceAll('\\', '\\\\').replaceAll('`', '\\`')}\``;
}

async function openEmbedded(options: EngineOptions): Promise<Engine> {
  const database = quoted(options.database ?? DEFAULT_DATABASE);
  const path = join(options.dataDir, 'clickhouse');
  mkdirSync(path, { recursive: true });
  // Loaded only here: a deployment with CLICKHOUSE_URL can leave the engine's 500 MB out.
  const { createChdbConnection } = await import('chdb/connection').catch((error: unknown) => {
    throw new TokenwatchError(
      'store_engine_missing',
      'config',
      `The embedded engine could not be loaded: ${errorText(error).slice(0, 200)}`,
      {
        cause: error,
        fix: 'Install the npm package chdb (npm ci), or set CLICKHOUSE_URL to a ClickHouse server.',
      },
    );
  });
  const connect = () => {
    try {
      return createClient({
        connection: createChdbConnection({ path }),
        log: { level: 127 },
      } as ClickHouseClientConfigOptions);
    } catch (error) {
      throw embeddedOpenError(error, path);
    }
  };
  const all: ClickHouseClient[] = [];
  try {
    for (let i = 0; i < EMBEDDED_CONNECTIONS; i++) {
      const client = connect();
      all.push(client);
      if (i === 0) {
        await requireVersion(await versionOf(client));
        await client.command({ query: `CREATE DATABASE IF NOT EXISTS ${database}` });
      }
      await client.command({ query: `USE ${database}` });
    }
  } catch (error) {
    await Promise.allSettled(all.map((client) => client.close()));
    throw error instanceof TokenwatchError ? error : embeddedOpenError(error, path);
  }
  const pool = createPool(all);
  return {
    embedded: true,
    analystConnection: async () => {
      const client = connect();
      await client.command({ query: `USE ${database}` });
      return { client, close: () => client.close() };
    },
    command: (sql, doing) => pool((client) => attempt(client.command({ query: sql }), doing).then(() => undefined)),
    rows: (sql, params, doing) => pool((client) => attempt(selectRows(client, sql, params), doing)),
    insert: (table, columns, lines, token) =>
      pool((client) => attempt(insertLines(client, table, columns, lines, token), `storing rows of ${table}`)),
    close: async () => {
      await Promise.allSettled(all.map((client) => client.close()));
    },
  };
}

/** createPool lends idle clients, first asked first served. */
function createPool(
  clients: readonly ClickHouseClient[],
): <T>(use: (client: ClickHouseClient) => Promise<T>) => Promise<T> {
  const idle = [...clients];
  const waiting: ((client: ClickHouseClient) => void)[] = [];
  return async (use) => {
    const client = idle.pop() ?? (await new Promise<ClickHouseClient>((resolve) => waiting.push(resolve)));
    try {
      return await use(client);
    } finally {
      const next = waiting.shift();
      if (next) next(client);
      else idle.push(client);
    }
  };
}

async function selectRows(
  client: ClickHouseClient,
  sql: string,
  params: Record<string, unknown>,
): Promise<Record<string, unknown>[]> {
  const result = await client.query({ query: sql, query_params: params, format: 'JSONEachRow' });
  return result.json<Record<string, unknown>>();
}

async function insertLines(
  client: ClickHouseClient,
  table: string,
  columns: readonly string[],
  lines: readonly string[],
  token: string,
): Promise<void> {
  const result = await client.exec({
    query: `INSERT INTO ${table} (${columns.join(', ')}) FORMAT JSONCompactEachRow`,
    values: Readable.from([lines.join('\n')], { objectMode: false }),
    // All of them, every time: the embedded engine keeps a setting for the statements that follow.
    clickhouse_settings: {
      // Without a token the engine goes by the content, and two equal rows are both wanted: each insert is its own.
      insert_deduplication_token: token === '' ? randomUUID() : token,
      insert_deduplicate: 1,
      deduplicate_blocks_in_dependent_materialized_views: 1,
      async_insert: 0,
      // A backfill of years is one batch over many weeks; the default limit would refuse it for ever.
      max_partitions_per_insert_block: '0',
      date_time_input_format: 'best_effort',
    },
  });
  result.stream.resume();
}

async function attempt<T>(work: Promise<T>, doing: string): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw storeError(error, doing);
  }
}

async function versionOf(client: ClickHouseClient): Promise<string> {
  const rows = await attempt(selectRows(client, 'SELECT version() AS version', {}), 'connecting');
  return String(rows[0]?.version ?? '');
}

/** The first release line whose deduplication reaches dependent materialized views reliably. */
const OLDEST_VERSION = [25, 3] as const;

async function requireVersion(version: string): Promise<void> {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  if (major > OLDEST_VERSION[0] || (major === OLDEST_VERSION[0] && minor >= OLDEST_VERSION[1])) return;
  throw new TokenwatchError('store_too_old', 'config', `ClickHouse ${version || '(unknown)'} is too old.`, {
    fix: `Use ClickHouse ${OLDEST_VERSION.join('.')} or newer.`,
  });
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

/** The engine's lock file names the process that holds a data directory; null when none of the living does. */
function holderOf(path: string): number | null {
  let pid = 0;
  try {
    pid = Number(/^PID: (\d+)/m.exec(readFileSync(join(path, 'status'), 'utf8'))?.[1] ?? 0);
    if (pid === 0 || pid === process.pid) return null;
    process.kill(pid, 0);
    return pid;
  } catch (error) {
    // Alive, and somebody else's.
    return (error as NodeJS.ErrnoException).code === 'EPERM' && pid > 0 ? pid : null;
  }
}
