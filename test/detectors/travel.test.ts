import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest';
import { distanceKm } from '../../detectors/distance.ts';
import { isImpossible } from '../../detectors/impossible-travel.ts';
import { jumpDays, type LocatedCall, type Stay } from '../../detectors/travel-facts.ts';
import type { Store } from '../../store/index.ts';
import { openTestStore, rows } from '../kit/store.ts';
import { type Call, callEvent, cityDatabase, DAY, HOUR, habit, judged, MINUTE } from './kit.ts';

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
  let store: Store;
  beforeAll(async () => {
    store = await openTestStore();
  });
  afterAll(() => store.close());

  const at = (token: string, minutes: number, rest: Partial<Call>): Call => ({
    ...{ at: NOW + minutes * MINUTE, token, path: '/v1/jobs', owner: `owner of ${token}` },
    ...rest,
  });
  async function travels(calls: readonly Call[], geo = {}) {
    const { detections } = await judged(store, calls.map(callEvent), { city: cityDatabase(), ...geo });
    const found = detections.filter(({ detector }) => detector === 'impossible-travel');
    return found.map(({ severity, observed }) => [severity, observed.two_places]);
  }
  const berliner = (token: string) =>
    habit(token, ['/v1/jobs'], NOW - 14 * DAY, NOW, { ...BERLIN, owner: `owner of ${token}` });

  it('from far apart page, and more so when the first place is heard again', async () => {
    const away = at('tok_a', 1, TOKYO);
    expect(await travels([...berliner('tok_a'), away, at('tok_a', 30, BERLIN)])).toEqual([
      ['medium', false],
      ['high', true],
    ]);
  });

  it('after a flight, or with an address that failed to authenticate, are no news', async () => {
    expect(await travels([...berliner('tok_b'), at('tok_b', 12 * 60, TOKYO)])).toEqual([]);
    expect(await travels([...berliner('tok_c'), at('tok_c', 1, { ...TOKYO, status: 401 })])).toEqual([]);
  });

  it('through the own way out, a VPN list or a known relay say nothing of where anybody is', async () => {
    expect(await travels([...berliner('tok_d'), at('tok_d', 1, TOKYO)], { egress: ['192.0.2.0/24'] })).toEqual([]);
  });

  it('of a token that is in both places every day are its habit', async () => {
    const both = habit('tok_e', ['/v1/jobs'], NOW - 14 * DAY, NOW, { ...TOKYO, owner: 'owner of tok_e' });
    expect(await travels([...berliner('tok_e'), ...both, at('tok_e', 1, TOKYO)])).toEqual([]);
  });

  it('from a place where three others of the owner were before are a shared way out', async () => {
    const others = ['x', 'y', 'z'].map((token): Call => at(token, -3 * 24 * 60, { ...TOKYO, owner: 'owner of tok_f' }));
    expect(await travels([...berliner('tok_f'), ...others, at('tok_f', 1, TOKYO)])).toEqual([]);
  });

  it('are not judged without coordinates', async () => {
    const bare = await openTestStore();
    const { detections } = await judged(bare, [...berliner('tok_g'), at('tok_g', 1, TOKYO)].map(callEvent));
    expect(detections.filter(({ detector }) => detector === 'impossible-travel')).toEqual([]);
    expect(await rows(bare, 'SELECT * FROM rollup_places')).toEqual([]);
    await bare.close();
  });
});
