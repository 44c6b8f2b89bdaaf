import { defineQuery, num, text } from '../store/index.ts';
import { DAY_MS } from './baseline.ts';
import { type Day, once, type Reads, type Stretch, startOf } from './contract.ts';
import { distanceKm, ROUNDING_KM, type Spot } from './distance.ts';
import { feedbackFor } from './feedback.ts';
import { isSame, type Lineage, lineageKey } from './lineage.ts';
import { cameHonestly, staysForJumps, type Trip, tripsOf } from './trips.ts';

/** Stay is a square degree in which a lineage was heard on one day. Times are epoch milliseconds. */
export interface Stay extends Spot {
  /** Start of the day. */
  readonly day: number;
  readonly first: number;
  readonly last: number;
}

/** LocatedCall is one call and where its address is. */
export interface LocatedCall extends Spot {
  readonly id: string;
  readonly time: number;
  readonly token: string;
  readonly ip: string;
  readonly country: string;
  readonly asn: number;
  readonly networkKind: string;
  readonly accuracyKm: number;
  readonly endpoint: string;
  readonly status: number;
}

/** Hop is two calls that followed one another, from places that are far apart. */
export interface Hop {
  readonly from: LocatedCall;
  readonly to: LocatedCall;
  readonly km: number;
}

/** TravelFacts is where one lineage has been, and the first of each kind of hop since the day before. */
export interface TravelFacts {
  readonly owner: string;
  readonly lineage: string;
  readonly stays: readonly Stay[];
  /** By time. */
  readonly hops: readonly Hop[];
  /** Of each end of a hop, by `placeKey`: when other lineages of the owner were first heard there, sorted. */
  readonly peers: ReadonlyMap<string, readonly number[]>;
  /** What people said of its trips, newest first. */
  readonly trips: readonly Trip[];
}

/** Parameters below these count as these: facts are gathered from here on. */
export const FLOOR = { km: 250, kmPerHour: 450 } as const;

/** A lineage that is in several places on more than one of so many of its days does so by habit: a shared token, an app. */
const HABITUAL_EVERY = 3;

/** Days of history that are read. */
const HISTORY_DAYS = 90;
const MAX_PLACES_A_DAY = 32;
const MAX_HOPS = 100;
/** Lineages asked about in one query. */
const SLICE_LINEAGES = 250;

/** placeKey names the square degree of a place, as words about trips do. */
export function placeKey({ latitude, longitude }: Spot): string {
  return `${Math.round(latitude)} ${Math.round(longitude)}`;
}

const anyPlaces = defineQuery<Record<string, never>, number>(
  'travel_any_places',
  'SELECT 1 AS one FROM rollup_places LIMIT 1',
  (raw) => num(raw.one),
);

const staysOf = defineQuery<
  { from: number; to: number; receivedAt: number[]; day: number },
  { owner: string; lineage: string; stays: Stay[] }
>(
  'travel_stays',
  `SELECT owner, lineage, arraySort(groupArray((toUnixTimestamp(toDateTime(day, 'UTC')), first, last, latitude, longitude))) AS stays
   FROM (
     SELECT owner, lineage, day, latitude, longitude, toUnixTimestamp64Milli(min(first_seen)) AS first, toUnixTimestamp64Milli(max(last_seen)) AS last
     FROM rollup_places
     WHERE day >= toDate(fromUnixTimestamp64Milli({day:Int64}, 'UTC')) - ${HISTORY_DAYS} AND (owner, lineage) IN (
       SELECT owner, lineage FROM events
       WHERE time >= fromUnixTimestamp64Milli({from:Int64}) AND time <= fromUnixTimestamp64Milli({to:Int64})
         AND has({receivedAt:Array(Int64)}, toUnixTimestamp64Milli(received_at)) AND accuracy_km > 0)
     GROUP BY owner, lineage, day, latitude, longitude
     ORDER BY owner, lineage, day, first
     LIMIT ${MAX_PLACES_A_DAY} BY owner, lineage, day
   )
   GROUP BY owner, lineage
   HAVING uniqIf((latitude, longitude), day >= toDate(fromUnixTimestamp64Milli({day:Int64}, 'UTC')) - 1) > 1`,
  (raw) => ({
    owner: text(raw.owner),
    lineage: text(raw.lineage),
    stays: (raw.stays as unknown[][]).map(([day, first, last, latitude, longitude]) => ({
      day: num(day) * 1000,
      first: num(first),
      last: num(last),
      latitude: num(latitude),
      longitude: num(longitude),
    })),
  }),
);

const LOCATED = `(toString(id), toUnixTimestamp64Milli(time), token, ip, toString(country), asn, toString(network_kind), accuracy_km, toString(endpoint), status, latitude, longitude)`;

/** The first hop of each day from one square degree to another. */
const hopsOf = defineQuery<
  { owners: string[]; lineages: string[]; from: number; to: number },
  { owner: string; lineage: string; hop: Hop }
>(
  'travel_hops',
  `SELECT owner, lineage, argMin((before, call, km), call.2) AS hop
   FROM (
     SELECT owner, lineage, before, call, round(greatCircleDistance(before.12, before.11, call.12, call.11) / 1000) AS km
     FROM (
       SELECT owner, lineage, call, lagInFrame(call) OVER (PARTITION BY owner, lineage ORDER BY call.2, call.1 ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS before
       FROM (
         SELECT owner, lineage, ${LOCATED} AS call FROM events
         WHERE owner IN {owners:Array(String)} AND lineage IN {lineages:Array(String)}
           AND time >= fromUnixTimestamp64Milli({from:Int64}) AND time < fromUnixTimestamp64Milli({to:Int64})
           AND accuracy_km > 0 AND network_kind NOT IN ('egress', 'vpn', 'relay') AND status != 401
         LIMIT 1 BY owner, lineage, id
       )
     )
     WHERE before.2 > 0 AND km - before.8 - call.8 >= ${FLOOR.km}
       AND (km - before.8 - call.8) * 3600000 > ${FLOOR.kmPerHour} * (call.2 - before.2)
   )
   GROUP BY owner, lineage, intDiv(call.2, ${DAY_MS}), round(before.11), round(before.12), round(call.11), round(call.12)
   ORDER BY owner, lineage, hop.2.2, hop.2.1
   LIMIT ${MAX_HOPS} BY owner, lineage`,
  (raw) => {
    const [from, to, km] = raw.hop as [unknown[], unknown[], unknown];
    return {
      owner: text(raw.owner),
      lineage: text(raw.lineage),
      hop: { from: located(from), to: located(to), km: num(km) },
    };
  },
);

function located(raw: readonly unknown[]): LocatedCall {
  const [id, time, token, ip, country, asn, networkKind, accuracyKm, endpoint, status, latitude, longitude] = raw;
  return {
    id: text(id),
    time: num(time),
    token: text(token),
    ip: text(ip),
    country: text(country),
    asn: num(asn),
    networkKind: text(networkKind),
    accuracyKm: num(accuracyKm),
    endpoint: text(endpoint),
    status: num(status),
    latitude: num(latitude),
    longitude: num(longitude),
  };
}

/** Other lineages of the owner in and around a square degree. */
const peersOf = defineQuery<
  { owners: string[]; lineages: string[]; latitudes: number[]; longitudes: number[] },
  { lineage: string; owner: string; place: string; since: { lineage: string; at: number }[] }
>(
  'travel_peers',
  `SELECT end.owner AS owner, end.lineage AS lineage, concat(toString(end.latitude), ' ', toString(end.longitude)) AS place,
     groupArraySorted(100)((toUnixTimestamp64Milli(stay.first), stay.lineage)) AS since
   FROM (
     SELECT pair.1 AS owner, pair.2 AS lineage, pair.3 AS latitude, pair.4 AS longitude
     FROM (SELECT arrayJoin(arrayZip({owners:Array(String)}, {lineages:Array(String)}, {latitudes:Array(Int16)}, {longitudes:Array(Int16)})) AS pair)
   ) AS end
   INNER JOIN (
     SELECT owner, lineage, latitude, longitude, min(first_seen) AS first
     FROM rollup_places
     WHERE owner IN {owners:Array(String)}
     GROUP BY owner, lineage, latitude, longitude
   ) AS stay ON stay.owner = end.owner
   WHERE stay.lineage != end.lineage AND abs(stay.latitude - end.latitude) <= 1 AND abs(stay.longitude - end.longitude) <= 1
   GROUP BY end.owner, end.lineage, end.latitude, end.longitude`,
  (raw) => ({
    owner: text(raw.owner),
    lineage: text(raw.lineage),
    place: text(raw.place),
    since: (raw.since as [unknown, unknown][]).map(([at, lineage]) => ({ lineage: text(lineage), at: num(at) })),
  }),
);

/** tooFast tells whether nobody could have been at both stays, if only just: the squares' middles stand for the places. */
export function tooFast(a: Stay, b: Stay, km: number, kmPerHour: number, slackKm: number): boolean {
  const distance = distanceKm(a, b);
  if (distance + slackKm < km) return false;
  const gapMs = Math.max(0, b.first - a.last, a.first - b.last);
  return (distance + slackKm) * 3_600_000 > kmPerHour * gapMs;
}

function somePair(stays: readonly Stay[], test: (a: Stay, b: Stay) => boolean): boolean {
  return stays.some((a, i) => stays.some((b, j) => j > i && test(a, b)));
}

/** jumpDays are the days before `day` on which the lineage was in places that nobody reaches from one another at such a speed. */
export function jumpDays(stays: readonly Stay[], day: number, km: number, kmPerHour: number): number[] {
  const days = new Map<number, Stay[]>();
  for (const stay of stays) if (stay.day < day) days.set(stay.day, [...(days.get(stay.day) ?? []), stay]);
  return [...days].filter(([, of]) => somePair(of, (a, b) => tooFast(a, b, km, kmPerHour, 0))).map(([start]) => start);
}

function isHabitual(stays: readonly Stay[], trips: readonly Trip[], day: number): boolean {
  const days = new Set(stays.filter((stay) => stay.day < day).map((stay) => stay.day)).size;
  return jumpDays(staysForJumps(stays, trips), day, FLOOR.km, FLOOR.kmPerHour).length * HABITUAL_EVERY > days;
}

const placed = new WeakSet<Reads>();

/** isPlaced tells whether any call ever had coordinates. */
const isPlaced = once(async (reads: Reads, _: Stretch): Promise<boolean> => {
  if (!placed.has(reads) && (await reads.read(anyPlaces, {})).length > 0) placed.add(reads);
  return placed.has(reads);
});

/** travelFacts gathers the facts of the touched lineages that were in places too far apart since the day before; none without a city database. */
export async function travelFacts(reads: Reads, scope: Day): Promise<TravelFacts[]> {
  if (scope.usage === 0 || scope.placed === 0 || !(await isPlaced(reads, scope.stretch))) return [];
  // A whole day before the judged one, whatever part of it is judged: a trip around the earth takes 22 hours at 900 km/h.
  const day = startOf(scope);
  const [feedback, seen] = await Promise.all([
    feedbackFor(reads, scope.stretch),
    reads.read(staysOf, { from: scope.from, to: scope.to, receivedAt: [...scope.receivedAt], day }),
  ]);
  const saidOf = (one: Lineage) => tripsOf(feedback.trips.get(lineageKey(one)) ?? []);
  const travelled = seen.filter(
    (one) =>
      !isHabitual(one.stays, saidOf(one), day) &&
      somePair(
        one.stays.filter((stay) => stay.day >= day - DAY_MS),
        (a, b) => tooFast(a, b, FLOOR.km, FLOOR.kmPerHour, ROUNDING_KM),
      ),
  );
  const honestly = (owner: string, place: string, since: readonly { lineage: string; at: number }[]): number[] => {
    const [latitude = 0, longitude = 0] = place.split(' ').map(Number);
    return since
      .filter(({ lineage, at }) => cameHonestly({ latitude, longitude }, at, saidOf({ owner, lineage })))
      .map(({ at }) => at);
  };
  const facts: TravelFacts[] = [];
  for (let i = 0; i < travelled.length; i += SLICE_LINEAGES) {
    const slice = travelled.slice(i, i + SLICE_LINEAGES);
    const rows = await reads.read(hopsOf, {
      owners: [...new Set(slice.map(({ owner }) => owner))],
      lineages: slice.map(({ lineage }) => lineage),
      from: day - DAY_MS,
      to: scope.within.to,
    });
    const ends = rows.flatMap(({ owner, lineage, hop }) => [hop.from, hop.to].map((end) => ({ owner, lineage, end })));
    const peers =
      ends.length === 0
        ? []
        : await reads.read(peersOf, {
            owners: ends.map(({ owner }) => owner),
            lineages: ends.map(({ lineage }) => lineage),
            latitudes: ends.map(({ end }) => Math.round(end.latitude)),
            longitudes: ends.map(({ end }) => Math.round(end.longitude)),
          });
    for (const { owner, lineage, stays } of slice) {
      const own = (row: Lineage) => isSame(row, { owner, lineage });
      const hops = rows.filter(own).map(({ hop }) => hop);
      if (hops.length === 0) continue;
      facts.push({
        owner,
        lineage,
        stays,
        hops,
        peers: new Map(peers.filter(own).map(({ place, since }) => [place, honestly(owner, place, since)])),
        trips: saidOf({ owner, lineage }),
      });
    }
  }
  return facts;
}
