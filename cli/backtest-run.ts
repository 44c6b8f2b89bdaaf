import { findIssued, foldDetections } from '../alerts/index.ts';
import type { Config } from '../config/index.ts';
import type { Alert, Clock, Detection, Logger } from '../core/index.ts';
import { openJudge, scopeOf } from '../detectors/index.ts';
import type { LineCounts } from '../ingest/index.ts';
import type { BatchEntry } from '../queues/index.ts';
import type { Store } from '../store/index.ts';
import { type Block, type FileError, type ReadFiles, readFiles, sizeOf } from './backtest-read.ts';

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
  readonly errors: readonly FileError[];
  /** First and last event time, epoch milliseconds; null without events. */
  readonly span: readonly [from: number, to: number] | null;
}

/** BacktestOptions say what to judge, and in which store. */
export interface BacktestOptions {
  readonly files: readonly string[];
  /** A format's name, or `auto`. */
  readonly format: string;
  readonly config: Pick<Config, 'ingest' | 'geo' | 'detectors'>;
  /** An empty store that nobody else uses; while it is being opened, files are read already. */
  readonly store: Store | Promise<Store>;
  readonly clock: Clock;
  readonly log: Logger;
  /** What `-` reads. */
  readonly stdin: AsyncIterable<Uint8Array>;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: BacktestProgress) => void;
  /** How the files are read: in this thread unless another way is given. */
  readonly read?: ReadFiles;
}

/** Blocks that are judged together: a look at three costs little more than at one. */
const JUDGED_BLOCKS = 3;

/**
 * runBacktest reads files in order through the same receivers, formats, rollups and detectors as the live service, with event
 * time as the clock: what a live Tokenwatch would have found, had it been fed these events in this order.
 */
export async function runBacktest(options: BacktestOptions): Promise<BacktestResult> {
  const { config, clock, log, signal, read = readFiles } = options;
  const sizes = await Promise.all(options.files.map((file) => sizeOf(file)));
  const bytesTotal = sizes.includes(null) ? null : sizes.reduce<number>((sum, size) => sum + (size ?? 0), 0);
  const opened = Promise.resolve(options.store).then((store) => ({ store, judge: openJudge({ config, store, log }) }));
  // Seen where it is awaited; without this a failure before that would end the process.
  opened.catch(() => {});
  const found = new Map<string, Detection>();
  let span: [number, number] | null = null;
  let [bytesRead, events, blocks] = [0, 0, 0];
  const tell = () => options.onProgress({ bytesRead, bytesTotal, events, detections: found.size });

  const stored: BatchEntry[] = [];
  async function storeAndJudge({ tables, entries }: Block): Promise<void> {
    const { store } = await opened;
    const number = ++blocks;
    await Promise.all([...tables].map(([table, rows]) => store.insert(table, rows, `block ${number}`)));
    for (const entry of entries) stored.push(entry);
    if (number % JUDGED_BLOCKS === 0) await judgeStored();
  }
  async function judgeStored(): Promise<void> {
    if (stored.length === 0) return;
    const { judge } = await opened;
    const entries = stored.splice(0);
    const { from, to } = scopeOf(entries, 0);
    span = span === null ? [from, to] : [Math.min(span[0], from), Math.max(span[1], to)];
    // The first finding of an id stands, as in the live service.
    for (const detection of await judge(scopeOf(entries, 0, null, span[1])))
      if (!found.has(detection.id)) found.set(detection.id, detection);
  }

  // Blocks are stored and judged while the next is read: order is what makes the findings those of the live service.
  let working: Promise<unknown> = opened;
  const { errors, ...counts } = await read(
    { files: options.files, format: options.format, config: { ingest: config.ingest, geo: config.geo } },
    { clock, log, stdin: options.stdin, signal },
    {
      onProgress: (bytes, rows) => {
        [bytesRead, events] = [bytes, rows];
        tell();
      },
      onBlock: async (block) => {
        const before = working;
        working = before.then(() => storeAndJudge(block));
        working.catch(() => {});
        await before;
      },
    },
  );
  await working;
  await judgeStored();
  tell();
  const detections = [...found.values()];
  const alerts = await findIssued((await opened).store, foldDetections(detections));
  return { ...counts, alerts, detections, errors, span };
}
