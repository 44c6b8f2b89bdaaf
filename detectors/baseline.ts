import type { LearningState } from '../core/index.ts';
import type { Gamma } from './statistics.ts';

export const HOUR_MS = 3_600_000;
export const DAY_MS = 24 * HOUR_MS;

/** A lineage is known once its history spans this long, with use on at least KNOWN_ACTIVE_DAYS days. The view `tokens` says the same. */
export const KNOWN_AFTER_MS = 5 * DAY_MS;

/** KNOWN_ACTIVE_DAYS is on how many days a lineage must have been used to be known. */
export const KNOWN_ACTIVE_DAYS = 3;

/** What a lineage meets on its first day is its vocabulary, not its rate of meeting new things. */
export const VOCABULARY_MS = DAY_MS;

/** A habit of this age weighs 1/e of today's: a token that settled down is judged as settled. */
export const FORGETTING_MS = 21 * DAY_MS;

/** A first meeting stays open to judgement this long: what follows it may tell what it was. */
export const OPEN_MS = HOUR_MS;

/** History is what a lineage did, as far as novelty is concerned; times are epoch milliseconds, sorted. */
export interface History {
  /** First meeting of every value of the facet. */
  readonly met: readonly number[];
  /** Start of every hour in which the lineage was active. */
  readonly activeHours: readonly number[];
}

/** learningState says what a baseline that ends before `at` is worth. */
export function learningState(activeHours: readonly number[], at: number): LearningState {
  const first = activeHours[0];
  if (first === undefined || at - first < KNOWN_AFTER_MS) return 'learning';
  const days = new Set<number>();
  for (const hour of activeHours) {
    if (hour >= at) break;
    days.add(Math.floor(hour / DAY_MS));
    if (days.size >= KNOWN_ACTIVE_DAYS) return 'known';
  }
  return 'learning';
}

/**
 * noveltyRate is the belief, just before `at`, about how many new values per active hour the lineage meets: on its first day
 * that of the fleet's first days; then the fleet's prior, updated by its own meetings since, older ones weighing less.
 */
export function noveltyRate(
  history: History,
  at: number,
  prior: { readonly settled: Gamma; readonly young: Gamma },
): Gamma {
  const first = history.activeHours[0] ?? at;
  const from = first + VOCABULARY_MS;
  if (at <= from) return prior.young;
  let { shape, exposure } = prior.settled;
  for (const met of history.met) if (met > from && met < at) shape += Math.exp((met - at) / FORGETTING_MS);
  for (const hour of history.activeHours)
    if (hour > from && hour + HOUR_MS <= at) exposure += Math.exp((hour - at) / FORGETTING_MS);
  return { shape, exposure };
}

/** activeHoursWithin counts the active hours that touch the `windowMs` before `at`, never less than the part of an hour that the window is. */
export function activeHoursWithin(activeHours: readonly number[], at: number, windowMs: number): number {
  if (windowMs <= HOUR_MS) return windowMs / HOUR_MS;
  let hours = 0;
  for (const hour of activeHours) if (hour <= at && hour + HOUR_MS > at - windowMs) hours++;
  return Math.max(1, Math.min(hours, windowMs / HOUR_MS));
}
