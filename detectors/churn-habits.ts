import { countUntil, DAY_MS, FORGETTING_MS, HOUR_MS } from './baseline.ts';
import { remembered } from './contract.ts';
import type { Gamma } from './statistics.ts';

const WEEK_MS = 7 * DAY_MS;

/** HISTORY_MS is how far back an owner's churn is remembered. */
export const HISTORY_MS = 8 * WEEK_MS;

/** PastSteps is when an owner made steps of one kind. Times are epoch milliseconds, hours sorted. */
export interface PastSteps {
  /** First sign of the owner, by use or by lifecycle. */
  readonly firstSeen: number;
  /** Past hours with any step. */
  readonly hours: readonly { readonly hour: number; readonly steps: number }[];
}

/** ChurnWindow is a length of time whose steps are counted. */
export interface ChurnWindow {
  readonly windowMs: number;
  /** How much the windows of a week differ in an owner of whom nothing is known, and how many squared steps of its own outweigh that. */
  readonly profile: { readonly prior: number; readonly weight: number };
}

/**
 * ChurnHabits is what an owner's windows of one length were like: their mean count, how much the times of the week differ
 * (`profile`), and how much the same time differs from week to week beyond the luck of a Poisson count (`dispersion`); both are
 * squared coefficients of variation.
 */
export interface ChurnHabits {
  readonly mean: number;
  readonly profile: number;
  readonly dispersion: number;
}

/**
 * What is believed of the dispersion before an owner has shown its own, how many squared steps of its own outweigh that, and the
 * most that is taken for weeks that differ: more is a burst, and one that passed must not excuse a much fuller one.
 */
const DISPERSION = { prior: 0.03, weight: 400, most: 0.5 } as const;
/** The least that the times of a week differ: no owner's average tells every moment. */
const LEAST_PROFILE = 0.15;

const sumsOf = remembered((hours: PastSteps['hours']) => {
  let sum = 0;
  return { starts: hours.map(({ hour }) => hour), sums: hours.map(({ steps }) => (sum += steps)) };
});

/** stepsBefore is how many steps were made before a moment, those of its own hour as if they came evenly. */
export function stepsBefore({ hours }: Pick<PastSteps, 'hours'>, time: number): number {
  const { starts, sums } = sumsOf(hours);
  const last = countUntil(starts, time - 1) - 1;
  const before = sums[last - 1] ?? 0;
  const share = Math.min(1, (time - (starts[last] ?? time)) / HOUR_MS);
  return before + ((sums[last] ?? 0) - before) * share;
}

/** stepsWithin is how many steps were made from one moment until before another. */
function stepsWithin(past: PastSteps, from: number, to: number): number {
  return stepsBefore(past, to) - stepsBefore(past, from);
}

/**
 * churnHabits tells an owner's habits from its windows before a moment, by the time of the week that they ended at: a one-way
 * analysis of variance of counts, by the method of moments. Of w weeks with counts of mean m and variance v at one time of the
 * week, v - m estimates dispersion * rate^2 and m^2 - v/w estimates rate^2 (negative binomial, Var = rate + dispersion * rate^2);
 * (m - mean)^2 - v/w estimates profile * mean^2. Sums over the times of the week are shrunk towards a prior. Windows longer than
 * a day overlap and weigh less.
 */
export function churnHabits(past: PastSteps, before: number, { windowMs, profile }: ChurnWindow): ChurnHabits {
  const start = Math.max(past.firstSeen, before - HISTORY_MS);
  const apart = Math.min(windowMs, DAY_MS);
  const weight = apart / windowMs;
  // Half a step in half a window more: nothing seen is not proof of nothing.
  const mean = (stepsWithin(past, start, before) + 0.5) / (Math.max(windowMs, before - start) / windowMs + 0.5);
  let [excess, squares, between, meanSquares] = [0, 0, 0, 0];
  for (let ago = 0; ago < WEEK_MS; ago += apart) {
    let [weeks, sum, sumOfSquares] = [0, 0, 0];
    for (let to = before - ago; to - windowMs >= start; to -= WEEK_MS) {
      const count = stepsWithin(past, to - windowMs, to);
      weeks++;
      sum += count;
      sumOfSquares += count * count;
    }
    if (weeks === 0) continue;
    const usual = sum / weeks;
    // One week does not tell how weeks differ: as Poisson counts do, at the least.
    const variance = weeks > 1 ? Math.max(0, sumOfSquares - sum * usual) / (weeks - 1) : usual;
    excess += weight * (weeks - 1) * (variance - usual);
    squares += weight * (weeks - 1) * Math.max(0, usual * usual - variance / weeks);
    between += weight * ((usual - mean) ** 2 - variance / weeks);
    meanSquares += weight * mean * mean;
  }
  return {
    mean,
    profile: Math.max(LEAST_PROFILE, (profile.prior * profile.weight + between) / (profile.weight + meanSquares)),
    dispersion: Math.min(
      DISPERSION.most,
      Math.max(0, DISPERSION.prior * DISPERSION.weight + excess) / (DISPERSION.weight + squares),
    ),
  };
}

/** A schedule keeps its time of the week to within an hour. */
const SCHEDULE_DRIFT_MS = HOUR_MS;

/**
 * churnRate is the belief about how many other steps are in a window that ends with a step at `at`. The rate has a Gamma prior
 * around the owner's mean, as wide as its times of the week differ; counts of the same window in past weeks, older ones weighing
 * less, update it, and so does the step itself, because only a moment with a step is looked at (Gamma-Poisson, the posterior
 * after one more event). A week of its own is faster or slower by a Gamma factor of variance `dispersion`: the relative variances
 * are added (their product, which is small where either is, is left out), and a Gamma of that mean and variance stands for both (moment
 * matching), so that the counts are negative binomial and do not become certain with a long history.
 */
export function churnRate(past: PastSteps, at: number, { windowMs }: ChurnWindow, habits: ChurnHabits): Gamma {
  const start = Math.max(past.firstSeen, at - HISTORY_MS);
  const prior = 1 / habits.profile;
  // Past weeks may have been up to an hour early or late, and only their whole hours are known: the window that holds most.
  const [mean, shape] = [0, Math.ceil(at / HOUR_MS) * HOUR_MS - at, SCHEDULE_DRIFT_MS]
    .map((drift) => {
      let steps = prior + 1;
      let exposure = prior / habits.mean;
      for (let weeks = 1; at - weeks * WEEK_MS - windowMs >= start; weeks++) {
        const weight = Math.exp((-weeks * WEEK_MS) / FORGETTING_MS);
        const to = at - weeks * WEEK_MS + drift;
        steps += weight * stepsWithin(past, to - windowMs, to);
        exposure += weight;
      }
      return [steps / exposure, steps] as const;
    })
    .reduce((most, one) => (one[0] > most[0] ? one : most));
  const wide = 1 / (1 / shape + habits.dispersion);
  return { shape: wide, exposure: wide / mean };
}
