import { afterAll, beforeAll, expect, test } from 'vitest';
import { createLogger, type Detection } from '../../core/index.ts';
import { openJudge, scopeOf } from '../../detectors/index.ts';
import { encodeUsage, type Store, type UsageRow } from '../../store/index.ts';
import { openTestStore, rows } from '../kit/store.ts';

const HOUR_MS = 3_600_000;
const NOW = Date.UTC(2026, 10, 16, 12);
const HISTORY_HOURS = 20 * 24;

let store: Store;
beforeAll(async () => {
  store = await openTestStore();
});
afterAll(() => store.close());

let serial = 0;
function call(token: string, time: number, fields: Partial<UsageRow> = {}): UsageRow {
  serial++;
  return {
    time,
    receivedAt: NOW,
    id: `e${serial}`,
    token,
    lineage: token,
    owner: `owner of ${token}`,
    endpoint: 'GET /v1/orders',
    method: 'GET',
    status: 200,
    ip: '198.51.100.8',
    country: 'DE',
    asn: 16509,
    networkKind: 'hosting',
    latitude: 0,
    longitude: 0,
    accuracyKm: 0,
    userAgent: 'shop/1.0',
    bytes: 0,
    durationMs: 0,
    requestId: '',
    attributes: '',
    source: 'native',
    ...fields,
  };
}

/** Hourly calls of one token up to an hour ago. */
function history(token: string, fields: Partial<UsageRow> = {}): UsageRow[] {
  return Array.from({ length: HISTORY_HOURS }, (_, i) => call(token, NOW - (i + 1) * HOUR_MS, fields));
}

/** found stores calls and judges the last hour of them. */
async function found(calls: readonly UsageRow[]): Promise<Detection[]> {
  await store.insert('events', calls.map(encodeUsage), `calls ${serial}`);
  const judge = openJudge({ store, config: { detectors: {} }, log: createLogger('error') });
  const times = calls.map(({ time }) => time);
  const entry = { receivedAt: NOW, minTime: Math.max(...times) - HOUR_MS, maxTime: Math.max(...times) };
  const batch = { ...entry, usage: calls.length, lifecycle: 0, touched: null, news: null, arrived: null };
  const token = calls[0]?.lineage;
  return (await judge(scopeOf([batch], NOW - HOUR_MS))).filter(({ subject }) => subject.lineage === token);
}

const VPN = { ip: '192.0.2.9', asn: 64501, networkKind: 'vpn' } as const;

test('a token of machines that appears in a VPN of its own country, and at home again, pages and says so', async () => {
  const detections = await found([
    ...history('tok_machine'),
    call('tok_machine', NOW, VPN),
    call('tok_machine', NOW + 2_000),
  ]);
  const geo = detections.filter(({ detector }) => detector === 'geo-novelty').at(-1);
  expect(geo).toMatchObject({
    severity: 'medium',
    title: 'tok_machine was used from a VPN, where it has never been',
    observed: { country: 'DE', network_kind: 'vpn', also_from_known_country: true },
    expected: { network_kinds: ['hosting'] },
  });
  expect(geo?.summary).toContain('and 2 seconds later from a kind of network it knows');
  expect(geo?.evidence[0]).toMatchObject({ network: 'AS64501', network_kind: 'vpn', ip: '192.0.2.9' });
  // What the finding prints gives its rows again.
  expect(await rows(store, geo?.sql ?? '')).toMatchObject([{ calls: 1 }]);
});

test('one more network of the same kind pages nobody', async () => {
  const other = { ip: '192.0.2.77', asn: 64509, networkKind: 'hosting' } as const;
  const detections = await found([
    ...history('tok_same_kind'),
    call('tok_same_kind', NOW, other),
    call('tok_same_kind', NOW + 2_000),
  ]);
  expect(detections.filter(({ severity }) => severity !== 'low')).toEqual([]);
});

test('a network that a token knows is no news when a list calls it a VPN from now on', async () => {
  const detections = await found([
    ...history('tok_relisted'),
    call('tok_relisted', NOW, { networkKind: 'vpn' }),
    call('tok_relisted', NOW + 2_000, { networkKind: 'vpn' }),
  ]);
  expect(detections).toEqual([]);
});

test('a new country through a relay is named as such', async () => {
  const relay = { ip: '192.0.2.90', asn: 36183, networkKind: 'relay', country: 'BR' } as const;
  const detections = await found([...history('tok_relay'), call('tok_relay', NOW, relay), call('tok_relay', NOW + 9)]);
  const geo = detections.filter(({ detector }) => detector === 'geo-novelty');
  expect(geo.at(-1)?.summary).toContain('was used from Brazil (BR) (192.0.2.90) through a relay');
  // Country and kind are one arrival, told once.
  expect(geo.every(({ title }) => title.includes('Brazil'))).toBe(true);
});

test('the organisation’s own way out is never a new place, wherever its addresses are', async () => {
  const egress = { ip: '203.0.113.7', asn: 64999, networkKind: 'egress', country: 'SG' } as const;
  const detections = await found([...history('tok_out'), call('tok_out', NOW, egress), call('tok_out', NOW + 2_000)]);
  expect(detections).toEqual([]);
  expect(await rows(store, "SELECT country FROM token_countries WHERE lineage = 'tok_out' ORDER BY country")).toEqual([
    { country: 'DE' },
    { country: 'egress' },
  ]);
});

test('a token that only ever came through the own way out is at home there: elsewhere is news', async () => {
  const egress = { ip: '203.0.113.7', asn: 64999, networkKind: 'egress', country: 'SG' } as const;
  const detections = await found([
    ...history('tok_inside', egress),
    call('tok_inside', NOW, { ip: '192.0.2.200', asn: 64600, networkKind: '', country: 'BR' }),
    call('tok_inside', NOW + 2_000, egress),
  ]);
  const geo = detections.find(({ detector, severity }) => detector === 'geo-novelty' && severity !== 'low');
  expect(geo?.summary).toContain("it was only seen in the organisation's own way out");
});
