import type { ChdbConnection } from 'chdb/connection';
import { attempt, type Engine, insertToken, literal } from './engine.ts';
import { plainStructure, type RowFiles } from './row-files.ts';

/** ConnectionPool lends connections, each to one at a time. */
export type ConnectionPool<L> = <T>(use: (lane: L) => Promise<T>) => Promise<T>;

/** EmbeddedInsertParts are what the embedded engine's insert works with. */
export interface EmbeddedInsertParts {
  readonly pool: ConnectionPool<{ readonly connection: ChdbConnection }>;
  readonly rows: Engine['rows'];
  readonly files: RowFiles;
}

/**
 * Bytes from which rows go to the engine by a file. In the statement they are read at a third of the speed: the engine looks
 * through all of the statement first, and fills dictionaries row by row. For few rows that is less than what a file costs.
 */
const LARGE_INSERT_BYTES = 1_000_000;

const SETTINGS = {
  // One thread is done sooner, in processor time, than several are set up; and it keeps the rows in one block.
  input_format_parallel_parsing: '0',
  max_threads: '1',
};

/** createEmbeddedInsert makes the embedded engine's insert. */
export function createEmbeddedInsert({ pool, rows, files }: EmbeddedInsertParts): Engine['insert'] {
  const structures = new Map<string, string>();

  /** structureOf is how the rows of a table stand in a file; while a store is open its schema stays as it is. */
  async function structureOf(table: string, columns: readonly string[]): Promise<string> {
    const known = structures.get(table);
    if (known !== undefined) return known;
    const sql = 'SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {table:String}';
    const found = await rows(sql, { table }, `reading the columns of ${table}`);
    const types = new Map(found.map(({ name, type }) => [name, String(type)]));
    const structure = plainStructure(columns.map((name) => ({ name, type: types.get(name) ?? 'String' })));
    structures.set(table, structure);
    return structure;
  }

  async function byStatement(table: string, columns: readonly string[], values: Buffer, token: string): Promise<void> {
    await pool(({ connection }) =>
      // As bytes: by way of the client the rows would become a stream, a string and a part of one long statement.
      connection.chdb.rawInsert({
        table,
        columns: [...columns],
        values,
        format: 'JSONCompactEachRow',
        settings: { ...SETTINGS, insert_deduplication_token: token },
      }),
    );
  }

  async function byFile(table: string, columns: readonly string[], values: Buffer, token: string): Promise<void> {
    const structure = await structureOf(table, columns);
    // Without the last one the engine decides by itself whether the token counts.
    const settings = { ...SETTINGS, insert_deduplication_token: token, deduplicate_insert_select: 'force_enable' };
    const set = Object.entries(settings).map(([name, value]) => `${name} = ${literal(value)}`);
    await files.lend(values, (path) => {
      const source = `file(${literal(path)}, 'JSONCompactEachRow', ${literal(structure)})`;
      const sql = `INSERT INTO ${table} (${columns.join(', ')}) SETTINGS ${set.join(', ')} SELECT * FROM ${source}`;
      return pool(({ connection }) => connection.chdb.queryAsync(sql));
    });
  }

  return (table, columns, lines, token) => {
    const values = Buffer.from(lines.join('\n'));
    const insert = values.length >= LARGE_INSERT_BYTES && files.usable ? byFile : byStatement;
    return attempt(insert(table, columns, values, insertToken(token)), `storing rows of ${table}`);
  };
}
