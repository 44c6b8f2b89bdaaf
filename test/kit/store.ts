import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createLogger, systemClock } from '../../core/index.ts';
import { defineQuery, openStore, type Store } from '../../store/index.ts';

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

/**
 * openTestStore opens an empty store: the embedded engine, or the server of TOKENWATCH_TEST_CLICKHOUSE_URL when that is
 * set. Usage events are kept for ever unless `eventsMs` says otherwise: fixtures have fixed dates.
 */
export async function openTestStore(options: { eventsMs?: number | null; database?: string } = {}): Promise<Store> {
  const url = process.env.TOKENWATCH_TEST_CLICKHOUSE_URL ?? null;
  return openStore(
    { dataDir: testStoreFolder(), store: { url, retention: { eventsMs: options.eventsMs ?? null } } },
    {
      log: createLogger('silent'),
      clock: systemClock,
      database: options.database ?? `test_${randomBytes(6).toString('hex')}`,
    },
  );
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
