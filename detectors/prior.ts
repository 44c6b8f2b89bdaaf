import { defineQuery, num } from '../store/index.ts';
import { DAY_MS, KNOWN_AFTER_MS } from './baseline.ts';
import type { Reads } from './contract.ts';
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
  'SELECT uniq(lineage) AS lineages FROM rollup_tokens WHERE first_seen < fromUnixTimestamp64Milli({before:Int64})',
  (raw) => num(raw.lineages),
);

interface FleetMember {
  /** Values met after the first day, and the active hours since; the same of the first day, its very first value left out. */
  readonly settled: { readonly count: number; readonly exposure: number };
  readonly young: { readonly count: number; readonly exposure: number };
}

/** How many new values each known lineage of a sample met, in how many active hours, before `before`. */
const fleetNovelty = defineQuery<{ facet: Facet; before: number; knownBefore: number; every: number }, FleetMember>(
  'fleet_novelty',
  `SELECT meetings.later AS later, meetings.early AS early, activity.later AS later_hours, activity.early AS early_hours
   FROM (
     SELECT lineage, any(first) AS since, countIf(met > first + toIntervalDay(1)) AS later, countIf(met <= first + toIntervalDay(1)) AS early
     FROM (
       SELECT lineage, value, min(first_seen) AS met, min(met) OVER (PARTITION BY lineage) AS first
       FROM rollup_facets
       WHERE facet = {facet:String} AND cityHash64(lineage) % {every:UInt32} = 0
       GROUP BY lineage, value
     )
     WHERE met < fromUnixTimestamp64Milli({before:Int64})
     GROUP BY lineage
     HAVING since < fromUnixTimestamp64Milli({knownBefore:Int64})
   ) AS meetings
   INNER JOIN (
     SELECT lineage, countIf(hour > first + toIntervalDay(1)) AS later, countIf(hour <= first + toIntervalDay(1)) AS early
     FROM (
       SELECT lineage, hour, min(hour) OVER (PARTITION BY lineage) AS first
       FROM rollup_hours
       WHERE cityHash64(lineage) % {every:UInt32} = 0 AND hour < fromUnixTimestamp64Milli({before:Int64})
       GROUP BY lineage, hour
     )
     GROUP BY lineage
   ) AS activity ON activity.lineage = meetings.lineage
   LIMIT 5000`,
  (raw) => ({
    settled: { count: num(raw.later), exposure: num(raw.later_hours) },
    young: { count: Math.max(0, num(raw.early) - 1), exposure: num(raw.early_hours) },
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
  const [successions, ...priors] = await Promise.all([
    inferSuccessions(reads, day),
    ...FACETS.map((facet) => fitPrior(reads, facet, day, every)),
  ]);
  return {
    lineages,
    priors: Object.fromEntries(FACETS.map((facet, i) => [facet, priors[i]])) as Record<Facet, Prior>,
    successions,
  };
}

async function fitPrior(reads: Reads, facet: Facet, day: number, every: number): Promise<Prior> {
  const members = await reads.read(fleetNovelty, { facet, before: day, knownBefore: day - KNOWN_AFTER_MS, every });
  if (members.length < PRIOR_MIN_LINEAGES) return DEFAULT_PRIOR[facet];
  return {
    settled: fitGamma(
      members.map((member) => member.settled),
      { shape: [0.02, 2], exposure: [10, 20_000] },
    ),
    young: fitGamma(
      members.map((member) => member.young),
      { shape: [0.02, 2], exposure: [0.02, 200] },
    ),
  };
}
