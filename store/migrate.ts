import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { TokenwatchError } from '../core/index.ts';
import type { Engine } from './engine.ts';

interface Migration {
  readonly version: number;
  readonly name: string;
  readonly hash: string;
  readonly statements: readonly string[];
}

/** readMigrations reads the numbered SQL files beside this module, in order. A statement ends with `;` at the end of a line. */
export function readMigrations(): Migration[] {
  const folder = new URL('./migrations/', import.meta.url);
  return readdirSync(folder)
    .filter((file) => /^\d{3}_[a-z_]+\.sql$/.test(file))
    .sort()
    .map((file) => {
      const text = readFileSync(new URL(file, folder), 'utf8');
      return {
        version: Number(file.slice(0, 3)),
        name: file.slice(4, -4),
        hash: createHash('sha256').update(text).digest('hex').slice(0, 16),
        statements: text
          .split(/;\s*$/m)
          .map((statement) => statement.replace(/^\s*--.*$/gm, '').trim())
          .filter((statement) => statement !== ''),
      };
    });
}

/**
 * migrate brings the database to this version's schema. Every statement is idempotent, so that two processes may run it
 * at once. Refuses a database that is newer, or whose applied files differ from ours.
 */
export async function migrate(engine: Engine): Promise<void> {
  const migrations = readMigrations();
  await engine.command(
    `CREATE TABLE IF NOT EXISTS schema_migrations (version UInt16, name String, hash String, applied_at DateTime64(3, 'UTC'))
     ENGINE = ReplacingMergeTree(applied_at) ORDER BY version`,
    'reading the schema version',
  );
  const rows = await engine.rows(
    'SELECT version, any(hash) AS hash FROM schema_migrations GROUP BY version',
    {},
    'reading the schema version',
  );
  const applied = new Map(rows.map((row) => [Number(row.version), String(row.hash)]));
  const newest = Math.max(0, ...applied.keys());
  const known = migrations.at(-1)?.version ?? 0;
  if (newest > known)
    throw new TokenwatchError(
      'store_schema_newer',
      'config',
      `The database is at schema ${newest}, this Tokenwatch knows ${known}.`,
      {
        fix: 'Run the newer Tokenwatch that made it, or use another database.',
      },
    );
  for (const migration of migrations) {
    const hash = applied.get(migration.version);
    if (hash === migration.hash) continue;
    if (hash !== undefined)
      throw new TokenwatchError(
        'store_migration_changed',
        'config',
        `Migration ${migration.version} (${migration.name}) is not the one that was applied.`,
        {
          fix: 'Use the release that made this database, or an empty one.',
        },
      );
    for (const statement of migration.statements)
      await engine.command(statement, `applying migration ${migration.version} (${migration.name})`);
    // Not VALUES: the embedded engine would go on to read rows from the program's standard input.
    await engine.command(
      `INSERT INTO schema_migrations SELECT ${migration.version}, '${migration.name}', '${migration.hash}', now64(3)`,
      'recording the schema version',
    );
  }
}

/** applyRetention sets how long usage events stay, counted from when they were received, so that an import of old logs is kept too. */
export async function applyRetention(engine: Engine, eventsMs: number | null): Promise<void> {
  const rows = await engine.rows(
    `SELECT engine_full AS text FROM system.tables WHERE database = currentDatabase() AND name = 'events'`,
    {},
    'reading the retention',
  );
  const current = /TTL toDateTime\(received_at\) \+ toIntervalSecond\((\d+)\)/.exec(String(rows[0]?.text ?? ''))?.[1];
  const wanted = eventsMs === null ? undefined : String(Math.ceil(eventsMs / 1000));
  if (current === wanted) return;
  await engine.command(
    wanted === undefined
      ? 'ALTER TABLE events REMOVE TTL'
      : `ALTER TABLE events MODIFY TTL toDateTime(received_at) + toIntervalSecond(${wanted})`,
    'setting the retention',
  );
}
