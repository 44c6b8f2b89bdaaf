import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import type { ClickHouseClient } from '@clickhouse/client';
import { TokenwatchError } from '../core/index.ts';
import type { AnalystConnection } from './analyst.ts';
import type { Rows } from './contract.ts';
import { storeError } from './errors.ts';

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
  insert(table: string, columns: readonly string[], rows: Rows, token: string): Promise<void>;
  /** analystConnection opens a connection of its own for one analyst's query; the caller restricts and closes it. */
  analystConnection(): Promise<AnalystConnection>;
  readonly embedded: boolean;
  close(): Promise<void>;
}

/** EngineOptions say which engine, and where its data is. */
export interface EngineOptions {
  /** ClickHouse HTTP address; null for the embedded engine. */
  readonly url: string | null;
  /** Folder of the embedded engine. */
  readonly dataDir: string;
  /** Null: the one that the address names, else `tokenwatch`. */
  readonly database: string | null;
}

/** DEFAULT_DATABASE is used when neither the caller nor the address names one. */
export const DEFAULT_DATABASE = 'tokenwatch';

/** quoted is an identifier as SQL takes it. */
export function quoted(name: string): string {
  return `\`${name.replaceAll('\\', '\\\\').replaceAll('`', '\\`')}\``;
}

/** selectRows runs a read with its parameters bound by the client. */
export async function selectRows(
  client: ClickHouseClient,
  sql: string,
  params: Record<string, unknown>,
): Promise<Record<string, unknown>[]> {
  // Many values do not fit into an address: over HTTP they go as a form when they are long.
  const result = await client.query({
    query: sql,
    query_params: params,
    format: 'JSONEachRow',
    use_multipart_params_auto: true,
  });
  return result.json<Record<string, unknown>>();
}

/** INSERT_SETTINGS hold for every insert, embedded or not. */
export const INSERT_SETTINGS = {
  insert_deduplicate: 1,
  deduplicate_blocks_in_dependent_materialized_views: 1,
  async_insert: 0,
  // A backfill of years is one batch over many weeks; the default limit would refuse it for ever.
  max_partitions_per_insert_block: '0',
  date_time_input_format: 'best_effort',
  // Columns are only ever added at the end: a batch that an older version wrote ahead has fewer.
  input_format_json_compact_allow_variable_number_of_columns: 1,
} as const;

/** literal is a text as SQL writes it. */
export function literal(value: string): string {
  return `'${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}

/** insertToken is the token to send: without one the engine goes by the content, and two equal rows are both wanted. */
export function insertToken(token: string): string {
  return token === '' ? randomUUID() : token;
}

/** bytesOf is rows as they are sent. */
export function bytesOf(rows: Rows): Buffer {
  return rows instanceof Uint8Array
    ? Buffer.from(rows.buffer, rows.byteOffset, rows.byteLength)
    : Buffer.from(rows.join('\n'));
}

/** insertRows sends rows through the client. */
export async function insertRows(
  client: ClickHouseClient,
  table: string,
  columns: readonly string[],
  rows: Rows,
  token: string,
): Promise<void> {
  const result = await client.exec({
    query: `INSERT INTO ${table} (${columns.join(', ')}) FORMAT JSONCompactEachRow`,
    values: Readable.from([bytesOf(rows)], { objectMode: false }),
    clickhouse_settings: { ...INSERT_SETTINGS, insert_deduplication_token: insertToken(token) },
  });
  result.stream.resume();
}

/** attempt names what the engine was doing when it failed. */
export async function attempt<T>(work: Promise<T>, doing: string): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw storeError(error, doing);
  }
}

/** versionOf asks the engine for its version. */
export async function versionOf(client: ClickHouseClient): Promise<string> {
  const rows = await attempt(selectRows(client, 'SELECT version() AS version', {}), 'connecting');
  return String(rows[0]?.version ?? '');
}

/** The first release line whose deduplication reaches dependent materialized views reliably. */
const OLDEST_VERSION = [25, 3] as const;

/** requireVersion refuses an engine that is too old. */
export async function requireVersion(version: string): Promise<void> {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  if (major > OLDEST_VERSION[0] || (major === OLDEST_VERSION[0] && minor >= OLDEST_VERSION[1])) return;
  throw new TokenwatchError('store_too_old', 'config', `ClickHouse ${version || '(unknown)'} is too old.`, {
    fix: `Use ClickHouse ${OLDEST_VERSION.join('.')} or newer.`,
  });
}
