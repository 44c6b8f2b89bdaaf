import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ChurnFacts, churnRateDetector, driftCount, ordinaryHour } from '../../detectors/churn-rate.ts';
import type { Finding } from '../../detectors/contract.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
/** A Monday. */
const START = Date.UTC(2026, 9, 5);

const params = Object.fromEntries(
  Object.entries(churnRateDetector.params).map(([name, param]) => [name, param.default]),
);

/** factsOf is an owner known by every step it made, in order of time. */
function factsOf(times: readonly number[]): ChurnFacts {
  const hours = new Map<number, number>();
  for (const time of times) {
    const hour = Math.floor(time / HOUR) * HOUR;
    hours.set(hour, (hours.get(hour) ?? 0) + 1);
  }
  return {
    owner: 'acme',
    step: 'issued',
    firstSeen: START,
    hours: [...hours].map(([hour, steps]) => ({ hour, steps })),
    recent: times.map((time, i) => ({ time, token: `tok_${i}` })),
  };
}

/** ordinaryDay is four steps between nine and seventeen. */
const ordinaryDay = (day: number) => [9, 11, 13, 16].map((hour) => START + day * DAY + hour * HOUR + 120_000);
const history = Array.from({ length: 21 }, (_, day) => ordinaryDay(day)).flat();

/** pagesOf is what pages from the 21st day on. */
function pagesOf(times: readonly number[]): Finding[] {
  const found = churnRateDetector.judge(
    factsOf([...history, ...times].sort((a, b) => a - b)),
    params,
    START + 21 * DAY,
  );
  return found.filter(({ severity }) => severity !== 'low');
}

describe('a drift', () => {
  it('counts no clock hour for more than it is given, and all else in full', () => {
    const time = fc.integer({ min: 0, max: 72 * HOUR });
    fc.assert(
      fc.property(fc.array(time, { maxLength: 80 }), fc.integer({ min: 1, max: 12 }), (times, most) => {
        // Independently: strike out of the sorted list what an hour has too much of.
        const kept = [...times]
          .sort((a, b) => a - b)
          .filter((at, i, all) => {
            const before = all.slice(0, i).filter((other) => Math.floor(other / HOUR) === Math.floor(at / HOUR));
            return before.length < most;
          });
        expect(driftCount(times, most)).toBe(kept.length);
      }),
    );
  });

  it('takes as ordinary what one hour in twenty exceeds, and never less than the least', () => {
    const hours = fc.array(fc.record({ hour: fc.constant(0), steps: fc.integer({ min: 1, max: 50 }) }), {
      minLength: 1,
      maxLength: 60,
    });
    fc.assert(
      fc.property(hours, fc.integer({ min: 1, max: 10 }), (past, least) => {
        const ordinary = ordinaryHour({ hours: past }, HOUR, least);
        const fuller = past.filter(({ steps }) => steps > ordinary).length;
        expect(fuller).toBeLessThanOrEqual(Math.ceil((past.length - 1) / 20));
        expect(ordinary).toBeGreaterThanOrEqual(least);
        expect(ordinaryHour({ hours: past }, 0, least)).toBe(least);
      }),
    );
  });

  it('of 1.3 times as many steps each day pages within five days', () => {
    const drifting = Array.from({ length: 5 }, (_, day) => {
      const steps = Math.round(4 * 1.3 ** (day + 1));
      return Array.from({ length: steps }, (_, i) => START + (21 + day) * DAY + 9 * HOUR + (i * 8 * HOUR) / steps);
    }).flat();
    expect(pagesOf(drifting).length).toBeGreaterThan(0);
  });

  it('is not what the days after a burst are: a burst is told within the day that an alert takes it up', () => {
    const burst = Array.from({ length: 60 }, (_, i) => START + 21 * DAY + 10 * HOUR + i * 10_000);
    const found = pagesOf([...ordinaryDay(21), ...burst, ...ordinaryDay(22), ...ordinaryDay(23)]);
    expect(found.length).toBeGreaterThan(0);
    for (const { window } of found) expect(window.to).toBeLessThan(START + 22 * DAY + 11 * HOUR);
  });

  it('is not what an owner of steady habits does', () => {
    expect(pagesOf([...ordinaryDay(21), ...ordinaryDay(22), ...ordinaryDay(23), ...ordinaryDay(24)])).toEqual([]);
  });
});
