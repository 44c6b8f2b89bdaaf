import { defineQuery, num, ONE_THREAD, placesOf, text } from '../store/index.ts';
import { HOUR_MS, OPEN_MS } from './baseline.ts';
import type { Reads } from './contract.ts';
import { grouped, type Lineage, lineageKey, namesOf } from './lineage.ts';

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

/** NewPlace is a place that a lineage came to newly. Times are epoch milliseconds. */
export interface NewPlace extends Lineage {
  readonly facet: PlaceFacet;
  readonly value: string;
  readonly met: number;
  /** The other places that the lineage met just then: being heard from those is no coming home. */
  readonly strange: readonly string[];
  /** What came after it is not known yet. */
  readonly until: number;
}

interface SightingParams extends Record<string, unknown> {
  /** Lineages with an hour, and the positions of the places that their calls in it may tell of; the first key is nobody's. */
  keys: string[];
  askers: number[][];
  /** Places, in step. */
  owners: string[];
  lineages: string[];
  facets: PlaceFacet[];
  values: string[];
  mets: number[];
  ends: number[];
  strange: (readonly string[])[];
  /** The first of `mets`, and the last of `ends`. */
  from: number;
  to: number;
}

/** StoredCall is a call as it was stored. */
type StoredCall = ForeignCall & Lineage & { readonly id: string };

/** Calls of one lineage that are read as they are at most, and places of a look: of more, the engine makes the sightings. */
const MAX_READ = 256;
const MAX_PLACES = 64;

/** What lineages called in a span, the first calls of each. Who failed to authenticate (401) was not the token. */
const callsIn = defineQuery<{ owners: string[]; lineages: string[]; from: number; to: number }, StoredCall>(
  'geo_calls',
  `SELECT owner, lineage, id, toUnixTimestamp64Milli(time) AS at, ip, endpoint, status, user_agent, country, asn, network_kind
   FROM events
   WHERE time >= fromUnixTimestamp64Milli({from:Int64}) AND time <= fromUnixTimestamp64Milli({to:Int64})
     AND owner IN {owners:Array(String)} AND lineage IN {lineages:Array(String)} AND status != 401
   ORDER BY at
   LIMIT ${MAX_READ} BY owner, lineage
   ${ONE_THREAD}`,
  (raw) => ({
    ...{ owner: text(raw.owner), lineage: text(raw.lineage), id: text(raw.id), time: num(raw.at), ip: text(raw.ip) },
    ...{ country: text(raw.country), asn: num(raw.asn), endpoint: text(raw.endpoint), status: num(raw.status) },
    ...{ networkKind: text(raw.network_kind), userAgent: text(raw.user_agent) },
  }),
);

type Followed = Omit<Sighting, 'facet' | 'value' | 'moved'>;

/** sightingIn is what followed the first call from a place until `end`, from all calls of its lineage since; null where there are none. As the query below. */
function sightingIn(
  { facet, value, met, strange }: Omit<NewPlace, 'owner' | 'lineage' | 'until'>,
  end: number,
  calls: readonly ForeignCall[],
): Followed | null {
  const since = calls.filter(({ time }) => time >= met && time <= end).sort(byTime);
  if (since.length === 0) return null;
  const placed = since.map((call) => {
    const places = placesOf(call);
    return { here: places[facet], call: { ...call, networkKind: places.kind } };
  });
  const fresh = placed.filter(({ here }) => here === value).map(({ call }) => call);
  const home = placed.find(({ here }) => here !== '' && here !== value && !strange.includes(here));
  const homeAfter = home?.call.time ?? null;
  const minutes = grouped(fresh, ({ time }) => Math.floor((time - met) / 60_000));
  return {
    calls: fresh.slice(0, MAX_CALLS),
    minutes: [...minutes.values()].map((of) => ({ first: of[0]?.time ?? met, calls: of.length })),
    homeAfter,
    callsUntilHome: fresh.filter(({ time }) => homeAfter !== null && time <= homeAfter).length,
  };
}

/** As the engine sorts them. */
function byTime(a: ForeignCall, b: ForeignCall): number {
  const inOrder = (one: string, other: string) => (one < other ? -1 : one > other ? 1 : 0);
  return a.time - b.time || inOrder(a.ip, b.ip) || inOrder(a.endpoint, b.endpoint) || a.status - b.status;
}

/** One row a place, `of` is its position; the arrays run in step. Who failed to authenticate (401) was not the token, here or there. */
const sightings = defineQuery<SightingParams, Followed & { readonly of: number }>(
  'geo_sightings',
  `SELECT
     i,
     groupArraySortedIf(${MAX_CALLS})((at, ip, endpoint, status, user_agent, country, asn, kind), here = fresh) AS calls,
     minMapIf(map(minute, at), here = fresh) AS firsts,
     sumMapIf(map(minute, 1), here = fresh) AS counts,
     arraySort(arrayMap(nth -> (firsts[nth], counts[nth]), mapKeys(firsts))) AS minutes,
     minIf(at, elsewhere) AS home_after,
     arrayCount(then -> then <= home_after, groupArrayIf(at, here = fresh)) AS until_home
   FROM (
     SELECT i, toUnixTimestamp64Milli(time) AS at, ip, endpoint, status, user_agent, country, asn,
       if(network_kind = '' AND asn != 0, 'other', toString(network_kind)) AS kind,
       multiIf({facets:Array(String)}[i] = 'kind', kind, network_kind = 'egress', 'egress', country) AS here,
       {values:Array(String)}[i] AS fresh,
       here NOT IN ('', fresh) AND NOT has({strange:Array(Array(String))}[i], here) AS elsewhere,
       intDiv(at - {mets:Array(Int64)}[i], 60000) AS minute
     FROM events
     ARRAY JOIN {askers:Array(Array(UInt32))}[transform(concat(owner, '\\n', lineage, '\\n', toString(intDiv(at, ${HOUR_MS}))), {keys:Array(String)}, arrayEnumerate({keys:Array(String)}), 1)] AS i
     PREWHERE time >= fromUnixTimestamp64Milli({from:Int64}) AND time <= fromUnixTimestamp64Milli({to:Int64})
       AND owner IN {owners:Array(String)} AND lineage IN {lineages:Array(String)}
     WHERE status != 401 AND at >= {mets:Array(Int64)}[i] AND at <= {ends:Array(Int64)}[i]
     LIMIT 1 BY owner, lineage, id, i
   )
   GROUP BY i
   ${ONE_THREAD}`,
  (raw) => ({
    of: num(raw.i) - 1,
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

/**
 * sightingsOf reads what followed the first call from each of some new places; a place without calls is left out. To plan the query of
 * places costs more than to read a few calls: that is for many places, and for lineages that call often.
 */
export async function sightingsOf<P extends NewPlace>(
  reads: Reads,
  places: readonly P[],
): Promise<{ readonly place: P; readonly sighting: Omit<Sighting, 'moved'> }[]> {
  if (places.length > MAX_PLACES) return sightingsByEngine(reads, places);
  if (places.length === 0) return [];
  const rows = await reads.read(callsIn, { ...namesOf(places), ...spanOf(places) });
  const callsOf = grouped(rows, lineageKey);
  const isBusy = (place: P) => (callsOf.get(lineageKey(place))?.length ?? 0) >= MAX_READ;
  const few = places.flatMap((place) => {
    const calls = new Map((callsOf.get(lineageKey(place)) ?? []).map(({ owner, lineage, id, ...call }) => [id, call]));
    const followed = isBusy(place) ? null : sightingIn(place, endOf(place), [...calls.values()]);
    return followed === null ? [] : [{ place, sighting: { facet: place.facet, value: place.value, ...followed } }];
  });
  return [...few, ...(await sightingsByEngine(reads, places.filter(isBusy)))];
}

/** endOf is until when calls tell of an arrival. */
function endOf({ met, until }: NewPlace): number {
  return Math.min(met + OPEN_MS, until);
}

/** spanOf is from the first arrival until the last call that tells of one. */
function spanOf(places: readonly NewPlace[]): { readonly from: number; readonly to: number } {
  return {
    from: places.reduce((first, { met }) => Math.min(first, met), Number.POSITIVE_INFINITY),
    to: places.reduce((last, place) => Math.max(last, endOf(place)), 0),
  };
}

/** sightingsByEngine has them made by the engine. */
export async function sightingsByEngine<P extends NewPlace>(
  reads: Reads,
  places: readonly P[],
): Promise<{ readonly place: P; readonly sighting: Omit<Sighting, 'moved'> }[]> {
  if (places.length === 0) return [];
  const askers = new Map<string, number[]>([['', []]]);
  for (const [i, place] of places.entries())
    for (let hour = Math.floor(place.met / HOUR_MS); hour * HOUR_MS <= endOf(place); hour++) {
      const key = `${lineageKey(place)}\n${hour}`;
      const asking = askers.get(key);
      if (asking === undefined) askers.set(key, [i + 1]);
      else asking.push(i + 1);
    }
  const rows = await reads.read(sightings, {
    keys: [...askers.keys()],
    askers: [...askers.values()],
    ...namesOf(places),
    facets: places.map(({ facet }) => facet),
    values: places.map(({ value }) => value),
    mets: places.map(({ met }) => met),
    ends: places.map(endOf),
    strange: places.map(({ strange }) => strange),
    ...spanOf(places),
  });
  return rows.map(({ of, ...row }) => {
    const place = places[of] as P;
    return { place, sighting: { facet: place.facet, value: place.value, ...row } };
  });
}
