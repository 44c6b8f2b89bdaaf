import { defineQuery, num, ONE_THREAD, text } from '../store/index.ts';
import { DAY_MS, HOUR_MS } from './baseline.ts';
import { type Day, startOf, together } from './contract.ts';
import { feedbackFor, type Word, wordEnd } from './feedback.ts';
import { askedOf, grouped, type Lineage, type LineageNames, lineageKey, sliced, unique } from './lineage.ts';
import { type NoveltyFacts, ownerLineages } from './novelty.ts';
import { fleetOf } from './prior.ts';
import { type Activity, inheritActivity, predecessorsOf } from './succession.ts';

/** LEAST_REFUSED calls within an hour are why a lineage is looked at; `min_refused` is never less. */
export const LEAST_REFUSED = 5;

/** WINDOWS_MS are what refused calls are counted over, the shorter one first. */
export const WINDOWS_MS = [600_000, HOUR_MS] as const;

/** RefusedCall is one call that was not allowed (403) or asked for what is not there (404). `time` in epoch milliseconds. */
export interface RefusedCall {
  readonly time: number;
  readonly endpoint: string;
  readonly status: number;
  readonly ip: string;
  readonly userAgent: string;
  /** Calls of the lineage, its own among them, in each of WINDOWS_MS up to it. */
  readonly calls: readonly number[];
}

/** Company is another lineage that was refused some times in a row (IN_A_ROW) on an endpoint within an hour of the clock, and when for the last of them. */
interface Company extends Lineage {
  readonly endpoint: string;
  readonly time: number;
}

/** RefusalFacts is one lineage's refused calls, what is usual for it, and who else is refused. Times are epoch milliseconds, sorted. */
export interface RefusalFacts
  extends Pick<NoveltyFacts, 'owner' | 'lineage' | 'tokens' | 'activeHours' | 'peersSince' | 'inheritedFrom'> {
  readonly refused: readonly RefusedCall[];
  /** In step with `activeHours`: calls made and refused in each. */
  readonly hourlyCalls: readonly number[];
  readonly hourlyRefused: readonly number[];
  /** By endpoint: others that are refused there too. */
  readonly company: ReadonlyMap<string, readonly Company[]>;
  /** Endpoints on which people expect refused calls, until when (null: for good). */
  readonly expected: ReadonlyMap<string, number | null>;
}

/** BURST_HOUR is how many refused calls make an hour of the clock part of a burst: of LEAST_REFUSED within an hour so many are in one of the two that it touches. */
export const BURST_HOUR = Math.ceil(LEAST_REFUSED / 2);

/** Refused calls of one lineage and day that are read at most, the first ones. */
const MAX_REFUSED = 5_000;
/** Others that are looked at for one endpoint and hour at most: by then it is everybody's. */
const MAX_COMPANY = 50;

/** So often in a row somebody is refused on one endpoint where it is the endpoint: of strangers there are more, to whom it happens by chance. */
const IN_A_ROW = { own: 2, other: 3 } as const;

/** Calls that say something of what is allowed: not who was not the token (401), came too often (429), or met a broken service. */
const TELLING = 'status NOT IN (401, 429) AND status < 500';

interface Span extends Record<string, unknown> {
  from: number;
  to: number;
}

/** Who was refused BURST_HOUR times in some hour of the clock, when the batches do not name them. */
const refusedOften = defineQuery<Span, Lineage>(
  'refused_often',
  `SELECT DISTINCT owner, lineage
   FROM (
     SELECT owner, lineage, toStartOfHour(time) AS hour
     FROM events
     PREWHERE time >= fromUnixTimestamp64Milli({from:Int64}) AND time < fromUnixTimestamp64Milli({to:Int64}) AND status IN (403, 404)
     GROUP BY owner, lineage, hour
     HAVING uniqExact(id) >= ${BURST_HOUR}
   )`,
  (raw) => ({ owner: text(raw.owner), lineage: text(raw.lineage) }),
);

/** Which of some lineages were, by the rollup: a call that was sent twice counts twice there, which costs a look. */
const refusedLately = defineQuery<Span & LineageNames, Lineage>(
  'refused_lately',
  `SELECT DISTINCT owner, lineage
   FROM (
     SELECT owner, lineage, hour
     FROM rollup_hours
     WHERE owner IN {owners:Array(String)} AND lineage IN {lineages:Array(String)}
       AND hour >= toStartOfHour(fromUnixTimestamp64Milli({from:Int64})) AND hour < fromUnixTimestamp64Milli({to:Int64})
     GROUP BY owner, lineage, hour
     HAVING sum(refused) >= ${BURST_HOUR}
   )
   ${ONE_THREAD}`,
  (raw) => ({ owner: text(raw.owner), lineage: text(raw.lineage) }),
);

const WITHIN = `
      PREWHERE time >= fromUnixTimestamp64Milli({from:Int64}) AND time < fromUnixTimestamp64Milli({to:Int64})
        AND owner IN {owners:Array(String)} AND lineage IN {lineages:Array(String)}`;

/** The refused calls of lineages in and around such hours of the clock. With each how many calls were made in the windows up to it. */
const refusedCalls = defineQuery<Span & LineageNames, RefusedCall & Lineage>(
  'refused_calls',
  `SELECT owner, lineage, at, endpoint, status, ip, user_agent, in_ten, in_hour
  FROM (
    SELECT owner, lineage, at, endpoint, status, ip, user_agent,
      count() OVER (PARTITION BY owner, lineage ORDER BY at RANGE BETWEEN ${WINDOWS_MS[0] - 1} PRECEDING AND CURRENT ROW) AS in_ten,
      count() OVER (PARTITION BY owner, lineage ORDER BY at RANGE BETWEEN ${WINDOWS_MS[1] - 1} PRECEDING AND CURRENT ROW) AS in_hour
    FROM (
      SELECT owner, lineage, toUnixTimestamp64Milli(time) AS at, endpoint, status, ip, user_agent
      FROM events ${WITHIN}
      WHERE ${TELLING} AND (owner, lineage, toStartOfHour(time)) IN (
        SELECT owner, lineage, arrayJoin([hour - INTERVAL 1 HOUR, hour, hour + INTERVAL 1 HOUR])
        FROM (
          SELECT owner, lineage, toStartOfHour(time) AS hour
          FROM events ${WITHIN} AND status IN (403, 404)
          GROUP BY owner, lineage, hour
          HAVING uniqExact(id) >= ${BURST_HOUR}
        ))
      LIMIT 1 BY owner, lineage, id
    )
  )
  WHERE status IN (403, 404)
  ORDER BY owner, lineage, at, endpoint
  LIMIT ${MAX_REFUSED} BY owner, lineage, intDiv(at, ${DAY_MS})`,
  (raw) => ({
    ...{ owner: text(raw.owner), lineage: text(raw.lineage), time: num(raw.at), endpoint: text(raw.endpoint) },
    ...{ status: num(raw.status), ip: text(raw.ip), userAgent: text(raw.user_agent) },
    calls: [num(raw.in_ten), num(raw.in_hour)],
  }),
);

const refusedHours = defineQuery<
  LineageNames,
  Lineage & { hours: readonly (readonly [hour: number, calls: number, refused: number])[] }
>(
  'refused_hours',
  `SELECT owner, lineage, arraySort(groupArray((at, made, failed))) AS hours
   FROM (
     SELECT owner, lineage, toUnixTimestamp(hour) AS at, sum(calls) AS made, sum(refused) AS failed
     FROM rollup_hours
     WHERE owner IN {owners:Array(String)} AND lineage IN {lineages:Array(String)}
     GROUP BY owner, lineage, hour
   )
   GROUP BY owner, lineage
   ${ONE_THREAD}`,
  (raw) => ({
    ...{ owner: text(raw.owner), lineage: text(raw.lineage) },
    hours: (raw.hours as unknown[][]).map(
      ([hour, calls, refused]) => [num(hour) * 1000, num(calls), num(refused)] as const,
    ),
  }),
);

/** Who was refused on some endpoints so often in a row that it is no accident, and when. */
const refusedElsewhere = defineQuery<Span & { endpoints: string[]; owners: string[] }, Company>(
  'refused_elsewhere',
  `SELECT endpoint, owner, lineage, if(owner IN {owners:Array(String)}, ${IN_A_ROW.own}, ${IN_A_ROW.other}) AS enough,
     arraySort(groupArray((toUnixTimestamp64Milli(time), status IN (403, 404)))) AS calls,
     arrayFirst(nth -> nth >= enough AND arrayAll(one -> one.2, arraySlice(calls, nth - enough + 1, enough)), arrayEnumerate(calls)) AS last,
     if(last = 0, 0, calls[last].1) AS at
   FROM (
     SELECT endpoint, owner, lineage, time, status
     FROM events
     PREWHERE time >= fromUnixTimestamp64Milli({from:Int64}) AND time < fromUnixTimestamp64Milli({to:Int64}) AND endpoint IN {endpoints:Array(String)}
     WHERE ${TELLING}
     LIMIT 1 BY owner, lineage, id
   )
   GROUP BY endpoint, owner, lineage, toStartOfHour(time) AS hour
   HAVING at > 0
   ORDER BY endpoint, at, owner, lineage
   LIMIT ${MAX_COMPANY} BY endpoint, hour`,
  (raw) => ({
    ...{ endpoint: text(raw.endpoint), owner: text(raw.owner), lineage: text(raw.lineage), time: num(raw.at) },
  }),
);

/** refusalFacts gathers whoever was refused LEAST_REFUSED times within an hour: mostly nobody. */
export const refusalFacts = together(async (reads, stretch): Promise<RefusalFacts[][]> => {
  const { days, within, usage } = stretch;
  const none = days.map(() => []);
  if (usage === 0 || stretch.refused?.length === 0) return none;
  // An hour before the first call that is judged, and the hours of the clock that it touches.
  const span = { from: within.from - 2 * HOUR_MS, to: within.to };
  const named = stretch.refused?.map(([owner, lineage]) => ({ owner, lineage }));
  const often = await (named === undefined
    ? reads.read(refusedOften, span)
    : askedOf(named, (names) => reads.read(refusedLately, { ...names, ...span })));
  const rows = await askedOf(often, (names) => reads.read(refusedCalls, { ...names, ...span }));
  const recent = rows.filter(({ time }) => time >= within.from);
  if (recent.length === 0) return none;
  const byLineage = grouped(rows, lineageKey);
  const of = unique(recent.map(({ owner, lineage }) => ({ owner, lineage })));
  const fleets = await Promise.all(days.map((day) => fleetOf(reads, day)));
  const pastsOf = ({ successions }: (typeof fleets)[number], one: Lineage) =>
    predecessorsOf(successions, one).map((lineage) => ({ owner: one.owner, lineage }));
  const ancestors = of.flatMap((one) => fleets.flatMap((fleet) => pastsOf(fleet, one)));
  const [hours, families, elsewhere, feedback] = await Promise.all([
    askedOf([...of, ...ancestors], (names) => reads.read(refusedHours, names)),
    sliced([...new Set(of.map(({ owner }) => owner))], (owners) => reads.read(ownerLineages, { owners: [...owners] })),
    sliced([...new Set(recent.map(({ endpoint }) => endpoint))], (endpoints) =>
      reads.read(refusedElsewhere, {
        endpoints: [...endpoints],
        owners: [...new Set(of.map(({ owner }) => owner))],
        ...span,
      }),
    ),
    feedbackFor(reads, stretch),
  ]);
  const [hoursOf, familyOf, companyOf] = [
    new Map(hours.map((row) => [lineageKey(row), row.hours])),
    grouped(families, ({ owner }) => owner),
    grouped(elsewhere, ({ endpoint }) => endpoint),
  ];
  const wordsOf = (one: Lineage) => feedback.refusals.get(lineageKey(one)) ?? [];
  /** Calls and refused calls by hour, as two activities of the same hours. */
  const activitiesOf = (one: Lineage): [calls: Activity, refused: Activity] => {
    const words = wordsOf(one);
    const kept = (hoursOf.get(lineageKey(one)) ?? []).filter(([hour]) => !isMalicious(words, hour));
    const starts = kept.map(([hour]) => hour);
    return [
      { hours: starts, calls: kept.map(([, calls]) => calls) },
      { hours: starts, calls: kept.map(([hour, , refused]) => (isExpected(words, hour) ? 0 : refused)) },
    ];
  };
  const factsOn = (day: Day, fleet: (typeof fleets)[number], one: Lineage): RefusalFacts => {
    const pasts = pastsOf(fleet, one);
    const [ownCalls, ownRefused] = activitiesOf(one);
    const past = pasts.map(activitiesOf);
    const inherited = (own: Activity, nth: 0 | 1) =>
      inheritActivity(
        own,
        past.map((both) => both[nth]),
        startOf(day),
      );
    const [calls, refused] = [inherited(ownCalls, 0), inherited(ownRefused, 1)];
    const family = familyOf.get(one.owner) ?? [];
    const itself = new Set([one.lineage, ...pasts.map(({ lineage }) => lineage)]);
    const said = wordsOf(one).filter(({ verdict }) => verdict === 'expected');
    return {
      ...one,
      tokens: family.find(({ lineage }) => lineage === one.lineage)?.tokens ?? [],
      refused: byLineage.get(lineageKey(one)) ?? [],
      activeHours: calls.hours,
      hourlyCalls: calls.calls,
      hourlyRefused: refused.calls,
      peersSince: family.filter(({ lineage }) => !itself.has(lineage)).map(({ tokens }) => tokens[0]?.since ?? 0),
      inheritedFrom: pasts.map(({ lineage }) => lineage),
      company: new Map(
        [...companyOf].map(([endpoint, others]) => [
          endpoint,
          others.filter(({ owner, lineage }) => owner !== one.owner || !itself.has(lineage)),
        ]),
      ),
      // The newest word counts; they come newest first.
      expected: new Map(said.toReversed().map((word) => [word.value, wordEnd(word)])),
    };
  };
  return days.map((day, i) => {
    const { from, to } = day.within;
    const fleet = fleets[i] as (typeof fleets)[number];
    return of
      .filter((one) => byLineage.get(lineageKey(one))?.some(({ time }) => time >= from && time < to))
      .map((one) => factsOn(day, fleet, one));
  });
});

/** isMalicious tells whether an hour is one of what people found malicious: what was refused then is nobody's habit. */
function isMalicious(words: readonly Word[], hour: number): boolean {
  return words.some(({ verdict, from, to }) => verdict === 'malicious' && hour + HOUR_MS > from && hour <= to);
}

/** isExpected tells whether refused calls were expected in an hour: they are judged by themselves, and make no others usual. */
function isExpected(words: readonly Word[], hour: number): boolean {
  return words.some(
    ({ verdict, from, endsAt }) =>
      verdict === 'expected' && hour + HOUR_MS > from && hour <= (endsAt ?? Number.POSITIVE_INFINITY),
  );
}
