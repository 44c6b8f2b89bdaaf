import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  BUDGET_WINDOW_MS,
  barOf,
  heldBack,
  isWithin,
  type Judged,
  limitsOf,
  marginOf,
  neededBy,
  rankOf,
  type Score,
  type Thresholds,
} from '../../alerts/budget.ts';
import { countedFromOf, replay } from '../../alerts/budget-report.ts';
import type { AlertBudget } from '../../config/index.ts';
import { SEVERITIES } from '../../core/index.ts';
import { HOUR, T0 } from './samples.ts';

const DAY = 24 * HOUR;
const WEEK = 7 * DAY;
const THRESHOLDS: Thresholds = { a: { medium: 4, critical: 15 }, b: { medium: 3.9, critical: 8 } };
const perWeek = (count: number): AlertBudget => ({ count, periodMs: WEEK });

const score = fc.record<Score>({
  alert: fc.nat(40).map((n) => `al_${n}`),
  detector: fc.constantFrom('a', 'b'),
  time: fc.integer({ min: 0, max: 60 * 24 }).map((hours) => T0 + hours * HOUR),
  // Few values: ties are where a bar goes wrong.
  margin: fc.oneof(
    fc.integer({ min: 0, max: 12 }).map((n) => n / 4),
    fc.constant(Number.POSITIVE_INFINITY),
  ),
  resolvedAs: fc.constantFrom(null, null, null, 'expected' as const, 'malicious' as const),
});
const scores = fc.array(score, { maxLength: 80 });
const budget = fc.record({ count: fc.integer({ min: 1, max: 20 }), periodMs: fc.constantFrom(DAY, WEEK) });
const end = T0 + 60 * DAY;

const finding = fc.record({
  detector: fc.constantFrom('a', 'b', 'a-rule'),
  severity: fc.constantFrom(...SEVERITIES),
  surprise: fc.double({ min: 0, max: 20, noNaN: true }),
});

function judgedOf(drawn: readonly Score[]): Judged[] {
  return [...drawn]
    .sort((one, other) => one.time - other.time)
    .map(({ alert, detector, time, margin }, n) => ({
      alert,
      finding: {
        ...{ id: `det_${n}`, detector, time },
        subject: { token: alert, lineage: alert, owner: 'o' },
        severity: margin === Number.POSITIVE_INFINITY ? 'critical' : 'medium',
        surprise: (THRESHOLDS[detector]?.medium ?? 0) + Math.min(margin, 30),
      },
    }));
}
const nothing = { scores: [], began: T0 };

describe('how strong a finding is', () => {
  it('is its surprise above its own detector’s medium, so that detectors on different scales compare', () => {
    expect(marginOf({ detector: 'a', severity: 'medium', surprise: 5 }, THRESHOLDS)).toBe(1);
    expect(marginOf({ detector: 'b', severity: 'high', surprise: 4.9 }, THRESHOLDS)).toBeCloseTo(1);
    expect(marginOf({ detector: 'a', severity: 'low', surprise: 3.9 }, THRESHOLDS)).toBeNull();
  });

  it('is beyond every budget for what is critical and for a rule that has no chance to compare', () => {
    expect(marginOf({ detector: 'a', severity: 'critical', surprise: 6 }, THRESHOLDS)).toBe(Number.POSITIVE_INFINITY);
    expect(marginOf({ detector: 'b', severity: 'high', surprise: 9 }, THRESHOLDS)).toBe(Number.POSITIVE_INFINITY);
    expect(marginOf({ detector: 'a', severity: 'high', surprise: 0 }, THRESHOLDS)).toBe(Number.POSITIVE_INFINITY);
    expect(marginOf({ detector: 'unknown', severity: 'medium', surprise: 5 }, THRESHOLDS)).toBe(Infinity);
    expect(marginOf({ detector: 'unknown', severity: 'low', surprise: 5 }, THRESHOLDS)).toBeNull();
  });

  it('is judged by the thresholds of now: one that was lowered brings in what was recorded as low', () => {
    const was = { detector: 'a', severity: 'low', surprise: 3.6 } as const;
    expect(marginOf(was, { a: { medium: 3.5, critical: 15 } })).toBeCloseTo(0.1);
    expect(marginOf({ ...was, severity: 'medium' }, { a: { medium: 5, critical: 15 } })).toBeNull();
  });

  it('never falls when the surprise grows', () => {
    fc.assert(
      fc.property(finding, fc.double({ min: 0.001, max: 5, noNaN: true }), (one, more) => {
        fc.pre(one.surprise > 0);
        const [before, after] = [one, { ...one, surprise: one.surprise + more }].map((f) => marginOf(f, THRESHOLDS));
        expect(after ?? -1).toBeGreaterThanOrEqual(before ?? -1);
      }),
    );
  });
});

describe('the limits of a budget', () => {
  it('are its share of the last 30 days, and of one period', () => {
    expect(limitsOf(perWeek(5), T0 + 90 * DAY, T0)).toEqual([
      { windowMs: BUDGET_WINDOW_MS, alerts: 21 },
      { windowMs: WEEK, alerts: 5 },
    ]);
    expect(limitsOf({ count: 2, periodMs: DAY }, T0 + 90 * DAY, T0).map(({ alerts }) => alerts)).toEqual([60, 2]);
  });

  it('are those of one period at the start, and grow with what is known', () => {
    expect(limitsOf(perWeek(5), T0, T0).map(({ alerts }) => alerts)).toEqual([5, 5]);
    expect(limitsOf(perWeek(5), T0 + 14 * DAY, T0).map(({ alerts }) => alerts)).toEqual([10, 5]);
  });
});

describe('the bar', () => {
  it('leaves no more alerts of its own history than the budget has room for, but for certain facts', () => {
    fc.assert(
      fc.property(scores, budget, (all, asked) => {
        const limits = limitsOf(asked, end, T0);
        const bar = barOf(all, limits, end);
        for (const { windowMs, alerts } of limits) {
          const over = all.filter(
            ({ time, margin, resolvedAs }) =>
              time > end - windowMs && margin > bar && margin < Infinity && resolvedAs !== 'malicious',
          );
          expect(new Set(over.map(({ alert }) => alert)).size).toBeLessThanOrEqual(alerts);
        }
      }),
    );
  });

  it('is the smallest that does: what pages is what is over it', () => {
    fc.assert(
      fc.property(scores, score, budget, (all, drawn, asked) => {
        const one = { ...drawn, time: end, alert: 'al_new' };
        const limits = limitsOf(asked, end, T0);
        const certain = one.margin === Number.POSITIVE_INFINITY;
        expect(isWithin(one, all, limits)).toBe(certain || one.margin > barOf(all, limits, end));
      }),
    );
  });

  it('never rises with the budget', () => {
    fc.assert(
      fc.property(scores, budget, fc.integer({ min: 1, max: 20 }), (all, asked, more) => {
        const larger = { ...asked, count: asked.count + more };
        expect(barOf(all, limitsOf(larger, end, T0), end)).toBeLessThanOrEqual(
          barOf(all, limitsOf(asked, end, T0), end),
        );
      }),
    );
  });

  it('counts alerts, not findings: an alert that grows takes the room of one', () => {
    const grown = Array.from({ length: 30 }, (_, n) => ({
      alert: 'al_1',
      detector: 'a',
      time: end - n,
      margin: 2,
      resolvedAs: null,
    }));
    const another = { alert: 'al_2', detector: 'a', time: end, margin: 1, resolvedAs: null };
    expect(rankOf(another, grown, WEEK, 100)).toBe(1);
    expect(isWithin(another, grown, limitsOf(perWeek(2), end, T0))).toBe(true);
    expect(isWithin(another, grown, limitsOf(perWeek(1), T0 + 30 * DAY, T0 + 29 * DAY))).toBe(false);
  });

  it('leaves room for what was resolved as malicious: it was no false page', () => {
    const said = (resolvedAs: Score['resolvedAs']) => [
      { alert: 'al_1', detector: 'a', time: end, margin: 2, resolvedAs },
    ];
    const another = { alert: 'al_2', detector: 'a', time: end, margin: 1, resolvedAs: null };
    const limits = limitsOf(perWeek(1), end, end);
    expect(isWithin(another, said('malicious'), limits)).toBe(true);
    expect(isWithin(another, said('expected'), limits)).toBe(false);
    expect(isWithin(another, said(null), limits)).toBe(false);
  });

  it('is shown as each detector’s own surprise, never above what is critical', () => {
    expect(neededBy('a', 0.83, THRESHOLDS)).toBe(4.83);
    expect(neededBy('b', 0.83, THRESHOLDS)).toBe(4.73);
    expect(neededBy('b', Number.POSITIVE_INFINITY, THRESHOLDS)).toBe(8);
    expect(neededBy('a', Number.NEGATIVE_INFINITY, THRESHOLDS)).toBe(4);
  });
});

describe('what other budgets would have paged', () => {
  const past = scores.map((all) => ({ scores: all, began: T0 }));
  const weeks = (...counts: number[]) => counts.map(perWeek);

  it('is never less with a larger budget, and everything without one', () => {
    fc.assert(
      fc.property(past, fc.integer({ min: 0, max: 50 }), (known, day) => {
        const from = T0 + day * DAY;
        const rows = replay(known, [...weeks(1, 2, 5, 10), null], THRESHOLDS, from, end);
        const paged = rows.map((row) => row.paged);
        expect(paged).toEqual([...paged].sort((a, b) => a - b));
        const seen = new Set(known.scores.filter(({ time }) => time > from && time <= end).map(({ alert }) => alert));
        expect(rows.at(-1)).toMatchObject({ budget: 'none', paged: seen.size, heldBack: 0, lost: [] });
        for (const row of rows) {
          expect(row.paged + row.heldBack).toBe(seen.size);
          expect(Object.values(row.byDetector).reduce((sum, count) => sum + count, 0)).toBe(row.paged);
        }
      }),
    );
  });

  it('is what the service would have paged at that budget', () => {
    fc.assert(
      fc.property(scores, budget, (drawn, asked) => {
        const unsaid = drawn.map((one) => ({ ...one, resolvedAs: null }));
        const judged = judgedOf(unsaid);
        const held = heldBack(judged, nothing, asked, THRESHOLDS);
        const paged = new Set(judged.filter(({ finding }) => !held.has(finding.id)).map(({ alert }) => alert));
        const inOrder = judged.map(({ alert, finding: { detector, time, severity, surprise } }) => ({
          ...{ alert, detector, time, resolvedAs: null },
          margin: marginOf({ detector, severity, surprise }, THRESHOLDS) ?? 0,
        }));
        const [row] = replay({ scores: inOrder, began: T0 }, [asked], THRESHOLDS, T0 - 1, end);
        expect(row?.paged).toBe(paged.size);
      }),
    );
  });

  it('is a rate over the time that findings cover, a day at least and all of the stretch at most', () => {
    const hour = [0, 1, 2, 3].map((n) => ({
      ...{ alert: `al_${n}`, detector: 'a', time: end - n * 900_000, margin: 1 + n, resolvedAs: null },
    }));
    const rate = (began: number) =>
      replay({ scores: hour, began }, [null], THRESHOLDS, end - 30 * DAY, end)[0]?.pagedPerWeek;
    expect(rate(end - HOUR)).toBe(28);
    expect(rate(end - 2 * DAY)).toBe(14);
    expect(rate(end - 90 * DAY)).toBe(0.93);
    expect(countedFromOf({ scores: [], began: end }, end - 30 * DAY, end)).toBe(end - DAY);
  });

  it('names the malicious ones that a budget would have cost', () => {
    const one = (n: number, margin: number, resolvedAs: Score['resolvedAs']) => ({
      ...{ alert: `al_${n}`, detector: 'a', time: T0 + n * HOUR, margin, resolvedAs },
    });
    const known = [one(1, 2, 'expected'), one(2, 1.5, null), one(3, 1, 'malicious'), one(4, 3, 'malicious')];
    const rows = replay({ scores: known, began: T0 }, [perWeek(1), perWeek(5), null], THRESHOLDS, T0, end);
    expect(
      rows.map(({ budget, paged, expected, malicious, lost }) => [budget, paged, expected, malicious, lost]),
    ).toEqual([
      ['1 per week', 2, 1, 1, ['al_3']],
      ['5 per week', 4, 1, 2, []],
      ['none', 4, 1, 2, []],
    ]);
  });
});

describe('what is held back', () => {
  it('is nothing that is certain and nothing that would not page anyway', () => {
    fc.assert(
      fc.property(scores, budget, (drawn, asked) => {
        const judged = judgedOf(drawn);
        const held = heldBack(judged, nothing, asked, THRESHOLDS);
        for (const { finding } of judged) if (finding.severity === 'critical') expect(held.has(finding.id)).toBe(false);
        const low = judged.map(({ alert, finding }) => ({ alert, finding: { ...finding, severity: 'low' as const } }));
        expect(heldBack(low, nothing, asked, THRESHOLDS).size).toBe(0);
      }),
    );
  });

  it('is never more with a larger budget', () => {
    fc.assert(
      fc.property(scores, budget, fc.integer({ min: 1, max: 20 }), (drawn, asked, more) => {
        const judged = judgedOf(drawn);
        const held = heldBack(judged, nothing, asked, THRESHOLDS);
        const larger = heldBack(judged, nothing, { ...asked, count: asked.count + more }, THRESHOLDS);
        for (const id of larger.keys()) expect(held.has(id)).toBe(true);
      }),
    );
  });

  it('is the same however findings that come in order are cut into runs', () => {
    fc.assert(
      fc.property(scores, budget, fc.nat(80), (drawn, asked, at) => {
        const judged = judgedOf(drawn);
        const first = judged.slice(0, at);
        const seen = first.map(({ alert, finding: { detector, time, severity, surprise } }) => ({
          ...{ alert, detector, time },
          margin: marginOf({ detector, severity, surprise }, THRESHOLDS) ?? 0,
          resolvedAs: null,
        }));
        const whole = heldBack(judged, nothing, asked, THRESHOLDS);
        const parts = [
          ...heldBack(first, nothing, asked, THRESHOLDS),
          ...heldBack(judged.slice(at), { scores: seen, began: T0 }, asked, THRESHOLDS),
        ];
        expect(parts).toEqual([...whole]);
      }),
    );
  });

  it('needs more than the finding has, so that the reason given is true', () => {
    fc.assert(
      fc.property(scores, budget, (drawn, asked) => {
        const judged = judgedOf(drawn);
        for (const [id, needed] of heldBack(judged, nothing, asked, THRESHOLDS)) {
          const held = judged.find(({ finding }) => finding.id === id)?.finding;
          expect(needed).toBeGreaterThanOrEqual((held?.surprise ?? 0) - 1e-9);
        }
      }),
    );
  });

  it.each([1, 2, 5, 10])(
    'leaves at most %d a week of a steady stream of chance findings, once 30 days are known',
    (count) => {
      const [perDay, days] = [6, 180];
      const perWeekPaged = [1, 2, 3].map((seed) => {
        let drawn = seed;
        // Surprises as chance gives them; mulberry32 is even enough for that.
        const random = () => {
          drawn = (drawn + 0x6d2b79f5) | 0;
          let mixed = Math.imul(drawn ^ (drawn >>> 15), 1 | drawn);
          mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
          return (((mixed ^ (mixed >>> 14)) >>> 0) + 1) / 2 ** 32;
        };
        const judged = judgedOf(
          Array.from({ length: perDay * days }, (_, n) => ({
            ...{ alert: `al_${n}`, detector: 'a', time: T0 + (n * DAY) / perDay, resolvedAs: null },
            margin: -Math.log10(random()),
          })),
        );
        const held = heldBack(judged, nothing, perWeek(count), { a: { medium: 4, critical: 99 } });
        const paged = judged.filter(({ finding }) => finding.time > T0 + 30 * DAY && !held.has(finding.id)).length;
        return paged / ((days - 30) / 7);
      });
      for (const paged of perWeekPaged) {
        expect(paged).toBeLessThanOrEqual(count);
        expect(paged).toBeGreaterThan(count / 2);
      }
    },
  );
});
