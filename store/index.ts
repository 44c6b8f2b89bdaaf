import type { Config } from '../config/index.ts';
import type { Clock, Logger } from '../core/index.ts';
import { createAnalyst } from './analyst.ts';
import { openEngine } from './client.ts';
import type { Store, TableName } from './contract.ts';
import { applyRetention, migrate } from './migrate.ts';
import { EVENT_COLUMNS, LIFECYCLE_COLUMNS, REJECTED_COLUMNS } from './rows.ts';
import { createTrouble } from './trouble.ts';

export { SqlError } from './analyst.ts';
export type { AnalyseOptions, AnalystResult, LineStore, Query, Rows, Store, TableName } from './contract.ts';
export { encodeLifecycle, encodeRejected, encodeUsage } from './encode.ts';
export { ACTS, clientOf, FACETS_OF_CALLS, isAct, networkOf, ORIGINS_OF_STEPS, placesOf } from './facets.ts';
export {
  FORGOTTEN_AFTER,
  quarterName,
  quarterOf,
  quarterStart,
  sqlQuarter,
  sqlQuarterStart,
  sqlRenewals,
} from './quarters.ts';
export { defineQuery, list, num, ONE_THREAD, text, time } from './query.ts';
export { EVENT_COLUMNS, type LifecycleRow, type RejectedRow, type UsageRow } from './rows.ts';

const COLUMNS: Record<TableName, readonly string[]> = {
  events: EVENT_COLUMNS,
  lifecycle: LIFECYCLE_COLUMNS,
  rejected_events: REJECTED_COLUMNS,
  detections: [
    'id',
    'detector',
    'token',
    'lineage',
    'owner',
    'severity',
    'title',
    'summary',
    'window_from',
    'window_to',
    'observed',
    'expected',
    'surprise',
    'state',
    'evidence',
    'sql',
    'detected_at',
    'anchor',
    'began',
  ],
  alert_log: [
    'recorded_at',
    'alert',
    'kind',
    'subject_key',
    'token',
    'lineage',
    'owner',
    'detection',
    'detector',
    'detected_at',
    'detection_time',
    'severity',
    'status',
    'note',
    'by',
    'resolved_as',
    'needed',
  ],
  feedback: [
    'recorded_at',
    'alert',
    'owner',
    'lineage',
    'facet',
    'value',
    'verdict',
    'first_seen',
    'last_seen',
    'amount',
    'ends_at',
    'note',
    'by',
  ],
  notifications: [
    'id',
    'alert',
    'channel',
    'channel_type',
    'reason',
    'status',
    'attempts',
    'target',
    'error',
    'at',
    'delay_ms',
  ],
  successions: ['as_of', 'owner', 'lineage', 'predecessor', 'since'],
  access_keys: ['id', 'hash', 'name', 'scopes', 'status', 'created_at', 'expires_at', 'updated_at'],
};

/** StoreContext is what a store is opened with, besides its configuration. */
export interface StoreContext {
  readonly log: Logger;
  readonly clock: Clock;
  /** Name of the database; the one that the address names, else `tokenwatch` (tests keep apart by it). */
  readonly database?: string;
}

/** openStore connects to ClickHouse (embedded when no URL is set), brings the schema up to date and sets the retention. */
export async function openStore(config: Pick<Config, 'store' | 'dataDir'>, context: StoreContext): Promise<Store> {
  const engine = await openEngine({
    url: config.store.url,
    dataDir: config.dataDir,
    database: context.database ?? null,
  });
  try {
    await migrate(engine);
    await applyRetention(engine, config.store.retention.eventsMs);
  } catch (error) {
    await engine.close();
    throw error;
  }
  const trouble = createTrouble(context.log, context.clock);
  const analyst = createAnalyst(engine.analystConnection);
  return {
    insert: async (table, rows, token) => {
      if (rows.length === 0) return;
      try {
        await engine.insert(table, COLUMNS[table], rows, token);
        trouble.stored();
      } catch (error) {
        trouble.failed(error);
        throw error;
      }
    },
    read: async (query, params) => (await engine.rows(query.sql, params, `running ${query.name}`)).map(query.row),
    analyse: analyst.analyse,
    computing: () => engine.embedded && analyst.computing(),
    ping: async () => {
      await engine.rows('SELECT 1 AS one', {}, 'checking the store');
      const full = trouble.full();
      if (full !== null) throw full;
    },
    close: () => engine.close(),
  };
}
