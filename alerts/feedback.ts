import type { Verdict } from '../core/index.ts';
import {
  defineQuery,
  FACETS_OF_CALLS,
  FORGOTTEN_AFTER,
  num,
  type Store,
  sqlQuarterStart,
  sqlRenewals,
  text,
  time,
} from '../store/index.ts';

const HOUR_MS = 3_600_000;

/**
 * How far around a finding's window the values belong to it. An attacker looks around before the first finding, and goes on
 * after the last one without another; what is expected is what was looked at, with the place that it came from.
 */
const REACH_MS: Record<Verdict, { readonly before: number; readonly after: number }> = {
  expected: { before: HOUR_MS, after: HOUR_MS },
  malicious: { before: HOUR_MS, after: 24 * HOUR_MS },
};

/** Steps further apart than this belong to different bursts, as for the detector of churn. */
const BURST_GAP_MS = 3 * HOUR_MS;

/** Values of one alert that a word is kept about at most. */
const MAX_VALUES = 10_000;

/** Judged is a value that an alert is about. Times are epoch milliseconds of event time. */
interface Judged {
  readonly owner: string;
  /** '' for what an owner does. */
  readonly lineage: string;
  readonly facet: string;
  readonly value: string;
  readonly firstSeen: number;
  readonly lastSeen: number;
  readonly amount: number;
  /** What it was before it was used again, and this alert is about that use alone: spoken of by another alert, until that ended, or known until it was forgotten. */
  readonly before: Ended | null;
}

/** Ended is an earlier word about a value, or an earlier habit. Times are epoch milliseconds of event time. */
interface Ended {
  readonly verdict: Verdict;
  readonly from: number;
  readonly amount: number;
  readonly endedAt: number;
  /** Where only a use that began in one of these spans is what the alert is about; null: every use since. */
  readonly spans: readonly (readonly [from: number, to: number])[] | null;
}

const OF_ALERT = `id IN (SELECT detection FROM alert_log WHERE alert = {alert:String} AND detection != '')`;

/**
 * What the lineages of an alert first met in the windows of its detections, `before` and `after` around them; and all that the
 * newest word is this alert's own about, however far that one reached: a later word on an alert takes its place everywhere.
 */
const metInWindows = defineQuery<{ alert: string; before: number; after: number; since: number }, Judged>(
  'feedback_met_in_windows',
  `SELECT met.owner AS owner, met.lineage AS lineage, met.facet AS facet, met.value AS value, met.first AS first, met.last AS last, met.made AS made,
     arrayExists(w -> first <= w.2 AND (first >= w.1 OR ({since:Int64} > 0 AND first >= fromUnixTimestamp64Milli({since:Int64}))), windows) AS met_in_windows,
     -- Spoken of before, and used again after that word had ended: it was first met again, and this alert may be about it.
     said = 1 AND last > over AS used_again, earlier, earlier_from, earlier_amount, over,
     -- Forgotten, and used again in the quarter of a window: then it was first met again, and this alert may be about it.
     arrayLast(renewal -> arrayExists(w -> renewal <= w.2 AND (addQuarters(renewal, 1) > w.1 OR ({since:Int64} > 0 AND addQuarters(renewal, 1) > fromUnixTimestamp64Milli({since:Int64}))), windows), renewals) AS forgotten,
     word.of_alert = {alert:String} OR (used_again AND arrayExists(w -> first <= w.2 AND last >= w.1, windows)) AS spoken_of,
     arrayMap(w -> (toUnixTimestamp64Milli(w.1), toUnixTimestamp64Milli(w.2)), windows) AS spans
   FROM (
     SELECT owner, lineage, facet, value, first, last, made,
       arrayMap(quarter -> ${sqlQuarterStart('quarter')}, arrayFilter(
         quarter -> arrayCount(one -> one < quarter AND one > arrayMax(arrayFilter(use -> use < quarter, used_in)), active_in) >= ${FORGOTTEN_AFTER},
         arrayPopFront(bitPositionsToArray(${sqlRenewals('used')})))) AS renewals
     FROM (
       SELECT *, bitPositionsToArray(used) AS used_in, bitPositionsToArray(groupBitOr(used) OVER (PARTITION BY owner, lineage, facet)) AS active_in
       FROM (
         SELECT owner, lineage, facet, value, min(first_seen) AS first, max(last_seen) AS last, sum(calls) AS made, groupBitOr(quarters) AS used
         FROM rollup_facets
         WHERE (owner, lineage) IN (SELECT owner, ifNull(lineage, '') FROM detections WHERE ${OF_ALERT})
         GROUP BY owner, lineage, facet, value
       )
     )
   ) AS met
   INNER JOIN (
     SELECT owner, ifNull(lineage, '') AS lineage,
       groupArray((window_from - toIntervalMillisecond({before:Int64}), window_to + toIntervalMillisecond({after:Int64}))) AS windows
     FROM detections
     WHERE ${OF_ALERT}
     GROUP BY owner, lineage
   ) AS judged ON judged.owner = met.owner AND judged.lineage = met.lineage
   LEFT JOIN (
     SELECT owner, lineage, facet, value, argMax(alert, recorded_at) AS of_alert, countIf(alert != {alert:String}) > 0 AS said,
       argMaxIf(verdict, recorded_at, alert != {alert:String}) AS earlier, argMaxIf(first_seen, recorded_at, alert != {alert:String}) AS earlier_from,
       argMaxIf(amount, recorded_at, alert != {alert:String}) AS earlier_amount,
       argMaxIf(if(verdict = 'malicious', last_seen, ifNull(ends_at, toDateTime64('2299-01-01', 3, 'UTC'))), recorded_at, alert != {alert:String}) AS over
     FROM feedback
     WHERE (owner, lineage) IN (SELECT owner, ifNull(lineage, '') FROM detections WHERE ${OF_ALERT})
     GROUP BY owner, lineage, facet, value
   ) AS word ON word.owner = met.owner AND word.lineage = met.lineage AND word.facet = met.facet AND word.value = met.value
   WHERE met_in_windows OR spoken_of OR toUnixTimestamp64Milli(forgotten) > 0
   ORDER BY word.of_alert = {alert:String} DESC, first, facet, value
   LIMIT ${MAX_VALUES}`,
  (raw) => ({
    ...judgedOf(raw),
    before: num(raw.met_in_windows) === 0 ? endedBefore(raw) : null,
  }),
);

/** endedBefore is what a value was until its use began anew; null: this alert is about all of it. */
function endedBefore(raw: Record<string, unknown>): Ended | null {
  const spokenOf = num(raw.used_again) === 1;
  const forgotten = time(raw.forgotten) - 1;
  if (!spokenOf && forgotten <= 0) return null;
  return {
    verdict: spokenOf ? (text(raw.earlier) as Verdict) : 'expected',
    from: time(raw.earlier_from),
    amount: num(raw.earlier_amount),
    endedAt: Math.max(spokenOf ? time(raw.over) : 0, forgotten),
    spans:
      num(raw.spoken_of) === 1 ? null : (raw.spans as [unknown, unknown][]).map(([from, to]) => [num(from), num(to)]),
  };
}

/** When values were first used again after moments of their own, and how often since, from the calls that are still kept. */
const usesSince = defineQuery<
  { owners: string[]; lineages: string[]; facets: string[]; values: string[]; ends: number[]; from: number },
  Pick<Judged, 'owner' | 'lineage' | 'facet' | 'value'> & { first: number; calls: number }
>(
  'feedback_uses_since',
  `SELECT ended.owner AS owner, ended.lineage AS lineage, ended.facet AS facet, ended.value AS value, min(call.time) AS first, uniqExact(call.id) AS calls
   FROM (
     SELECT one.1 AS owner, one.2 AS lineage, one.3 AS facet, one.4 AS value, one.5 AS at
     FROM (SELECT arrayJoin(arrayZip({owners:Array(String)}, {lineages:Array(String)}, {facets:Array(String)}, {values:Array(String)}, {ends:Array(Int64)})) AS one)
   ) AS ended
   INNER JOIN (
     SELECT owner, lineage, time, id, met.1 AS facet, met.2 AS value
     FROM (
       SELECT * FROM events
       WHERE owner IN {owners:Array(String)} AND lineage IN {lineages:Array(String)} AND time > fromUnixTimestamp64Milli({from:Int64})
     )
     ARRAY JOIN ${FACETS_OF_CALLS} AS met
   ) AS call ON call.owner = ended.owner AND call.lineage = ended.lineage AND call.facet = ended.facet AND call.value = ended.value
   WHERE toUnixTimestamp64Milli(call.time) > ended.at
   GROUP BY ended.owner, ended.lineage, ended.facet, ended.value`,
  (raw) => ({
    owner: text(raw.owner),
    lineage: text(raw.lineage),
    facet: text(raw.facet),
    value: text(raw.value),
    first: time(raw.first),
    calls: num(raw.calls),
  }),
);

/** The facet of a burst of churn, by the window that the finding says it was found in; of none the one that excuses least. */
const BURST_FACETS = { 'an hour': 'steps-hour', 'a day': 'steps-day', 'three days': 'steps-three-days' } as const;

const sqlList = (texts: readonly string[]) => `[${texts.map((one) => `'${one}'`).join(', ')}]`;

const BURST_FACET = `transform(JSONExtractString(expected, 'window'), ${sqlList(Object.keys(BURST_FACETS))}, ${sqlList(Object.values(BURST_FACETS))}, 'steps-three-days')`;

/** The bursts of churn that an alert's detections are about, each to its last step. */
const burstsIn = defineQuery<{ alert: string }, Judged>(
  'feedback_bursts',
  `SELECT burst.owner AS owner, '' AS lineage, burst.facet AS facet, burst.step AS value, burst.first AS first,
     arrayMax(arrayPushBack(arrayFilter(t -> t > burst.last AND t <= burst.last + toIntervalMillisecond(${BURST_GAP_MS}), steps.times), burst.last)) AS last,
     burst.made AS made
   FROM (
     SELECT owner, ${BURST_FACET} AS facet, JSONExtractString(observed, 'step') AS step,
       min(window_from) AS first, max(window_to) AS last, max(JSONExtractUInt(observed, 'tokens')) AS made
     FROM detections
     WHERE ${OF_ALERT} AND detector = 'churn-rate'
     GROUP BY owner, facet, step
   ) AS burst
   LEFT JOIN (
     SELECT owner, if(replaces != '' AND action = 'issued', 'rotated', action) AS step, groupArray(time) AS times
     FROM lifecycle
     WHERE owner IN (SELECT owner FROM detections WHERE ${OF_ALERT} AND detector = 'churn-rate')
       AND time >= (SELECT min(window_from) FROM detections WHERE ${OF_ALERT})
     GROUP BY owner, step
   ) AS steps ON steps.owner = burst.owner AND steps.step = burst.step`,
  judgedOf,
);

/** The endpoints on which the lineages of an alert's detections were refused, until `after` the last finding: who was told of goes on. */
const refusedIn = defineQuery<{ alert: string; after: number }, Judged>(
  'feedback_refused',
  `SELECT owner, ifNull(lineage, '') AS of_lineage, 'refused' AS facet, endpoint AS value, min(window_from) AS first,
     max(window_to) + toIntervalMillisecond({after:Int64}) AS last, max(JSONExtractUInt(observed, 'refused')) AS made
   FROM detections
   ARRAY JOIN JSONExtract(expected, 'refused_on', 'Array(String)') AS endpoint
   WHERE ${OF_ALERT} AND detector = 'refused-calls'
   GROUP BY owner, of_lineage, endpoint`,
  (raw) => judgedOf({ ...raw, lineage: raw.of_lineage }),
);

/** The facets of origins, as `observed` has them: lists of values. */
const ORIGINS = sqlList(['country', 'network', 'kind', 'client']);

/**
 * The origins that an alert's detections name as new to an owner, and all that were first met in the windows of these, `before` and `after`
 * around them: a finding names the strangest; and all that the newest word is this alert's own about, as of calls. With the steps from there; of
 * what was known before only what came since.
 */
const originsIn = defineQuery<{ alert: string; before: number; after: number; since: number }, Judged>(
  'feedback_origins',
  `SELECT known.owner AS owner, '' AS lineage, known.facet AS facet, known.value AS value,
     arrayExists(w -> known.first <= w.2 AND (known.first >= w.1 OR ({since:Int64} > 0 AND known.first >= fromUnixTimestamp64Milli({since:Int64}))), met.windows) AS met_in_windows,
     if(met_in_windows, known.first, greatest(known.first, met.began)) AS first, known.last AS last, known.made AS made
   FROM (
     SELECT owner, facet, value, min(first_seen) AS first, max(last_seen) AS last, sum(steps) AS made
     FROM rollup_origins
     WHERE owner IN (SELECT owner FROM detections WHERE ${OF_ALERT} AND detector = 'lifecycle-novelty')
     GROUP BY owner, facet, value
   ) AS known
   INNER JOIN (
     SELECT owner, min(window_from) AS began,
       groupArray((window_from - toIntervalMillisecond({before:Int64}), window_to + toIntervalMillisecond({after:Int64}))) AS windows,
       arrayFlatten(groupArray(arrayFlatten(arrayMap(one -> arrayMap(found -> concat(one, '\\n', found), JSONExtract(observed, one, 'Array(String)')), ${ORIGINS})))) AS named
     FROM detections
     WHERE ${OF_ALERT} AND detector = 'lifecycle-novelty'
     GROUP BY owner
   ) AS met ON met.owner = known.owner
   WHERE met_in_windows OR has(met.named, concat(known.facet, '\\n', known.value))
     OR (known.owner, known.facet, known.value) IN (
       SELECT owner, facet, value FROM feedback WHERE lineage = '' GROUP BY owner, facet, value HAVING argMax(alert, recorded_at) = {alert:String})
   ORDER BY first, facet, value
   LIMIT ${MAX_VALUES}`,
  judgedOf,
);

/**
 * The two places of each trip that an alert's detections are about, in whole degrees, the one that the lineage was heard from first
 * before the other; and the use of the other from `before` the trip, or from `since`, on. One square more counts on each side.
 */
const tripsIn = defineQuery<{ alert: string; before: number; since: number }, Judged>(
  'feedback_trips',
  `SELECT owner, lineage, 'trip' AS facet, arraySort(groupArray((heard, place, since_then, last_use, calls))) AS ends,
     concat(ends[1].2, ', ', ends[2].2) AS value, ends[2].3 AS first, ends[2].4 AS last, ends[2].5 AS made
   FROM (
     SELECT trip.owner AS owner, trip.lineage AS lineage, places, concat(toString(end.1), ' ', toString(end.2)) AS place,
       min(stay.first) AS heard, greatest(since, minIf(stay.first, stay.last >= since)) AS since_then,
       max(stay.last) AS last_use, sumIf(stay.made, stay.last >= since) AS calls
     FROM (
       SELECT owner, lineage, places, arrayJoin(places) AS end,
         least(min(window_from) - toIntervalMillisecond({before:Int64}), if({since:Int64} > 0, fromUnixTimestamp64Milli({since:Int64}), min(window_from))) AS since
       FROM (
         SELECT owner, ifNull(lineage, '') AS lineage, window_from,
           arraySort(arrayMap(call -> (toInt16(floor(call.1 + 0.5)), toInt16(floor(call.2 + 0.5))),
             arraySlice(JSONExtract(evidence, 'Array(Tuple(latitude Float64, longitude Float64))'), 1, 2))) AS places
         FROM detections
         WHERE ${OF_ALERT} AND detector = 'impossible-travel'
       )
       WHERE length(places) = 2
       GROUP BY owner, lineage, places
     ) AS trip
     INNER JOIN (
       SELECT owner, lineage, latitude, longitude, min(first_seen) AS first, max(last_seen) AS last, sum(calls) AS made
       FROM rollup_places
       WHERE (owner, lineage) IN (SELECT owner, ifNull(lineage, '') FROM detections WHERE ${OF_ALERT})
       GROUP BY owner, lineage, day, latitude, longitude
     ) AS stay ON stay.owner = trip.owner AND stay.lineage = trip.lineage
     WHERE abs(stay.latitude - end.1) <= 1 AND abs(stay.longitude - end.2) <= 1
     GROUP BY trip.owner, trip.lineage, places, since, end
   )
   GROUP BY owner, lineage, places
   HAVING length(ends) = 2`,
  judgedOf,
);

function judgedOf(raw: Record<string, unknown>): Judged {
  return {
    owner: text(raw.owner),
    lineage: text(raw.lineage),
    facet: text(raw.facet),
    value: text(raw.value),
    firstSeen: time(raw.first),
    lastSeen: time(raw.last),
    amount: num(raw.made),
    before: null,
  };
}

/**
 * usedSince leaves out what was forgotten and used again at another time, and narrows values that are found malicious to the use that
 * they are: not what was done with them while they were expected or before they were forgotten, but also what was found malicious before.
 */
async function usedSince(
  store: Pick<Store, 'read'>,
  judged: readonly Judged[],
  { verdict, since }: Pick<Lesson, 'verdict' | 'since'>,
): Promise<Judged[]> {
  const used = judged.flatMap((value) =>
    value.before === null || (verdict !== 'malicious' && value.before.spans === null)
      ? []
      : [{ ...value, endedAt: value.before.endedAt }],
  );
  if (used.length === 0) return [...judged];
  const uses = await store.read(usesSince, {
    owners: used.map(({ owner }) => owner),
    lineages: used.map(({ lineage }) => lineage),
    facets: used.map(({ facet }) => facet),
    values: used.map(({ value }) => value),
    ends: used.map(({ endedAt }) => endedAt),
    from: Math.min(...used.map(({ endedAt }) => endedAt)),
  });
  const keyOf = ({ owner, lineage, facet, value }: Pick<Judged, 'owner' | 'lineage' | 'facet' | 'value'>) =>
    `${facet}\n${owner}\n${lineage}\n${value}`;
  const useOf = new Map(uses.map((use) => [keyOf(use), use]));
  return judged.flatMap((value) => {
    if (value.before === null) return [value];
    const { spans, from, amount } = value.before;
    // Of calls that are not kept any more only the last one is known.
    const { first, calls } = useOf.get(keyOf(value)) ?? { first: value.lastSeen, calls: 1 };
    if (spans?.every(([start, end]) => first > end || (first < start && (since === null || first < since)))) return [];
    if (verdict !== 'malicious') return [value];
    return value.before.verdict === 'malicious'
      ? [{ ...value, firstSeen: from, amount: amount + calls }]
      : [{ ...value, firstSeen: first, amount: calls }];
  });
}

/** Lesson is what detectors are to learn from a resolved alert. Times are epoch milliseconds. */
export interface Lesson {
  readonly verdict: Verdict;
  /** Until when it is expected, event time; null: for good. */
  readonly until: number | null;
  /** Takes in what was first met from then on, event time; null: from an hour before the first finding. */
  readonly since: number | null;
}

/** teach records a lesson about everything that an alert's detections are about; returns about how many values. */
export async function teach(
  store: Pick<Store, 'read' | 'insert'>,
  alert: string,
  lesson: Lesson,
  word: { readonly note: string; readonly by: string; readonly now: number },
): Promise<number> {
  const { before, after } = REACH_MS[lesson.verdict];
  const since = lesson.since ?? 0;
  const [met, bursts, origins, refused, trips] = await Promise.all([
    store.read(metInWindows, { alert, before, after, since }),
    store.read(burstsIn, { alert }),
    store.read(originsIn, { alert, before, after, since }),
    store.read(refusedIn, { alert, after }),
    store.read(tripsIn, { alert, before, since }),
  ]);
  const judged = [...(await usedSince(store, met, lesson)), ...bursts, ...origins, ...refused, ...trips];
  await store.insert(
    'feedback',
    judged.map((value) =>
      JSON.stringify([
        iso(word.now),
        alert,
        value.owner,
        value.lineage,
        value.facet,
        value.value,
        lesson.verdict,
        iso(value.firstSeen),
        iso(value.lastSeen),
        value.amount,
        lesson.until === null ? null : iso(lesson.until),
        word.note,
        word.by,
      ]),
    ),
    `feedback ${alert} ${lesson.verdict} ${word.now}`,
  );
  return judged.length;
}

function iso(at: number): string {
  return new Date(at).toISOString();
}
