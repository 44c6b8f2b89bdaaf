import { countUntil, DAY_MS, FORGETTING_MS, HOUR_MS } from './baseline.ts';
import { BURST_HOUR, type RefusalFacts } from './refusals.ts';
import type { Beta } from './statistics.ts';

/** RefusedHours is how many calls a lineage made in each active hour, and how many of them were refused. */
export type RefusedHours = Pick<RefusalFacts, 'activeHours' | 'hourlyCalls' | 'hourlyRefused'>;

/** What is believed of a token's share of refused calls before it made any: one in fifty, as if twenty had been seen. */
const PRIOR: Beta = { hits: 0.4, misses: 19.6 };
/**
 * Hours of one token differ as if each had a share of its own, drawn around the token's with this many calls' worth of certainty
 * (a beta distribution): a client that retries what it is refused, a user who looks for what is gone.
 */
const HOUR_CERTAINTY = 20;

/**
 * shareBefore is the belief about the share of refused calls in one hour, from the hours that ended before a moment, older ones
 * weighing less: the token's own share is a beta posterior, an hour's differs from it; their relative variances are added, and a beta of that
 * mean and variance stands for both (moment matching), so that a long history does not make one hour certain.
 */
export function shareBefore(facts: RefusedHours, before: number): Beta {
  let [hits, of] = [PRIOR.hits, PRIOR.hits + PRIOR.misses];
  for (const [i, hour] of facts.activeHours.entries()) {
    if (hour + HOUR_MS > before) break;
    const calls = facts.hourlyCalls[i] ?? 0;
    // An hour tells of the token's share what so many calls of as many hours would (design effect, Kish 1965): never more than HOUR_CERTAINTY.
    const weight =
      (Math.exp((hour - before) / FORGETTING_MS) * (HOUR_CERTAINTY + 1)) / (HOUR_CERTAINTY + Math.max(1, calls));
    hits += weight * (facts.hourlyRefused[i] ?? 0);
    of += weight * calls;
  }
  const share = hits / of;
  const certainty = 1 / (1 / (of + 1) + 1 / (HOUR_CERTAINTY + 1)) - 1;
  return { hits: share * certainty, misses: (1 - share) * certainty };
}

/** An hour that holds so much of what a window does is as full; on so many days of late it is a habit, on one it may have been anything. */
const AS_FULL = 0.8;
const HABIT_DAYS = 3;
const HABIT_WITHIN_MS = 28 * DAY_MS;

/**
 * seenBefore is -log10 of how often an hour of the four weeks before a moment held as many refused calls, null when that was on fewer than three
 * days: a nightly job that is refused each night, and never else, is no burst; one bad hour excuses no other.
 */
export function seenBefore({ activeHours, hourlyRefused }: RefusedHours, before: number, count: number): number | null {
  const days = new Set<number>();
  let [asFull, hours] = [0, 0];
  for (let i = countUntil(activeHours, before - HABIT_WITHIN_MS); i < activeHours.length; i++) {
    const hour = activeHours[i] as number;
    if (hour + HOUR_MS > before) break;
    hours++;
    if ((hourlyRefused[i] ?? 0) < AS_FULL * count) continue;
    asFull++;
    days.add(Math.floor(hour / DAY_MS));
  }
  return days.size < HABIT_DAYS ? null : -Math.log10((asFull + 1) / (hours + 1));
}

/**
 * burstStart is when the burst began that a refused call belongs to: the first hour of the clock of those on end, a day at most, that hold
 * BURST_HOUR refused calls each, up to the call's own.
 */
export function burstStart({ activeHours, hourlyRefused }: RefusedHours, at: number): number {
  let start = Math.floor(at / HOUR_MS) * HOUR_MS;
  for (let i = countUntil(activeHours, start - 1) - 1; i >= 0; i--) {
    const isNext = activeHours[i] === start - HOUR_MS && (hourlyRefused[i] ?? 0) >= BURST_HOUR;
    if (!isNext || at - start >= DAY_MS - HOUR_MS) break;
    start -= HOUR_MS;
  }
  return start;
}
