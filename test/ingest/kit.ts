import type { AddressInfo } from 'node:net';
import { type FastifyInstance, fastify } from 'fastify';
import type { IngestConfig } from '../../config/index.ts';
import { type Clock, createLogger, createMetrics, type Registry, systemClock } from '../../core/index.ts';
import { createKeys, type Ingest, type IngestContext, type Keys, openIngest } from '../../ingest/index.ts';
import type { Queues } from '../../queues/index.ts';
import type { Store } from '../../store/index.ts';
import { openTestQueues } from '../kit/redis.ts';
import { openTestStore, rows } from '../kit/store.ts';

export const TEST_INGEST: IngestConfig = {
  batchRows: 5_000,
  batchBytes: 8 << 20,
  lingerMs: 5,
  bodyLimitBytes: 64 << 20,
  lineLimitBytes: 1 << 20,
  bufferLimitBytes: 256 << 20,
};

/** Receiver is a running `POST /v1/events` over a real store and a real Redis. */
export interface Receiver {
  readonly app: FastifyInstance;
  readonly ingest: Ingest;
  readonly keys: Keys;
  readonly key: string;
  readonly url: string;
  readonly metrics: Registry;
  post(
    body: string | Uint8Array<ArrayBuffer>,
    options?: PostOptions,
  ): Promise<{ status: number; headers: Headers; body: Answer }>;
  close(): Promise<void>;
}

export interface PostOptions {
  readonly format?: string;
  readonly headers?: Record<string, string>;
}

// biome-ignore lint/suspicious/noExplicitAny: tests look into answers freely.
export type Answer = any;

/** startReceiver starts a receiver over `store` and `queues`; both stay open when it is closed. */
export async function startReceiver(
  store: Store,
  queues: Pick<Queues, 'batches' | 'requests' | 'shared'>,
  options: {
    config?: Partial<IngestConfig>;
    clock?: Clock;
    tendMs?: number;
    ingestStore?: IngestContext['store'];
  } = {},
): Promise<Receiver> {
  const clock = options.clock ?? systemClock;
  const metrics = createMetrics();
  const keys = createKeys(store, clock);
  const ingest = await openIngest({
    config: {
      ingest: { ...TEST_INGEST, ...options.config },
      geo: { country: null, city: null, asn: null, networks: {}, egress: [] },
    },
    store: options.ingestStore ?? store,
    queues,
    clock,
    log: createLogger('silent'),
    metrics,
    ...(options.tendMs === undefined ? {} : { tendMs: options.tendMs }),
  });
  const app = fastify();
  await ingest.routes(app, keys.authenticate);
  await app.listen({ host: '127.0.0.1', port: 0 });
  const url = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`;
  const { key } = await keys.issue('test', ['ingest']);
  return {
    app,
    ingest,
    keys,
    key,
    url,
    metrics,
    async post(body, { format, headers } = {}) {
      const query = format === undefined ? '' : `?format=${format}`;
      const response = await fetch(`${url}/v1/events${query}`, {
        method: 'POST',
        headers: { authorization: `Bearer ${key}`, ...headers },
        body,
      });
      return { status: response.status, headers: response.headers, body: JSON.parse(await response.text()) };
    },
    async close() {
      await app.close();
      await ingest.close();
    },
  };
}

/** openEngines opens a store and queues of a test file's own. */
export async function openEngines(): Promise<{ store: Store; queues: Queues; close(): Promise<void> }> {
  const [store, queues] = await Promise.all([openTestStore(), openTestQueues()]);
  return {
    store,
    queues: queues.queues,
    close: async () => {
      await store.close();
      await queues.close();
    },
  };
}

/** event is a native event, unlike every other one. */
export function event(fields: Record<string, unknown> = {}): Record<string, unknown> {
  serial++;
  return {
    time: Date.now() - 60_000 + serial,
    token: 'tok_1',
    owner: 'acme',
    method: 'GET',
    path: '/v1/users',
    status: 200,
    ip: '203.0.113.9',
    request_id: `r${serial}`,
    ...fields,
  };
}
let serial = 0;

/** ndjson is events as lines. */
export function ndjson(events: readonly unknown[]): string {
  return events.map((item) => JSON.stringify(item)).join('\n');
}

/** stored counts the events of a token. */
export async function stored(store: Store, token: string): Promise<number> {
  const [row] = await rows(store, 'SELECT count() AS n FROM events WHERE token = {token:String}', { token });
  return Number(row?.n);
}

/** until waits for a condition. */
export async function until(condition: () => Promise<boolean> | boolean): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 10));
}
