import fc from 'fast-check';
import { mean, sampleVariance, sum } from 'simple-statistics';
import { describe, expect, it } from 'vitest';
import { FORGETTING_MS } from '../../detectors/baseline.ts';
import { churnHabits, churnRate, type PastSteps, stepsBefore } from '../../detectors/churn-habits.ts';
import { type ChurnFacts, churnRateDetector } from '../../detectors/churn-rate.ts';
import { binomialAtLeast } from '../../evaluation/intervals.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const WEEK = 7 * DAY;
/** A Monday. */
const START = Date.UTC(2026, 9, 5);
const DAYS = 28;

/** pastOf is an owner of so many steps in each hour since START. */
function pastOf(steps: readonly number[]): PastSteps {
  const hours = steps.map((count, i) => ({ hour: START + i * HOUR, steps: count })).filter((one) => one.steps > 0);
  return { firstSeen: START, hours };
}

/** random draws from a fixed seed (mulberry32), so that a simulation is the same every time. */
function random(seed: number) {
  let state = seed >>> 0;
  const unit = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const wait = () => -Math.log(1 - unit());
  const poisson = (rate: number) => {
    let count = 0;
    let time = wait();
    while (time < rate) {
      count++;
      time += wait();
    }
    return count;
  };
  /** A factor of mean 1 and variance 1 / shape, for a whole shape: a sum of exponentials. */
  const gamma = (shape: number) => sum(Array.from({ length: shape }, wait)) / shape;
  return { unit, poisson, gamma };
}

const hourly = fc.array(fc.integer({ min: 0, max: 6 }), { minLength: 24, maxLength: 28 * 24 });

describe('steps of the past', () => {
  it('are those of the hours before, and of the hour itself in proportion', () => {
    fc.assert(
      fc.property(hourly, fc.integer({ min: 0, max: 30 * DAY }), (steps, after) => {
        const expected = sum(steps.map((count, i) => count * Math.min(1, Math.max(0, after / HOUR - i))));
        expect(stepsBefore(pastOf(steps), START + after)).toBeCloseTo(expected, 6);
      }),
    );
  });
});

describe('habits of an owner', () => {
  const windows = fc.constantFrom(
    { windowMs: HOUR, profile: { prior: 3, weight: 1 } },
    { windowMs: DAY, profile: { prior: 0.4, weight: 10 } },
    { windowMs: 3 * DAY, profile: { prior: 0.3, weight: 10 } },
  );

  it('are the moments of its windows by the time of the week, shrunk towards the prior', () => {
    fc.assert(
      fc.property(hourly, windows, (steps, window) => {
        const { windowMs, profile } = window;
        const length = windowMs / HOUR;
        const weight = Math.min(1, 24 / length);
        // Independently: list what each time of the week held, week by week, from the hours themselves.
        const average = (sum(steps) + 0.5) / (Math.max(length, steps.length) / length + 0.5);
        const parts: number[][] = [];
        for (let ago = 0; ago < 168; ago += Math.min(24, length)) {
          const counts: number[] = [];
          for (let to = steps.length - ago; to - length >= 0; to -= 168) counts.push(sum(steps.slice(to - length, to)));
          if (counts.length > 0) parts.push(counts);
        }
        const spread = (counts: number[]) => (counts.length > 1 ? sampleVariance(counts) : mean(counts));
        const total = (of: (counts: number[]) => number) => sum(parts.map((counts) => weight * of(counts)));
        const excess = total((counts) => (counts.length - 1) * (spread(counts) - mean(counts)));
        const squares = total(
          (counts) => (counts.length - 1) * Math.max(0, mean(counts) ** 2 - spread(counts) / counts.length),
        );
        const between = total((counts) => (mean(counts) - average) ** 2 - spread(counts) / counts.length);

        const habits = churnHabits(pastOf(steps), START + steps.length * HOUR, window);
        expect(habits.mean).toBeCloseTo(average, 6);
        expect(habits.dispersion).toBeCloseTo(Math.min(0.5, Math.max(0, 12 + excess) / (400 + squares)), 6);
        expect(habits.profile).toBeCloseTo(
          Math.max(0.15, (profile.weight * profile.prior + between) / (profile.weight + total(() => average ** 2))),
          6,
        );
      }),
    );
  });

  it('tell days that differ by chance from days that differ', () => {
    const { poisson, gamma } = random(3);
    const dispersionOf = (factor: () => number) => {
      const days = Array.from({ length: DAYS }, () => 2 * factor());
      const steps = days.flatMap((rate) => Array.from({ length: 24 }, () => poisson(rate)));
      return churnHabits(pastOf(steps), START + DAYS * DAY, { windowMs: DAY, profile: { prior: 0.4, weight: 10 } })
        .dispersion;
    };
    const owners = Array.from({ length: 60 });
    expect(mean(owners.map(() => dispersionOf(() => 1)))).toBeLessThan(0.01);
    expect(mean(owners.map(() => dispersionOf(() => gamma(5))))).toBeCloseTo(0.2, 1);
  });

  it('never differ so much from week to week that one burst excuses any other', () => {
    const steps = Array.from({ length: DAYS * 24 }, (_, i) => (i === 300 ? 500 : i % 24 === 9 ? 1 : 0));
    const end = START + DAYS * DAY;
    for (const windowMs of [HOUR, DAY, 3 * DAY])
      expect(
        churnHabits(pastOf(steps), end, { windowMs, profile: { prior: 0.4, weight: 10 } }).dispersion,
      ).toBeLessThanOrEqual(0.5);
  });
});

describe('the belief about a window', () => {
  it('is the Gamma posterior of past weeks and one more step, widened by the dispersion', () => {
    const habits = fc.record({
      mean: fc.double({ min: 0.01, max: 20, noNaN: true }),
      profile: fc.double({ min: 0.15, max: 30, noNaN: true }),
      dispersion: fc.double({ min: 0, max: 0.5, noNaN: true }),
    });
    fc.assert(
      fc.property(hourly, habits, fc.constantFrom(HOUR, DAY, 3 * DAY), (steps, known, windowMs) => {
        const at = START + steps.length * HOUR;
        const length = windowMs / HOUR;
        const moved = [0, 1].map((drift) => {
          let [count, weeks] = [0, 0];
          for (let to = steps.length - 168; to - length >= 0; to -= 168) {
            const weight = Math.exp((-(steps.length - to) * HOUR) / FORGETTING_MS);
            count += weight * sum([0, ...steps.slice(to + drift - length, to + drift)]);
            weeks += weight;
          }
          return { shape: 1 / known.profile + 1 + count, exposure: 1 / (known.profile * known.mean) + weeks };
        });
        const [one, other] = moved as [(typeof moved)[0], (typeof moved)[0]];
        const best = other.shape / other.exposure > one.shape / one.exposure ? other : one;
        const rate = churnRate(pastOf(steps), at, { windowMs, profile: { prior: 1, weight: 1 } }, known);
        expect(rate.shape / rate.exposure).toBeCloseTo(best.shape / best.exposure, 6);
        expect(1 / rate.shape).toBeCloseTo(1 / best.shape + known.dispersion, 6);
      }),
    );
  });

  it('forgets what is longer ago than it is told of, so that a long silence before is none', () => {
    const recent = Array.from({ length: 56 }, (_, day) => ({ hour: START + day * DAY, steps: 3 }));
    const at = START + 56 * DAY;
    const habits = { mean: 3, profile: 0.4, dispersion: 0 };
    const since = (firstSeen: number) =>
      churnRate({ firstSeen, hours: recent }, at, { windowMs: DAY, profile: { prior: 0.4, weight: 10 } }, habits);
    expect(since(START - 52 * WEEK)).toEqual(since(START));
  });
});

/** Ways to make steps: how many are to be expected in each hour, by its number since START. */
type Way = (draws: ReturnType<typeof random>) => (hour: number) => number;

const atWork = (hour: number) => hour % 168 < 120 && hour % 24 >= 9 && hour % 24 < 17;
const steady =
  (aDay: number): Way =>
  () =>
  () =>
    aDay / 24;
const office =
  (aDay: number): Way =>
  () =>
  (hour) =>
    atWork(hour) ? aDay / 8 : 0;
const withHoliday =
  (aDay: number): Way =>
  ({ unit }) => {
    const free = 7 + Math.floor(6 * unit());
    return (hour) => (atWork(hour) && Math.floor(hour / 24 - free) >> 1 !== 0 ? aDay / 8 : 0);
  };
const lively =
  (aDay: number): Way =>
  ({ gamma }) => {
    const days = Array.from({ length: DAYS }, () => gamma(16));
    return (hour) => (atWork(hour) ? (aDay / 8) * (days[Math.floor(hour / 24)] ?? 1) : 0);
  };
const growing =
  (aDay: number): Way =>
  () =>
  (hour) =>
    atWork(hour) ? (aDay / 8) * 1.01 ** (hour / 24) : 0;

describe('a surprise', () => {
  const params = {
    ...Object.fromEntries(Object.entries(churnRateDetector.params).map(([name, param]) => [name, param.default])),
    ...{ low: 2, medium: 3, high: 4, critical: 5 },
  };

  /** Batch is made every Monday in the tenth hour, up to ten minutes early or late: of twenty steps, or of about as many. */
  interface Batch {
    readonly minute: number;
    readonly varies: boolean;
  }

  /** looked counts the hours with steps in the last week, and how many of them reached 2 and 3. */
  function looked(way: Way, owners: number, batch: Batch | null) {
    const draws = random(owners + 1);
    let [looks, two, three] = [0, 0, 0];
    for (let owner = 0; owner < owners; owner++) {
      const rate = way(draws);
      const times: number[] = [];
      for (let hour = 0; hour < DAYS * 24; hour++)
        for (let left = draws.poisson(rate(hour)); left > 0; left--)
          times.push(START + hour * HOUR + Math.floor(draws.unit() * HOUR));
      for (let week = 0; week < DAYS / 7 && batch !== null; week++) {
        const at = START + week * WEEK + 9 * HOUR + Math.floor((batch.minute + (draws.unit() - 0.5) * 20) * 60_000);
        const steps = batch.varies ? draws.poisson(20) : 20;
        times.push(...Array.from({ length: steps }, (_, i) => at + i * 7000));
      }
      times.sort((a, b) => a - b);
      const counts = Array.from({ length: DAYS * 24 }, () => 0);
      for (const time of times)
        counts[Math.floor((time - START) / HOUR)] = (counts[Math.floor((time - START) / HOUR)] ?? 0) + 1;
      const facts: ChurnFacts = {
        ...{ owner: 'acme', step: 'issued', ...pastOf(counts) },
        recent: times.filter((time) => time >= START + (DAYS - 10) * DAY).map((time, i) => ({ time, token: `t_${i}` })),
      };
      const live = START + (DAYS - 7) * DAY;
      looks += new Set(times.filter((time) => time >= live).map((time) => Math.floor(time / HOUR))).size;
      const strongest = new Map<number, number>();
      for (const { window, surprise } of churnRateDetector.judge(facts, params, live)) {
        const hour = Math.floor(window.to / HOUR);
        strongest.set(hour, Math.max(surprise, strongest.get(hour) ?? 0));
      }
      for (const surprise of strongest.values()) {
        if (surprise >= 2) two++;
        if (surprise >= 3) three++;
      }
    }
    return { looks, two, three };
  }

  it.each([
    ['at any hour', steady(3), 100, null],
    ['in office hours, less than one a day', office(0.7), 800, null],
    ['in office hours', office(4), 200, null],
    ['in office hours, many', office(12), 80, null],
    ['with two free days among the past weeks', withHoliday(4), 200, null],
    ['with two free days among the past weeks, many', withHoliday(12), 80, null],
    ['on days that differ by a quarter', lively(4), 200, null],
    ['on days that differ by a quarter, many', lively(12), 80, null],
    ['a little more each day', growing(4), 200, null],
    ['and a batch of twenty every Monday, ten minutes early or late', office(1), 150, { minute: 0, varies: false }],
    ['in one batch a week, at half past', steady(0), 3000, { minute: 30, varies: true }],
  ] satisfies [string, Way, number, Batch | null][])(
    'of 2 and 3 is no more frequent by chance than it says in an owner of steps %s',
    (_, way, owners, batch) => {
      const { looks, two, three } = looked(way, owners, batch);
      expect(binomialAtLeast(two, looks, 0.01)).toBeGreaterThan(0.05);
      expect(binomialAtLeast(three, looks, 0.001)).toBeGreaterThan(0.05);
      expect(two).toBeLessThan(0.01 * looks);
    },
  );

  it('of a flood is beyond doubt in every one of them', () => {
    const draws = random(5);
    for (const way of [steady(3), office(0.7), office(12), withHoliday(4), lively(12)]) {
      const rate = way(draws);
      const counts = Array.from({ length: DAYS * 24 }, (_, hour) => draws.poisson(rate(hour)));
      const flood = Array.from({ length: 60 }, (_, i) => START + DAYS * DAY + 10 * HOUR + i * 10_000);
      const facts: ChurnFacts = {
        ...{ owner: 'acme', step: 'issued', ...pastOf(counts) },
        recent: flood.map((time, i) => ({ time, token: `t_${i}` })),
      };
      const found = churnRateDetector.judge(facts, { ...params, critical: 15 }, START + DAYS * DAY);
      expect(Math.max(...found.map(({ surprise }) => surprise))).toBeGreaterThan(8);
    }
  });
});
