import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { createLogger, systemClock } from '../../core/index.ts';
import { defineQuery, openStore, type Store } from '../../store/index.ts';
import { type ClickHouseHttp, startClickHouseHttp } from './clickhouse-http.ts';

/** The embedded engine binds one folder per process: every store of a test file lives in it, in a database of its own. */
let folder: string | null = null;

/** testStoreFolder is this process's data directory for stores, made on first use and removed when the process ends. */
export function testStoreFolder(): string {
  if (folder === null) {
    const made = mkdtempSync(join(tmpdir(), 'tokenwatch-store-'));
    process.on('exit', () => rmSync(made, { recursive: true, force: true }));
    folder = made;
  }
  return folder;
}

/** The server of this process's stores, when they go over HTTP. */
let server: Promise<ClickHouseHttp> | null = null;
afterAll(async () => (await server)?.stop());

/**
 * testStoreUrl is the one switch of the store tests, TOKENWATCH_TEST_STORE: `embedded` (or nothing) is the embedded engine,
 * `http` the same engine behind ClickHouse's HTTP interface, anything else the address of a ClickHouse server.
 */
export async function testStoreUrl(): Promise<string | null> {
  const asked = process.env.TOKENWATCH_TEST_STORE ?? 'embedded';
  if (asked === 'embedded') return null;
  if (asked !== 'http') return asked;
  server ??= startClickHouseHttp({ dataDir: join(testStoreFolder(), 'clickhouse') });
  return (await server).url;
}

/**
 * openTestStore opens an empty store where TOKENWATCH_TEST_STORE says; closing it removes it, but for one that was given a
 * name. Usage events are kept for ever unless `eventsMs` says otherwise: fixtures have fixed dates.
 */
export async function openTestStore(options: { eventsMs?: number | null; database?: string } = {}): Promise<Store> {
  const url = await testStoreUrl();
  const database = options.database ?? `test_${randomBytes(6).toString('hex')}`;
  const store = await openStore(
    { dataDir: testStoreFolder(), store: { url, retention: { eventsMs: options.eventsMs ?? null } } },
    { log: createLogger('silent'), clock: systemClock, database },
  );
  if (options.database !== undefined) return store;
  return {
    ...store,
    close: async () => {
      await removeDatabase(store, database);
      await store.close();
    },
  };
}

/** removeDatabase removes it at once: the engine keeps what it is to remove later for minutes, and opens the next ones ever more slowly. */
export async function removeDatabase(store: Store, database: string): Promise<void> {
  await rows(store, `DROP DATABASE IF EXISTS ${database} SYNC`);
}

/** emptyStore takes out all that a test stored: sooner than another store for the next one. */
export async function emptyStore(store: Store): Promise<void> {
  const filled = await rows(
    store,
    "SELECT name FROM system.tables WHERE database = currentDatabase() AND total_rows > 0 AND name != 'schema_migrations'",
  );
  for (const { name } of filled) await rows(store, `TRUNCATE TABLE ${name} SYNC`);
}

/** rows runs plain SQL on a store and returns its rows as they come. */
export function rows(
  store: Store,
  sql: string,
  params: Record<string, unknown> = {},
): Promise<Record<string, unknown>[]> {
  return store.read(
    defineQuery<Record<string, unknown>, Record<string, unknown>>('test', sql, (raw) => raw),
    params,
  );
}
