import { setTimeout } from 'node:timers/promises';
import { createLogger, systemClock } from '../core/index.ts';
import { openJudge, refusedToJudge, scopeOf, subjectsToJudge } from '../detectors/index.ts';
import { createNews, followedUp } from '../ingest/index.ts';
import { createMemoryState } from '../queues/index.ts';
import {
  defineQuery,
  encodeLifecycle,
  encodeUsage,
  type LifecycleRow,
  num,
  openStore,
  type Store,
  type UsageRow,
} from '../store/index.ts';
import { serve } from './processes.ts';
import { covered, random, type Span } from './statistics.ts';

/** BenchFleet is the fleet of the benchmark. */
export interface BenchFleet {
  readonly dataDir: string;
  readonly tokens: number;
  readonly owners: number;
  readonly days: number;
  readonly eventsPerTokenDay: number;
  /** End of the history, epoch milliseconds. */
  readonly endMs: number;
}

/** FactsQuestion asks for the fleet to be loaded, for its store to be opened, or for one batch to be stored and judged. */
export type FactsQuestion =
  | (BenchFleet & { readonly ask: 'load' | 'open' })
  | { readonly ask: 'batch'; readonly number: number; readonly tokens: number };

/** FactsAnswer is the number of loaded events, or what judging a batch cost. Milliseconds. */
export interface FactsAnswer {
  readonly events: number;
  /** Time in which the engine worked for at least one detector. */
  readonly engineMs: number;
  /** The whole run: engine, transport and judgement. */
  readonly wholeMs: number;
  readonly detections: number;
  /** Milliseconds of each named query; they run side by side, so that they sum up to more than engineMs. */
  readonly queries: Readonly<Record<string, number>>;
}

const DAY_MS = 86_400_000;

let fleet: BenchFleet | null = null;
let store: Store | null = null;
/** One for all batches, as in the service: it remembers what it looks up once a day. */
let judge: ReturnType<typeof openJudge> | null = null;
/** What the processes share, and what the receiver knows of each token. */
const shared = createMemoryState();
const receiver = createNews();
/** What the current batch has read. */
let reads: { readonly spans: Span[]; readonly queries: Record<string, number> } = { spans: [], queries: {} };

/** Tokens have ten endpoints each out of 400, the first ones most often, and one country out of forty; the batches too. */
const ENDPOINTS = 400;
const HABITS = 10;
const COUNTRIES = 40;

/** The fleet's habits as SQL over `number`; the batch below has the same. */
const HISTORY = `
  WITH
    number % {tokens} AS n,
    cityHash64(number, {day}) AS dice,
    least(dice % ${HABITS}, bitShiftRight(dice, 8) % ${HABITS}) AS habit
  SELECT
    fromUnixTimestamp64Milli({from} + toInt64(bitShiftRight(dice, 16) % ${DAY_MS})) AS time,
    time AS received_at,
    concat('ev-', toString({day}), '-', toString(number)) AS id,
    concat('tok_', toString(n)) AS token,
    token AS lineage,
    concat('owner_', toString(n % {owners})) AS owner,
    concat('GET /v1/things_', toString((n * 7 + habit * 13) % ${ENDPOINTS})) AS endpoint,
    'GET' AS method,
    200 AS status,
    concat('192.0.2.', toString(n % 250)) AS ip,
    concat(char(65 + n % {owners} % 20), char(65 + intDiv(n % {owners}, 20) % ${COUNTRIES / 20})) AS country,
    64500 + n % {owners} % 100 AS asn,
    'bench/1.0' AS user_agent,
    512 AS bytes,
    12 AS duration_ms,
    concat('r', toString(number)) AS request_id,
    '' AS attributes,
    'native' AS source
  FROM numbers({events})`;

const LIFECYCLE = `
  WITH cityHash64(number, {day}) % {owners} AS nth
  SELECT
    fromUnixTimestamp64Milli({from} + toInt64(cityHash64(number, {day}) % ${DAY_MS})) AS time,
    time AS received_at,
    concat('life-', toString({day}), '-', toString(number)) AS id,
    'issued' AS action,
    concat('tok_issued_', toString({day}), '_', toString(number)) AS token,
    token AS lineage,
    concat('owner_', toString(nth)) AS owner,
    '192.0.2.1' AS ip,
    'CH' AS country,
    64500 + nth % 100 AS asn,
    'bench/1.0' AS user_agent
  FROM numbers({events})`;

function filled(sql: string, values: Readonly<Record<string, number>>): string {
  return sql.replaceAll(/\{(\w+)\}/g, (_, name: string) => String(values[name]));
}

async function open(dataDir: string): Promise<Store> {
  return openStore(
    { dataDir, store: { url: null, retention: { eventsMs: null } } },
    { log: createLogger('error'), clock: systemClock },
  );
}

/**
 * load fills the tables by SQL, a day at a time as history comes, so that the rollups fill as they do in life, and waits until they are merged.
 */
async function load({ dataDir, tokens, owners, days, eventsPerTokenDay, endMs }: BenchFleet): Promise<number> {
  // The store makes the schema and offers no other writing than rows: the engine itself is asked for this.
  await (await open(dataDir)).close();
  const { createClient } = await import('@clickhouse/client');
  const { createChdbConnection } = await import('chdb/connection');
  const client = createClient({
    connection: createChdbConnection({ path: `${dataDir}/clickhouse` }),
  } as Parameters<typeof createClient>[0]);
  const columns = (sql: string) => [...sql.matchAll(/ AS (\w+),?$/gm)].map((match) => match[1] as string);
  const insert = (table: string, sql: string, values: Record<string, number>) => {
    const names = columns(sql.slice(sql.indexOf('SELECT')));
    return client.command({
      query: `INSERT INTO ${table} (${names.join(', ')}) SELECT ${names.join(', ')} FROM (${filled(sql, values)})`,
    });
  };
  await client.command({ query: 'USE tokenwatch' });
  let events = 0;
  for (let day = 0; day < days; day++) {
    const from = endMs - (days - day) * DAY_MS;
    const count = Math.round(tokens * eventsPerTokenDay);
    await insert('events', HISTORY, { tokens, owners, day, from, events: count });
    await insert('lifecycle', LIFECYCLE, { owners, day, from, events: Math.ceil(owners / 2) });
    events += count;
  }
  await client.close();
  const loaded = await open(dataDir);
  await settled(loaded);
  await loaded.close();
  return events;
}

/** start opens the store as a service does that goes on after a restart. */
async function start(of: BenchFleet): Promise<void> {
  fleet = of;
  // The workers have run for as long as there is history.
  await subjectsToJudge(shared, [], [], of.endMs - of.days * DAY_MS);
  store = await open(of.dataDir);
  await receiver.warm(store, of.endMs, new AbortController().signal);
  judge = openJudge({ config: { detectors: {} }, store: watched(store), log: createLogger('error') });
}

const merging = defineQuery<Record<string, never>, number>(
  'bench_merging',
  'SELECT count() AS merges FROM system.merges',
  (raw) => num(raw.merges),
);

/** settled waits until the engine has merged what was loaded, as it has in life; a minute at most. */
async function settled(opened: Store): Promise<void> {
  for (let calm = 0, asked = 0; calm < 3 && asked < 60; asked++) {
    const [merges] = await opened.read(merging, {});
    calm = merges === 0 ? calm + 1 : 0;
    await setTimeout(1_000);
  }
}

/** watched is a store that takes note of when it reads. */
function watched(opened: Store): Store {
  return {
    ...opened,
    read: async (query, params) => {
      const began = performance.now();
      try {
        return await opened.read(query, params);
      } finally {
        const ended = performance.now();
        reads.spans.push([began, ended]);
        reads.queries[query.name] = (reads.queries[query.name] ?? 0) + ended - began;
      }
    },
  };
}

/**
 * A batch's tokens call what they are used to; one in a hundred meets an endpoint, one in five hundred a country. In every fifth batch one of twenty
 * steps is taken from a network that its owner's were never taken from.
 */
async function batch({ number, tokens }: Extract<FactsQuestion, { ask: 'batch' }>): Promise<FactsAnswer> {
  if (fleet === null || store === null || judge === null) throw new Error('open comes first');
  const { owners, endMs } = fleet;
  const opened = store;
  const draw = random(number);
  const receivedAt = endMs + number * 1_000;
  const first = Math.floor(draw() * fleet.tokens);
  const note = receiver.note();
  const lines = Array.from({ length: tokens }, (_, i) => {
    const n = (first + i * 7) % (fleet?.tokens ?? 1);
    const owner = n % owners;
    const token = `tok_${n}`;
    const walks = draw() < 0.01;
    const travels = draw() < 0.002;
    const country = `${String.fromCharCode(65 + (owner % 20))}${String.fromCharCode(65 + (Math.floor(owner / 20) % (COUNTRIES / 20)))}`;
    const row: UsageRow = {
      time: receivedAt - 1_000 + Math.floor(draw() * 1_000),
      receivedAt,
      id: `batch-${number}-${i}`,
      token,
      lineage: token,
      owner: `owner_${owner}`,
      endpoint: `GET /v1/things_${walks ? Math.floor(draw() * ENDPOINTS) : (n * 7) % ENDPOINTS}`,
      method: 'GET',
      status: 200,
      ip: '192.0.2.1',
      country: travels ? 'ZZ' : country,
      asn: 64500 + (owner % 100),
      networkKind: '',
      latitude: 0,
      longitude: 0,
      accuracyKm: 0,
      userAgent: 'bench/1.0',
      bytes: 512,
      durationMs: 12,
      requestId: `b${i}`,
      attributes: '',
      source: 'native',
    };
    note.see(row);
    return encodeUsage(row);
  });
  const issuers = Array.from({ length: 20 }, () => Math.floor(draw() * owners));
  const ownerOf = (issuer: number) => `owner_${issuer}`;
  const steps = issuers.map((issuer, i) => {
    const owner = ownerOf(issuer);
    const asn = number % 5 === 4 && i === 0 ? 64999 : 64500 + (issuer % 100);
    const token = `tok_new_${number}_${i}`;
    const time = receivedAt - 500;
    const row: LifecycleRow = {
      ...{ time, receivedAt, id: `step-${number}-${i}`, action: 'issued', token, lineage: token, owner },
      ...{ replaces: '', issuedBy: '', issuerLineage: '', asn, networkKind: '', reason: '', config: '' },
      ...{ requestedAt: null, expiresAt: null, effectiveAt: null, fingerprint: '', scopes: [], ip: '192.0.2.1' },
      ...{ country: 'CH', userAgent: 'bench/1.0', requestId: '', attributes: '', source: 'native' },
    };
    note.seeStep(row);
    return encodeLifecycle(row);
  });
  await opened.insert('events', lines, `batch ${number}`);
  await opened.insert('lifecycle', steps, `steps ${number}`);

  reads = { spans: [], queries: {} };
  const began = performance.now();
  const [minTime, maxTime] = [receivedAt - 1_000, receivedAt];
  const said = [{ touched: note.touched(), arrived: note.arrived() }];
  const entry = {
    ...{ receivedAt, minTime, maxTime, usage: lines.length, lifecycle: steps.length },
    ...{ touched: await followedUp(shared, said, { from: minTime, to: maxTime }), news: note.news() },
    ...{ single: note.single(), refused: note.refused(), placed: 0 },
    ...{ owners: [...new Set(issuers.map(ownerOf))], unfamiliar: note.unfamiliar() },
  };
  const subjects = await subjectsToJudge(shared, [{ key: String(number), entry }], [entry], receivedAt);
  const scope = scopeOf([entry], receivedAt - 3_600_000, subjects, receivedAt, refusedToJudge([entry]));
  const found = await judge(scope);
  return {
    events: lines.length,
    engineMs: covered(reads.spans),
    wholeMs: performance.now() - began,
    detections: found.length,
    queries: reads.queries,
  };
}

serve<FactsQuestion, FactsAnswer>(
  async (question) => {
    if (question.ask === 'batch') return batch(question);
    const events = question.ask === 'load' ? await load(question) : 0;
    if (question.ask === 'open') await start(question);
    return { events, engineMs: 0, wholeMs: 0, detections: 0, queries: {} };
  },
  async () => {
    await store?.close();
  },
);
