import { expect, test } from 'vitest';
import { plainRules } from '../../evaluation/plain-rule.ts';
import { bestRule, brokenLevels, f1Of, scoresOf } from '../../evaluation/scores.ts';
import { outcomeOf, SOME } from './outcomes.ts';

test('recall counts attacks, precision counts alerts, false pages come from the calm weeks alone', () => {
  const { detectors, plain } = scoresOf(SOME);
  expect([detectors.recall.hits, detectors.recall.of]).toEqual([4, 5]);
  expect([detectors.precision.hits, detectors.precision.of]).toEqual([2, 3]);
  expect(detectors.falsePages).toMatchObject({ pages: 3, exposure: 2, rate: 1.5 });
  expect(plain.recall.share).toBe(0.2);
  expect(plain.precision.share).toBe(0.25);
  expect(plain.falsePages.rate).toBe(20);
  expect(f1Of(detectors)).toBeCloseTo((2 * 0.8 * (2 / 3)) / (0.8 + 2 / 3), 12);
});

test('a kind of attack has its own recall; slow kinds have their own time to alert, misses have none', () => {
  const { byKind, fast, slow } = scoresOf(SOME);
  const of = (kind: string) => byKind.find((one) => one.kind === kind)?.recall;
  expect(of('combined')?.share).toBe(1);
  expect(of('cron-touch-six')?.share).toBe(0);
  expect(of('dormant-use')?.share).toBeNull();
  expect(fast).toEqual({ count: 2, medianMs: 2_000, p90Ms: 3_000 });
  expect(slow).toEqual({ count: 2, medianMs: 133_600_000, p90Ms: 260_000_000 });
});

test('of a delay the detectors’ own part is what comes after the attack could be told and was judged', () => {
  const { byKind } = scoresOf(SOME);
  const drift = byKind.find(({ kind }) => kind === 'churn-drift');
  expect(drift?.delays.medianMs).toBe(260_000_000);
  expect(drift?.afterTelling.medianMs).toBe(10_000_000);
  expect(drift?.telling.medianMs).toBe(100_000_000);
  expect(drift?.unjudged).toMatchObject({ count: 1, medianMs: 250_000_000 });
  const walk = byKind.find(({ kind }) => kind === 'enumeration-slow');
  expect(walk?.afterTelling.medianMs).toBe(200_000);
  expect(walk?.unjudged.count).toBe(0);
});

test('calibration divides by the looks that the detector had', () => {
  const shares = Object.fromEntries(
    scoresOf(SOME).calibration.map(({ detector, shares }) => [detector, shares.map(({ share }) => share)]),
  );
  expect(shares).toEqual({ 'geo-novelty': [0.08, 0.009, 0.0007, 0], 'churn-rate': [0.1, 0.01, 0.006, 0] });
});

test('a count of looks breaks the promise where so many are no longer chance, and nowhere else', () => {
  const broken = (detector: string) =>
    scoresOf(SOME)
      .calibration.filter((row) => row.detector === detector)
      .flatMap(brokenLevels)
      .map(({ level, hits, expected }) => [level, hits, expected]);
  expect(broken('geo-novelty')).toEqual([]);
  expect(broken('churn-rate')).toEqual([[3, 3, 0.5]]);
});

test('nothing is claimed of no scenarios', () => {
  const { detectors } = scoresOf([]);
  expect(detectors.recall.share).toBeNull();
  expect(detectors.falsePages.rate).toBeNull();
});

test('tuning finds the plain rule with the best F1', () => {
  const rules = plainRules();
  const good = 77;
  const outcome = outcomeOf(
    {},
    { rules: rules.map((_, i) => ({ caught: [true, i === good], truePages: 1, falsePages: i === good ? 0 : 1 })) },
  );
  expect(bestRule([outcome]).rule).toEqual(rules[good]);
});
