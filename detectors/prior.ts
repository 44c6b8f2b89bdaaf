import { defineQuery, num, text } from '../store/index.ts';
import { DAY_MS, KNOWN_AFTER_MS } from './baseline.ts';
import type { Reads } from './contract.ts';
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

const fleetSize = defineQuery<{ before: number }, number>(
  'fleet_size',
  'SELECT uniq(owner, lineage) AS lineages FROM rollup_tokens WHERE first_seen < fromUnixTimestamp64Milli({before:Int64})',
  (raw) => num(raw.lineages),
);

/** FleetMember is how many new values of a facet a known lineage met. */
interface FleetMember extends Lineage {
  readonly facet: Facet;
  /** Values met after the first day, */
  readonly later: number;
  /** and on it, the very first among them. */
  readonly early: number;
}

/** What each known lineage of a sample met before `before`, by facet: one row a lineage and facet. */
const fleetNovelty = defineQuery<{ before: number; knownBefore: number; every: number }, FleetMember>(
  'fleet_novelty',
  `SELECT facet, owner, lineage, arrayMin(mets) AS first, arrayCount(met -> met > first + ${DAY_MS}, mets) AS later, length(mets) - later AS early
   FROM (
     SELECT facet, owner, lineage, groupArray(met) AS mets
     FROM (
       SELECT facet, owner, lineage, value, toUnixTimestamp64Milli(min(first_seen)) AS met
       FROM rollup_facets
       WHERE cityHash64(lineage) % {every:UInt32} = 0
       GROUP BY facet, owner, lineage, value
       HAVING met < {before:Int64}
     )
     GROUP BY facet, owner, lineage
   )
   WHERE first < {knownBefore:Int64}`,
  (raw) => ({
    facet: text(raw.facet) as Facet,
    owner: text(raw.owner),
    lineage: text(raw.lineage),
    later: num(raw.later),
    early: num(raw.early),
  }),
);

/** In how many hours each lineage of a sample was active before `before`: on its first day, and since. */
const fleetActivity = defineQuery<
  { before: number; every: number },
  Lineage & { readonly later: number; readonly early: number }
>(
  'fleet_activity',
  `SELECT owner, lineage, arrayMin(hours) AS first, arrayCount(hour -> hour > first + ${DAY_MS / 1000}, hours) AS later, length(hours) - later AS early
   FROM (
     SELECT owner, lineage, groupUniqArray(toUnixTimestamp(hour)) AS hours
     FROM rollup_hours
     WHERE cityHash64(lineage) % {every:UInt32} = 0 AND hour < fromUnixTimestamp64Milli({before:Int64})
     GROUP BY owner, lineage
   )`,
  (raw) => ({
    owner: text(raw.owner),
    lineage: text(raw.lineage),
    later: num(raw.later),
    early: num(raw.early),
  }),
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
  const day = Math.floor(at / DAY_MS) * DAY_MS;
  const days = fleets.get(reads) ?? new Map<number, Kept>();
  fleets.set(reads, days);
  const known = days.get(day);
  if (known !== undefined && (known.begun || now < day)) return known.fleet;
  const kept = { fleet: fitFleet(reads, day), begun: now >= day };
  const drop = () => days.get(day) === kept && days.delete(day);
  // A fleet that is not known yet may be by the next look, when its history was imported: only what was fitted is kept.
  kept.fleet.then(
    ({ priors }) => FACETS.every((facet) => priors[facet] === DEFAULT_PRIOR[facet]) && drop(),
    () => drop(),
  );
  days.set(day, kept);
  for (const old of days.keys()) if (days.size > KEPT_DAYS) days.delete(old);
  return kept.fleet;
}

async function fitFleet(reads: Reads, day: number): Promise<Fleet> {
  const [lineages = 0] = await reads.read(fleetSize, { before: day });
  const every = Math.max(1, Math.ceil(lineages / PRIOR_SAMPLE));
  const [successions, members, activity] = await Promise.all([
    inferSuccessions(reads, day),
    reads.read(fleetNovelty, { before: day, knownBefore: day - KNOWN_AFTER_MS, every }),
    reads.read(fleetActivity, { before: day, every }),
  ]);
  const hoursOf = new Map(activity.map((row) => [lineageKey(row), row]));
  const habits = members.flatMap(({ facet, later, early, ...of }) => {
    const hours = hoursOf.get(lineageKey(of));
    if (hours === undefined) return [];
    // The very first value is no news to anybody.
    const young = { count: Math.max(0, early - 1), exposure: hours.early };
    return [{ facet, settled: { count: later, exposure: hours.later }, young }];
  });
  const priorOf = (facet: Facet) =>
    fitPrior(
      facet,
      habits.filter((habit) => habit.facet === facet),
    );
  return {
    lineages,
    priors: Object.fromEntries(FACETS.map((facet) => [facet, priorOf(facet)])) as Record<Facet, Prior>,
    successions,
  };
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
