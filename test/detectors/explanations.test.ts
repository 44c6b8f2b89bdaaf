import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Detection } from '../../core/index.ts';
import { DETECTORS } from '../../detectors/index.ts';
import type { Store } from '../../store/index.ts';
import { openTestStore } from '../kit/store.ts';
import {
  ABROAD_IP,
  asPrinted,
  type Call,
  callEvent,
  cityDatabase,
  DAY,
  HOUR,
  habit,
  judged,
  MINUTE,
  NEARBY_IP,
  plain,
} from './kit.ts';

/** A Monday noon, long ago. */
const NOW = Date.UTC(2026, 9, 12, 12);
const FROM = NOW - 14 * DAY;

const PATHS = ['/v1/jobs', '/v1/health', '/v1/metrics'];
const walk = (token: string, count: number, rest: Partial<Call> = {}): Call[] =>
  Array.from({ length: count }, (_, i) => ({
    at: NOW + (i + 1) * 10_000,
    token,
    path: `/v1/secret${i}/list`,
    ...rest,
  }));

/** What makes each detector fire, end to end. A new detector without a case fails here. */
const FIRES: Readonly<Record<string, readonly object[]>> = {
  'endpoint-spread': [
    ...walk('tok_walks', 30, { status: 403, ip: NEARBY_IP, client: 'curl' }),
    // A peer knows one of them, from long ago.
    { at: FROM + 3 * DAY, token: 'tok_peer_1', path: '/v1/secret0/list' },
    ...walk('tok_rushes', 50, { owner: 'globex' }),
  ].map(callEvent),
  'geo-novelty': [
    ...Array.from({ length: 90 }, (_, i) => ({
      at: NOW + HOUR + i * 20_000,
      token: 'tok_abroad',
      path: '/v1/jobs',
      ip: ABROAD_IP,
    })),
  ].map(callEvent),
  'impossible-travel': [
    { at: NOW + 2 * MINUTE + 500, token: 'tok_travels', path: '/v1/jobs', ip: '192.0.2.7' },
    { at: NOW + 4 * MINUTE, token: 'tok_travels', path: '/v1/jobs', ip: '198.51.100.7' },
  ].map(callEvent),
  'refused-calls': [
    // On what it calls every hour, from where it always does; two calls among them work.
    ...Array.from({ length: 14 }, (_, i) => ({
      at: NOW + 2 * MINUTE + i * 20_000,
      token: 'tok_probes',
      path: PATHS[i % 2] as string,
      status: i % 7 === 3 ? 200 : i % 3 === 0 ? 404 : 403,
    })),
  ].map(callEvent),
  'combined-signals': [
    ...walk('tok_stranger', 14, { ip: NEARBY_IP, client: 'python-requests' }).map((call) => ({
      ...call,
      path: call.path.replace('secret', 'export'),
    })),
  ].map(callEvent),
  // Three in each second, as a script's log would have them.
  'churn-rate': Array.from({ length: 60 }, (_, i) => ({
    time: new Date(NOW + Math.floor(i / 3) * 1000).toISOString(),
    token: `tok_new_${i}`,
    owner: 'acme',
    action: 'issued',
    id: `issue ${i}`,
  })),
  'lifecycle-novelty': Array.from({ length: 30 }, (_, i) => ({
    time: new Date(i < 28 ? FROM + Math.floor(i / 2) * DAY + (i % 2) * HOUR : NOW + i * MINUTE).toISOString(),
    token: `tok_admin_${i}`,
    owner: 'initech',
    action: i % 2 === 0 ? 'issued' : 'revoked',
    ...(i < 28 ? { ip: '3.14.7.9', user_agent: 'Mozilla/5.0' } : { ip: ABROAD_IP, user_agent: 'curl/8.5' }),
    id: `step ${i}`,
  })),
};

const HISTORY: readonly Call[] = [
  ...[
    'tok_walks',
    'tok_abroad',
    'tok_stranger',
    'tok_probes',
    ...Array.from({ length: 8 }, (_, i) => `tok_peer_${i}`),
  ].flatMap((token) => habit(token, PATHS, FROM, NOW + 2 * HOUR)),
  ...habit('tok_travels', PATHS, FROM, NOW + 2 * HOUR, { ip: '198.51.100.7' }),
];

let store: Store;
let detections: readonly Detection[];
beforeAll(async () => {
  store = await openTestStore();
  const events = [...HISTORY.map(callEvent), ...Object.values(FIRES).flat()];
  ({ detections } = await judged(store, events, { city: cityDatabase() }));
});
afterAll(() => store.close());

describe.each(DETECTORS.map(({ id }) => id))('what %s says', (id) => {
  const found = () => detections.filter(({ detector }) => detector === id);

  it('comes from a case in which it fires', () => {
    expect(FIRES[id], `make ${id} fire here`).toBeDefined();
    expect(found().length).toBeGreaterThan(0);
    expect(found().some(({ severity }) => ['medium', 'high', 'critical'].includes(severity))).toBe(true);
  });

  it('is what its SQL returns, run as printed', async () => {
    for (const { sql, observed, window } of found()) {
      const row = await asPrinted(store, sql);
      const counted = Object.entries(observed).filter(([, value]) => typeof value !== 'string');
      expect(counted.length).toBeGreaterThan(0);
      for (const [key, value] of counted) expect([key, plain(row[key])]).toEqual([key, plain(value)]);
      if (row.first === undefined) continue;
      expect(Date.parse(`${row.first}Z`)).toBe(window.from);
      expect(Date.parse(`${row.last}Z`)).toBe(window.to);
    }
  });

  it('names the interval it expected, the history it rests on, and what is missing of it', () => {
    for (const { expected, state } of found()) {
      const { interval, history_days, learning } = expected as {
        interval: { from?: number; to?: number };
        history_days: number;
        learning: { state: string; since: string; missing: string };
      };
      const intervals =
        'to' in interval ? [interval] : (Object.values(interval as object) as { from: number; to: number }[]);
      for (const { from, to } of intervals) expect(from).toBeLessThanOrEqual(to as number);
      expect(history_days).toBeGreaterThanOrEqual(0);
      expect(learning.state).toBe(state);
      expect(Date.parse(learning.since)).toBeGreaterThan(0);
      expect(learning.missing === '').toBe(state !== 'learning');
    }
  });

  it('shows the first and the last row of its evidence', () => {
    for (const { evidence, window } of found()) {
      const times = evidence.map((row) => Date.parse(String(row.time ?? row.first_seen)));
      expect(Math.min(...times)).toBe(window.from);
      expect(Math.max(...times)).toBeLessThanOrEqual(window.to);
      expect(evidence.length).toBeLessThanOrEqual(32);
    }
  });
});

it('names the peers that share what was met', () => {
  const largest = detections.findLast(
    ({ detector, subject }) => detector === 'endpoint-spread' && subject.lineage === 'tok_walks',
  );
  expect(largest?.expected).toMatchObject({ shared_by: ['tok_peer_1'], owner_tokens: 13 });
});

it('says in the message what a token that is still being learnt lacks', () => {
  const rush = detections.find(({ subject }) => subject.lineage === 'tok_rushes');
  expect(rush?.state).toBe('learning');
  expect(rush?.summary).toContain('5 more days of history and use on 2 more days to go');
});
