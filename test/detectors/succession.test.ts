import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Detection } from '../../core/index.ts';
import { fleetAt } from '../../detectors/prior.ts';
import { type Habit, inheritActivity, takesOver, usualPause } from '../../detectors/succession.ts';
import { simulate } from '../../fixtures/index.ts';
import type { Store } from '../../store/index.ts';
import { openTestStore } from '../kit/store.ts';
import { ABROAD_IP, callEvent, DAY, HOUR, habit, judged, MINUTE, NEARBY_IP } from './kit.ts';

const SINCE = Date.UTC(2026, 9, 12, 9, 20);
const met = (facet: string, value: string, at: number, calls = 10): Habit => ({ facet, value, met: at, calls });
const PLACE = [met('network', 'AS1', 0), met('client', 'cron', 0), met('country', 'US', 0)];
const PAST: readonly Habit[] = [...PLACE, ...['a', 'b', 'c', 'd'].map((name) => met('endpoint', name, 0))];
const heir = (endpoints: readonly string[], place: readonly Habit[] = PLACE): Habit[] => [
  ...place.map((one) => ({ ...one, met: SINCE })),
  ...endpoints.map((name) => met('endpoint', name, SINCE + HOUR)),
];

describe('a lineage takes over from another', () => {
  it.each([
    ['the same network, client and endpoints', heir(['a', 'b', 'c', 'd']), true],
    ['half of what its predecessor did', heir(['a', 'b']), true],
    ['a quarter of what its predecessor did', heir(['a']), false],
    ['one endpoint in four that the other never called', heir(['a', 'b', 'c', 'x']), false],
    ['another network', heir(['a', 'b', 'c', 'd'], [met('network', 'AS2', 0), ...PLACE.slice(1)]), false],
    ['a second client, unknown to the other', [...heir(['a', 'b', 'c', 'd']), met('client', 'curl', SINCE)], false],
    ['no network or client at all', heir(['a', 'b', 'c', 'd'], []), false],
    ['a walk after its first day', [...heir(['a', 'b', 'c']), met('endpoint', 'x', SINCE + 2 * DAY)], true],
  ])('with %s: %#', (_what, habits, expected) => {
    expect(takesOver(habits, PAST, SINCE)).toBe(expected);
  });

  it('only by what the other knew before: two that meet things together share nothing', () => {
    const together = PAST.map((one) => ({ ...one, met: SINCE + HOUR }));
    expect(takesOver(heir(['a', 'b', 'c', 'd']), together, SINCE)).toBe(false);
  });

  it('once the silence is longer than nine of ten of its pauses', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 60 }), (gaps) => {
        const hours = [0];
        for (const gap of gaps) hours.push((hours.at(-1) as number) + gap * HOUR);
        const pause = usualPause(hours);
        expect(gaps.filter((gap) => gap * HOUR <= pause).length).toBeGreaterThanOrEqual(0.9 * gaps.length);
      }),
    );
    expect(usualPause([0])).toBe(HOUR);
  });

  it('and inherits the hours before the day, no later ones', () => {
    const own = { hours: [5 * HOUR, 30 * HOUR], calls: [1, 2] };
    const past = { hours: [0, 5 * HOUR, 26 * HOUR], calls: [7, 7, 7] };
    expect(inheritActivity(own, [past], DAY)).toEqual({ hours: [0, 5 * HOUR, 30 * HOUR], calls: [7, 8, 2] });
  });
});

const paging = (detections: readonly Detection[]) =>
  detections.filter(({ severity }) => ['medium', 'high', 'critical'].includes(severity));

describe('an undeclared rotation in a simulated fleet', () => {
  const END = Date.UTC(2026, 9, 16, 18);
  const fleet = simulate({
    seed: 21,
    owners: 6,
    tokens: 36,
    historyDays: 12,
    liveDays: 5,
    endMs: END,
    callsPerTokenDay: 40,
    changes: [0, 1, 2].map((index) => ({ kind: 'undeclared-rotation', index, startMs: END - 5 * DAY + HOUR })),
    ambient: { rotationsPerTokenWeek: 0, deploysPerOwnerWeek: 0 },
  });
  const rotations = fleet.truth.changes.filter(({ kind }) => kind === 'undeclared-rotation');
  const stolen = rotations[0]?.tokens[1] as string;
  const owner = rotations[0]?.owners[0] as string;
  // Two days after it began: as new tokens go it would still be learnt for three more.
  const theft = END - 2 * DAY;
  let store: Store;
  let detections: readonly Detection[];
  beforeAll(async () => {
    store = await openTestStore();
    const thief = Array.from({ length: 12 }, (_, i) => ({
      at: theft + i * MINUTE,
      token: stolen,
      owner,
      path: `/v1/vault${i}/keys`,
      status: 403,
      ip: ABROAD_IP,
      client: 'curl',
    }));
    ({ detections } = await judged(store, [...fleet.events(), ...thief.map(callEvent)]));
  });
  afterAll(() => store.close());

  it('is inferred for each, from the next day on', async () => {
    expect(rotations).toHaveLength(3);
    const { successions } = await fleetAt({ read: store.read }, theft, theft);
    expect([...successions.values()].map(({ lineage, predecessor }) => [predecessor, lineage]).sort()).toEqual(
      rotations.map(({ tokens }) => [...tokens]).sort(),
    );
    const { successions: before } = await fleetAt({ read: store.read }, END - 5 * DAY, END);
    expect([...before.values()].filter(({ lineage }) => rotations.some(({ tokens }) => tokens[1] === lineage))).toEqual(
      [],
    );
  });

  it('pages nobody', () => {
    const quiet = new Set(rotations.flatMap(({ tokens }) => tokens).filter((token) => token !== stolen));
    expect(paging(detections).filter(({ subject }) => quiet.has(subject.token ?? ''))).toEqual([]);
    expect(paging(detections).filter(({ subject, window }) => subject.token === stolen && window.to < theft)).toEqual(
      [],
    );
  });

  it('leaves a known token: its theft pages, and the page says from whom the habits are', () => {
    const pages = paging(detections).filter(({ subject }) => subject.lineage === stolen);
    expect(new Set(pages.map(({ detector }) => detector))).toEqual(
      new Set(['endpoint-spread', 'geo-novelty', 'combined-signals', 'refused-calls']),
    );
    for (const { state, expected, summary } of pages) {
      expect(state).toBe('known');
      expect(expected).toMatchObject({ inherited_from: [rotations[0]?.tokens[0]], learning: { missing: '' } });
      expect(summary).toContain(`Its habits are those of ${rotations[0]?.tokens[0]}`);
    }
  });

  it('and the SQL of these pages returns their numbers', async () => {
    for (const { sql, observed, subject } of detections.filter(({ subject }) => subject.lineage === stolen)) {
      const { body } = await store.analyse(sql, { defaultFormat: 'JSONEachRow', maxRows: 10, timeoutMs: 10_000 });
      const row = JSON.parse(body.toString()) as Record<string, unknown>;
      for (const [key, value] of Object.entries(observed))
        if (typeof value === 'number') expect([subject, key, Number(row[key])]).toEqual([subject, key, value]);
    }
  });
});

describe('no succession', () => {
  const DAY_START = Date.UTC(2026, 9, 14);
  const FROM = DAY_START - 14 * DAY;
  const BEGAN = DAY_START - 2 * DAY + 10 * HOUR;
  const PATHS = ['/v1/jobs', '/v1/health', '/v1/metrics'];
  const END = DAY_START + 12 * HOUR;
  let store: Store;
  beforeAll(async () => {
    store = await openTestStore();
    const calls = [
      // Of one owner each: a token that falls silent, and one that begins when it does.
      ...habit('tok_a_old', PATHS, FROM, BEGAN, { owner: 'a' }),
      ...habit('tok_a_new', PATHS, BEGAN, END, { owner: 'a' }),
      // The old one is heard again on the third day.
      ...habit('tok_b_old', PATHS, FROM, BEGAN, { owner: 'b' }),
      ...habit('tok_b_old', PATHS, DAY_START + 3 * HOUR, END, { owner: 'b' }),
      ...habit('tok_b_new', PATHS, BEGAN, END, { owner: 'b' }),
      // It goes on all the time.
      ...habit('tok_c_old', PATHS, FROM, END, { owner: 'c' }),
      ...habit('tok_c_new', PATHS, BEGAN, END, { owner: 'c' }),
      // Two could have been the predecessor.
      ...habit('tok_d_old', PATHS, FROM, BEGAN, { owner: 'd' }),
      ...habit('tok_d_other', PATHS, FROM, BEGAN, { owner: 'd' }),
      ...habit('tok_d_new', PATHS, BEGAN, END, { owner: 'd' }),
      // A thief's own token: what the silent one did, from elsewhere.
      ...habit('tok_e_old', PATHS, FROM, BEGAN, { owner: 'e' }),
      ...habit('tok_e_new', PATHS, BEGAN, END, { owner: 'e', ip: NEARBY_IP, client: 'curl' }),
      // Of another owner.
      ...habit('tok_f_old', PATHS, FROM, BEGAN, { owner: 'f' }),
      ...habit('tok_g_new', PATHS, BEGAN, END, { owner: 'g' }),
    ];
    await judged(store, calls.map(callEvent));
  });
  afterAll(() => store.close());

  const inferredAt = async (at: number) =>
    [...(await fleetAt({ read: store.read }, at, at)).successions.values()].map(({ lineage }) => lineage).sort();

  it('where the old one goes on, two could be meant, the caller is another, or the owner is', async () => {
    expect(await inferredAt(DAY_START - DAY)).toEqual(['tok_a_new', 'tok_b_new']);
  });

  it('once the predecessor is heard again, from the next day on: what was known that morning stands', async () => {
    expect(await inferredAt(DAY_START)).toEqual(['tok_a_new', 'tok_b_new']);
    expect(await inferredAt(DAY_START + DAY)).toEqual(['tok_a_new']);
  });
});
