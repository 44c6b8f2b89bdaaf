import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest';
import type { Detection } from '../../core/index.ts';
import { seenBefore, shareBefore } from '../../detectors/refusal-habits.ts';
import type { RefusalFacts } from '../../detectors/refusals.ts';
import { refusedCallsDetector } from '../../detectors/refused-calls.ts';
import { type Beta, shareInterval, surpriseOfShare, upperShare } from '../../detectors/statistics.ts';
import type { Store } from '../../store/index.ts';
import { openTestStore } from '../kit/store.ts';
import { asPrinted, type Call, callEvent, DAY, HOUR, habit, judged, MINUTE, taught } from './kit.ts';

/** A Monday noon, long ago. */
const NOW = Date.UTC(2026, 9, 12, 12);
const FROM = NOW - 12 * DAY;
/** Each token has an endpoint of its own, and one that all of them call. */
const pathsOf = (token: string) => [`/v1/${token}/items/1`, '/v1/jobs'];

const burst = (token: string, count: number, rest: Partial<Call> & { readonly everyMs?: number } = {}): Call[] =>
  Array.from({ length: count }, (_, i) => {
    const { everyMs = 20_000, at = NOW, ...call } = rest;
    return { token, path: `/v1/${token}/items/${i + 2}`, status: 403, ...call, at: at + (i + 1) * everyMs };
  });

const about = (detections: readonly Detection[], token: string) =>
  detections.filter(({ detector, subject }) => detector === 'refused-calls' && subject.lineage === token);
const pages = (detections: readonly Detection[]) => detections.filter(({ severity }) => severity !== 'low');

const TOKENS = [
  'probed',
  'slow',
  'locked',
  'broken',
  'clumsy',
  'expected',
  'malicious',
  'gone_0',
  'gone_1',
  'gone_2',
  'gone_3',
];

let store: Store;
let found: readonly Detection[];
beforeAll(async () => {
  store = await openTestStore();
  const calls = [
    ...TOKENS.flatMap((token) => habit(token, pathsOf(token), FROM, NOW + 3 * HOUR)),
    // One call of three of it is refused in every hour: that is its way.
    ...habit('clumsy', ['/v1/clumsy/items/0'], FROM, NOW, { status: 404 }),
    ...burst('clumsy', 7, { status: 404, everyMs: 8 * MINUTE }),
    ...burst('probed', 20),
    ...burst('slow', 24, { everyMs: 8 * MINUTE, status: 404 }),
    ...burst('locked', 40, { status: 401 }),
    ...burst('broken', 40, { status: 503 }),
    ...burst('expected', 20),
    ...burst('malicious', 20),
    ...burst('fresh', 20),
    // Every night it looks for what is gone.
    ...Array.from({ length: 13 }, (_, night) =>
      burst('nightly', 20, { at: FROM + night * DAY + 13 * HOUR, status: 404, everyMs: 5_000 }),
    ).flat(),
    // A release lost a route that these four call, a second apart.
    ...[0, 1, 2, 3].flatMap((i) => burst(`gone_${i}`, 20, { at: NOW + i * 1_000, path: '/v1/jobs', status: 404 })),
  ];
  ({ detections: found } = await judged(store, calls.map(callEvent)));
});
afterAll(() => store.close());

describe('refused calls', () => {
  it('page on endpoints that the token knows, from where it always calls, and say how many of how many', () => {
    const [first] = pages(about(found, 'probed'));
    expect(first?.title).toMatch(/^probed was refused \d+ calls within/);
    expect(first?.summary).toContain('on GET /v1/probed/items/{id}');
    expect((first?.window.to ?? 0) - NOW).toBeLessThan(4 * MINUTE);
    expect(
      found.filter(({ subject, detector }) => subject.lineage === 'probed' && detector !== 'refused-calls'),
    ).toEqual([]);
  });

  it('page when they come slowly, and are one burst: no grade is told twice', () => {
    expect(pages(about(found, 'slow')).length).toBeGreaterThan(0);
    expect(new Set(about(found, 'slow').map(({ id }) => id)).size).toBe(about(found, 'slow').length);
    const surprises = about(found, 'slow').map(({ surprise }) => surprise);
    expect(surprises).toEqual([...surprises].sort((a, b) => a - b));
  });

  it('page when a token that nobody knows makes hardly anything else', () => {
    const [first] = pages(about(found, 'fresh'));
    expect([first?.state, (first?.surprise ?? 0) >= 6]).toEqual(['learning', true]);
  });

  it('are nothing where the token failed to authenticate, where the service was down, and where it is the token’s own way', () => {
    for (const token of ['locked', 'broken']) expect([token, about(found, token)]).toEqual([token, []]);
    expect(pages(about(found, 'clumsy'))).toEqual([]);
  });

  it('are no burst when a job is refused as often every night', () => {
    const lastNights = pages(about(found, 'nightly')).filter(({ window }) => window.to > FROM + 7 * DAY);
    expect(lastNights).toEqual([]);
  });

  it('page nobody for a route that is gone for everybody, once others were refused there too', () => {
    const told = [0, 1, 2, 3].flatMap((i) => pages(about(found, `gone_${i}`)));
    expect(told).toEqual([]);
  });
});

describe('what people say of refused calls', () => {
  it('expected, until a date: no news until then, and news afterwards', async () => {
    const lesson = { verdict: 'expected', until: NOW + 2 * DAY } as const;
    await taught(store, 'al_expected', about(found, 'expected'), lesson, NOW + HOUR);
    const before = await judged(store, burst('expected', 20, { at: NOW + DAY }).map(callEvent));
    expect(about(before.detections, 'expected')).toEqual([]);
    const after = await judged(store, burst('expected', 20, { at: NOW + 3 * DAY }).map(callEvent));
    expect(pages(about(after.detections, 'expected')).length).toBeGreaterThan(0);
  });

  it('malicious: is no habit, where the same becomes one of whom nobody said anything', async () => {
    await taught(store, 'al_malicious', about(found, 'malicious'), { verdict: 'malicious' }, NOW + HOUR);
    const again = ['malicious', 'probed'].flatMap((token) => burst(token, 20, { at: NOW + 4 * HOUR }));
    const { detections } = await judged(store, again.map(callEvent));
    const strongest = (token: string) => Math.max(...about(detections, token).map(({ surprise }) => surprise));
    expect(strongest('malicious')).toBeGreaterThan(strongest('probed') + 1);
    const [page] = pages(about(detections, 'malicious'));
    expect(Number((await asPrinted(store, page?.sql ?? '')).refused)).toBe(page?.observed.refused);
  });
});

/** Exact tail of the beta-binomial: the chance of each count is a product over its draws (Polya's urn). */
function urnTail(hits: number, of: number, { hits: a, misses: b }: Beta): number {
  // chance[k]: k hits so far; each draw adds its own colour to the urn.
  let chance = [1];
  for (let drawn = 0; drawn < of; drawn++) {
    const next = new Array<number>(drawn + 2).fill(0);
    chance.forEach((p, k) => {
      const hit = (a + k) / (a + b + drawn);
      next[k + 1] = (next[k + 1] ?? 0) + p * hit;
      next[k] = (next[k] ?? 0) + p * (1 - hit);
    });
    chance = next;
  }
  return chance.slice(hits).reduce((sum, p) => sum + p, 0);
}

const anyBelief = fc.record({
  hits: fc.double({ min: 0.05, max: 20, noNaN: true }),
  misses: fc.double({ min: 0.2, max: 200, noNaN: true }),
});

describe('the surprise of a share', () => {
  test('is the exact beta-binomial tail, as drawn from an urn', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 60 }), fc.nat(60), anyBelief, (of, some, belief) => {
        const hits = Math.min(of, some + 1);
        const exact = -Math.log10(urnTail(hits, of, belief));
        expect(surpriseOfShare(hits, of, belief)).toBeCloseTo(Math.min(50, Math.max(0, exact)), 6);
      }),
    );
  });

  test('grows with the hits, falls with the calls, and is 0 for none', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 3_000 }),
        fc.integer({ min: 0, max: 2_999 }),
        anyBelief,
        (of, some, belief) => {
          const hits = Math.min(of - 1, some);
          const surprise = surpriseOfShare(hits, of, belief);
          expect(surpriseOfShare(0, of, belief)).toBe(0);
          expect(surpriseOfShare(hits + 1, of, belief)).toBeGreaterThanOrEqual(surprise - 1e-9);
          expect(surpriseOfShare(hits, of + 1, belief)).toBeLessThanOrEqual(surprise + 1e-9);
          const most = upperShare(of, belief, 3);
          if (most <= of) expect(surpriseOfShare(most, of, belief)).toBeGreaterThanOrEqual(3);
          if (most > 1) expect(surpriseOfShare(most - 1, of, belief)).toBeLessThan(3);
        },
      ),
    );
  });

  test('has an interval that holds its share of the exact distribution', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 60 }), anyBelief, (of, belief) => {
        const { from, to } = shareInterval(of, belief, 0.9);
        expect(urnTail(Math.max(0, from), of, belief) - urnTail(to + 1, of, belief)).toBeGreaterThanOrEqual(0.9 - 1e-9);
      }),
    );
  });
});

describe('the belief about an hour', () => {
  const hours = (refused: number, calls: number) => {
    const activeHours = Array.from({ length: 500 }, (_, i) => NOW - (500 - i) * HOUR);
    return { activeHours, hourlyCalls: activeHours.map(() => calls), hourlyRefused: activeHours.map(() => refused) };
  };

  test('is the token’s own share after a long history, and never surer of one hour than twenty calls are', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 20 }), fc.integer({ min: 20, max: 500 }), (refused, calls) => {
        const { hits, misses } = shareBefore(hours(refused, calls), NOW);
        // Of 500 hours each tells as much as ten to twenty calls: the prior's twenty are a half of a hundredth of that.
        expect(Math.abs(hits / (hits + misses) - refused / calls)).toBeLessThan(0.006);
        expect(hits + misses).toBeLessThanOrEqual(20);
      }),
    );
  });

  test('is that of tokens in general without one', () => {
    const { hits, misses } = shareBefore({ activeHours: [], hourlyCalls: [], hourlyRefused: [] }, NOW);
    expect(hits / (hits + misses)).toBeCloseTo(0.02, 9);
  });
});

test('calls of one moment are one look: as many as the SQL counts', () => {
  const [example] = refusedCallsDetector.examples;
  const params = Object.fromEntries(
    Object.entries(refusedCallsDetector.params).map(([name, knob]) => [name, knob.default]),
  );
  const facts = example?.facts as RefusalFacts;
  const at = facts.refused[0]?.time ?? 0;
  const refused = facts.refused.map((call) => ({
    ...call,
    time: at,
    calls: [facts.refused.length, facts.refused.length],
  }));
  const found = refusedCallsDetector.judge({ ...facts, refused }, params as never, 0);
  expect(found.map(({ observed }) => observed.refused)).toEqual([facts.refused.length]);
});

describe('what was seen before', () => {
  const withFull = (days: readonly number[]) => {
    const activeHours = Array.from({ length: 40 * 24 }, (_, i) => NOW - (40 * 24 - i) * HOUR);
    const full = new Set(days.map((day) => NOW - day * DAY - 3 * HOUR));
    return {
      ...{ activeHours, hourlyCalls: activeHours.map(() => 20) },
      hourlyRefused: activeHours.map((hour) => (full.has(hour) ? 20 : 0)),
    };
  };

  test('is a habit on three days of four weeks, and nothing on fewer, or longer ago', () => {
    expect(seenBefore(withFull([1, 2]), NOW, 20)).toBeNull();
    expect(seenBefore(withFull([1, 2, 30]), NOW, 20)).toBeNull();
    expect(seenBefore(withFull([1, 2, 3]), NOW, 20)).toBeCloseTo(-Math.log10(4 / (28 * 24 + 1)), 2);
    // A much fuller one was never seen.
    expect(seenBefore(withFull([1, 2, 3]), NOW, 26)).toBeNull();
  });
});

test('a `min_refused` below five counts as five', () => {
  const [example] = refusedCallsDetector.examples;
  if (example === undefined) throw new Error('an example');
  const params = Object.fromEntries(
    Object.entries(refusedCallsDetector.params).map(([name, knob]) => [name, knob.default]),
  );
  const judgeWith = (min: number) =>
    refusedCallsDetector.judge(example.facts, { ...params, min_refused: min } as never, 0);
  expect(judgeWith(1)).toEqual(judgeWith(5));
});

test('a flood of refused calls is judged in one pass, explained or not', () => {
  const [, , , explained] = refusedCallsDetector.examples;
  const [alone] = refusedCallsDetector.examples;
  const params = Object.fromEntries(
    Object.entries(refusedCallsDetector.params).map(([name, knob]) => [name, knob.default]),
  );
  for (const example of [alone, explained]) {
    if (example === undefined) throw new Error('an example');
    const facts = example.facts as RefusalFacts;
    const [first] = facts.refused;
    if (first === undefined) throw new Error('a refused call');
    let looks = 0;
    // Each look at who else is refused is counted: two windows, one endpoint.
    const company = new Map(facts.company);
    const counted = Object.assign(company, {
      get: (endpoint: string) => {
        looks++;
        return Map.prototype.get.call(company, endpoint);
      },
    });
    const refused = Array.from({ length: 5_000 }, (_, i) => ({
      ...first,
      time: first.time + i * 100,
      calls: [i + 1, i + 1],
    }));
    refusedCallsDetector.judge({ ...facts, company: counted, refused }, params as never, 0);
    expect(looks).toBeLessThanOrEqual(2 * 5_000 + 200);
  }
});
