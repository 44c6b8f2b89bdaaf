import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { binomialAtLeast, poissonAtMost, poissonInterval, quantileOf, wilson } from '../../evaluation/intervals.ts';

describe('the interval of a share', () => {
  test('is Wilson’s: the published example of 8 of 10', () => {
    const { low, high } = wilson(8, 10);
    expect(low).toBeCloseTo(0.4902, 3);
    expect(high).toBeCloseTo(0.9433, 3);
  });

  test('holds the share, stays within 0 and 1, and narrows as more is seen', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 500 }), fc.nat(500), (of, raw) => {
        const hits = Math.min(raw, of);
        const { low, high } = wilson(hits, of);
        const more = wilson(hits * 4, of * 4);
        expect(low).toBeGreaterThanOrEqual(0);
        expect(high).toBeLessThanOrEqual(1);
        expect(low).toBeLessThanOrEqual(hits / of);
        expect(high).toBeGreaterThanOrEqual(hits / of);
        expect(more.high - more.low).toBeLessThan(high - low);
      }),
    );
  });

  test('is everything when nothing was seen', () => {
    expect(wilson(0, 0)).toEqual({ low: 0, high: 1 });
  });
});

describe('the interval of a count', () => {
  test.each([
    // Garwood's table.
    [0, 0, 3.689],
    [1, 0.0253, 5.572],
    [5, 1.623, 11.668],
    [20, 12.217, 30.888],
  ])('of %i is exact', (count, low, high) => {
    const interval = poissonInterval(count);
    expect(interval.low).toBeCloseTo(low, 3);
    expect(interval.high).toBeCloseTo(high, 3);
  });

  test('leaves a fortieth on either side', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 300 }), (count) => {
        const { low, high } = poissonInterval(count);
        expect(1 - poissonAtMost(count - 1, low)).toBeCloseTo(0.025, 6);
        expect(poissonAtMost(count, high)).toBeCloseTo(0.025, 6);
      }),
    );
  });
});

describe('the chance of so many or more', () => {
  /** The same in whole numbers: hits of `of`, each with a chance of `per` in a thousand. */
  const exact = (hits: number, of: number, per: number): number => {
    let [choices, sum] = [1n, 0n];
    for (let k = 0; k <= of; k++) {
      if (k >= hits) sum += choices * BigInt(per) ** BigInt(k) * BigInt(1000 - per) ** BigInt(of - k);
      choices = (choices * BigInt(of - k)) / BigInt(k + 1);
    }
    const digits = 10n ** 30n;
    return Number((sum * digits) / 1000n ** BigInt(of)) / 1e30;
  };

  test('is the exact sum of whole numbers', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 120 }),
        fc.nat(120),
        fc.constantFrom(1, 10, 100, 500, 990),
        (of, hits, per) => {
          const [found, sum] = [binomialAtLeast(hits, of, per / 1000), exact(hits, of, per)];
          expect(Math.abs(found - sum)).toBeLessThanOrEqual(1e-9 * sum + 1e-15);
        },
      ),
    );
  });

  test('is close to Poisson’s where the chance is small, of large numbers as well', () => {
    for (const [hits, of, chance] of [
      [24, 16_029, 0.001],
      [6, 16_029, 0.0001],
      [61, 360_892, 0.001],
      [0, 360_892, 0.0001],
    ] as const)
      expect(binomialAtLeast(hits, of, chance)).toBeCloseTo(1 - poissonAtMost(hits - 1, of * chance), 3);
  });

  test('falls as more is asked for, from certainty to nothing', () => {
    expect(binomialAtLeast(0, 0, 0.1)).toBe(1);
    expect(binomialAtLeast(11, 10, 0.1)).toBe(0);
    const chances = Array.from({ length: 12 }, (_, hits) => binomialAtLeast(hits, 10, 0.1));
    expect(chances).toEqual([...chances].sort((a, b) => b - a));
  });
});

test('a quantile is the least value that so large a share does not exceed', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 50 }), { minLength: 1 }),
      fc.double({ min: 0.01, max: 1, noNaN: true }),
      (values, q) => {
        const found = quantileOf(values, q) as number;
        const share = (limit: (value: number) => boolean) => values.filter(limit).length / values.length;
        expect(values).toContain(found);
        expect(share((value) => value <= found)).toBeGreaterThanOrEqual(q - 1e-9);
        expect(share((value) => value < found)).toBeLessThan(q);
      },
    ),
  );
  expect(quantileOf([], 0.5)).toBeNull();
});
