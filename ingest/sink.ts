import { errorText, type Logger, TokenwatchError } from '../core/index.ts';
import type { Queues, Subject } from '../queues/index.ts';
import { encodeRejected, type LineStore, type TableName } from '../store/index.ts';
import { followedUp } from './arrivals.ts';
import type { IngestMetrics } from './metrics.ts';
import type { News } from './news.ts';
import { type Batch, type Part, placedIn, singleIn } from './part.ts';
import { CONTENT_LIMIT } from './reader.ts';
import { encodeCounts, type LineCounts, type LineError, refuseLines } from './result.ts';
import { cutText } from './text.ts';

/** How long a request is remembered, so that its retry stores nothing: longer than any shipper's give-up time. */
export const REMEMBER_MS = 24 * 3_600_000;

/** Inserts that one batch may cost when the engine refuses rows of it; then what is left is refused as a whole. */
const ISOLATION_LIMIT = 200;

/** SinkContext is what a sink works with. */
export interface SinkContext {
  readonly store: LineStore;
  readonly queues: Pick<Queues, 'batches' | 'requests' | 'shared'>;
  readonly news: Pick<News, 'forget'> | null;
  readonly log: Logger;
  readonly metrics: IngestMetrics;
}

/** Sink stores batches. */
export interface Sink {
  /**
   * persist stores a batch: rows, then the batch log, then the answers of its requests, in this order. It may be run again
   * after it failed anywhere: the token keeps the rows from being stored twice. Returns the answers, in the order of the parts.
   */
  persist(batch: Batch): Promise<LineCounts[]>;
}

/** createSink makes the sink over a store and the queues. */
export function createSink({ store, queues, news, log, metrics }: SinkContext): Sink {
  /** insertSafely stores rows and returns the positions of those that the engine refuses twice, found by halving. */
  async function insertSafely(
    table: TableName,
    lines: readonly string[],
    token: string,
    offset: number,
    budget: { inserts: number },
    again: boolean,
  ): Promise<number[]> {
    try {
      budget.inserts--;
      await store.insert(table, lines, token);
      return [];
    } catch (error) {
      if (!(error instanceof TokenwatchError) || error.kind !== 'poison') throw error;
      log.warn({ table, rows: lines.length, code: error.code, error: error.message }, 'The engine refused rows.');
      // Halves are stored under tokens of their own: of an insert that stopped half way they would store again what is there.
      if (!again && lines.length > 1) return insertSafely(table, lines, token, offset, budget, true);
      if (lines.length === 1 || budget.inserts <= 0) return lines.map((_, i) => offset + i);
      const middle = lines.length >> 1;
      const left = await insertSafely(table, lines.slice(0, middle), `${token}.0`, offset, budget, true);
      const right = await insertSafely(table, lines.slice(middle), `${token}.1`, offset + middle, budget, true);
      return [...left, ...right];
    }
  }

  const insert = (table: TableName, lines: readonly string[], token: string): Promise<number[]> =>
    lines.length === 0
      ? Promise.resolve([])
      : insertSafely(table, lines, token, 0, { inserts: ISOLATION_LIMIT }, false);

  return {
    async persist(batch) {
      const { parts, token, receivedAt } = batch;
      const events = joined(parts, (part) => part.events);
      const lifecycle = joined(parts, (part) => part.lifecycle);
      const rejected = joined(parts, (part) => part.rejected);
      const end = metrics.insertSeconds.startTimer();
      const settled = await Promise.allSettled([
        insert('events', events, token),
        insert('lifecycle', lifecycle, token),
        insert('rejected_events', rejected, token),
      ]);
      // What is not stored must be news again when it comes.
      if (settled.some((one) => one.status === 'rejected' || one.value.length > 0)) news?.forget();
      const [badEvents, badLifecycle] = settled.map(fulfilled) as [number[], number[], number[]];
      end();
      metrics.batchRows.observe(events.length + lifecycle.length);

      const refused = parts.map((): LineError[] => []);
      collectRefused(parts, (part) => part.eventLines, badEvents, refused);
      collectRefused(parts, (part) => part.lifecycleLines, badLifecycle, refused);
      const counts = parts.map((part, i) => refuseLines(part.counts, refused[i] as LineError[]));
      const refusedRows = parts.flatMap((part, i) => refusedRowsOf(part, refused[i] as LineError[], receivedAt));
      if (refusedRows.length > 0) await insert('rejected_events', refusedRows, `${token}.refused`);

      const times = parts.flatMap((part) => part.times ?? []);
      if (times.length > 0) {
        const [minTime, maxTime] = [times.reduce((a, b) => Math.min(a, b)), times.reduce((a, b) => Math.max(a, b))];
        const entry = {
          ...{ receivedAt, minTime, maxTime },
          usage: events.length - badEvents.length,
          lifecycle: lifecycle.length - badLifecycle.length,
          news: together(parts, (part) => part.news),
          single: singleIn(parts),
          refused: together(parts, (part) => part.refused),
          placed: placedIn(parts),
          owners: together(parts, (part) => part.owners),
          unfamiliar: together(parts, (part) => part.unfamiliar),
        };
        const append = async () => {
          const touched = await followedUp(queues.shared, parts, { from: minTime, to: maxTime });
          await queues.batches.append([{ ...entry, touched }]);
        };
        if (entry.usage + entry.lifecycle > 0)
          await append().catch((error: unknown) => {
            // Nobody is told of what was met: the next call has to say so.
            news?.forget();
            throw error;
          });
      }
      await queues.requests.record(
        new Map(parts.map((part, i) => [part.id, encodeCounts(counts[i] as LineCounts)])),
        REMEMBER_MS,
      );
      return counts;
    },
  };
}

/** storeFailure turns what stopped a batch into the error that its senders see: try again, nothing is lost. */
export function storeFailure(error: unknown, log: Logger): TokenwatchError {
  if (error instanceof TokenwatchError && error.kind === 'transient') return error;
  log.error({ error: errorText(error) }, 'A batch could not be stored; its senders are asked to send it again.');
  return new TokenwatchError('store_unavailable', 'transient', 'The events could not be stored now.', {
    cause: error,
    fix:
      error instanceof TokenwatchError && error.fix !== ''
        ? error.fix
        : 'Send the same request again; the log of the service says why.',
  });
}

function joined(parts: readonly Part[], pick: (part: Part) => readonly string[]): readonly string[] {
  return parts.length === 1 ? pick(parts[0] as Part) : parts.flatMap(pick);
}

/** Subjects, or owners, of all parts that a batch names at most. */
const MAX_NAMED = 2_000;

/** together names the subjects (or owners) of all parts, each once; null when one part could not name its own, or they are too many. */
function together<T extends Subject | string>(
  parts: readonly Part[],
  pick: (part: Part) => readonly T[] | null,
): readonly T[] | null {
  const [only] = parts;
  if (parts.length === 1 && only !== undefined) return pick(only) ?? null;
  const all = new Map<string, T>();
  for (const part of parts) {
    const named = pick(part);
    // Undefined in a batch that an older version wrote ahead.
    if (named === null || named === undefined) return null;
    for (const one of named) all.set(JSON.stringify(one), one);
    if (all.size > MAX_NAMED) return null;
  }
  return [...all.values()];
}

function fulfilled<T>(settled: PromiseSettledResult<T>): T {
  if (settled.status === 'rejected') throw settled.reason;
  return settled.value;
}

/** collectRefused finds the part and the line of each refused row; a line counts once, however many of its rows were refused. */
function collectRefused(
  parts: readonly Part[],
  linesOf: (part: Part) => readonly number[],
  bad: readonly number[],
  refused: LineError[][],
): void {
  if (bad.length === 0) return;
  const positions = new Set(bad);
  let at = 0;
  parts.forEach((part, i) => {
    for (const line of linesOf(part)) {
      if (!positions.has(at++)) continue;
      const list = refused[i] as LineError[];
      if (list.some((error) => error.line === line)) continue;
      list.push({ line, code: 'bad_field', message: 'The store refused the row: a value in it cannot be stored.' });
    }
  });
}

function refusedRowsOf(part: Part, refused: readonly LineError[], receivedAt: number): string[] {
  return refused.map(({ line, code, message }) => {
    const at = part.eventLines.indexOf(line);
    const content = at >= 0 ? part.events[at] : part.lifecycle[part.lifecycleLines.indexOf(line)];
    return encodeRejected({
      receivedAt,
      sender: part.sender,
      line,
      code,
      message,
      content: cutText(content ?? '', CONTENT_LIMIT),
      source: part.source,
    });
  });
}
