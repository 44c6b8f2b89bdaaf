import { writeFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { createLogger, createMetrics, systemClock } from '../core/index.ts';
import { formatNamed, type Ingest, openIngest } from '../ingest/index.ts';
import { createMemoryQueues } from '../queues/index.ts';

/** Encoder makes of NDJSON bodies the very rows that the service would store. */
export interface Encoder {
  /** encode writes the bodies' rows of the table `events` to a file and returns how many they are. */
  encode(bodies: readonly Uint8Array[], file: string): Promise<number>;
  close(): Promise<void>;
}

/** openEncoder is the product's own ingest with the store left out. */
export async function openEncoder(): Promise<Encoder> {
  let rows: string[] = [];
  const ingest: Ingest = await openIngest({
    config: {
      ingest: {
        batchRows: 5_000,
        batchBytes: 8 << 20,
        lingerMs: 1,
        bodyLimitBytes: 64 << 20,
        lineLimitBytes: 1 << 20,
        bufferLimitBytes: 256 << 20,
      },
      geo: { country: null, city: null, asn: null, networks: {}, egress: [] },
    },
    store: {
      insert: async (table, lines) => {
        if (table === 'events') rows.push(...lines);
      },
    },
    queues: createMemoryQueues(async () => {}),
    clock: systemClock,
    log: createLogger('error'),
    metrics: createMetrics(),
  });
  return {
    async encode(bodies, file) {
      rows = [];
      for (const body of bodies) {
        const source = Readable.from([body], { objectMode: true });
        const { failure } = await ingest.ingest({
          body: source,
          encoding: undefined,
          format: formatNamed('native'),
          sender: 'bench',
        });
        if (failure !== null) throw failure;
      }
      writeFileSync(file, `${rows.join('\n')}\n`);
      return rows.length;
    },
    close: () => ingest.close(),
  };
}
