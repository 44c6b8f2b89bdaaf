import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createLogger, createMetrics, TokenwatchError } from '../../core/index.ts';
import type { IngestContext } from '../../ingest/index.ts';
import { createIngestMetrics } from '../../ingest/metrics.ts';
import { createNews } from '../../ingest/news.ts';
import type { Part } from '../../ingest/part.ts';
import { createSink } from '../../ingest/sink.ts';
import { HINTS, type Queues } from '../../queues/index.ts';
import { encodeUsage, type TableName, type UsageRow } from '../../store/index.ts';
import { rows } from '../kit/store.ts';
import { event, ndjson, openEngines, type Receiver, startReceiver, stored, until } from './kit.ts';

let engines: Awaited<ReturnType<typeof openEngines>>;
const started: Receiver[] = [];

beforeAll(async () => {
  engines = await openEngines();
});

afterAll(async () => {
  for (const receiver of started) await receiver.close();
  await engines?.close();
});

type Insert = IngestContext['store']['insert'];

async function start(options: Parameters<typeof startReceiver>[2] = {}): Promise<Receiver> {
  const receiver = await startReceiver(engines.store, engines.queues, options);
  started.push(receiver);
  return receiver;
}

const away = () => new TokenwatchError('store_unreachable', 'transient', 'ClickHouse did not answer.');
const large = (token: string) => ndjson(Array.from({ length: 1200 }, () => event({ token })));
const small = (token: string) => ndjson([event({ token }), event({ token })]);

/** The engine's rows of a token and the batch log's entries that announce them must name the same received_at. */
async function announced(token: string): Promise<boolean> {
  const entries = await engines.queues.batches.peek(10_000);
  const found = await rows(
    engines.store,
    'SELECT DISTINCT toUnixTimestamp64Milli(received_at) AS at FROM events WHERE token = {token:String}',
    { token },
  );
  const times = new Set(entries.map(({ entry }) => entry.receivedAt));
  return found.length > 0 && found.every(({ at }) => times.has(Number(at)));
}

const quiet = createLogger('silent');
const sinkMetrics = () =>
  createIngestMetrics(createMetrics(), {
    ...{ bufferedBytes: () => 0, redacted: () => 0, lineages: () => 0, remembered: () => 0 },
  });

test('a receiver that starts has what is counted of each token begun anew: the one before may have stored what it never entered', async () => {
  const { shared } = engines.queues;
  const now = Date.now();
  const asked = { from: now - 86_400_000, now, limit: 3 };
  await shared.tallyAnew(HINTS, now - 30 * 86_400_000);
  expect(await shared.tally(HINTS, new Map(), asked)).not.toBeNull();
  await start();
  expect(await shared.tally(HINTS, new Map(), asked)).toBeNull();
});

describe('a batch log that is away', () => {
  test('leaves what a batch met news: the next call says so', async () => {
    const news = createNews();
    const failing = { append: true };
    const batches: Queues['batches'] = {
      ...engines.queues.batches,
      append: async (entries) => {
        if (failing.append) throw new TokenwatchError('queue_unreachable', 'transient', 'Redis did not answer.');
        await engines.queues.batches.append(entries);
      },
    };
    const queues = { batches, requests: engines.queues.requests, shared: engines.queues.shared };
    const sink = createSink({ store: engines.store, queues, news, log: quiet, metrics: sinkMetrics() });
    /** A call with the same endpoint as ever, a second after the one before. */
    const batch = (serial: number) => {
      const row: UsageRow = {
        ...{ time: 1.7e12 + serial * 1_000, receivedAt: 1.7e12 + serial, id: `log-away-${serial}`, token: 'tok_log' },
        ...{ lineage: 'tok_log', owner: 'acme', endpoint: 'GET /v1', method: 'GET', status: 200, ip: '', country: '' },
        ...{ asn: 0, networkKind: '', latitude: 0, longitude: 0, accuracyKm: 0, userAgent: '', bytes: 1 },
        ...{ durationMs: 1, requestId: '', attributes: '', source: 'native' },
      };
      const note = news.note();
      note.see(row);
      const part: Part = {
        ...{ id: row.id, sender: 's', source: 'native', events: [encodeUsage(row)], eventLines: [1], lifecycle: [] },
        ...{ lifecycleLines: [], rejected: [], times: [row.time, row.time] },
        ...{
          touched: note.touched(),
          news: note.news(),
          single: note.single(),
          refused: note.refused(),
          placed: 0,
          unfamiliar: note.unfamiliar(),
          arrived: note.arrived(),
          owners: [],
        },
        counts: { accepted: 1, rejected: 0, skipped: 0, errors: [] },
      };
      return { token: row.id, receivedAt: row.receivedAt, parts: [part] };
    };
    const newsOf = async (receivedAt: number) =>
      (await engines.queues.batches.peek(10_000)).find(({ entry }) => entry.receivedAt === receivedAt)?.entry.news;

    await expect(sink.persist(batch(1))).rejects.toThrow('Redis did not answer');
    failing.append = false;
    const [second, third] = [batch(2), batch(3)];
    for (const one of [second, third]) await sink.persist(one);
    expect(await newsOf(second.receivedAt)).toEqual([['acme', 'tok_log']]);
    // Told once, it is no news any more.
    expect(await newsOf(third.receivedAt)).toEqual([]);
  });
});

describe('a store that is away', () => {
  let failing: { before: boolean; after: boolean };
  let receiver: Receiver;
  beforeEach(async () => {
    failing = { before: false, after: false };
    const insert: Insert = async (table, lines, token) => {
      if (failing.before) throw away();
      await engines.store.insert(table, lines, token);
      if (failing.after) throw away();
    };
    receiver = await start({ ingestStore: { insert }, tendMs: 20 });
  });

  for (const [size, make, count] of [
    ['small', small, 2],
    ['large', large, 1200],
  ] as const) {
    for (const when of ['before', 'after'] as const) {
      test(`a ${size} request gets 503 with Retry-After when it fails ${when} the insert, and its retry is stored once`, async () => {
        const token = `tok_away_${size}_${when}`;
        const body = make(token);
        failing[when] = true;
        const refused = await receiver.post(body);
        expect({ status: refused.status, after: refused.headers.get('retry-after') }).toEqual({
          status: 503,
          after: '5',
        });
        expect(refused.body.error.code).toBe('store_unreachable');
        failing[when] = false;
        const taken = await receiver.post(body);
        expect({ status: taken.status, accepted: taken.body.accepted }).toEqual({ status: 200, accepted: count });
        expect(await stored(engines.store, token)).toBe(count);
        expect(await announced(token)).toBe(true);
      });
    }
  }

  test('a large request that was stored in part is completed by its retry', async () => {
    const body = ndjson(Array.from({ length: 12_000 }, () => event({ token: 'tok_part' })));
    let inserts = 0;
    const insert: Insert = (table, lines, token) => {
      if (++inserts === 2) throw away();
      return engines.store.insert(table, lines, token);
    };
    const partly = await start({ ingestStore: { insert } });
    const refused = await partly.post(body);
    expect(refused.status).toBe(503);
    expect(refused.body.accepted).toBeLessThan(12_000);
    expect(await partly.post(body)).toMatchObject({ status: 200, body: { accepted: 12_000, rejected: 0 } });
    expect(await stored(engines.store, 'tok_part')).toBe(12_000);
  });
});

describe('a process that dies', () => {
  /** Queues of a process that does nothing any more once it has done `last`. */
  function dyingQueues(last: 'reserve' | 'insert') {
    let dead = false;
    const never = () => new Promise<never>(() => {});
    const queues: Pick<Queues, 'batches' | 'requests' | 'shared'> = {
      shared: engines.queues.shared,
      batches: {
        ...engines.queues.batches,
        append: never,
      },
      requests: {
        ...engines.queues.requests,
        reserve: async (...args) => {
          const reserved = await engines.queues.requests.reserve(...args);
          dead = true;
          if (last === 'reserve') await never();
          return reserved;
        },
        // The lease of a dead process ends at once, for the test.
        lease: (owner, ttlMs) => (dead ? Promise.resolve() : engines.queues.requests.lease(owner, Math.min(ttlMs, 50))),
      },
    };
    return { queues, isDead: () => dead };
  }

  for (const last of ['reserve', 'insert'] as const) {
    test(`after ${last}: another process stores its batch, once, and answers the retries from it`, async () => {
      const token = `tok_dead_${last}`;
      const bodies = [small(token), small(token), small(token)];
      const { queues, isDead } = dyingQueues(last);
      const dying = await startReceiver(engines.store, queues, { config: { lingerMs: 50 } });
      const lost = bodies.map((body) => dying.post(body).catch(() => null));
      await until(isDead);
      const other = await start({ tendMs: 20 });
      await until(async () => (await stored(engines.store, token)) === 6 && (await announced(token)));
      for (const body of bodies) {
        expect(await other.post(body)).toMatchObject({ status: 200, body: { accepted: 2, duplicate: true } });
      }
      expect(await stored(engines.store, token)).toBe(6);
      expect(await announced(token)).toBe(true);
      dying.app.server.closeAllConnections();
      await dying.app.close();
      await Promise.all(lost);
    });
  }
});

test('a large request whose process died after the insert is announced with the time that its rows carry', async () => {
  const token = 'tok_died_large';
  const body = large(token);
  const never = () => new Promise<never>(() => {});
  const dying = await startReceiver(engines.store, {
    ...engines.queues,
    batches: { ...engines.queues.batches, append: never },
  });
  const lost = dying.post(body).catch(() => null);
  await until(async () => (await stored(engines.store, token)) === 1200);
  const other = await start();
  expect(await other.post(body)).toMatchObject({ status: 200, body: { accepted: 1200 } });
  expect(await stored(engines.store, token)).toBe(1200);
  expect(await announced(token)).toBe(true);
  dying.app.server.closeAllConnections();
  await dying.app.close();
  await lost;
});

describe('what the engine refuses for good', () => {
  test('is found by halving, rejected by line, and the rest of the batch is stored', async () => {
    const insert: Insert = async (table: TableName, lines, token) => {
      if (table === 'events' && lines.some((line) => line.includes('poison'))) {
        throw new TokenwatchError('store_refused_rows', 'poison', 'ClickHouse refused the rows.');
      }
      await engines.store.insert(table, lines, token);
    };
    const receiver = await start({ ingestStore: { insert } });
    const body = ndjson(
      Array.from({ length: 40 }, (_, i) =>
        event({ token: 'tok_halves', request_id: i % 20 === 3 ? `poison${i}` : `r${i}` }),
      ),
    );
    const { status, body: answer } = await receiver.post(body);
    expect({ status, answer }).toMatchObject({
      status: 200,
      answer: {
        accepted: 38,
        rejected: 2,
        errors: [
          { line: 4, code: 'bad_field' },
          { line: 24, code: 'bad_field' },
        ],
      },
    });
    expect(await stored(engines.store, 'tok_halves')).toBe(38);
    const kept = await rows(
      engines.store,
      "SELECT line FROM rejected_events WHERE content LIKE '%poison%' ORDER BY line",
    );
    expect(kept.map(({ line }) => Number(line))).toEqual([4, 24]);
    expect(await receiver.post(body)).toMatchObject({ body: { accepted: 38, rejected: 2, duplicate: true } });
  });

  test('is not what was refused once only: the rows that were stored by then are not stored again', async () => {
    let refused = false;
    const insert: Insert = async (table, lines, token) => {
      await engines.store.insert(table, lines, token);
      if (table !== 'events' || refused) return;
      refused = true;
      throw new TokenwatchError('store_refused_rows', 'poison', 'ClickHouse refused the rows of a view.');
    };
    const receiver = await start({ ingestStore: { insert } });
    const body = ndjson(Array.from({ length: 8 }, (_, i) => event({ token: 'tok_once', request_id: `once${i}` })));
    expect(await receiver.post(body)).toMatchObject({ status: 200, body: { accepted: 8, rejected: 0 } });
    expect(await stored(engines.store, 'tok_once')).toBe(8);
    const [rolled] = await rows(engines.store, "SELECT sum(calls) AS calls FROM tokens WHERE token = 'tok_once'");
    expect(Number(rolled?.calls)).toBe(8);
  });

  test('costs a bounded number of inserts when it is everything', async () => {
    let inserts = 0;
    const insert: Insert = async (table, lines, token) => {
      if (table === 'rejected_events') return engines.store.insert(table, lines, token);
      inserts++;
      throw new TokenwatchError('store_refused_rows', 'poison', 'ClickHouse refused the rows.');
    };
    const metrics = sinkMetrics();
    const sink = createSink({ store: { insert }, queues: engines.queues, news: null, log: quiet, metrics });
    const lines = Array.from({ length: 4000 }, (_, i) => `[${i}]`);
    const part: Part = {
      id: 'all-bad',
      sender: 's',
      source: 'native',
      events: lines,
      eventLines: lines.map((_, i) => i + 1),
      lifecycle: [],
      lifecycleLines: [],
      rejected: [],
      times: [1, 1],
      touched: [],
      single: [],
      refused: [],
      placed: 0,
      unfamiliar: [],
      news: [],
      arrived: [],
      owners: [],
      counts: { accepted: 4000, rejected: 0, skipped: 0, errors: [] },
    };
    const [counts] = await sink.persist({ token: 'all-bad', receivedAt: Date.now(), parts: [part] });
    expect(counts).toMatchObject({ accepted: 0, rejected: 4000 });
    expect(inserts).toBeLessThan(300);
  });
});

test('above the limit of held bytes requests get 503, and what is held is given back', async () => {
  let open: () => void = () => {};
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  const insert: Insert = async (...args) => {
    await gate;
    await engines.store.insert(...args);
  };
  const receiver = await start({ ingestStore: { insert }, config: { bufferLimitBytes: 2_000 } });
  const first = receiver.post(ndjson(Array.from({ length: 8 }, () => event({ token: 'tok_full' }))));
  await until(async () => (await heldBytes(receiver)) > 1_000);
  const second = ndjson(Array.from({ length: 8 }, () => event({ token: 'tok_full' })));
  const busy = await receiver.post(second);
  expect({ status: busy.status, code: busy.body.error.code }).toEqual({ status: 503, code: 'ingest_busy' });
  expect(busy.headers.get('retry-after')).not.toBeNull();
  open();
  expect((await first).status).toBe(200);
  expect(await heldBytes(receiver)).toBe(0);
  expect((await receiver.post(second)).status).toBe(200);
  expect(await stored(engines.store, 'tok_full')).toBe(16);
});

test('many refused lines are all counted, the first ones named and kept', async () => {
  const receiver = await start();
  const before = await countRejected();
  const { body } = await receiver.post(
    ndjson([...Array.from({ length: 12_000 }, (_, i) => i), event({ token: 'tok_one_good' })]),
  );
  expect(body).toMatchObject({ accepted: 1, rejected: 12_000 });
  expect(body.errors.length).toBe(20);
  expect((await countRejected()) - before).toBe(100);
});

test('events of many years in one request are stored', async () => {
  const receiver = await start();
  const week = 7 * 86_400_000;
  const times = Array.from({ length: 110 }, (_, i) => new Date(Date.now() - i * week).toISOString());
  const body = ndjson(times.map((time) => event({ token: 'tok_years', time })));
  expect(await receiver.post(body)).toMatchObject({ status: 200, body: { accepted: 110 } });
  expect(await stored(engines.store, 'tok_years')).toBe(110);
});

test('a request is the same with its format named or told from its records, and another with another format', async () => {
  const receiver = await start();
  const body = small('tok_formats');
  expect(await receiver.post(body, { format: 'cloudtrail' })).toMatchObject({ body: { accepted: 0 } });
  expect(await receiver.post(body)).toMatchObject({ body: { accepted: 2 } });
  expect(await receiver.post(body, { format: 'native' })).toMatchObject({ body: { accepted: 2, duplicate: true } });
  expect(await stored(engines.store, 'tok_formats')).toBe(2);
});

test('what is open is stored when the receiver closes', async () => {
  const receiver = await startReceiver(engines.store, engines.queues, { config: { lingerMs: 9_000 } });
  const answer = receiver.ingest.ingest({
    body: (async function* () {
      yield Buffer.from(small('tok_closing'));
    })(),
    encoding: undefined,
    format: null,
    sender: 'test',
  });
  await until(async () => (await heldBytes(receiver)) > 0);
  await receiver.close();
  expect(await answer).toMatchObject({ accepted: 2, failure: null });
  expect(await stored(engines.store, 'tok_closing')).toBe(2);
});

async function heldBytes(receiver: Receiver): Promise<number> {
  const metric = await receiver.metrics.getSingleMetricAsString('tokenwatch_ingest_buffered_bytes');
  return Number(metric.split(' ').at(-1));
}

async function countRejected(): Promise<number> {
  const [row] = await rows(engines.store, 'SELECT count() AS n FROM rejected_events');
  return Number(row?.n);
}
