import { createReadStream } from 'node:fs';
import { access, constants, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Config } from '../config/index.ts';
import { type Clock, createMetrics, errorText, type Logger, TokenwatchError } from '../core/index.ts';
import { addCounts, formatNamed, type LineCounts, type LineError, NO_LINES, openIngest } from '../ingest/index.ts';
import { type BatchEntry, createMemoryQueues } from '../queues/index.ts';
import type { TableName } from '../store/index.ts';

/** FileError is a refused line and its file. */
export type FileError = LineError & { readonly file: string };

/** ReadTask says what to read: plain data, so that another thread can be told. */
export interface ReadTask {
  readonly files: readonly string[];
  /** A format's name, or `auto`. */
  readonly format: string;
  readonly config: Pick<Config, 'ingest' | 'geo'>;
}

/** ReadContext is what reading works with. */
export interface ReadContext {
  readonly clock: Clock;
  readonly log: Logger;
  /** What `-` reads. */
  readonly stdin: AsyncIterable<Uint8Array>;
  readonly signal: AbortSignal;
}

/** Block is what many batches put into the store at once, and their entries in the batch log. */
export interface Block {
  /** Rows of each table as JSONCompactEachRow, UTF-8. */
  readonly tables: ReadonlyMap<TableName, Uint8Array<ArrayBuffer>>;
  readonly entries: readonly BatchEntry[];
}

/** ReadListener hears of what is read. */
export interface ReadListener {
  /** onProgress is told how many bytes of the files have been read, and how many events were in them. */
  onProgress(bytesRead: number, events: number): void;
  /** onBlock takes the next block, in order; reading goes on, up to the end of another one, when it resolves. */
  onBlock(block: Block): Promise<void>;
}

/** ReadResult is what became of all lines. */
export interface ReadResult extends Omit<LineCounts, 'errors'> {
  readonly errors: readonly FileError[];
}

/** ReadFiles reads files in order. Throws what stops a file, e.g. `body_too_large`, and what the listener throws. */
export type ReadFiles = (task: ReadTask, context: ReadContext, listener: ReadListener) => Promise<ReadResult>;

/** Rows and bytes that are gathered for one insert at most: a large block costs the engine least, and must fit into memory a few times. */
const BLOCK_ROWS = 100_000;
const BLOCK_BYTES = 64 << 20;

/** readFiles reads in this thread. */
export const readFiles: ReadFiles = async ({ files, format, config }, { clock, log, stdin, signal }, listener) => {
  const blocks = gather(listener);
  let bytesRead = 0;
  // The limits of body and buffer protect senders from one another, and here is one alone.
  const unlimited = { bodyLimitBytes: Number.MAX_SAFE_INTEGER, bufferLimitBytes: Number.MAX_SAFE_INTEGER };
  const ingest = await openIngest({
    config: { ...config, ingest: { ...config.ingest, ...unlimited } },
    store: blocks,
    queues: createMemoryQueues(blocks.onBatch),
    clock,
    log,
    metrics: createMetrics(),
  });
  let counts = NO_LINES;
  const errors: FileError[] = [];
  try {
    for (const file of files) {
      const body = file === '-' ? stdin : readable(file);
      const outcome = await ingest.ingest({
        body: counted(body, (bytes) => {
          signal.throwIfAborted();
          bytesRead += bytes;
          listener.onProgress(bytesRead, blocks.rows());
        }),
        encoding: file.endsWith('.gz') ? 'gzip' : undefined,
        format: format === 'auto' ? null : formatNamed(format),
        sender: basename(file),
      });
      counts = addCounts(counts, outcome);
      errors.push(...outcome.errors.map((error) => ({ ...error, file })));
      if (outcome.failure !== null) throw outcome.failure;
    }
  } finally {
    await ingest.close();
  }
  await blocks.flush();
  listener.onProgress(bytesRead, blocks.rows());
  return { ...counts, errors };
};

/** sizeOf is a file's size in bytes, null for standard input. Throws `file_unreadable`. */
export async function sizeOf(file: string): Promise<number | null> {
  if (file === '-') return null;
  try {
    const found = await stat(file);
    if (found.isDirectory()) throw unreadable(file, 'it is a folder', `Name the files in it: ${join(file, '*')}`);
    await access(file, constants.R_OK);
    return found.size;
  } catch (error) {
    if (error instanceof TokenwatchError) throw error;
    throw unreadable(file, errorText(error), 'Check the name, and that you may read it.', error);
  }
}

/** readable is a file's bytes. Throws `file_unreadable`. */
async function* readable(file: string): AsyncGenerator<Uint8Array> {
  try {
    yield* createReadStream(file, { highWaterMark: 1 << 20 });
  } catch (error) {
    throw unreadable(file, errorText(error), 'Check the file and the disk that it is on.', error);
  }
}

function unreadable(file: string, reason: string, fix: string, cause?: unknown): TokenwatchError {
  return new TokenwatchError('file_unreadable', 'config', `cannot read ${file}: ${reason}`, { fix, cause });
}

async function* counted(body: AsyncIterable<Uint8Array>, onBytes: (bytes: number) => void): AsyncGenerator<Uint8Array> {
  for await (const chunk of body) {
    onBytes(chunk.length);
    yield chunk;
  }
}

/** gather puts the batches that the receivers store together into blocks. */
function gather(listener: ReadListener) {
  let open = new Map<TableName, Buffer[]>();
  let entries: BatchEntry[] = [];
  let waiting = { rows: 0, bytes: 0 };
  let rows = 0;

  const flush = async (): Promise<void> => {
    const tables = new Map([...open].map(([table, pieces]) => [table, joined(pieces)] as const));
    const block = { tables, entries };
    open = new Map();
    entries = [];
    waiting = { rows: 0, bytes: 0 };
    await listener.onBlock(block);
  };
  return {
    insert: async (table: TableName, lines: readonly string[]) => {
      const pieces = open.get(table) ?? [];
      open.set(table, pieces);
      // Bytes, and not the texts of a hundred thousand rows, which would cost the collector of garbage much.
      const piece = Buffer.from(lines.join('\n'));
      pieces.push(piece);
      waiting.rows += lines.length;
      waiting.bytes += piece.length;
      rows += lines.length;
    },
    onBatch: async (entry: BatchEntry) => {
      entries.push(entry);
      if (waiting.rows >= BLOCK_ROWS || waiting.bytes >= BLOCK_BYTES) await flush();
    },
    flush,
    rows: () => rows,
  };
}

const NEWLINE = 0x0a;

/** joined puts pieces, with newlines between, into a buffer of their own, which can be given to another thread. */
function joined(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(pieces.reduce((bytes, piece) => bytes + piece.length + 1, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
    whole[at++] = NEWLINE;
  }
  return whole;
}
