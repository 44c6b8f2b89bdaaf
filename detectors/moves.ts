import { defineQuery, num, text } from '../store/index.ts';
import { HOUR_MS, OPEN_MS } from './baseline.ts';
import { type Reads, remembered } from './contract.ts';
import { askedOf, type Lineage, type LineageNames, lineageKey } from './lineage.ts';
import type { Fleet } from './prior.ts';

/** How long a region may take to move: what runs once in hours comes last. */
const MOVE_MS = 6 * HOUR_MS;

/** Newcomers to one country that are looked at most, the first ones: a region that moves is known by far fewer. */
const MAX_NEWCOMERS = 300;

/** Others that are counted as moving along at most. */
const MAX_MOVED = 100;

interface Newcomer extends Lineage {
  readonly country: string;
  /** Epoch milliseconds. */
  readonly met: number;
}

/** Who came to the countries, within each of some spans of time, in step. */
const newcomers = defineQuery<{ countries: string[]; froms: number[]; untils: number[] }, Newcomer & { until: number }>(
  'geo_newcomers',
  `SELECT until, owner, lineage, value AS country, met
   FROM (
     SELECT owner, lineage, value, toUnixTimestamp64Milli(min(first_seen)) AS met
     FROM rollup_facets
     WHERE facet = 'country' AND value IN {countries:Array(String)}
     GROUP BY owner, lineage, value
   )
   ARRAY JOIN {froms:Array(Int64)} AS since, {untils:Array(Int64)} AS until
   WHERE met >= since AND met <= until
   ORDER BY until, met, lineage
   LIMIT ${MAX_NEWCOMERS} BY until, country`,
  (raw) => ({
    until: num(raw.until),
    owner: text(raw.owner),
    lineage: text(raw.lineage),
    country: text(raw.country),
    met: num(raw.met),
  }),
);

const firstCountries = defineQuery<LineageNames, Lineage & { home: string }>(
  'geo_homes',
  `SELECT owner, lineage, argMin(value, first_seen) AS home
   FROM rollup_facets
   WHERE owner IN {owners:Array(String)} AND lineage IN {lineages:Array(String)} AND facet = 'country'
   GROUP BY owner, lineage`,
  (raw) => ({ owner: text(raw.owner), lineage: text(raw.lineage), home: text(raw.home) }),
);

/** By lineageKey, of whoever was asked for: where a lineage began does not change until history is imported, and then the fleet is looked at anew. */
const knownHomes = remembered((_: Fleet) => new Map<string, string>());

/** homesOf is the country that each of some lineages was first seen in, by lineageKey; each is looked up once a fleet. */
async function homesOf(reads: Reads, fleet: Fleet, of: readonly Lineage[]): Promise<ReadonlyMap<string, string>> {
  const known = knownHomes(fleet);
  const unknown = of.filter((one) => !known.has(lineageKey(one)));
  for (const row of await askedOf(unknown, (names) => reads.read(firstCountries, names)))
    known.set(lineageKey(row), row.home);
  return known;
}

/** Arrival is one lineage's first call from a country; `home` is the country that it was first seen in, `until` when it is judged at the latest. */
export interface Arrival extends Newcomer {
  readonly home: string;
  readonly until: number;
}

/**
 * moves adds to each arrival when lineages of other owners came `along`: from the same home to the same country, from MOVE_MS
 * before it to OPEN_MS after it and not after `until`, sorted. Mostly nobody did, and that is one small question.
 */
export async function moves<A extends Arrival>(
  reads: Reads,
  fleet: Fleet,
  arrivals: readonly A[],
): Promise<(A & { readonly along: number[] })[]> {
  if (arrivals.length === 0) return [];
  const untils = [...new Set(arrivals.map(({ until }) => until))];
  const firstOf = (end: number) =>
    arrivals.reduce(
      (first, { met, until }) => (until === end ? Math.min(first, met) : first),
      Number.POSITIVE_INFINITY,
    );
  const came = await reads.read(newcomers, {
    countries: [...new Set(arrivals.map(({ country }) => country))],
    froms: untils.map((end) => firstOf(end) - MOVE_MS),
    untils,
  });
  const others = arrivals.map((arrival) =>
    came.filter(
      ({ owner, country, met, until }) =>
        until === arrival.until &&
        country === arrival.country &&
        owner !== arrival.owner &&
        met >= arrival.met - MOVE_MS &&
        met <= arrival.met + OPEN_MS,
    ),
  );
  const homes = await homesOf(reads, fleet, others.flat());
  return arrivals.map((arrival, i) => ({
    ...arrival,
    along: (others[i] ?? [])
      .filter((other) => homes.get(lineageKey(other)) === arrival.home)
      .map(({ met }) => met)
      .slice(0, MAX_MOVED),
  }));
}
