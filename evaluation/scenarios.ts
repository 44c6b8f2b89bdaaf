import { ATTACK_KINDS, CHANGE_KINDS, type SimulationOptions } from '../fixtures/index.ts';

/** ScenarioKind: attacks among harmless changes, or nothing but everyday life, to count false pages in. */
export type ScenarioKind = 'attacks' | 'calm';

/** Scenario is one simulated fleet to judge. */
export interface Scenario {
  readonly kind: ScenarioKind;
  readonly seed: number;
  readonly tokens: number;
  /** A smaller one, to show that the command works. */
  readonly quick: boolean;
}

/** REPORTED_SEEDS are those that figures are given for: nothing was ever tuned on them. */
export const REPORTED_SEEDS: readonly number[] = [101, 102, 103, 104, 105, 106, 107, 108];

/** TUNING_SEEDS are those that detectors, parameters and the plain rule were tuned on. */
export const TUNING_SEEDS: readonly number[] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];

/** FLEETS are the numbers of tokens that figures are given for. */
export const FLEETS: readonly number[] = [200, 2_000];

/** LARGE_FLEET is from how many tokens on a fleet is reported for LARGE_FLEET_SEEDS seeds only, unless others are asked for: one takes minutes. */
export const LARGE_FLEET = 1_000;

/** LARGE_FLEET_SEEDS is how many of the seeds a large fleet is reported for. */
export const LARGE_FLEET_SEEDS = 2;

const DAY_MS = 86_400_000;
/** A fixed day, so that the figures are the same whenever they are asked for. */
const END_MS = Date.UTC(2026, 10, 20, 18);
const TOKENS_PER_OWNER = 5;

/** SLICE_MS is how much of the live part is stored before it is judged, unless SLICE_EVENTS come first. */
export const SLICE_MS: Readonly<Record<ScenarioKind, number>> = { attacks: 900_000, calm: 3_600_000 };

/** SLICE_EVENTS bounds what is stored before it is judged. */
export const SLICE_EVENTS = 2_000;

/** simulationOf says what a scenario simulates. */
export function simulationOf({ kind, seed, tokens, quick }: Scenario): SimulationOptions {
  const attacks = kind === 'attacks';
  return {
    seed,
    tokens,
    owners: Math.max(2, Math.round(tokens / TOKENS_PER_OWNER)),
    historyDays: 21,
    // As long as the longest attack takes, and a day more to begin it in.
    liveDays: quick ? (attacks ? 1 : 2) : 7,
    // Each seed ends on another day of the week.
    endMs: END_MS + (seed % 7) * DAY_MS,
    callsPerTokenDay: attacks && tokens < 1_000 ? 60 : 30,
    attacks: attacks ? [...ATTACK_KINDS, ...(quick ? [] : ATTACK_KINDS)] : [],
    changes: attacks ? [...CHANGE_KINDS] : [],
  };
}

/** scenarioName names a scenario for people. */
export function scenarioName({ kind, seed, tokens }: Scenario): string {
  return `${kind}, seed ${seed}, ${tokens} tokens`;
}
