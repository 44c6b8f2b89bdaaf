import fc from 'fast-check';
import { expect, test } from 'vitest';
import { learntAt } from '../../evaluation/plain-facts.ts';
import { countedInHour, type Met, type PlainFacts, plainPages } from '../../evaluation/plain-rule.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

const met = (lineage: string | null, at: number, inHour: number): Met => ({ owner: 'acme', lineage, at, inHour });
const FACTS: PlainFacts = {
  endpoints: [met('tok_a', HOUR, 5), met('tok_a', 2 * HOUR, 6), met('tok_b', HOUR, 2), met('tok_a', 9 * DAY, 6)],
  countries: [met('tok_b', HOUR, 1)],
  steps: [met(null, HOUR, 20)],
};

test('a plain rule pages above its thresholds only, once a day for one subject', () => {
  const about = (rule: Parameters<typeof plainPages>[1]) =>
    plainPages(FACTS, rule).map(({ subject, times }) => [subject.lineage, times.length]);
  expect(about({ endpoints: 5, country: false, steps: 60 })).toEqual([
    ['tok_a', 1],
    ['tok_a', 1],
  ]);
  expect(about({ endpoints: 4, country: true, steps: 19 })).toEqual([
    ['tok_a', 2],
    ['tok_b', 1],
    [null, 1],
    ['tok_a', 1],
  ]);
  expect(about({ endpoints: 60, country: false, steps: 60 })).toEqual([]);
});

test('a stricter rule never finds more to page for', () => {
  const facts = fc.array(
    fc
      .tuple(fc.constantFrom('tok_a', 'tok_b'), fc.nat(100), fc.integer({ min: 1, max: 30 }))
      .map(([lineage, hour, n]) => met(lineage, hour * HOUR, n)),
  );
  const moments = (endpoints: readonly Met[], limit: number) =>
    plainPages({ endpoints, countries: [], steps: [] }, { endpoints: limit, country: false, steps: 60 }).flatMap(
      ({ times }) => times,
    ).length;
  fc.assert(
    fc.property(facts, fc.nat(30), fc.nat(30), (endpoints, a, b) => {
      expect(moments(endpoints, Math.max(a, b))).toBeLessThanOrEqual(moments(endpoints, Math.min(a, b)));
    }),
  );
});

test('what came within the hour is counted, to the millisecond', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(5 * HOUR)), (raw) => {
      const times = [...raw].sort((a, b) => a - b);
      const counted = countedInHour(times);
      times.forEach((at, i) => {
        expect(counted[i]).toEqual({
          at,
          inHour: times.filter((other, j) => j <= i && other > at - HOUR).length,
        });
      });
    }),
  );
});

test('a lineage is known after five days with use on three, as for the detectors', () => {
  expect(learntAt([0, DAY, 2 * DAY])).toBe(5 * DAY);
  expect(learntAt([0, DAY, 9 * DAY])).toBe(9 * DAY + 1);
  expect(learntAt([0, HOUR, DAY])).toBe(Number.POSITIVE_INFINITY);
  expect(learntAt([])).toBe(Number.POSITIVE_INFINITY);
});
