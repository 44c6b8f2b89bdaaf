import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest';
import { createLogger, type Detection, type Verdict } from '../../core/index.ts';
import { distanceKm } from '../../detectors/distance.ts';
import { impossibleTravel, isImpossible } from '../../detectors/impossible-travel.ts';
import { DETECTORS, openJudge, scopeOf } from '../../detectors/index.ts';
import { enabledDetectors } from '../../detectors/run.ts';
import { jumpDays, type LocatedCall, type Stay, type TravelFacts } from '../../detectors/travel-facts.ts';
import { tripsOf } from '../../detectors/trips.ts';
import { UNSAID } from '../../queues/index.ts';
import { encodeUsage, type Store } from '../../store/index.ts';
import { openTestStore, rows } from '../kit/store.ts';
import { type Call, callEvent, cityDatabase, DAY, HOUR, habit, judged, MINUTE, taught } from './kit.ts';

const spot = fc.record({
  latitude: fc.double({ min: -90, max: 90, noNaN: true }),
  longitude: fc.double({ min: -180, max: 180, noNaN: true }),
});

describe('the distance of two places', () => {
  /** The angle between the two vectors from the middle of the earth, which needs no haversine. */
  function byVectors(a: { latitude: number; longitude: number }, b: typeof a): number {
    const vector = ({ latitude, longitude }: typeof a) => {
      const [north, east] = [(latitude * Math.PI) / 180, (longitude * Math.PI) / 180];
      return [Math.cos(north) * Math.cos(east), Math.cos(north) * Math.sin(east), Math.sin(north)] as const;
    };
    const [[ax, ay, az], [bx, by, bz]] = [vector(a), vector(b)];
    const cross = Math.hypot(ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx);
    return 6_371.0088 * Math.atan2(cross, ax * bx + ay * by + az * bz);
  }

  test('is the angle between them times the radius of the earth, from either side', () => {
    fc.assert(
      fc.property(spot, spot, (a, b) => {
        expect(distanceKm(a, b)).toBeCloseTo(byVectors(a, b), 2);
        expect(distanceKm(a, b)).toBe(distanceKm(b, a));
      }),
    );
  });

  test('of Berlin and Tokyo is some 8,920 km', () => {
    const tokyo = { latitude: 35.6897, longitude: 139.6895 };
    expect(distanceKm({ latitude: 52.5167, longitude: 13.4 }, tokyo)).toBeCloseTo(8_917, -1);
  });
});

test('a larger accuracy radius or more time never makes a trip impossible', () => {
  const end = (accuracyKm: number, time: number) => ({ accuracyKm, time }) as LocatedCall;
  const radius = fc.nat(3_000);
  fc.assert(
    fc.property(
      radius,
      radius,
      radius,
      fc.nat(20_000),
      fc.nat(90_000_000),
      fc.nat(90_000_000),
      (a, b, more, km, ms, later) => {
        const exact = isImpossible({ from: end(a, 0), to: end(b, ms), km }, 500, 900);
        const loose = isImpossible({ from: end(a + more, 0), to: end(b, ms + later), km }, 500, 900);
        if (loose) expect(exact).toBe(true);
        expect(exact).toBe(km - a - b >= 500 && (km - a - b) / (ms / 3_600_000) > 900);
      },
    ),
  );
});

test('phones and addresses of one provider are recorded and page nobody, two places at once or not', () => {
  const [example] = impossibleTravel.examples;
  const facts = example?.facts as TravelFacts;
  const defaults = enabledDetectors({}).find(({ detector }) => detector.id === 'impossible-travel')?.params ?? {};
  const severities = (weak: (call: LocatedCall) => LocatedCall, params: Record<string, number>) => {
    const hops = facts.hops.map((hop) => ({ ...hop, from: weak(hop.from), to: weak(hop.to) }));
    return impossibleTravel.judge({ ...facts, hops }, { ...defaults, ...params }, 0).map(({ severity }) => severity);
  };
  expect(severities((call) => call, {})).toEqual(['medium', 'high']);
  const abroad = (call: LocatedCall) => call.country === 'JP';
  const weak = fc.constantFrom<(call: LocatedCall) => LocatedCall>(
    (call) => ({ ...call, networkKind: 'mobile' }),
    (call) => (abroad(call) ? { ...call, networkKind: 'mobile' } : call),
    (call) => (abroad(call) ? call : { ...call, networkKind: 'mobile' }),
    (call) => (abroad(call) ? { ...call, networkKind: 'mobile' } : { ...call, networkKind: 'hosting' }),
    (call) => ({ ...call, asn: 64500 }),
  );
  const params = fc.record({ two_places: fc.double({ min: 0, max: 10, noNaN: true }) });
  fc.assert(
    fc.property(weak, params, (change, some) => {
      const found = severities(change, some);
      expect(found.length).toBeGreaterThan(0);
      expect(new Set(found)).toEqual(new Set(['low']));
    }),
  );
});

test('a day is one of impossible trips when two stays overlap, and not when a flight fits between them', () => {
  const stay = (latitude: number, longitude: number, first: number, last: number): Stay => ({
    ...{ latitude, longitude, day: 0 },
    ...{ first: first * HOUR, last: last * HOUR },
  });
  const berlin = stay(53, 13, 6, 9);
  expect(jumpDays([berlin, stay(36, 140, 8, 10)], DAY, 500, 900)).toEqual([0]);
  expect(jumpDays([berlin, stay(36, 140, 20, 22)], DAY, 500, 900)).toEqual([]);
  expect(jumpDays([berlin, stay(36, 140, 18, 22)], DAY, 500, 900)).toEqual([0]);
  expect(jumpDays([berlin, stay(52, 10, 6, 22)], DAY, 500, 900)).toEqual([]);
});

describe('calls that a city database places', () => {
  const NOW = Date.UTC(2026, 9, 14, 12);
  const BERLIN = { ip: '198.51.100.7' };
  const TOKYO = { ip: '192.0.2.7' };
  const at = (token: string, minutes: number, rest: Partial<Call>): Call => ({
    ...{ at: NOW + minutes * MINUTE, token, path: '/v1/jobs', owner: `owner of ${token}` },
    ...rest,
  });
  const from = (place: Partial<Call>, token: string) =>
    habit(token, ['/v1/jobs'], NOW - 14 * DAY, NOW, { ...place, owner: `owner of ${token}` });

  async function travels(calls: readonly Call[], geo: object): Promise<Detection[]> {
    const store = await openTestStore();
    const { detections, accepted } = await judged(store, calls.map(callEvent), geo);
    expect(await rows(store, 'SELECT toUInt32(count()) AS stored FROM events')).toEqual([{ stored: accepted }]);
    await store.close();
    return detections.filter(({ detector }) => detector === 'impossible-travel');
  }
  const CASES = {
    tok_away: [at('tok_away', 1, TOKYO), at('tok_away', 30, BERLIN)],
    tok_flight: [at('tok_flight', 12 * 60, TOKYO)],
    tok_denied: [at('tok_denied', 1, { ...TOKYO, status: 401 })],
    tok_both: [...from({ ...TOKYO, path: '/v1/far' }, 'tok_both'), at('tok_both', 1, TOKYO)],
    tok_shared: [
      ...['x', 'y', 'z'].map((token) => at(token, -3 * 24 * 60, { ...TOKYO, owner: 'owner of tok_shared' })),
      at('tok_shared', 1, TOKYO),
    ],
  };
  let all: readonly Detection[];
  const found = (token: string) => all.filter(({ subject }) => subject.lineage === token);
  beforeAll(async () => {
    const calls = Object.entries(CASES).flatMap(([token, some]) => [...from(BERLIN, token), ...some]);
    all = await travels(calls, { city: cityDatabase() });
  });

  it('from far apart page, and more so when the first place is heard again', () => {
    expect(found('tok_away')).toMatchObject([
      { severity: 'medium', observed: { two_places: false } },
      { severity: 'high', observed: { two_places: true } },
    ]);
  });

  it.each([
    ['after a flight', 'tok_flight'],
    ['with an address that failed to authenticate', 'tok_denied'],
    ['of a token that is in both places every day', 'tok_both'],
    ['from a place where three others of the owner were before', 'tok_shared'],
  ])('%s are no news', (_what, token) => {
    expect(found(token)).toEqual([]);
  });

  it('through the own way out say nothing of where anybody is, and without a city database nothing does', async () => {
    const calls = [...from(BERLIN, 'tok_away'), ...CASES.tok_away];
    expect(await travels(calls, { city: cityDatabase(), egress: ['192.0.2.0/24'] })).toEqual([]);
    expect(await travels(calls, {})).toEqual([]);
  });
});

describe('trips that people spoke of', () => {
  const NOW = Date.UTC(2026, 9, 14);
  const BERLIN = { latitude: 52.5167, longitude: 13.4, country: 'DE', ip: '198.51.100.7' };
  const TOKYO = { latitude: 35.6897, longitude: 139.6895, country: 'JP', ip: '192.0.2.7' };
  const SAO_PAULO = { latitude: -23.5475, longitude: -46.6361, country: 'BR', ip: '189.53.7.9' };
  const others = DETECTORS.filter(({ id }) => id !== 'impossible-travel');
  const detectors = Object.fromEntries(others.map(({ id }) => [id, { enabled: false, params: {} }]));
  let store: Store;
  let judge: ReturnType<typeof openJudge>;
  beforeAll(async () => {
    store = await openTestStore();
    judge = openJudge({ store, config: { detectors }, log: createLogger('silent') });
  });
  afterAll(() => store.close());

  let batch = 0;
  type Visit = readonly [place: typeof BERLIN, times: readonly number[]];
  /** All visits of a token as one batch. */
  async function stored(token: string, visits: readonly Visit[], owner = token) {
    const receivedAt = NOW + ++batch;
    const calls = visits.flatMap(([place, times]) =>
      times.map((time) =>
        encodeUsage({
          ...{ time, receivedAt, id: `${token} ${time}`, token, lineage: token, owner },
          ...{ endpoint: 'GET /v1', method: 'GET', status: 200, asn: 0, networkKind: '', accuracyKm: 20 },
          ...{ userAgent: '', bytes: 1, durationMs: 1, requestId: '', attributes: '', source: 'native', ...place },
        }),
      ),
    );
    await store.insert('events', calls, `${batch}`);
    const times = visits.flatMap(([, times]) => times);
    const entry = { receivedAt, minTime: Math.min(...times), maxTime: Math.max(...times), usage: times.length };
    return { ...entry, lifecycle: 0, ...UNSAID };
  }
  const hourly = (start: number, end: number) =>
    Array.from({ length: Math.round((end - start) / HOUR) }, (_, i) => start + i * HOUR);
  /** Two weeks in Berlin. */
  const settle = (token: string, owner?: string) => stored(token, [[BERLIN, hourly(NOW - 14 * DAY, NOW)]], owner);
  /** A day in Berlin, a quarter of an hour of it somewhere else as well; what pages of it. */
  async function pagesOf(token: string, day: number, place = TOKYO, owner?: string): Promise<Detection[]> {
    const start = NOW + day * DAY;
    const away = [70, 75, 80, 85].map((minutes) => start + minutes * MINUTE);
    const visits: Visit[] = [
      [BERLIN, hourly(start, start + DAY)],
      [place, away],
    ];
    const found = await judge(scopeOf([await stored(token, visits, owner)], 0));
    return found.filter(({ severity, window }) => severity !== 'low' && window.to >= start);
  }
  const dayEnd = (day: number) => NOW + (day + 1) * DAY;

  it('are asked for unless the batches say that no call in them has coordinates', async () => {
    const entry = await stored('tok_placed', [[BERLIN, hourly(NOW - DAY, NOW)]]);
    const asked: string[] = [];
    const reads: Pick<Store, 'read'> = {
      read: (query, params) => {
        if (query.name.startsWith('travel_')) asked.push(query.name);
        return store.read(query, params);
      },
    };
    const ask = openJudge({ store: reads as Store, config: { detectors }, log: createLogger('silent') });
    const askedBy = async (...placed: (number | null)[]) => {
      asked.length = 0;
      await ask(
        scopeOf(
          placed.map((calls) => ({ ...entry, placed: calls })),
          0,
        ),
      );
      return asked.includes('travel_stays');
    };
    expect([await askedBy(0, 0), asked]).toEqual([false, []]);
    expect([await askedBy(0, 1), await askedBy(0, null)]).toEqual([true, true]);
  });

  it('as expected do not page until the end that was given, and then do, though it was there day after day', async () => {
    await settle('tok_expected');
    const found = await pagesOf('tok_expected', 0);
    expect(found).not.toEqual([]);
    await taught(store, 'al_expected', found, { verdict: 'expected', until: dayEnd(4) }, dayEnd(0));
    const said = "SELECT value, verdict, amount FROM feedback WHERE facet = 'trip' AND lineage = 'tok_expected'";
    expect(await rows(store, said)).toEqual([{ value: '53 13, 36 140', verdict: 'expected', amount: 4 }]);
    for (const day of [1, 2, 3, 4]) expect(await pagesOf('tok_expected', day)).toEqual([]);
    const [again] = await pagesOf('tok_expected', 5);
    expect(again?.summary).toContain('expected only until a time that is over');
  });

  it('as expected, even every day, say nothing of a third place', async () => {
    await settle('tok_third');
    await taught(store, 'al_third', await pagesOf('tok_third', 0), { verdict: 'expected' }, dayEnd(0));
    for (let day = 1; day <= 8; day++) await pagesOf('tok_third', day);
    expect(await pagesOf('tok_third', 9, SAO_PAULO)).not.toEqual([]);
  });

  it('as malicious become no habit, where others do within three days', async () => {
    for (const token of ['tok_unsaid', 'tok_malicious']) await settle(token);
    for (const day of [0, 1, 2, 3, 4]) {
      const unsaid = await pagesOf('tok_unsaid', day);
      const found = await pagesOf('tok_malicious', day);
      expect(found.some(({ summary }) => summary.includes('was found malicious before'))).toBe(day > 0);
      expect(unsaid.length > 0).toBe(day < 3);
      await taught(store, `al_theft_${day}`, found, { verdict: 'malicious' }, dayEnd(day));
    }
    // The last word on the newest alert: it was no thief.
    await taught(store, 'al_theft_4', [], { verdict: 'expected' }, dayEnd(5));
    expect(await pagesOf('tok_malicious', 5)).toEqual([]);
  });

  it('as malicious make a place no shared way out of the owner’s others', async () => {
    for (const owner of ['unsaid', 'malicious']) {
      for (const token of [`${owner}_1`, `${owner}_2`, `${owner}_3`]) {
        await settle(token, owner);
        const found = await pagesOf(token, 0, TOKYO, owner);
        if (owner === 'malicious') await taught(store, `al_${token}`, found, { verdict: 'malicious' }, dayEnd(0));
      }
      await settle(`${owner}_4`, owner);
      expect((await pagesOf(`${owner}_4`, 3, TOKYO, owner)).length > 0).toBe(owner === 'malicious');
    }
  });

  it('count by the newest word, and by older ones while all newer ones are malicious too', () => {
    const said = (...verdicts: Verdict[]) =>
      tripsOf(
        verdicts.map((verdict, i) => ({
          ...{ alert: `al_${i}`, owner: 'acme', lineage: 'tok_1', facet: 'trip', value: '53 13, -24 -47', verdict },
          ...{ from: i, to: i, amount: 1, endsAt: null },
        })),
      );
    fc.assert(
      fc.property(fc.array(fc.constantFrom<Verdict>('expected', 'malicious')), (verdicts) => {
        const first = verdicts.indexOf('expected');
        const count = first === 0 ? 1 : first < 0 ? verdicts.length : first;
        expect(said(...verdicts).map(({ from }) => from)).toEqual(verdicts.slice(0, count).map((_, i) => i));
      }),
    );
    expect(said('malicious')[0]).toMatchObject({
      ...{ home: { latitude: 53, longitude: 13 }, away: { latitude: -24, longitude: -47 } },
    });
  });
});
