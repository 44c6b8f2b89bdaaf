import { defineQuery, num } from '../store/index.ts';
import { DAY_MS, KNOWN_AFTER_MS } from './baseline.ts';
import type { Reads } from './contract.ts';
import { fitGamma, type Gamma } from './statistics.ts';

/** Facet is a property of calls whose values a token meets over time. */
export type Facet = (typeof FACETS)[number];

/** Network is the autonomous system where it is known, else the address's prefix; client is the product that the user agent names. */
export const FACETS = ['endpoint', 'country', 'network', 'client'] as const;

/** Prior is a fleet's habit of meeting new values: of settled lineages, and of lineages on their first day. */
export interface Prior {
  readonly settled: Gamma;
  readonly young: Gamma;
}

const fleetSize = defineQuery<Record<string, never>, number>(
  'fleet_size',
  'SELECT uniq(lineage) AS lineages FROM rollup_tokens',
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
  client: { settled: { shape: 0.2, exposure: 100 }, young: { shape: 0.2, exposure: 10 } },
};

const priors = new WeakMap<Reads, Map<string, Promise<Prior>>>();

/** fleetPrior is what the fleet's own history up to the start of `at`'s day says about meeting new values; one look a day and facet. */
export function fleetPrior(reads: Reads, facet: Facet, at: number): Promise<Prior> {
  const day = Math.floor(at / DAY_MS) * DAY_MS;
  const cache = priors.get(reads) ?? new Map<string, Promise<Prior>>();
  priors.set(reads, cache);
  const key = `${facet} ${day}`;
  let prior = cache.get(key);
  if (prior === undefined) {
    prior = fitFleetPrior(reads, facet, day);
    prior.catch(() => cache.delete(key));
    cache.set(key, prior);
    for (const old of cache.keys()) if (cache.size > 16) cache.delete(old);
  }
  return prior;
}

async function fitFleetPrior(reads: Reads, facet: Facet, day: number): Promise<Prior> {
  const [size = 0] = await reads.read(fleetSize, {});
  const members = await reads.read(fleetNovelty, {
    facet,
    before: day,
    knownBefore: day - KNOWN_AFTER_MS,
    every: Math.max(1, Math.ceil(size / PRIOR_SAMPLE)),
  });
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
