import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  countInterval,
  expectedCount,
  fitGamma,
  log10IncompleteBeta,
  surpriseOfCount,
  upperCount,
} from '../../detectors/statistics.ts';

/** Exact tail of the negative binomial by summing its terms: P(K >= k) with shape r and success odds window/exposure. */
function exactTail(k: number, window: number, shape: number, exposure: number): number {
  const p = window / (window + exposure);
  let term = (1 - p) ** shape;
  let below = 0;
  for (let i = 0; i < k; i++) {
    below += term;
    term *= (p * (shape + i)) / (i + 1);
  }
  // Small tails are summed from above: subtracting from one would lose them.
  let above = 0;
  for (let i = k; i < k + 100_000 && term > 1e-320; i++) {
    above += term;
    term *= (p * (shape + i)) / (i + 1);
  }
  return below < 0.999 ? 1 - below : above;
}

describe('the interval of a count', () => {
  it('holds at least its share of the exact distribution, and no end could be drawn in', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0.05, max: 20, noNaN: true }),
        fc.double({ min: 0.05, max: 60, noNaN: true }),
        fc.double({ min: 0.5, max: 100, noNaN: true }),
        (window, shape, exposure) => {
          const { from, to } = countInterval(window, { shape, exposure }, 0.9);
          const tail = (k: number) => exactTail(k, window, shape, exposure);
          expect(tail(from) - tail(to + 1)).toBeGreaterThanOrEqual(0.9 - 1e-9);
          expect(1 - tail(from)).toBeLessThanOrEqual(0.05 + 1e-9);
          expect(1 - tail(from + 1)).toBeGreaterThanOrEqual(0.05 - 1e-9);
          expect(tail(to + 1)).toBeLessThanOrEqual(0.05 + 1e-9);
          if (to > 0) expect(tail(to)).toBeGreaterThanOrEqual(0.05 - 1e-9);
        },
      ),
    );
  });
});

describe('surprise of a count', () => {
  it('is the exact negative binomial tail', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 60 }),
        fc.double({ min: 0.05, max: 50, noNaN: true }),
        fc.double({ min: 0.05, max: 80, noNaN: true }),
        fc.double({ min: 0.05, max: 900, noNaN: true }),
        (k, window, shape, exposure) => {
          const expected = Math.min(50, -Math.log10(exactTail(k, window, shape, exposure)));
          expect(surpriseOfCount(k, window, { shape, exposure })).toBeCloseTo(expected, 5);
        },
      ),
      { numRuns: 500 },
    );
  });

  it('is next to nothing for a count that is discounted to next to nothing, however far', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 3, max: 300 }),
        fc.double({ min: 0.1, max: 24, noNaN: true }),
        fc.double({ min: 0.02, max: 20, noNaN: true }),
        fc.double({ min: 1, max: 2000, noNaN: true }),
        (power, window, shape, exposure) => {
          const tiny = surpriseOfCount(10 ** -power, window, { shape, exposure });
          expect(tiny).toBeLessThanOrEqual(0.05);
          expect(tiny).toBeLessThanOrEqual(surpriseOfCount(1, window, { shape, exposure }) + 1e-9);
        },
      ),
    );
  });

  it('grows with the count, and falls with what was known to happen', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0.1, max: 40, noNaN: true }),
        fc.double({ min: 0.1, max: 10, noNaN: true }),
        fc.double({ min: 0.1, max: 20, noNaN: true }),
        fc.double({ min: 1, max: 500, noNaN: true }),
        (count, step, shape, exposure) => {
          const rate = { shape, exposure };
          expect(surpriseOfCount(count + step, 1, rate)).toBeGreaterThanOrEqual(surpriseOfCount(count, 1, rate) - 1e-9);
          expect(surpriseOfCount(count, 1, { shape: shape + step, exposure })).toBeLessThanOrEqual(
            surpriseOfCount(count, 1, rate) + 1e-9,
          );
        },
      ),
    );
  });

  it('stays finite far in the tail', () => {
    expect(surpriseOfCount(500, 1, { shape: 0.02, exposure: 20_000 })).toBe(50);
    expect(surpriseOfCount(0, 1, { shape: 1, exposure: 1 })).toBe(0);
    expect(log10IncompleteBeta(1e-12, 30, 0.5)).toBeLessThan(-300);
  });

  it('is calibrated: a surprise of 2 comes by chance at most once in a hundred looks', () => {
    // Rates drawn from the prior itself, counts from the rates: the predictive must cover them.
    let seed = 7;
    const uniform = () => {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      return (seed + 0.5) / 2 ** 32;
    };
    // Shape 1 makes the gamma an exponential, so that no library is needed to draw from it.
    const rate = { shape: 1, exposure: 4 };
    let alarms = 0;
    const looks = 200_000;
    for (let i = 0; i < looks; i++) {
      const lambda = -Math.log(uniform()) / rate.exposure;
      let count = 0;
      let sum = -Math.log(uniform());
      while (sum < lambda) {
        count++;
        sum -= Math.log(uniform());
      }
      if (surpriseOfCount(count, 1, rate) >= 2) alarms++;
    }
    expect(alarms / looks).toBeLessThanOrEqual(0.01);
    expect(alarms / looks).toBeGreaterThan(0.001);
  });
});

describe('interval of normal counts', () => {
  it('ends where the surprise is reached, not before', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0.05, max: 30, noNaN: true }),
        fc.double({ min: 0.1, max: 200, noNaN: true }),
        (shape, exposure) => {
          const rate = { shape, exposure };
          const end = upperCount(1, rate, 3);
          expect(surpriseOfCount(end, 1, rate)).toBeGreaterThanOrEqual(3);
          if (end > 1) expect(surpriseOfCount(end - 1, 1, rate)).toBeLessThan(3);
        },
      ),
    );
  });
});

describe('prior of a fleet', () => {
  const bounds = { shape: [0.02, 2], exposure: [1, 20_000] } as const;

  it('has the mean of the fleet', () => {
    const members = Array.from({ length: 200 }, (_, i) => ({ count: i % 4, exposure: 100 }));
    expect(expectedCount(1, fitGamma(members, bounds))).toBeCloseTo(0.015, 3);
  });

  it('is wide when members differ and narrow when they do not', () => {
    const alike = Array.from({ length: 200 }, () => ({ count: 3, exposure: 100 }));
    const mixed = Array.from({ length: 200 }, (_, i) => ({ count: i % 20 === 0 ? 60 : 0, exposure: 100 }));
    expect(fitGamma(mixed, bounds).shape).toBeLessThan(0.2);
    expect(fitGamma(alike, bounds).shape).toBe(2);
  });

  it('keeps doubt when nobody ever met anything new', () => {
    const prior = fitGamma(
      Array.from({ length: 50 }, () => ({ count: 0, exposure: 500 })),
      bounds,
    );
    expect(prior.shape).toBeGreaterThan(0);
    expect(prior.exposure).toBeLessThanOrEqual(20_000);
  });
});
