import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createLogger, type Detection } from '../../core/index.ts';
import { openJudge, scopeOf } from '../../detectors/index.ts';
import { UNSAID } from '../../queues/index.ts';
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
  const batch = {
    ...entry,
    usage: calls.length,
    lifecycle: 0,
    ...UNSAID,
  };
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

const BRAZIL = { ip: '192.0.2.77', country: 'BR', asn: 64502, networkKind: '' } as const;
const JAPAN = { ip: '192.0.2.78', country: 'JP', asn: 64503, networkKind: '' } as const;
const geoOf = (detections: readonly Detection[]) => detections.filter(({ detector }) => detector === 'geo-novelty');

test('two places that are both new are two trips: neither is a home to be heard from again', async () => {
  const detections = await found([
    ...history('tok_two_new'),
    call('tok_two_new', NOW, BRAZIL),
    call('tok_two_new', NOW + 60_000, JAPAN),
  ]);
  const strongest = geoOf(detections).at(-1);
  expect(geoOf(detections).map(({ observed }) => observed.also_from_known_country)).not.toContain(true);
  expect(strongest?.summary).not.toContain('it knows');
  expect(await rows(store, strongest?.sql ?? '')).toMatchObject([{ also_from_known_country: 0 }]);
});

test('to be heard from home again says little of a token that is at home in many countries', async () => {
  const homes = ['DE', 'FR', 'NL', 'BE', 'PL', 'SE', 'DK', 'IT', 'ES', 'PT'];
  const roaming = Array.from({ length: HISTORY_HOURS }, (_, i) =>
    call('tok_roams', NOW - (i + 1) * HOUR_MS, { country: homes[i % homes.length] as string }),
  );
  const detections = await found([...roaming, call('tok_roams', NOW, BRAZIL), call('tok_roams', NOW + 2_000)]);
  const [alone, again] = [false, true].map((home) =>
    geoOf(detections).find(({ observed }) => observed.also_from_known_country === home),
  );
  expect((again?.surprise ?? 0) - (alone?.surprise ?? 0)).toBeLessThan(0.2);
});

test('a caller who failed to authenticate was not the token: it teaches nothing, and pages nobody', async () => {
  const failed = { ...BRAZIL, userAgent: 'curl/8.5', status: 401 };
  const knocked = await found([
    ...history('tok_knocked'),
    call('tok_knocked', NOW, failed),
    call('tok_knocked', NOW + 9),
  ]);
  expect(knocked).toEqual([]);
  const stolen = [
    ...history('tok_then_stolen'),
    call('tok_then_stolen', NOW - 300 * HOUR_MS, failed),
    call('tok_then_stolen', NOW, { ...failed, status: 200 }),
    call('tok_then_stolen', NOW + 9),
  ];
  expect(geoOf(await found(stolen)).at(-1)).toMatchObject({ observed: { country: 'BR', calls: 1 }, state: 'known' });
  // Nor was it heard from home, nor more often from there.
  const refused = [
    ...history('tok_refused_at_home'),
    call('tok_refused_at_home', NOW, { ...failed, status: 200 }),
    call('tok_refused_at_home', NOW + 9, { status: 401 }),
    call('tok_refused_at_home', NOW + 60_000, failed),
  ];
  const alone = geoOf(await found(refused)).at(-1);
  expect(alone?.observed).toMatchObject({ calls: 1, also_from_known_country: false });
  expect(await rows(store, alone?.sql ?? '')).toMatchObject([{ calls: 1, also_from_known_country: 0 }]);
});

describe('a busy token whose owner has others', () => {
  const MINUTE_MS = 60_000;
  const ABROAD = { ip: '192.0.2.77', country: 'BR', asn: 64502, networkKind: '' } as const;
  const owner = 'a busy owner';
  /** Five calls an hour of a peer, and one in five minutes of the token, up to `until`. */
  function busy(token: string, until: number): UsageRow[] {
    const calls = history(`peer of ${token}`, { owner });
    for (let time = NOW - HISTORY_HOURS * HOUR_MS; time < until; time += 5 * MINUTE_MS)
      calls.push(call(token, time, { owner }));
    return calls;
  }
  async function judgeBatch(rows: readonly UsageRow[], receivedAt: number): Promise<Detection[]> {
    await store.insert(
      'events',
      rows.map((row) => encodeUsage({ ...row, receivedAt })),
      `late ${serial}`,
    );
    const times = rows.map(({ time }) => time);
    const batch = {
      receivedAt,
      minTime: Math.min(...times),
      maxTime: Math.max(...times),
      usage: rows.length,
      lifecycle: 0,
    };
    const judge = openJudge({ store, config: { detectors: {} }, log: createLogger('error') });
    const scope = scopeOf([{ ...UNSAID, ...batch }], NOW - HOUR_MS);
    return (await judge(scope)).filter(({ detector }) => detector === 'geo-novelty');
  }

  test('is found in two places also when the call from abroad comes late and alone, after the one from home', async () => {
    await store.insert('events', busy('tok_late', NOW).map(encodeUsage), 'habits of tok_late');
    const abroad = call('tok_late', NOW - 41 * MINUTE_MS, { ...ABROAD, owner });
    expect(await judgeBatch([abroad], NOW + 1)).toMatchObject([
      { subject: { lineage: 'tok_late' }, observed: { country: 'BR', calls: 1, also_from_known_country: true } },
    ]);
  });

  test('has stayed abroad also when it calls so often that only the first calls are read', async () => {
    const left = NOW - 30 * MINUTE_MS;
    await store.insert('events', busy('tok_fast', left).map(encodeUsage), 'habits of tok_fast');
    const abroad = Array.from({ length: 150 }, (_, i) => call('tok_fast', left + i * 1_000, { ...ABROAD, owner }));
    const detections = await judgeBatch(abroad, NOW + 2);
    expect(detections[0]).toMatchObject({ subject: { lineage: 'tok_fast' }, observed: { country: 'BR' } });
    expect(detections[0]?.window.to).toBe(left + 120_000);
    // All calls are counted, and its SQL counts the same.
    expect(detections[0]?.observed.calls).toBe(121);
    expect(await rows(store, detections[0]?.sql ?? '')).toMatchObject([{ calls: 121 }]);
  });

  test('is judged with what follows a late call, of the next day as far as it has come', () => {
    const at = Date.UTC(2026, 10, 16, 23, 30);
    const entry = {
      receivedAt: NOW,
      minTime: at,
      maxTime: at,
      usage: 1,
      lifecycle: 0,
      ...UNSAID,
    };
    expect(scopeOf([entry], 0).within.to).toBe(Date.UTC(2026, 10, 17));
    expect(scopeOf([entry], 0, null, Date.UTC(2026, 10, 17) + 5 * MINUTE_MS).within.to).toBe(
      Date.UTC(2026, 10, 17) + 5 * MINUTE_MS + 1,
    );
    expect(scopeOf([entry], 0, null, at + 5 * HOUR_MS).within.to).toBe(at + HOUR_MS + 1);
    const early = { ...entry, minTime: at - 2 * HOUR_MS, maxTime: at - 2 * HOUR_MS };
    expect(scopeOf([early], 0).within.to).toBe(at - HOUR_MS + 1);
  });
});
