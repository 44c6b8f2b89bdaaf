import { median } from 'simple-statistics';
import { ATTACK_KINDS, type AttackKind } from '../fixtures/index.ts';
import { binomialAtLeast, type Interval, poissonInterval, quantileOf, wilson } from './intervals.ts';
import type { AttackOutcome, ScenarioOutcome, Tally } from './outcome.ts';
import { type PlainRule, plainRules } from './plain-rule.ts';
import { LOOK_LEVELS } from './replay.ts';

/** SLOW_KINDS take hours or days by their nature; the others are fast. */
export const SLOW_KINDS: readonly AttackKind[] = [
  'enumeration-slow',
  'refused-slow',
  'churn-drift',
  'churn-drift-inside',
];

/** Share is `hits` of `of`, with its interval. */
export interface Share {
  readonly hits: number;
  readonly of: number;
  /** Null for nothing of nothing. */
  readonly share: number | null;
  readonly interval: Interval;
}

/** Rate is false pages a week over 1,000 tokens, with its interval. */
export interface Rate {
  readonly pages: number;
  /** Weeks times thousands of tokens. */
  readonly exposure: number;
  readonly rate: number | null;
  readonly interval: Interval;
}

/** Quality is how good a way of paging is. */
export interface Quality {
  readonly recall: Share;
  readonly precision: Share;
  readonly falsePages: Rate;
}

/** Delays are times to alert in milliseconds of event time, of the attacks that were caught. */
export interface Delays {
  readonly count: number;
  readonly medianMs: number | null;
  readonly p90Ms: number | null;
}

/** Calibration is how often a detector reached each of LOOK_LEVELS where nothing was wrong. */
export interface Calibration {
  readonly detector: string;
  readonly looks: number;
  readonly shares: readonly Share[];
  /** Beside each share: the chance of so many or more if a surprise kept its promise, by the exact binomial sum. */
  readonly chances: readonly number[];
}

/** KindScores is what became of the attacks of one kind. */
export interface KindScores {
  readonly kind: AttackKind;
  readonly recall: Share;
  readonly delays: Delays;
  /** The part of each delay that is the detectors' own: since the attack could be told from normal use, and was judged. */
  readonly afterTelling: Delays;
  /** From the first event to the first that tells, of all that were caught. */
  readonly telling: Delays;
  /** Of those caught that began before the live part: how long before. */
  readonly unjudged: Delays;
}

/** Scores are the figures over a set of scenarios. */
export interface Scores {
  readonly detectors: Quality;
  readonly plain: Quality;
  readonly byKind: readonly KindScores[];
  readonly fast: Delays;
  readonly slow: Delays;
  readonly calibration: readonly Calibration[];
  readonly events: number;
}

const WEEK_MS = 7 * 86_400_000;
const LOOKED_AT_OWNERS: readonly string[] = ['churn-rate', 'lifecycle-novelty'];

/** shareOf makes a share with its Wilson interval. */
export function shareOf(hits: number, of: number): Share {
  return { hits, of, share: of === 0 ? null : hits / of, interval: wilson(hits, of) };
}

/** rateOf makes a rate with its Poisson interval. */
export function rateOf(pages: number, exposure: number): Rate {
  const { low, high } = poissonInterval(pages);
  if (exposure === 0) return { pages, exposure, rate: null, interval: { low: 0, high: Number.POSITIVE_INFINITY } };
  return { pages, exposure, rate: pages / exposure, interval: { low: low / exposure, high: high / exposure } };
}

/** detectorTally is what the detectors found in a scenario, in the words of the plain rule. */
export function detectorTally({ attacks, pages }: ScenarioOutcome): Tally {
  const truePages = pages.filter(({ trueFor }) => trueFor.length > 0).length;
  return {
    caught: attacks.map(({ delayMs }) => delayMs !== null),
    truePages,
    falsePages: pages.length - truePages,
  };
}

/** qualityOf pools scenarios: recall and precision where there are attacks, false pages where there are none. */
export function qualityOf(outcomes: readonly ScenarioOutcome[], tally: (outcome: ScenarioOutcome) => Tally): Quality {
  let [caught, attacks, truePages, pages, calmPages, exposure] = [0, 0, 0, 0, 0, 0];
  for (const outcome of outcomes) {
    const found = tally(outcome);
    if (outcome.scenario.kind === 'calm') {
      calmPages += found.falsePages;
      exposure += (outcome.scenario.tokens / 1_000) * (outcome.liveMs / WEEK_MS);
      continue;
    }
    caught += found.caught.filter(Boolean).length;
    attacks += found.caught.length;
    truePages += found.truePages;
    pages += found.truePages + found.falsePages;
  }
  return {
    recall: shareOf(caught, attacks),
    precision: shareOf(truePages, pages),
    falsePages: rateOf(calmPages, exposure),
  };
}

/** delaysOf sums up times to alert. */
export function delaysOf(delaysMs: readonly (number | null)[]): Delays {
  const known = delaysMs.filter((delay) => delay !== null);
  return { count: known.length, medianMs: known.length === 0 ? null : median(known), p90Ms: quantileOf(known, 0.9) };
}

/** scoresOf is every figure over a set of scenarios. */
export function scoresOf(outcomes: readonly ScenarioOutcome[]): Scores {
  const attacks = outcomes.flatMap((outcome) => outcome.attacks);
  const delays = (slow: boolean) =>
    delaysOf(attacks.filter(({ kind }) => SLOW_KINDS.includes(kind) === slow).map(({ delayMs }) => delayMs));
  return {
    detectors: qualityOf(outcomes, detectorTally),
    plain: qualityOf(outcomes, ({ plain }) => plain),
    byKind: ATTACK_KINDS.map((kind) =>
      kindScores(
        kind,
        attacks.filter((attack) => attack.kind === kind),
      ),
    ),
    fast: delays(false),
    slow: delays(true),
    calibration: calibrationOf(outcomes),
    events: outcomes.reduce((sum, { events }) => sum + events, 0),
  };
}

function kindScores(kind: AttackKind, attacks: readonly AttackOutcome[]): KindScores {
  const caught = attacks.flatMap(({ delayMs, ...attack }) => (delayMs === null ? [] : [{ ...attack, delayMs }]));
  return {
    kind,
    recall: shareOf(caught.length, attacks.length),
    delays: delaysOf(caught.map(({ delayMs }) => delayMs)),
    afterTelling: delaysOf(
      caught.map(({ delayMs, tellingMs, unjudgedMs }) => Math.max(0, delayMs - Math.max(tellingMs, unjudgedMs))),
    ),
    telling: delaysOf(caught.map(({ tellingMs }) => tellingMs)),
    unjudged: delaysOf(caught.map(({ unjudgedMs }) => (unjudgedMs > 0 ? unjudgedMs : null))),
  };
}

function calibrationOf(outcomes: readonly ScenarioOutcome[]): Calibration[] {
  const calm = outcomes.filter(({ scenario }) => scenario.kind === 'calm');
  const detectors = [...new Set(calm.flatMap(({ surprised }) => Object.keys(surprised)))].sort();
  return detectors.map((detector) => {
    const looks = calm.reduce(
      (sum, outcome) =>
        sum + (LOOKED_AT_OWNERS.includes(detector) ? outcome.looks.ownerHours : outcome.looks.lineageHours),
      0,
    );
    const counts = LOOK_LEVELS.map((_, i) =>
      calm.reduce((sum, outcome) => sum + (outcome.surprised[detector]?.[i] ?? 0), 0),
    );
    return {
      detector,
      looks,
      shares: counts.map((count) => shareOf(count, looks)),
      chances: counts.map((count, i) => binomialAtLeast(count, looks, 10 ** -(LOOK_LEVELS[i] ?? 0))),
    };
  });
}

/** Excess is a level of surprise that more looks reached than chance explains. */
export interface Excess {
  readonly level: number;
  readonly hits: number;
  /** How many looks reach it by chance, in the mean. */
  readonly expected: number;
  /** The chance of so many or more. */
  readonly chance: number;
}

/** EXCESS_CHANCE is below which chance a count of looks no longer passes for chance. */
export const EXCESS_CHANCE = 0.05;

/** brokenLevels are the levels of surprise that a detector reached more often than its surprises promise. */
export function brokenLevels({ looks, shares, chances }: Calibration): Excess[] {
  return LOOK_LEVELS.flatMap((level, i) => {
    const [hits, chance] = [shares[i]?.hits ?? 0, chances[i] ?? 1];
    return chance < EXCESS_CHANCE ? [{ level, hits, expected: looks * 10 ** -level, chance }] : [];
  });
}

/** f1Of is the harmonic mean of recall and precision; 0 when either is unknown. */
export function f1Of({ recall, precision }: Pick<Quality, 'recall' | 'precision'>): number {
  const [r, p] = [recall.share ?? 0, precision.share ?? 0];
  return r + p === 0 ? 0 : (2 * r * p) / (r + p);
}

/** bestRule is the plain rule with the best F1 over scenarios that were run with all rules; the first of equals. */
export function bestRule(outcomes: readonly ScenarioOutcome[]): {
  readonly rule: PlainRule;
  readonly quality: Quality;
} {
  const tried = plainRules().map((rule, i) => ({
    rule,
    quality: qualityOf(outcomes, ({ rules }) => rules[i] ?? { caught: [], truePages: 0, falsePages: 0 }),
  }));
  return tried.reduce((best, one) => (f1Of(one.quality) > f1Of(best.quality) ? one : best));
}
