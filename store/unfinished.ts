import { readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** An insert that a crash can have cut short is among the last of its table: there are far fewer at once. */
const LAST_INSERTS = 64;

/** A part's name: partition, first and last insert that it holds, level of merging, and the mutation that it went through, if any. */
const PART = /^([^_]+)_(\d+)_(\d+)_\d+(?:_\d+)?$/;

/**
 * forgetUnfinished makes the embedded engine forget the tokens of inserts whose rows a crash kept out, so that their retries
 * store them. The engine notes an insert's token in a table's deduplication log first and puts the part in its place some
 * 0.2 ms later; killed in between, it takes the retry for a repetition and the rows are lost. Only for a data directory
 * that no process has open. Returns the names of the parts that were never there.
 *
 * The log's lines are operation (1: inserted), part and token, parted by tabs: `MergeTreeDeduplicationLog` of ClickHouse.
 */
export function forgetUnfinished(path: string): string[] {
  return tablesOf(path).flatMap((table) => {
    const folder = join(table, 'deduplication_logs');
    const newest = namesIn(folder)
      .filter((name) => /^deduplication_log_\d+\.txt$/.test(name))
      .sort((a, b) => Number(/\d+/.exec(a)) - Number(/\d+/.exec(b)))
      .at(-1);
    if (newest === undefined) return [];
    const file = join(folder, newest);
    const lines = readFileSync(file, 'utf8').split('\n');
    const present = namesIn(table).flatMap(rangeOf);
    const forgotten: string[] = [];
    const kept = lines.filter((line, i) => {
      const [operation, part = ''] = line.split('\t');
      const range = rangeOf(part)[0];
      if (operation !== '1' || range === undefined || i < lines.length - LAST_INSERTS) return true;
      const { partition, first, last } = range;
      if (present.some((one) => one.partition === partition && one.first <= first && one.last >= last)) return true;
      forgotten.push(part);
      return false;
    });
    if (forgotten.length > 0) {
      writeFileSync(`${file}.kept`, kept.join('\n'));
      renameSync(`${file}.kept`, file);
    }
    return forgotten;
  });
}

function rangeOf(name: string): { partition: string; first: number; last: number }[] {
  const [, partition = '', first, last] = PART.exec(name) ?? [];
  return first === undefined ? [] : [{ partition, first: Number(first), last: Number(last) }];
}

function tablesOf(path: string): string[] {
  const store = join(path, 'store');
  return namesIn(store).flatMap((prefix) => namesIn(join(store, prefix)).map((table) => join(store, prefix, table)));
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return [];
    throw error;
  }
}
