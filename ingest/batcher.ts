import type { Clock } from '../core/index.ts';
import type { Part } from './part.ts';
import type { LineCounts } from './result.ts';

/** Time between two batches that leave early. */
export const HURRY_MS = 100;

/** BatcherOptions say when a batch is full. */
export interface BatcherOptions {
  readonly rows: number;
  readonly bytes: number;
  /** Time from a batch's first part until it leaves. */
  readonly lingerMs: number;
  /** A part that a page may follow from: its batch leaves at once, but one in HURRY_MS at most, so that a flood of them does not make many small inserts. */
  readonly urgent: (part: Part) => boolean;
  /** Batches that are being stored at once; while there are that many, the open one goes on filling. */
  readonly storesAtOnce: number;
  readonly clock: Clock;
  /** Stores a batch and returns the answers in the order of its parts. */
  readonly store: (parts: readonly Part[], receivedAt: number) => Promise<LineCounts[]>;
}

/** Batcher puts the small requests of many senders together into one insert. */
export interface Batcher {
  /** add encodes a part for the open batch and resolves with its answer once that is stored; rejects with what stopped it. */
  add(encode: (receivedAt: number) => Part): Promise<LineCounts>;
  /** flush sends what is open and waits until everything is stored or failed; from then on nothing lingers. */
  flush(): Promise<void>;
}

interface OpenBatch {
  readonly receivedAt: number;
  readonly parts: Part[];
  readonly waiting: { resolve(counts: LineCounts): void; reject(error: unknown): void }[];
  rows: number;
  bytes: number;
  due: boolean;
  timer: NodeJS.Timeout | null;
}

/** createBatcher makes a batcher. Its timer starts with a batch's first part; there is none when idle. */
export function createBatcher(options: BatcherOptions): Batcher {
  const { clock, store, urgent } = options;
  let open: OpenBatch | null = null;
  let lingerMs = options.lingerMs;
  let hurriedAt = Number.NEGATIVE_INFINITY;
  const running = new Set<Promise<void>>();
  const closed: OpenBatch[] = [];

  const begin = (): OpenBatch => {
    const batch: OpenBatch = {
      receivedAt: clock.now(),
      parts: [],
      waiting: [],
      rows: 0,
      bytes: 0,
      due: false,
      timer: null,
    };
    batch.timer = setTimeout(() => {
      batch.due = true;
      pump();
    }, lingerMs);
    return batch;
  };

  const close = (batch: OpenBatch): void => {
    if (batch.timer !== null) clearTimeout(batch.timer);
    batch.timer = null;
    closed.push(batch);
    if (open === batch) open = null;
  };

  const run = async (batch: OpenBatch): Promise<void> => {
    if (batch.parts.length === 0) return;
    try {
      const answers = await store(batch.parts, batch.receivedAt);
      batch.waiting.forEach((waiter, i) => {
        waiter.resolve(answers[i] as LineCounts);
      });
    } catch (error) {
      for (const waiter of batch.waiting) waiter.reject(error);
    }
  };

  const pump = (): void => {
    while (running.size < options.storesAtOnce) {
      if (closed.length === 0 && open?.due) close(open);
      const batch = closed.shift();
      if (batch === undefined) return;
      const stored = run(batch).finally(() => {
        running.delete(stored);
        pump();
      });
      running.add(stored);
    }
  };

  return {
    add(encode) {
      open ??= begin();
      const batch = open;
      const part = encode(batch.receivedAt);
      batch.parts.push(part);
      batch.rows += part.events.length + part.lifecycle.length + part.rejected.length;
      for (const line of part.events) batch.bytes += line.length;
      for (const line of part.lifecycle) batch.bytes += line.length;
      const answer = new Promise<LineCounts>((resolve, reject) => {
        batch.waiting.push({ resolve, reject });
      });
      if (batch.rows >= options.rows || batch.bytes >= options.bytes) {
        close(batch);
        pump();
      } else if (clock.now() - hurriedAt >= HURRY_MS && urgent(part)) {
        hurriedAt = clock.now();
        batch.due = true;
        pump();
      }
      return answer;
    },
    async flush() {
      lingerMs = 0;
      if (open !== null) close(open);
      pump();
      while (running.size > 0) await Promise.all(running);
    },
  };
}
