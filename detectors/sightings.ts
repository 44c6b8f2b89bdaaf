import { defineQuery, num, text } from '../store/index.ts';
import { HOUR_MS, OPEN_MS } from './baseline.ts';

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
  /** First call from there in each minute since the first one, sorted: tells how long it stays, however many calls it makes. */
  readonly minutes: readonly number[];
  /** First call after it from another country or kind of network; null when none came yet. */
  readonly homeAfter: number | null;
  /** Calls from the new place until then, however many. */
  readonly callsUntilHome: number;
  /** When lineages of other owners with the same home came to the same country, sorted: a region that moves takes them all along. */
  readonly moved: readonly number[];
}

/** Calls from one place that are read at most. */
const MAX_CALLS = 64;

/** sightings reads what followed the first call from each new place: one row a place; the arrays run in step. */
export const sightings = defineQuery<
  { lineages: string[]; facets: string[]; values: string[]; mets: number[]; from: number; to: number },
  Omit<Sighting, 'moved'> & { lineage: string }
>(
  'geo_sightings',
  `SELECT
     fresh.lineage AS lineage,
     fresh.facet AS facet,
     fresh.value AS value,
     groupArraySortedIf(${MAX_CALLS})((toUnixTimestamp64Milli(call.time), call.ip, call.endpoint, call.status, call.user_agent, call.country, call.asn, call.kind), if(fresh.facet = 'kind', call.kind, call.place) = fresh.value) AS calls,
     arraySort(mapValues(minMapIf(map(intDiv(toUnixTimestamp64Milli(call.time) - fresh.met, 60000), toUnixTimestamp64Milli(call.time)), if(fresh.facet = 'kind', call.kind, call.place) = fresh.value))) AS minutes,
     minIf(toUnixTimestamp64Milli(call.time), if(fresh.facet = 'kind', call.kind, call.place) NOT IN ('', fresh.value)) AS home_after,
     arrayCount(at -> at <= home_after, groupArrayIf(toUnixTimestamp64Milli(call.time), if(fresh.facet = 'kind', call.kind, call.place) = fresh.value)) AS until_home
   FROM (
     SELECT pair.1 AS lineage, pair.2 AS facet, pair.3 AS value, pair.4 AS met
     FROM (SELECT arrayJoin(arrayZip({lineages:Array(String)}, {facets:Array(String)}, {values:Array(String)}, {mets:Array(Int64)})) AS pair)
   ) AS fresh
   INNER JOIN (
     SELECT lineage, time, ip, toString(endpoint) AS endpoint, status, toString(country) AS country, asn, toString(user_agent) AS user_agent,
       if(network_kind = 'egress', 'egress', country) AS place, if(network_kind = '' AND asn != 0, 'other', toString(network_kind)) AS kind
     FROM events
     WHERE time >= fromUnixTimestamp64Milli({from:Int64}) AND time <= fromUnixTimestamp64Milli({to:Int64}) AND lineage IN {lineages:Array(String)}
     LIMIT 1 BY id
   ) AS call ON call.lineage = fresh.lineage
   WHERE toUnixTimestamp64Milli(call.time) >= fresh.met AND toUnixTimestamp64Milli(call.time) <= fresh.met + ${OPEN_MS}
   GROUP BY fresh.lineage, fresh.facet, fresh.value`,
  (raw) => ({
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
    minutes: (raw.minutes as unknown[]).map(num),
    homeAfter: num(raw.home_after) > 0 ? num(raw.home_after) : null,
    callsUntilHome: num(raw.until_home),
  }),
);

/** MOVE_MS is how long a region may take to move: what runs once in hours comes last. */
export const MOVE_MS = 6 * HOUR_MS;

/** moves reads who else came to the same country from the same home (the country first seen). */
export const moves = defineQuery<
  {
    owners: string[];
    lineages: string[];
    homes: string[];
    countries: string[];
    mets: number[];
    from: number;
    to: number;
  },
  { lineage: string; country: string; moved: number[] }
>(
  'geo_moves',
  `SELECT fresh.lineage AS lineage, fresh.country AS country, groupArraySorted(100)(mover.met) AS moved
   FROM (
     SELECT pair.1 AS owner, pair.2 AS lineage, pair.3 AS home, pair.4 AS country, pair.5 AS met
     FROM (SELECT arrayJoin(arrayZip({owners:Array(String)}, {lineages:Array(String)}, {homes:Array(String)}, {countries:Array(String)}, {mets:Array(Int64)})) AS pair)
   ) AS fresh
   INNER JOIN (
     SELECT owner, home, came.1 AS country, came.2 AS met
     FROM (
       SELECT owner, lineage, argMin(value, at) AS home, groupArrayIf((value, at), has({countries:Array(String)}, value)) AS coming
       FROM (
         SELECT owner, lineage, toString(value) AS value, toUnixTimestamp64Milli(min(first_seen)) AS at
         FROM rollup_facets
         WHERE facet = 'country' AND (owner, lineage) IN (
           SELECT owner, lineage FROM rollup_facets
           WHERE facet = 'country' AND value IN {countries:Array(String)}
           GROUP BY owner, lineage, value
           HAVING min(first_seen) >= fromUnixTimestamp64Milli({from:Int64}) AND min(first_seen) <= fromUnixTimestamp64Milli({to:Int64}))
         GROUP BY owner, lineage, value
       )
       GROUP BY owner, lineage
     )
     ARRAY JOIN coming AS came
   ) AS mover ON mover.country = fresh.country AND mover.home = fresh.home
   WHERE mover.owner != fresh.owner AND mover.met >= fresh.met - ${MOVE_MS} AND mover.met <= fresh.met + ${OPEN_MS}
   GROUP BY fresh.lineage, fresh.country`,
  (raw) => ({ lineage: text(raw.lineage), country: text(raw.country), moved: (raw.moved as unknown[]).map(num) }),
);
