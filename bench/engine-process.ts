import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createChdbConnection } from 'chdb/connection';
import { createLogger, systemClock } from '../core/index.ts';
import { defineQuery, EVENT_COLUMNS, openStore, type Store, text } from '../store/index.ts';
import { inParallel } from './client.ts';
import { serve } from './processes.ts';

/** EngineQuestion is what is asked of the engine alone. */
export type EngineQuestion =
  | { readonly ask: 'version'; readonly dataDir: string }
  | {
      readonly ask: 'insert';
      readonly dataDir: string;
      /** File of JSONCompactEachRow lines for the table `events`. */
      readonly file: string;
      readonly rowsPerBlock: number;
      /** Through the store's own insert, or by the engine's door for bytes. */
      readonly via: Via;
      /** Inserts at once. */
      readonly width: number;
    };

/** Via is a way to insert; both name the same deduplication. */
export type Via = 'store' | 'engine';

/** EngineAnswer is the version, or the milliseconds that the inserts took. */
export type EngineAnswer = string | number;

const version = defineQuery<Record<string, never>, string>('bench_version', 'SELECT version() AS version', (raw) =>
  text(raw.version),
);

let ours: Promise<Store> | null = null;

function store(dataDir: string): Promise<Store> {
  ours ??= openStore(
    { dataDir, store: { url: null, retention: { eventsMs: null } } },
    { log: createLogger('error'), clock: systemClock },
  );
  return ours;
}

async function handle(question: EngineQuestion): Promise<EngineAnswer> {
  const { read, insert } = await store(question.dataDir);
  if (question.ask === 'version') return (await read(version, {}))[0] ?? 'unknown';
  const { file, rowsPerBlock, width, via } = question;
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
  const blocks: string[][] = [];
  for (let at = 0; at < lines.length; at += rowsPerBlock) blocks.push(lines.slice(at, at + rowsPerBlock));
  const pool = via === 'store' ? [] : await connections(question.dataDir, width);
  const one = async (block: readonly string[], token: string): Promise<void> => {
    if (via === 'store') return insert('events', block, token);
    const connection = pool.pop() as Connection;
    await connection.queryAsync(`SET insert_deduplication_token = '${token}'`);
    const values = Buffer.from(block.join('\n'));
    await connection.rawInsert({ table: 'events', columns: [...EVENT_COLUMNS], values, format: 'JSONCompactEachRow' });
    pool.push(connection);
  };
  const began = performance.now();
  await inParallel(blocks, width, (block) => one(block, `block ${++inserted}`));
  return performance.now() - began;
}

/** Makes each block's deduplication token its own: an engine that drops a block as known does no work. */
let inserted = 0;

type Connection = ReturnType<typeof createChdbConnection>['chdb'];

/** Open as long as the process lives: the engine is asked to insert many times. */
const opened: Connection[] = [];

/** connections are raw ones to the engine, with the settings of the store's own insert. */
async function connections(dataDir: string, count: number): Promise<Connection[]> {
  while (opened.length < count) {
    const { chdb } = createChdbConnection({ path: join(dataDir, 'clickhouse') });
    for (const statement of [
      'USE tokenwatch',
      'SET insert_deduplicate = 1',
      'SET deduplicate_blocks_in_dependent_materialized_views = 1',
      'SET async_insert = 0',
      'SET max_partitions_per_insert_block = 0',
      "SET date_time_input_format = 'best_effort'",
    ])
      await chdb.queryAsync(statement);
    opened.push(chdb);
  }
  return opened.slice(0, count);
}

serve(handle, async () => {
  await (await ours)?.close();
});
