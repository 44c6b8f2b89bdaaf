import { defineQuery, num, text } from '../store/index.ts';
import { DAY_MS, KNOWN_AFTER_MS } from './baseline.ts';
import { type Day, type Reads, together } from './contract.ts';
import { type Lineage, lineageKey } from './lineage.ts';
import { fitGamma, type Gamma } from './statistics.ts';
import { inferSuccessions, type Successions } from './succession.ts';

/** Facet is a property of calls whose values a token meets over time. */
export type Facet = (typeof FACETS)[number];

/** Network is the autonomous system where it is known, else the address's prefix; kind is what sort of network that is; client is the product that the user agent names. */
export const FACETS = ['endpoint', 'country', 'network', 'kind', 'client'] as const;

/** Prior is a fleet's habit of meeting new values: of settled lineages, and of lineages on their first day. */
export interface Prior {
  readonly settled: Gamma;
  readonly young: Gamma;
}

/** How many lineages had been used when each of the days began that one had been used before. */
const fleetSizes = defineQuery<{ days: number[] }, { day: number; lineages: number }>(
  'fleet_size',
  `SELECT day, uniq(owner, lineage) AS lineages
   FROM rollup_tokens
   ARRAY JOIN {days:Array(Int64)} AS day
   WHERE first_seen < fromUnixTimestamp64Milli(day)
   GROUP BY day`,
  (raw) => ({ day: num(raw.day), lineages: num(raw.lineages) }),
);

/** Counted are counts as they were when each of some days began, in step with the days: before the end of a first day, and after it. */
interface Counted {
  readonly early: readonly number[];
  readonly later: readonly number[];
}

const countsOf = (raw: Record<string, unknown>): Counted => ({
  early: (raw.early as unknown[]).map(num),
  later: (raw.later as unknown[]).map(num),
});

/** FleetMember is how many values of a facet a lineage met. */
interface FleetMember extends Lineage, Counted {
  readonly facet: Facet;
  /** When it met the very first, epoch milliseconds. */
  readonly first: number;
}

interface FleetParams extends Record<string, unknown> {
  /** By time. */
  days: number[];
  every: number;
}

/** What each lineage of a sample had met when the days began, by facet, of those that were known on the last: one row a lineage and facet. */
const fleetNovelty = defineQuery<FleetParams, FleetMember>(
  'fleet_novelty',
  `WITH {days:Array(Int64)} AS days
   SELECT facet, owner, lineage, arrayMin(mets) AS first,
     arrayMap(day -> arrayCount(met -> met < day AND met <= first + ${DAY_MS}, mets), days) AS early,
     arrayMap(day -> arrayCount(met -> met < day AND met > first + ${DAY_MS}, mets), days) AS later
   FROM (
     SELECT facet, owner, lineage, groupArray(met) AS mets
     FROM (
       SELECT facet, owner, lineage, value, toUnixTimestamp64Milli(min(first_seen)) AS met
       FROM rollup_facets
       WHERE cityHash64(lineage) % {every:UInt32} = 0
       GROUP BY facet, owner, lineage, value
     )
     GROUP BY facet, owner, lineage
   )
   WHERE first < days[-1] - ${KNOWN_AFTER_MS}`,
  (raw) => ({
    facet: text(raw.facet) as Facet,
    owner: text(raw.owner),
    lineage: text(raw.lineage),
    first: num(raw.first),
    ...countsOf(raw),
  }),
);

/** In how many hours each lineage of a sample had been active when the days began. */
const fleetActivity = defineQuery<FleetParams, Lineage & Counted>(
  'fleet_activity',
  `WITH arrayMap(day -> intDiv(day, 1000), {days:Array(Int64)}) AS days
   SELECT owner, lineage, arrayMin(hours) + ${DAY_MS / 1000} AS settled,
     arrayMap(day -> arrayCount(hour -> hour < day AND hour <= settled, hours), days) AS early,
     arrayMap(day -> arrayCount(hour -> hour < day AND hour > settled, hours), days) AS later
   FROM (
     SELECT owner, lineage, groupUniqArray(toUnixTimestamp(hour)) AS hours
     FROM rollup_hours
     WHERE cityHash64(lineage) % {every:UInt32} = 0
     GROUP BY owner, lineage
   )`,
  (raw) => ({ owner: text(raw.owner), lineage: text(raw.lineage), ...countsOf(raw) }),
);

/** The same as fleetNovelty of owners, by the origins of their tokens' steps. */
const ownerNovelty = defineQuery<FleetParams, FleetMember>(
  'owner_novelty',
  `WITH {days:Array(Int64)} AS days
   SELECT facet, owner, arrayMin(mets) AS first,
     arrayMap(day -> arrayCount(met -> met < day AND met <= first + ${DAY_MS}, mets), days) AS early,
     arrayMap(day -> arrayCount(met -> met < day AND met > first + ${DAY_MS}, mets), days) AS later
   FROM (
     SELECT facet, owner, groupArray(met) AS mets
     FROM (
       SELECT facet, owner, value, toUnixTimestamp64Milli(min(first_seen)) AS met
       FROM rollup_origins
       WHERE cityHash64(owner) % {every:UInt32} = 0
       GROUP BY facet, owner, value
     )
     GROUP BY facet, owner
   )
   WHERE first < days[-1] - ${KNOWN_AFTER_MS}`,
  (raw) => ({
    facet: text(raw.facet) as Facet,
    ...{ owner: text(raw.owner), lineage: '', first: num(raw.first) },
    ...countsOf(raw),
  }),
);

/** The same as fleetActivity of owners: hours with steps whose origin is known. */
const ownerActivity = defineQuery<FleetParams, Lineage & Counted>(
  'owner_activity',
  `WITH arrayMap(day -> intDiv(day, 1000), {days:Array(Int64)}) AS days
   SELECT owner, arrayMin(hours) + ${DAY_MS / 1000} AS settled,
     arrayMap(day -> arrayCount(hour -> hour < day AND hour <= settled, hours), days) AS early,
     arrayMap(day -> arrayCount(hour -> hour < day AND hour > settled, hours), days) AS later
   FROM (
     SELECT owner, groupUniqArray(toUnixTimestamp(hour)) AS hours
     FROM rollup_churn
     WHERE cityHash64(owner) % {every:UInt32} = 0 AND placed > 0
     GROUP BY owner
   )`,
  (raw) => ({ owner: text(raw.owner), lineage: '', ...countsOf(raw) }),
);

/** Lineages that a prior is fitted on at most. */
const PRIOR_SAMPLE = 2_000;
/** Below this many known lineages a fleet says nothing yet and the default stands. */
const PRIOR_MIN_LINEAGES = 8;

/** What a fleet is taken for before it is known: a new value per some fifty, some hundred active hours; on a first day many more. */
const DEFAULT_PRIOR: Record<Facet, Prior> = {
  endpoint: { settled: { shape: 0.5, exposure: 50 }, young: { shape: 1, exposure: 0.1 } },
  country: { settled: { shape: 0.2, exposure: 100 }, young: { shape: 0.2, exposure: 10 } },
  network: { settled: { shape: 0.3, exposure: 50 }, young: { shape: 0.3, exposure: 5 } },
  kind: { settled: { shape: 0.2, exposure: 100 }, young: { shape: 0.2, exposure: 10 } },
  client: { settled: { shape: 0.2, exposure: 100 }, young: { shape: 0.2, exposure: 10 } },
};

/** Fleet is what all lineages together say at the start of a day. */
export interface Fleet {
  /** Lineages in use. */
  readonly lineages: number;
  readonly priors: Readonly<Record<Facet, Prior>>;
  /** The same of owners: from where, and with what, their tokens are issued, rotated and revoked. No endpoints. */
  readonly ownerPriors: Readonly<Record<Facet, Prior>>;
  /** Who took over from whom without having been declared. */
  readonly successions: Successions;
}

/** Days that are kept: late events ask for yesterday, a backtest for one after another. */
const KEPT_DAYS = 4;

interface Kept {
  readonly fleet: Promise<Fleet>;
  /** The day had begun when it was fitted: the day before had been seen to its end. */
  readonly begun: boolean;
}

const fleets = new WeakMap<Reads, Map<number, Kept>>();

/** Days are looked at anew because of an import this often within this time at most: a sender that is always late holds up no pages. */
const RENEWALS = 20;
const RENEWALS_WITHIN_MS = 600_000;
const renewals = new WeakMap<Reads, number[]>();

/**
 * renewFleets has all days looked at anew, because calls of days before arrived since: somebody imports history. False when that
 * was done too often lately; ask again with the next batch. `now` in epoch milliseconds.
 */
export function renewFleets(reads: Reads, now: number): boolean {
  if (!fleets.has(reads)) return true;
  const lately = (renewals.get(reads) ?? []).filter((at) => at > now - RENEWALS_WITHIN_MS);
  renewals.set(reads, lately);
  if (lately.length >= RENEWALS) return false;
  lately.push(now);
  fleets.delete(reads);
  return true;
}

/**
 * fleetAt is the fleet as it was at the start of `at`'s day, by event time; one look a day. A sender whose clock is ahead asks for a
 * day that has not begun at `now` (epoch milliseconds, the clock of whoever looks): that day is looked at anew once it has.
 */
export function fleetAt(reads: Reads, at: number, now: number): Promise<Fleet> {
  return fleetsAt(reads, [at], now)[0] as Promise<Fleet>;
}

/** fleetOf is the fleet as it was when a day began; the days of a stretch are looked at together. */
export const fleetOf: (reads: Reads, day: Day) => Promise<Fleet> = together(async (reads, { days, now }) =>
  Promise.all(
    fleetsAt(
      reads,
      days.map(({ within }) => within.from),
      now,
    ),
  ),
);

function fleetsAt(reads: Reads, moments: readonly number[], now: number): Promise<Fleet>[] {
  const kept = fleets.get(reads) ?? new Map<number, Kept>();
  fleets.set(reads, kept);
  const days = moments.map((at) => Math.floor(at / DAY_MS) * DAY_MS);
  const unknown = days.filter((day) => {
    const known = kept.get(day);
    return known === undefined || !(known.begun || now < day);
  });
  const fitted = fitFleets(reads, unknown);
  for (const [i, day] of unknown.entries()) {
    const fleet = fitted.then((found) => found[i] as Fleet);
    const one = { fleet, begun: now >= day };
    const drop = () => kept.get(day) === one && kept.delete(day);
    // A fleet that is not known yet may be by the next look, when its history was imported: only what was fitted is kept.
    fleet.then(
      ({ priors }) => FACETS.every((facet) => priors[facet] === DEFAULT_PRIOR[facet]) && drop(),
      () => drop(),
    );
    kept.set(day, one);
  }
  const found = days.map((day) => (kept.get(day) as Kept).fleet);
  for (const old of kept.keys()) if (kept.size > KEPT_DAYS) kept.delete(old);
  return found;
}

/** fitFleets looks at the fleet as it was when each of the days began; in step with them, which are sorted. */
async function fitFleets(reads: Reads, days: readonly number[]): Promise<Fleet[]> {
  if (days.length === 0) return [];
  const sizes = new Map(
    (await reads.read(fleetSizes, { days: [...days] })).map(({ day, lineages }) => [day, lineages]),
  );
  const everyOf = (day: number) => Math.max(1, Math.ceil((sizes.get(day) ?? 0) / PRIOR_SAMPLE));
  const samples = [...new Set(days.map(everyOf))];
  const fitted = (novelty: typeof fleetNovelty, activity: typeof fleetActivity) =>
    samples.map((every) =>
      fitPriors(
        reads,
        days.filter((day) => everyOf(day) === every),
        every,
        { novelty, activity },
      ),
    );
  const [successions, priors, ownerPriors] = await Promise.all([
    inferSuccessions(reads, days),
    Promise.all(fitted(fleetNovelty, fleetActivity)),
    Promise.all(fitted(ownerNovelty, ownerActivity)),
  ]);
  const [priorsOf, ownerPriorsOf] = [new Map(priors.flat()), new Map(ownerPriors.flat())];
  return days.map((day, i) => ({
    lineages: sizes.get(day) ?? 0,
    priors: priorsOf.get(day) as Fleet['priors'],
    ownerPriors: ownerPriorsOf.get(day) as Fleet['priors'],
    successions: successions[i] as Successions,
  }));
}

async function fitPriors(
  reads: Reads,
  days: number[],
  every: number,
  asked: { readonly novelty: typeof fleetNovelty; readonly activity: typeof fleetActivity },
): Promise<[day: number, Fleet['priors']][]> {
  const [members, activity] = await Promise.all([
    reads.read(asked.novelty, { days, every }),
    reads.read(asked.activity, { days, every }),
  ]);
  const hoursOf = new Map(activity.map((row) => [lineageKey(row), row]));
  const counted = members.map((met) => ({ met, hours: hoursOf.get(lineageKey(met)) }));
  return days.map((day, i) => {
    const habits = counted.flatMap(({ met, hours }) => {
      if (hours === undefined || met.first >= day - KNOWN_AFTER_MS) return [];
      // The very first value is no news to anybody.
      const young = { count: Math.max(0, (met.early[i] ?? 0) - 1), exposure: hours.early[i] ?? 0 };
      return [{ facet: met.facet, settled: { count: met.later[i] ?? 0, exposure: hours.later[i] ?? 0 }, young }];
    });
    const priorOf = (facet: Facet) =>
      fitPrior(
        facet,
        habits.filter((habit) => habit.facet === facet),
      );
    return [day, Object.fromEntries(FACETS.map((facet) => [facet, priorOf(facet)])) as Record<Facet, Prior>];
  });
}

function fitPrior(facet: Facet, habits: readonly Record<keyof Prior, { count: number; exposure: number }>[]): Prior {
  if (habits.length < PRIOR_MIN_LINEAGES) return DEFAULT_PRIOR[facet];
  return {
    settled: fitGamma(
      habits.map(({ settled }) => settled),
      { shape: [0.02, 2], exposure: [10, 20_000] },
    ),
    young: fitGamma(
      habits.map(({ young }) => young),
      { shape: [0.02, 2], exposure: [0.02, 200] },
    ),
  };
}
