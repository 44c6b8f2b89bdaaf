import { randomUUID } from 'node:crypto';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

/** RowFiles hand rows to the embedded engine in files of its data directory. */
export interface RowFiles {
  /** Whether the engine reads paths in this folder as what they are, and not as patterns. */
  readonly usable: boolean;
  /** lend writes rows into a file for as long as `use` runs. Throws what the file system throws, e.g. ENOSPC. */
  lend<T>(rows: Buffer, use: (path: string) => Promise<T>): Promise<T>;
}

/** openRowFiles keeps them in a folder of the data directory. The first to open it clears what a process that was killed left there. */
export function openRowFiles(dataDir: string, first: boolean): RowFiles {
  const folder = resolve(dataDir, 'inserting');
  if (first) rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  return {
    usable: !/[*?{}[\]]| :: /.test(folder),
    async lend(rows, use) {
      const path = join(folder, `${randomUUID()}.rows`);
      try {
        // At once: the threads that a write in the background would wait for are those that queries run on.
        writeFileSync(path, rows, { mode: 0o600 });
        return await use(path);
      } finally {
        rmSync(path, { force: true });
      }
    },
  };
}

/**
 * plainStructure is columns as a file's reader is told of them: texts as String, also where the table has them as
 * LowCardinality. The engine then puts a whole block into dictionaries at once, in a tenth of the time that it takes row by row.
 */
export function plainStructure(columns: readonly { readonly name: string; readonly type: string }[]): string {
  return columns.map(({ name, type }) => `${name} ${type.replace(/^LowCardinality\((.*)\)$/, '$1')}`).join(', ');
}
