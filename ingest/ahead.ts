import { errorText, type Logger, stableId, TokenwatchError } from '../core/index.ts';
import type { RequestLog } from '../queues/index.ts';
import type { HeldBytes } from './held-bytes.ts';
import type { News } from './news.ts';
import type { Batch, Part } from './part.ts';
import { decodeCounts, type LineCounts } from './result.ts';
import { type Sink, storeFailure } from './sink.ts';

/** A process that does not renew its lease for this long is dead; its batches are stored by another. */
const LEASE_MS = 15_000;

/** AheadContext is what writing ahead works with. */
export interface AheadContext {
  readonly requests: RequestLog;
  readonly sink: Sink;
  readonly held: HeldBytes;
  readonly news: Pick<News, 'forget'> | null;
  readonly log: Logger;
  /** Names this process among those that share the queue. */
  readonly owner: string;
}

/** Ahead writes batches of several requests ahead of their insert, so that a crash in between loses and doubles nothing. */
export interface Ahead {
  /** store writes the batch ahead, stores it and gives the answers in the order of the parts. */
  store(parts: readonly Part[], receivedAt: number): Promise<LineCounts[]>;
  /** renew keeps this process's lease: while it lives, its batches are its own. */
  renew(): Promise<void>;
  /** tend finishes this process's unfinished batches, and takes over those of dead processes. */
  tend(): Promise<void>;
  /** leave ends the lease, so that what is unfinished is taken over at once. */
  leave(): Promise<void>;
}

interface Unfinished {
  readonly batch: Batch;
  readonly bytes: number;
  /** Whether it was certainly written ahead; if not, its senders may be served by another process meanwhile. */
  readonly reserved: boolean;
}

/** createAhead makes the writer of one process. */
export function createAhead({ requests, sink, held, news, log, owner }: AheadContext): Ahead {
  const unfinished = new Map<string, Unfinished>();

  const finish = async (batch: Batch): Promise<LineCounts[]> => {
    const counts = await sink.persist(batch);
    await requests.release(batch.token);
    return counts;
  };

  /** keep holds on to a batch that was or may have been written ahead; its senders are told to come again. */
  const keep = (batch: Batch, reserved: boolean): void => {
    let bytes = 0;
    for (const part of batch.parts) for (const line of part.events) bytes += line.length;
    held.hold(bytes);
    unfinished.set(batch.token, { batch, bytes, reserved });
  };

  const retry = async (entry: Unfinished): Promise<void> => {
    const { batch, bytes, reserved } = entry;
    const ids = batch.parts.map((part) => part.id);
    const certain = reserved || (await requests.pending(ids)).every((waiting) => waiting === batch.token);
    if (certain) await finish(batch);
    // Its senders may never come again: what it met is not known to anybody.
    else news?.forget();
    unfinished.delete(batch.token);
    held.give(bytes);
  };

  async function storeParts(parts: readonly Part[], receivedAt: number): Promise<LineCounts[]> {
    const ids = parts.map((part) => part.id);
    const batch: Batch = { token: stableId(ids, 32), receivedAt, parts };
    // A sender that lost its patience may have come again elsewhere while this batch was filling.
    const [done, pending] = await Promise.all([requests.done(ids), requests.pending(ids)]).catch((error: unknown) => {
      news?.forget();
      throw error;
    });
    const fresh = parts.filter((_, i) => done[i] === null && (pending[i] === null || pending[i] === batch.token));
    if (fresh.length < parts.length) {
      const stored = fresh.length === 0 ? [] : await storeParts(fresh, receivedAt);
      return parts.map((part, i) => {
        const at = fresh.indexOf(part);
        if (at >= 0) return stored[at] as LineCounts;
        const answer = done[i];
        if (typeof answer === 'string') return decodeCounts(answer);
        throw stillRunning();
      });
    }
    let reserved = false;
    try {
      reserved = await requests.reserve(batch.token, ids, JSON.stringify(batch), owner);
      if (reserved) return await finish(batch);
    } catch (error) {
      keep(batch, reserved);
      throw storeFailure(error, log);
    }
    // Another process took one of them in this very moment: look again.
    return storeParts(parts, receivedAt);
  }

  return {
    store: storeParts,

    renew: () => requests.lease(owner, LEASE_MS),
    leave: () => requests.lease(owner, 1),

    async tend() {
      for (const entry of [...unfinished.values()]) await retry(entry);
      for (const { batch, payload } of await requests.orphans(owner)) {
        log.info({ batch }, 'Storing a batch that a process left behind.');
        const left = JSON.parse(payload) as Batch;
        try {
          await finish(left);
        } catch (error) {
          // Ours from now on: nobody else is offered it while this process lives.
          keep(left, true);
          log.warn({ batch, error: errorText(error) }, 'A batch left behind is not stored yet.');
        }
      }
    },
  };
}

/** stillRunning asks a sender to come again: its request is being stored, by this process or another. */
export function stillRunning(): TokenwatchError {
  return new TokenwatchError('request_in_progress', 'transient', 'The same request is being stored already.', {
    fix: 'Send it again a little later; it will not be stored twice.',
  });
}
