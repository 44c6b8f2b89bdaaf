import { defineQuery, num, text } from '../store/index.ts';
import { HOUR_MS, OPEN_MS } from './baseline.ts';
import type { Reads } from './contract.ts';
import { type Lineage, lineageKey } from './lineage.ts';

/** PlaceFacet is where a token can arrive: a country, or a kind of network in a country that it knows. */
export type PlaceFacet = 'country' | 'kind';

/** ForeignCall is one of the first calls from a newly met place. */
export interface ForeignCall {
  readonly time: number;
  readonly ip: string;
  readonly country: string;
  /** Autonomous system, 0 when unknown. */
  readonly asn: number;
  /** `other` where the network is known and nothing tells its kind, '' where it is not. */
  readonly networkKind: string;
  readonly endpoint: string;
  readonly status: number;
  readonly userAgent: string;
}

/** Sighting is what followed the first call from a new place. */
export interface Sighting {
  readonly facet: PlaceFacet;
  readonly value: string;
  /** First calls from there, by time. */
  readonly calls: readonly ForeignCall[];
  /** Minutes since the first call in which more came from there, by time: the first call in each, and how many. Tells how long it stays, however many calls it makes. */
  readonly minutes: readonly { readonly first: number; readonly calls: number }[];
  /** First call after it from another country or kind of network, and not from one that was met just as newly; null when none came yet. */
  readonly homeAfter: number | null;
  /** Calls from the new place until then, however many. */
  readonly callsUntilHome: number;
  /** When lineages of other owners with the same home came to the same country, sorted: a region that moves takes them all along. */
  readonly moved: readonly number[];
}

/** Calls from one place that are read at most. */
const MAX_CALLS = 64;

/** callsBy is how many calls came from a new place by a moment: one of the first calls, the first of a minute, or when it was heard from home. */
export function callsBy({ calls, minutes, homeAfter, callsUntilHome }: Sighting, at: number): number {
  if (at === homeAfter) return callsUntilHome;
  const read = calls.filter((call) => call.time <= at).length;
  if (read < MAX_CALLS) return read;
  let before = 0;
  for (const minute of minutes) if (minute.first < at) before += minute.calls;
  return Math.max(read, before + (minutes.some(({ first }) => first === at) ? 1 : 0));
}

/**
 * sightings reads what followed the first call from each new place, as far as it was known at `until`: one row a place, `of` is its
 * position; the arrays run in step. `strange` are the other
 * places that each lineage met just then: being heard from those is no coming home. Who failed to
 * authenticate (401) was not the token, here or there.
 */
export const sightings = defineQuery<
  {
    owners: string[];
    lineages: string[];
    facets: string[];
    values: string[];
    mets: number[];
    strange: string[][];
    untils: number[];
  },
  Omit<Sighting, 'moved'> & Lineage & { readonly of: number }
>(
  'geo_sightings',
  `WITH
     if(fresh.facet = 'kind', call.kind, call.place) AS here,
     toUnixTimestamp64Milli(call.time) AS at,
     intDiv(at - fresh.met, 60000) AS minute
   SELECT
     fresh.position AS position,
     any(fresh.owner) AS owner,
     any(fresh.lineage) AS lineage,
     any(fresh.facet) AS facet,
     any(fresh.value) AS value,
     groupArraySortedIf(${MAX_CALLS})((at, call.ip, call.endpoint, call.status, call.user_agent, call.country, call.asn, call.kind), here = fresh.value) AS calls,
     minMapIf(map(minute, at), here = fresh.value) AS firsts,
     sumMapIf(map(minute, 1), here = fresh.value) AS counts,
     arraySort(arrayMap(nth -> (firsts[nth], counts[nth]), mapKeys(firsts))) AS minutes,
     minIf(at, here NOT IN ('', fresh.value) AND NOT has(fresh.strange, here)) AS home_after,
     arrayCount(then -> then <= home_after, groupArrayIf(at, here = fresh.value)) AS until_home
   FROM (
     SELECT pair.1 AS owner, pair.2 AS lineage, pair.3 AS facet, pair.4 AS value, pair.5 AS met, pair.6 AS strange, pair.7 AS until, pair.8 AS position
     FROM (SELECT arrayJoin(arrayZip({owners:Array(String)}, {lineages:Array(String)}, {facets:Array(String)}, {values:Array(String)}, {mets:Array(Int64)}, {strange:Array(Array(String))}, {untils:Array(Int64)}, arrayEnumerate({owners:Array(String)}))) AS pair)
   ) AS fresh
   INNER JOIN (
     SELECT owner, lineage, time, ip, toString(endpoint) AS endpoint, status, toString(country) AS country, asn, toString(user_agent) AS user_agent,
       if(network_kind = 'egress', 'egress', country) AS place, if(network_kind = '' AND asn != 0, 'other', toString(network_kind)) AS kind
     FROM events
     WHERE time >= fromUnixTimestamp64Milli(arrayMin({mets:Array(Int64)})) AND time <= fromUnixTimestamp64Milli(arrayMax({untils:Array(Int64)}))
       AND owner IN {owners:Array(String)} AND lineage IN {lineages:Array(String)} AND status != 401
     LIMIT 1 BY owner, lineage, id
   ) AS call ON call.owner = fresh.owner AND call.lineage = fresh.lineage
   WHERE at >= fresh.met AND at <= least(fresh.met + ${OPEN_MS}, fresh.until)
   GROUP BY fresh.position`,
  (raw) => ({
    of: num(raw.position) - 1,
    owner: text(raw.owner),
    lineage: text(raw.lineage),
    facet: text(raw.facet) as PlaceFacet,
    value: text(raw.value),
    calls: (raw.calls as unknown[][]).map(([time, ip, endpoint, status, userAgent, country, asn, networkKind]) => ({
      time: num(time),
      ip: text(ip),
      country: text(country),
      asn: num(asn),
      networkKind: text(networkKind),
      endpoint: text(endpoint),
      status: num(status),
      userAgent: text(userAgent),
    })),
    minutes: (raw.minutes as [unknown, unknown][]).map(([first, calls]) => ({ first: num(first), calls: num(calls) })),
    homeAfter: num(raw.home_after) > 0 ? num(raw.home_after) : null,
    callsUntilHome: num(raw.until_home),
  }),
);

/** How long a region may take to move: what runs once in hours comes last. */
const MOVE_MS = 6 * HOUR_MS;

/** Newcomers to one country that are looked at most, the first ones: a region that moves is known by far fewer. */
const MAX_NEWCOMERS = 300;

/** Others that are counted as moving along at most. */
const MAX_MOVED = 100;

interface Newcomer {
  readonly owner: string;
  readonly lineage: string;
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

const homesOf = defineQuery<{ owners: string[]; lineages: string[] }, { owner: string; lineage: string; home: string }>(
  'geo_homes',
  `SELECT owner, lineage, argMin(value, first_seen) AS home
   FROM rollup_facets
   WHERE owner IN {owners:Array(String)} AND lineage IN {lineages:Array(String)} AND facet = 'country'
   GROUP BY owner, lineage`,
  (raw) => ({ owner: text(raw.owner), lineage: text(raw.lineage), home: text(raw.home) }),
);

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
  const asked = [...new Set(others.flat())];
  const homes =
    asked.length === 0
      ? []
      : await reads.read(homesOf, {
          owners: [...new Set(asked.map(({ owner }) => owner))],
          lineages: [...new Set(asked.map(({ lineage }) => lineage))],
        });
  const homeOf = new Map(homes.map((row) => [lineageKey(row), row.home]));
  return arrivals.map((arrival, i) => ({
    ...arrival,
    along: (others[i] ?? [])
      .filter((other) => homeOf.get(lineageKey(other)) === arrival.home)
      .map(({ met }) => met)
      .slice(0, MAX_MOVED),
  }));
}
