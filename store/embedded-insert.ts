import type { ChdbConnection } from 'chdb/connection';
import { attempt, bytesOf, type Engine, insertToken, literal } from './engine.ts';
import type { RowFiles } from './row-files.ts';

/** ConnectionPool lends connections, each to one at a time. */
export type ConnectionPool<L> = <T>(use: (lane: L) => Promise<T>) => Promise<T>;

/** EmbeddedInsertParts are what the embedded engine's insert works with. */
export interface EmbeddedInsertParts {
  readonly pool: ConnectionPool<{ readonly connection: ChdbConnection }>;
  readonly rows: Engine['rows'];
  readonly files: RowFiles;
}

const SETTINGS = {
  // One thread is done sooner, in processor time, than several are set up; and it keeps the rows in one block.
  input_format_parallel_parsing: '0',
  max_threads: '1',
  // Without it the engine decides by itself whether the token counts for rows that come out of a file.
  deduplicate_insert_select: 'force_enable',
};

/**
 * createEmbeddedInsert makes the embedded engine's insert: rows go to it by a file. In the statement they would be read at a
 * third of the speed, because the engine looks through all of it first and fills dictionaries row by row; and it would take
 * whatever stands in the program's standard input for more rows.
 */
export function createEmbeddedInsert({ pool, rows, files }: EmbeddedInsertParts): Engine['insert'] {
  const structures = new Map<string, Promise<string>>();

  /** structureOf is how the rows of a table stand in a file; while a store is open its schema stays as it is. */
  function structureOf(table: string, columns: readonly string[]): Promise<string> {
    const known = structures.get(table);
    if (known !== undefined) return known;
    const asked = rows(COLUMN_TYPES, { table }, `reading the columns of ${table}`).then((found) => {
      const types = new Map(found.map(({ name, type }) => [name, String(type)]));
      return columns.map((name) => `${name} ${plain(types.get(name) ?? 'String')}`).join(', ');
    });
    structures.set(table, asked);
    asked.catch(() => structures.delete(table));
    return asked;
  }

  async function insert(table: string, columns: readonly string[], values: Buffer, token: string): Promise<void> {
    const structure = await structureOf(table, columns);
    const settings = Object.entries({ ...SETTINGS, insert_deduplication_token: insertToken(token) });
    const set = settings.map(([name, value]) => `${name} = ${literal(value)}`).join(', ');
    await files.lend(values, (path) => {
      const source = `file(${literal(path)}, 'JSONCompactEachRow', ${literal(structure)})`;
      const sql = `INSERT INTO ${table} (${columns.join(', ')}) SETTINGS ${set} SELECT * FROM ${source}`;
      return pool(({ connection }) => connection.chdb.queryAsync(sql));
    });
  }

  return (table, columns, given, token) =>
    attempt(insert(table, columns, bytesOf(given), token), `storing rows of ${table}`);
}

const COLUMN_TYPES =
  'SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {table:String}';

/** plain is a column's type with texts as String: the engine then makes a dictionary of a whole block at once. */
function plain(type: string): string {
  return type.replace(/^LowCardinality\((.*)\)$/, '$1');
}
