import { Counter, Gauge, Histogram, type Registry } from '../core/index.ts';

/** IngestMetrics are the receiver's counters. */
export type IngestMetrics = ReturnType<typeof createIngestMetrics>;

/** createIngestMetrics registers the receiver's metrics; what `read` has is read when they are scraped. */
export function createIngestMetrics(
  registry: Registry,
  read: {
    readonly bufferedBytes: () => number;
    readonly redacted: () => number;
    readonly lineages: () => number;
    readonly remembered: () => number;
  },
) {
  const registers = [registry];
  new Gauge({
    name: 'tokenwatch_ingest_buffered_bytes',
    help: 'Bytes received but not yet stored, over all requests.',
    registers,
    collect() {
      this.set(read.bufferedBytes());
    },
  });
  new Gauge({
    name: 'tokenwatch_lineages',
    help: 'Tokens known to have replaced another; each takes memory here and in Redis for good.',
    registers,
    collect() {
      this.set(read.lineages());
    },
  });
  new Gauge({
    name: 'tokenwatch_known_values',
    help: 'Endpoints, places and clients of all tokens that this process remembers as known.',
    registers,
    collect() {
      this.set(read.remembered());
    },
  });
  let redactedSeen = 0;
  new Counter({
    name: 'tokenwatch_redacted_total',
    help: 'Credentials replaced by a fingerprint before anything was stored.',
    registers,
    collect() {
      const now = read.redacted();
      this.inc(now - redactedSeen);
      redactedSeen = now;
    },
  });
  return {
    accepted: new Counter({
      name: 'tokenwatch_accepted_lines_total',
      help: 'Lines that were stored.',
      registers,
    }),
    rejected: new Counter({
      name: 'tokenwatch_rejected_lines_total',
      help: 'Lines that were refused, by reason.',
      labelNames: ['code'],
      registers,
    }),
    skipped: new Counter({
      name: 'tokenwatch_skipped_lines_total',
      help: 'Well-formed lines that hold nothing to store, by reason.',
      labelNames: ['reason'],
      registers,
    }),
    requests: new Counter({
      name: 'tokenwatch_ingest_requests_total',
      help: 'Ingest requests by HTTP status.',
      labelNames: ['status'],
      registers,
    }),
    duplicates: new Counter({
      name: 'tokenwatch_duplicate_chunks_total',
      help: 'Chunks of requests that were stored before and answered from the request log.',
      registers,
    }),
    batchRows: new Histogram({
      name: 'tokenwatch_batch_rows',
      help: 'Rows of a stored batch.',
      buckets: [1, 10, 100, 500, 1_000, 2_500, 5_000, 10_000, 50_000],
      registers,
    }),
    insertSeconds: new Histogram({
      name: 'tokenwatch_insert_seconds',
      help: 'Time to insert a batch.',
      buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
      registers,
    }),
  };
}
