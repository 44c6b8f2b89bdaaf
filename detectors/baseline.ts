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

/** SLOW_FORGETTING_MS is the same of those who do little: in three weeks an owner's people take some dozens of steps. */
export const SLOW_FORGETTING_MS = 90 * DAY_MS;

/** A first meeting stays open to judgement this long: what follows it may tell what it was. */
export const OPEN_MS = HOUR_MS;

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

/** countUntil is how many of some sorted times are at `at` or before it. */
export function countUntil(times: readonly number[], at: number): number {
  let [low, high] = [0, times.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((times[middle] as number) <= at) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** History is what a lineage did, as far as novelty of one facet is concerned, added up so that every moment of it is told at once. Times are epoch milliseconds. */
export interface History {
  /** First meetings of the values, sorted. */
  readonly met: readonly number[];
  /** Start of its first active hour; null: it has none. */
  readonly first: number | null;
  /** What was met after the first day, and the hours active after it. */
  readonly meetings: Fading;
  readonly hours: Fading;
}

/** Fading is sorted times that weigh less the older they are. */
interface Fading {
  readonly times: readonly number[];
  /** What the times up to each weigh together, at the last of all. */
  readonly sums: readonly number[];
  /** At this age a time weighs 1/e. */
  readonly fadesMs: number;
}

function fadingOf(sorted: readonly number[], after: number, fadesMs: number): Fading {
  const times = sorted.slice(countUntil(sorted, after));
  const last = times.at(-1) ?? 0;
  let sum = 0;
  return { times, sums: times.map((time) => (sum += Math.exp((time - last) / fadesMs))), fadesMs };
}

/** weightAt is what the times up to `until` weigh at `at`. */
function weightAt({ times, sums, fadesMs }: Fading, until: number, at: number): number {
  const last = times.at(-1) ?? 0;
  return (sums[countUntil(times, until) - 1] ?? 0) * Math.exp((last - at) / fadesMs);
}

/** historyOf is the history of first meetings and of active hours, both sorted, of which one of age `fadesMs` weighs 1/e. */
export function historyOf(met: readonly number[], activeHours: readonly number[], fadesMs = FORGETTING_MS): History {
  const first = activeHours[0] ?? null;
  const settled = first === null ? Number.POSITIVE_INFINITY : first + VOCABULARY_MS;
  return { met, first, meetings: fadingOf(met, settled, fadesMs), hours: fadingOf(activeHours, settled, fadesMs) };
}

/**
 * noveltyRate is the belief, just before `at`, about how many new values per active hour the lineage meets: on its first day
 * that of the fleet's first days; then the fleet's prior, updated by its own meetings since, older ones weighing less.
 */
export function noveltyRate(
  { first, meetings, hours }: History,
  at: number,
  { settled, young }: { readonly settled: Gamma; readonly young: Gamma },
): Gamma {
  if (first === null || at <= first + VOCABULARY_MS) return young;
  return {
    shape: settled.shape + weightAt(meetings, at - 1, at),
    exposure: settled.exposure + weightAt(hours, at - HOUR_MS, at),
  };
}

/** activeHoursWithin counts the active hours that touch the `windowMs` before `at`, never less than the part of an hour that the window is. */
export function activeHoursWithin(activeHours: readonly number[], at: number, windowMs: number): number {
  if (windowMs <= HOUR_MS) return windowMs / HOUR_MS;
  const hours = countUntil(activeHours, at) - countUntil(activeHours, at - windowMs - HOUR_MS);
  return Math.max(1, Math.min(hours, windowMs / HOUR_MS));
}
