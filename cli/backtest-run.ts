import { createReadStream } from 'node:fs';
import { access, constants, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { findIssued, foldDetections } from '../alerts/index.ts';
import type { Config } from '../config/index.ts';
import {
  type Alert,
  type Clock,
  createMetrics,
  type Detection,
  errorText,
  type Logger,
  TokenwatchError,
} from '../core/index.ts';
import { openJudge, scopeOf } from '../detectors/index.ts';
import { addCounts, formatNamed, type LineCounts, type LineError, NO_LINES, openIngest } from '../ingest/index.ts';
import { type BatchEntry, createMemoryQueues } from '../queues/index.ts';
import type { Store, TableName } from '../store/index.ts';

/** BacktestProgress is how far a backtest is. */
export interface BacktestProgress {
  readonly bytesRead: number;
  /** Null when a file is a stream whose length nobody knows. */
  readonly bytesTotal: number | null;
  readonly events: number;
  readonly detections: number;
}

/** BacktestResult is what would have been paged, and what was read. */
export interface BacktestResult extends Omit<LineCounts, 'errors'> {
  /** The last state of every alert, by opening time; also those too weak to page. */
  readonly alerts: readonly Alert[];
  readonly detections: readonly Detection[];
  readonly errors: readonly (LineError & { readonly file: string })[];
  /** First and last event time, epoch milliseconds; null without events. */
  readonly span: readonly [from: number, to: number] | null;
}

/** BacktestOptions say what to judge, and in which store. */
export interface BacktestOptions {
  readonly files: readonly string[];
  /** A format's name, or `auto`. */
  readonly format: string;
  readonly config: Pick<Config, 'ingest' | 'geo' | 'detectors'>;
  /** An empty store that nobody else uses. */
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Logger;
  /** What `-` reads. */
  readonly stdin: AsyncIterable<Uint8Array>;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: BacktestProgress) => void;
}

/** Rows of a table that are gathered for one insert: a large block costs the engine least. */
const INSERT_ROWS = 100_000;

/**
 * runBacktest reads files in order through the same receivers, formats, rollups and detectors as the live service, with event
 * time as the clock: what a live Tokenwatch would have found, had it been fed these events in this order.
 */
export async function runBacktest(options: BacktestOptions): Promise<BacktestResult> {
  const { config, store, clock, log, signal } = options;
  const sizes = await Promise.all(options.files.map((file) => sizeOf(file)));
  const judge = openJudge({ config, store, log });
  const found = new Map<string, Detection>();
  let span: [number, number] | null = null;

  const blocks = createBlocks(store, async (entries) => {
    const { from, to } = scopeOf(entries, 0);
    span = span === null ? [from, to] : [Math.min(span[0], from), Math.max(span[1], to)];
    const scope = scopeOf(entries, 0, null, span[1]);
    // The first finding of an id stands, as in the live service.
    for (const detection of await judge(scope)) if (!found.has(detection.id)) found.set(detection.id, detection);
  });
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
  const bytesTotal = sizes.includes(null) ? null : sizes.reduce<number>((sum, size) => sum + (size ?? 0), 0);
  let bytesRead = 0;
  let counts = NO_LINES;
  const errors: (LineError & { file: string })[] = [];
  try {
    for (const file of options.files) {
      const body = file === '-' ? options.stdin : createReadStream(file, { highWaterMark: 1 << 20 });
      const counted = count(body, (bytes) => {
        signal.throwIfAborted();
        bytesRead += bytes;
        options.onProgress({ bytesRead, bytesTotal, events: blocks.rows(), detections: found.size });
      });
      const outcome = await ingest.ingest({
        body: counted,
        encoding: file.endsWith('.gz') ? 'gzip' : undefined,
        format: options.format === 'auto' ? null : formatNamed(options.format),
        sender: basename(file),
      });
      counts = addCounts(counts, outcome);
      errors.push(...outcome.errors.map((error) => ({ ...error, file })));
      if (outcome.failure !== null) throw outcome.failure;
    }
    await ingest.close();
    await blocks.flush();
  } catch (error) {
    await ingest.close();
    throw error;
  }
  options.onProgress({ bytesRead, bytesTotal, events: blocks.rows(), detections: found.size });
  const detections = [...found.values()];
  const alerts = await findIssued(store, foldDetections(detections));
  return { ...counts, alerts, detections, errors, span };
}

async function sizeOf(file: string): Promise<number | null> {
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

function unreadable(file: string, reason: string, fix: string, cause?: unknown): TokenwatchError {
  return new TokenwatchError('file_unreadable', 'config', `cannot read ${file}: ${reason}`, { fix, cause });
}

async function* count(body: AsyncIterable<Uint8Array>, onBytes: (bytes: number) => void): AsyncGenerator<Uint8Array> {
  for await (const chunk of body) {
    onBytes(chunk.length);
    yield chunk;
  }
}

/** Blocks gather the pipeline's batches into large inserts, one after another in order, and have each judged once it is stored. */
interface Blocks extends Pick<Store, 'insert'> {
  readonly onBatch: (entry: BatchEntry) => Promise<void>;
  flush(): Promise<void>;
  rows(): number;
}

function createBlocks(store: Store, judge: (entries: readonly BatchEntry[]) => Promise<void>): Blocks {
  let open = new Map<TableName, string[]>();
  let entries: BatchEntry[] = [];
  let waiting = 0;
  let rows = 0;
  let blocks = 0;
  // One block is stored and judged while the next is read: order is what makes the findings those of the live service.
  let working: Promise<void> = Promise.resolve();

  const flush = async (): Promise<void> => {
    const [tables, judged] = [open, entries];
    open = new Map();
    entries = [];
    waiting = 0;
    const before = working;
    const number = ++blocks;
    working = (async () => {
      await before;
      await Promise.all([...tables].map(([table, lines]) => store.insert(table, lines, `block ${number}`)));
      if (judged.length > 0) await judge(judged);
    })();
    // Seen where it is awaited next; without this a failure in between would end the process.
    working.catch(() => {});
    await before;
  };
  return {
    insert: async (table, lines) => {
      const gathered = open.get(table) ?? [];
      open.set(table, gathered);
      // One text for all: a hundred thousand that live until the block is full would cost the collector of garbage much.
      gathered.push(lines.join('\n'));
      waiting += lines.length;
      rows += lines.length;
    },
    onBatch: async (entry) => {
      entries.push(entry);
      if (waiting >= INSERT_ROWS) await flush();
    },
    flush: async () => {
      await flush();
      await working;
    },
    rows: () => rows,
  };
}
