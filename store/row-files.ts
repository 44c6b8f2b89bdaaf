import { createHash, randomUUID } from 'node:crypto';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { errorText, TokenwatchError } from '../core/index.ts';

/** RowFiles hand rows to the embedded engine in files. */
export interface RowFiles {
  /**
   * lend writes rows into a file for as long as `use` runs. Throws `store_unusable` when it cannot be written, and what the
   * file system says of a full disk as it is.
   */
  lend<T>(rows: Uint8Array, use: (path: string) => Promise<T>): Promise<T>;
}

/** What the engine reads in a path as a pattern, or as what divides an archive from a name in it: it would find no rows there. */
const PATTERN = /[*?{}[\]]|::/;

/** Codes of the file system after which the same write may succeed. */
const PASSING = new Set(['EMFILE', 'ENFILE', 'EAGAIN', 'EIO']);
const FULL = new Set(['ENOSPC', 'EDQUOT']);

/**
 * openRowFiles keeps them in a folder of the data directory, or of the system's temporary one where the engine would read that
 * path as a pattern. The first to open it clears what a process that was killed left there. Throws `store_unusable`.
 */
export function openRowFiles(dataDir: string, first: boolean): RowFiles {
  const folder = folderFor(resolve(dataDir));
  const make = () => mkdirSync(folder, { recursive: true, mode: 0o700 });
  try {
    if (first) rmSync(folder, { recursive: true, force: true });
    make();
  } catch (error) {
    throw unwritable(folder, error);
  }

  function write(path: string, rows: Uint8Array): void {
    try {
      // At once: the threads that a write in the background would wait for are those that queries run on.
      writeFileSync(path, rows, { mode: 0o600 });
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') throw error;
      // Somebody cleared the folder away.
      make();
      writeFileSync(path, rows, { mode: 0o600 });
    }
  }

  return {
    async lend(rows, use) {
      const path = join(folder, `${randomUUID()}.rows`);
      try {
        try {
          write(path, rows);
        } catch (error) {
          throw unwritable(folder, error);
        }
        return await use(path);
      } finally {
        remove(path);
      }
    },
  };
}

/** remove does what it can: rows that are stored stay stored, and what is left goes at the next start. */
function remove(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    // As said.
  }
}

/** folderFor is the same at every start, so that what was left in it is found. */
function folderFor(dataDir: string): string {
  const inside = join(dataDir, 'inserting');
  if (!PATTERN.test(inside)) return inside;
  const name = createHash('sha256').update(dataDir).digest('hex').slice(0, 16);
  const apart = join(resolve(tmpdir()), `tokenwatch-inserting-${name}`);
  if (!PATTERN.test(apart)) return apart;
  throw new TokenwatchError(
    'store_unusable',
    'config',
    `The embedded engine would read the paths ${inside} and ${apart} as patterns.`,
    { fix: 'Choose a TOKENWATCH_DATA, or a TMPDIR, without any of *?{}[] and :: in it.' },
  );
}

function codeOf(error: unknown): string {
  return String((error as NodeJS.ErrnoException | null)?.code ?? '');
}

/** unwritable says what is wrong with the folder; what is said of a full disk stays as it is, for the store to tell. */
function unwritable(folder: string, error: unknown): unknown {
  if (FULL.has(codeOf(error))) return error;
  return new TokenwatchError(
    'store_unusable',
    PASSING.has(codeOf(error)) ? 'transient' : 'config',
    `Rows cannot be written to ${folder}: ${errorText(error)}`,
    { cause: error, fix: 'Check that TOKENWATCH_DATA is a directory that can be written, on a disk that works.' },
  );
}
