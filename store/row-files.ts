import { randomUUID } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

/** RowFiles hand rows to the embedded engine in files. */
export interface RowFiles {
  /** lend writes rows into a file for as long as `use` runs. Throws what the file system throws, e.g. ENOSPC. */
  lend<T>(rows: Uint8Array, use: (path: string) => Promise<T>): Promise<T>;
  /** close removes what only this process has. */
  close(): void;
}

/** What the engine reads in a path as a pattern, or as the name of an archive. */
const PATTERN = /[*?{}[\]]| :: /;

/**
 * openRowFiles keeps them in a folder of the data directory, or of the system's where that has a name that the engine would read
 * as a pattern. The first to open it clears what a process that was killed left there.
 */
export function openRowFiles(dataDir: string, first: boolean): RowFiles {
  const ours = resolve(dataDir, 'inserting');
  const apart = PATTERN.test(ours);
  const folder = apart ? mkdtempSync(join(tmpdir(), 'tokenwatch-inserting-')) : ours;
  if (first) rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  return {
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
    close() {
      if (apart) rmSync(folder, { recursive: true, force: true });
    },
  };
}
