import type { AttackKind } from '../fixtures/index.ts';
import type { Looks } from './plain-facts.ts';
import type { Scenario } from './scenarios.ts';

/** AttackOutcome is what became of one attack. */
export interface AttackOutcome {
  readonly id: string;
  readonly kind: AttackKind;
  readonly subject: string;
  readonly description: string;
  /** From its first event to the page; null when it was missed. */
  readonly delayMs: number | null;
  /** From its first event to the first that could tell it from normal use. */
  readonly tellingMs: number;
  /** How much of it lay before the live part, in which nothing is judged; 0 for one that began in it. */
  readonly unjudgedMs: number;
  /** What was found about the subject at that time, paging or not: the strongest of each detector, in words. */
  readonly heard: readonly string[];
}

/** PageOutcome is one alert that pages. */
export interface PageOutcome {
  /** Ids of the attacks that it is true for; none: a false page. */
  readonly trueFor: readonly string[];
  readonly subject: string;
  readonly tokenKind: string;
  readonly severity: string;
  readonly detectors: readonly string[];
  readonly surprise: number;
  readonly summary: string;
  /** What its most surprising finding observed, and expected. */
  readonly observed: Readonly<Record<string, unknown>>;
  readonly expected: Readonly<Record<string, unknown>>;
  /** Harmless changes that touched the subject at that time. */
  readonly during: readonly string[];
}

/** Tally is what a way of judging found, in counts: for the detectors and for the plain rule alike. */
export interface Tally {
  /** By attack, in the order of the scenario: paged or not. */
  readonly caught: readonly boolean[];
  readonly truePages: number;
  readonly falsePages: number;
}

/** ScenarioOutcome is everything that one scenario showed. */
export interface ScenarioOutcome {
  readonly scenario: Scenario;
  readonly events: number;
  readonly rejected: number;
  /** Length of the live part. */
  readonly liveMs: number;
  /** What running it took. */
  readonly seconds: number;
  readonly attacks: readonly AttackOutcome[];
  readonly pages: readonly PageOutcome[];
  /** Calm scenarios only: how many looks there were, and by detector how many reached each of LOOK_LEVELS. */
  readonly looks: Looks;
  readonly surprised: Readonly<Record<string, readonly number[]>>;
  readonly plain: Tally;
  /** Only when rules are compared: the same for every rule of plainRules, in order. */
  readonly rules: readonly Tally[];
}
