import type { IngestConfig } from '../config/index.ts';
import { type Clock, type Logger, stableId, TokenwatchError } from '../core/index.ts';
import type { Queues } from '../queues/index.ts';
import { stillRunning } from './ahead.ts';
import type { Batcher } from './batcher.ts';
import { type Chunk, decodeBody } from './decode.ts';
import type { LogFormat } from './formats/index.ts';
import type { HeldBytes } from './held-bytes.ts';
import type { IngestMetrics } from './metrics.ts';
import { type Draft, formatNameOf, REJECTED_ROWS_LIMIT, type Reader, type RequestContext } from './reader.ts';
import { addCounts, decodeCounts, type LineCounts, NO_LINES } from './result.ts';
import { REMEMBER_MS, type Sink, storeFailure } from './sink.ts';

/** A chunk of so many records or bytes is a batch of its own; smaller ones share one. Only the chunk's content decides: a retry goes the same way. */
const DIRECT_RECORDS = 1_000;
const DIRECT_BYTES = 1 << 20;

/** Where a body is cut into chunks. */
const CHUNK_RECORDS = 5_000;
const CHUNK_BYTES = 4 << 20;

/** Chunks of one request that are being stored while the next is read. */
const STORES_AT_ONCE = 2;

/** How long a retry waits for the attempt before it, and how often it looks. */
const WAIT_MS = 2_000;
const LOOK_MS = 50;

/** IngestRequest is one body and what its sender said about it. */
export interface IngestRequest {
  readonly body: AsyncIterable<Uint8Array>;
  /** The Content-Encoding header. */
  readonly encoding: string | undefined;
  /** What its sender tells it apart by from others of the same bytes. */
  readonly idempotencyKey?: string | undefined;
  /** null: told from the records. */
  readonly format: LogFormat | null;
  /** The access key's id, or the file's name. */
  readonly sender: string;
}

/** IngestOutcome is what became of a request: its lines, and what stopped it before its end. */
export interface IngestOutcome extends LineCounts {
  /** Everything in it had been stored before. */
  readonly duplicate: boolean;
  /** The body was a `{"Records":[...]}` document, which is valid without a record. */
  readonly document: boolean;
  /** Set when the rest of the request was not taken; what is counted is stored. */
  readonly failure: TokenwatchError | null;
}

/** PipelineContext is what the pipeline works with. */
export interface PipelineContext {
  readonly config: IngestConfig;
  readonly requests: Queues['requests'];
  readonly reader: Reader;
  readonly sink: Sink;
  readonly batcher: Batcher;
  readonly held: HeldBytes;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: IngestMetrics;
}

interface ChunkOutcome {
  readonly counts: LineCounts;
  readonly duplicate: boolean;
}

/** Begun is a chunk that has been read and is being stored. */
interface Begun {
  /** Its refused lines. */
  readonly rejected: number;
  readonly storing: Promise<ChunkOutcome>;
}

/** Pipeline takes requests in. */
export interface Pipeline {
  /** ingest stores a request; what it returns is stored, except for what came after `failure`. Errors of the body's source are thrown. */
  ingest(request: IngestRequest): Promise<IngestOutcome>;
  /** idle waits until no request is in hand. */
  idle(): Promise<void>;
}

/** createPipeline makes the pipeline: body, chunks, rows, batches, answer. */
export function createPipeline(context: PipelineContext): Pipeline {
  const { config, requests, reader, sink, batcher, held, clock, log, metrics } = context;
  /** Chunks that this process is storing. */
  const active = new Map<string, Promise<LineCounts>>();

  /** begin reads a chunk and starts to store it; it returns when the next chunk may be read. */
  async function begin(chunk: Chunk, request: RequestContext, keepRejected: number): Promise<Begun> {
    const id = stableId([chunk.hash, formatNameOf(chunk, request.format)], 32);
    const same = active.get(id);
    if (same !== undefined) return again(within(same));
    // Taken before the first wait, so that the same chunk in another request finds it.
    let settle: (stored: Promise<LineCounts>) => void = () => {};
    const stored = new Promise<LineCounts>((resolve) => {
      settle = resolve;
    });
    stored.catch(() => {}).finally(() => active.delete(id));
    active.set(id, stored);
    try {
      const attempt = `${id}.received`;
      const [[done, receivedBefore], [waiting]] = await Promise.all([
        requests.done([id, attempt]),
        requests.pending([id]),
      ]);
      if (done !== null && done !== undefined) {
        settle(Promise.resolve(decodeCounts(done)));
        return again(stored);
      }
      if (waiting !== null && waiting !== undefined) {
        settle(awaitOther(id));
        return again(stored);
      }
      const draft = await reader.read(chunk, id, request, clock.now(), keepRejected);
      const direct = chunk.records.length >= DIRECT_RECORDS || chunk.bytes >= DIRECT_BYTES;
      settle(
        draft.accepted + draft.rejected === 0
          ? Promise.resolve(draft.encode(0).counts)
          : direct
            ? storeAlone(draft, id, attempt, receivedBefore ?? null)
            : batcher.add(draft.encode),
      );
      const storing = stored.then((counts) => {
        count(draft, counts);
        return { counts, duplicate: false };
      });
      return { rejected: draft.rejected, storing };
    } catch (error) {
      const failure = storeFailure(error, log);
      settle(Promise.reject(failure));
      throw failure;
    }
  }

  function again(stored: Promise<LineCounts>): Begun {
    const storing = stored.then((counts) => {
      metrics.duplicates.inc();
      return { counts, duplicate: true };
    });
    return { rejected: 0, storing };
  }

  /**
   * storeAlone stores a chunk as its own batch. Its `received_at` is noted before: when the process dies after the insert,
   * the retry's rows are dropped as duplicates, and the batch log must name the time that the stored ones carry.
   */
  async function storeAlone(draft: Draft, id: string, attempt: string, before: string | null): Promise<LineCounts> {
    try {
      const receivedAt = before === null ? clock.now() : Number(before);
      if (before === null) await requests.record(new Map([[attempt, String(receivedAt)]]), REMEMBER_MS);
      const [counts] = await sink.persist({ token: id, receivedAt, parts: [draft.encode(receivedAt)] });
      return counts as LineCounts;
    } catch (error) {
      throw storeFailure(error, log);
    }
  }

  /** awaitOther waits a little for a chunk that sits in a batch already, of another process or left from an attempt that failed. */
  async function awaitOther(id: string): Promise<LineCounts> {
    for (let waited = 0; waited < WAIT_MS; waited += LOOK_MS) {
      const [done] = await requests.done([id]);
      if (done !== null && done !== undefined) return decodeCounts(done);
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
    throw stillRunning();
  }

  function count(draft: Draft, counts: LineCounts): void {
    metrics.accepted.inc(counts.accepted);
    for (const [code, lines] of draft.rejectedBy) metrics.rejected.inc({ code }, lines);
    const refusedByStore = counts.rejected - draft.rejected;
    if (refusedByStore > 0) metrics.rejected.inc({ code: 'bad_field' }, refusedByStore);
    for (const [reason, lines] of draft.skipped) metrics.skipped.inc({ reason }, lines);
  }

  const requestsInHand = new Set<Promise<void>>();

  async function take(request: IngestRequest): Promise<IngestOutcome> {
    let counts = NO_LINES;
    let chunks = 0;
    let duplicates = 0;
    const stopped: { by: TokenwatchError | null; bySource: unknown } = { by: null, bySource: null };
    let heldHere = 0;
    let document = false;
    let rejected = 0;
    const running = new Set<Promise<void>>();

    const settled = (outcome: ChunkOutcome): void => {
      counts = addCounts(counts, outcome.counts);
      if (outcome.duplicate) duplicates++;
    };
    const release = (bytes: number): void => {
      const given = Math.min(bytes, heldHere);
      heldHere -= given;
      held.give(given);
    };
    const onBytes = (bytes: number): void => {
      held.take(bytes);
      heldHere += bytes;
    };
    const options = {
      encoding: request.encoding,
      idempotencyKey: request.idempotencyKey,
      bodyLimitBytes: config.bodyLimitBytes,
      lineLimitBytes: config.lineLimitBytes,
      chunkRecords: CHUNK_RECORDS,
      chunkBytes: CHUNK_BYTES,
      onBytes,
      onDocument: () => {
        document = true;
      },
    };
    try {
      for await (const chunk of decodeBody(request.body, options)) {
        while (running.size >= STORES_AT_ONCE) await Promise.race(running);
        if (stopped.by !== null) break;
        chunks++;
        const begun = await begin(chunk, request, Math.max(0, REJECTED_ROWS_LIMIT - rejected));
        rejected += begun.rejected;
        const task: Promise<void> = begun.storing
          .then(settled, (error: unknown) => {
            stopped.by ??= storeFailure(error, log);
          })
          .finally(() => {
            running.delete(task);
            release(chunk.bytes);
          });
        running.add(task);
      }
    } catch (error) {
      if (error instanceof TokenwatchError) stopped.by ??= error;
      else stopped.bySource = error;
    }
    await Promise.all(running);
    release(heldHere);
    if (stopped.bySource !== null) throw stopped.bySource;
    return { ...counts, duplicate: chunks > 0 && duplicates === chunks, document, failure: stopped.by };
  }

  return {
    ingest(request) {
      const outcome = take(request);
      const settled: Promise<void> = outcome
        .then(
          () => {},
          () => {},
        )
        .finally(() => requestsInHand.delete(settled));
      requestsInHand.add(settled);
      return outcome;
    },
    async idle() {
      while (requestsInHand.size > 0) await Promise.all(requestsInHand);
    },
  };
}

/** within waits for a running attempt at most as long as a retry may wait. */
async function within(stored: Promise<LineCounts>): Promise<LineCounts> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(stillRunning()), WAIT_MS);
  });
  try {
    return await Promise.race([stored, late]);
  } finally {
    clearTimeout(timer);
  }
}
