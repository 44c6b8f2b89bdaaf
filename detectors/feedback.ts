import type { Verdict } from '../core/index.ts';
import { defineQuery, FACETS_OF_CALLS, num, text } from '../store/index.ts';
import { DAY_MS, HOUR_MS, OPEN_MS } from './baseline.ts';
import { once, type Reads, type Scope } from './contract.ts';
import { grouped, type Lineage, lineageKey, sliced } from './lineage.ts';
import type { Activity } from './succession.ts';

/** Word is what a person said of one value that a lineage met, or of one burst of an owner's churn. Times are epoch milliseconds, event time. */
export interface Word extends Lineage {
  readonly alert: string;
  /** '' for what an owner does: its churn, and from where its tokens are administered. */
  readonly lineage: string;
  /** A facet; TRIP for two places; REFUSED for refused calls; for churn a key of BURST_WINDOWS. */
  readonly facet: string;
  readonly value: string;
  readonly verdict: Verdict;
  /** First and last use that the word is about. */
  readonly from: number;
  readonly to: number;
  /** Calls in them, or steps in the fullest window. */
  readonly amount: number;
  /** Until when it is expected; null: for good. */
  readonly endsAt: number | null;
}

/** Said is a word as a met value carries it. */
export interface Said {
  readonly verdict: Verdict;
  /** The use that counts as its first meeting came after the word had ended; `until` is when that was. */
  readonly again: boolean;
  readonly until: number | null;
}

/** UsedAgain is the first use of a value after it had lapsed: after the word about it had ended, or after it was forgotten. */
export interface UsedAgain {
  readonly met: number;
  readonly firstStatus: number;
}

/** Feedback is all that people said, as detectors use it. */
export interface Feedback {
  /** But for those about trips and refused calls. */
  readonly words: readonly Word[];
  /** By lineageKey; what was said of trips and of refused calls apart, newest first. */
  readonly ofLineage: ReadonlyMap<string, readonly Word[]>;
  readonly trips: ReadonlyMap<string, readonly Word[]>;
  readonly refusals: ReadonlyMap<string, readonly Word[]>;
  /** What was used again, by valueKey: looked up once, and remembered. */
  readonly again: Map<string, UsedAgain>;
}

/** TRIP is the facet of words about two places that nobody can travel between so fast. */
export const TRIP = 'trip';

/** REFUSED is the facet of words about an endpoint on which a lineage's calls were refused. */
export const REFUSED = 'refused';

/** Words that count at most, the newest: more than people say in years. */
const MAX_WORDS = 10_000;

const version = defineQuery<Record<string, never>, string>(
  'feedback_version',
  'SELECT count() AS version FROM feedback',
  (raw) => text(raw.version),
);

/** How the facets of words about churn begin. */
const BURST_PREFIX = 'steps-';

/** The newest word about a value counts; every burst of churn, and every alert about a trip, stands for itself. */
const newestWords = defineQuery<Record<string, never>, Word>(
  'feedback_words',
  `SELECT owner, lineage, facet, value, argMax(alert, recorded_at) AS of_alert,
     argMax(verdict, recorded_at) AS said, toUnixTimestamp64Milli(argMax(first_seen, recorded_at)) AS first,
     toUnixTimestamp64Milli(argMax(last_seen, recorded_at)) AS last, argMax(amount, recorded_at) AS made,
     -- A tuple, because argMax passes over a bare NULL.
     toUnixTimestamp64Milli(argMax(tuple(ends_at), recorded_at).1) AS ends
   FROM feedback
   GROUP BY owner, lineage, facet, value, if(startsWith(facet, '${BURST_PREFIX}') OR facet IN ('${TRIP}', '${REFUSED}'), alert, '')
   ORDER BY max(recorded_at) DESC
   LIMIT ${MAX_WORDS}`,
  (raw) => ({
    alert: text(raw.of_alert),
    owner: text(raw.owner),
    lineage: text(raw.lineage),
    facet: text(raw.facet),
    value: text(raw.value),
    verdict: text(raw.said) === 'malicious' ? 'malicious' : 'expected',
    from: num(raw.first),
    to: num(raw.last),
    amount: num(raw.made),
    endsAt: raw.ends === null ? null : num(raw.ends),
  }),
);

const remembered = new WeakMap<Reads, { readonly version: string; readonly feedback: Promise<Feedback> }>();

/** feedbackFor is what people have said by now: one small query a stretch, and the words themselves only when there are new ones. */
export const feedbackFor = once((reads: Reads, _: Scope) => currentFeedback(reads));

async function currentFeedback(reads: Reads): Promise<Feedback> {
  const [now = ''] = await reads.read(version, {});
  const known = remembered.get(reads);
  if (known?.version === now) return known.feedback;
  const feedback = reads.read(newestWords, {}).then(feedbackOf);
  remembered.set(reads, { version: now, feedback });
  feedback.catch(() => remembered.delete(reads));
  return feedback;
}

function feedbackOf(all: readonly Word[]): Feedback {
  const words = all.filter(({ facet }) => facet !== TRIP && facet !== REFUSED);
  const about = (one: string) =>
    grouped(
      all.filter(({ facet }) => facet === one),
      lineageKey,
    );
  return {
    words,
    ofLineage: grouped(words, lineageKey),
    trips: about(TRIP),
    refusals: about(REFUSED),
    again: new Map(),
  };
}

/** Valued is one value of one facet of one lineage. */
export interface Valued extends Lineage {
  readonly facet: string;
  readonly value: string;
}

/** valueKey names one value of one facet of one lineage. */
export function valueKey(value: Valued): string {
  return `${value.facet}\n${lineageKey(value)}\n${value.value}`;
}

/** wordEnd is when a value that was spoken of is news again: after the last use that was malicious, after the end of what was expected; null: never. */
export function wordEnd(word: Pick<Word, 'verdict' | 'to' | 'endsAt'>): number | null {
  return word.verdict === 'malicious' ? word.to : word.endsAt;
}

function valuedOf(raw: Record<string, unknown>): Valued {
  return { facet: text(raw.facet), owner: text(raw.owner), lineage: text(raw.lineage), value: text(raw.value) };
}

/** The last use of whatever the lineages met, of those that were used lately. */
const lastUses = defineQuery<{ owners: string[]; lineages: string[]; from: number }, Valued & { last: number }>(
  'feedback_last_uses',
  `SELECT facet, owner, lineage, value, toUnixTimestamp64Milli(max(last_seen)) AS last
   FROM rollup_facets
   WHERE (owner, lineage) IN (
     SELECT owner, lineage FROM rollup_tokens WHERE owner IN {owners:Array(String)} AND lineage IN {lineages:Array(String)}
     GROUP BY owner, lineage
     HAVING max(last_seen) >= fromUnixTimestamp64Milli({from:Int64}))
   GROUP BY facet, owner, lineage, value`,
  (raw) => ({ ...valuedOf(raw), last: num(raw.last) }),
);

const firstUses = defineQuery<
  {
    facets: string[];
    owners: string[];
    lineages: string[];
    values: string[];
    ends: number[];
    from: number;
    to: number;
  },
  UsedAgain & Lapsed
>(
  'feedback_first_uses',
  `SELECT over.facet AS facet, over.owner AS owner, over.lineage AS lineage, over.value AS value, over.ended AS ended,
     toUnixTimestamp64Milli(min(call.time)) AS met, argMin(call.status, call.time) AS first_status
   FROM (
     SELECT pair.1 AS facet, pair.2 AS owner, pair.3 AS lineage, pair.4 AS value, pair.5 AS ended
     FROM (SELECT arrayJoin(arrayZip({facets:Array(String)}, {owners:Array(String)}, {lineages:Array(String)}, {values:Array(String)}, {ends:Array(Int64)})) AS pair)
   ) AS over
   INNER JOIN (
     SELECT owner, lineage, time, status, met.1 AS facet, met.2 AS value
     FROM (
       SELECT * FROM events
       WHERE owner IN {owners:Array(String)} AND lineage IN {lineages:Array(String)} AND time > fromUnixTimestamp64Milli({from:Int64}) AND time < fromUnixTimestamp64Milli({to:Int64})
     )
     ARRAY JOIN ${FACETS_OF_CALLS} AS met
   ) AS call ON call.facet = over.facet AND call.owner = over.owner AND call.lineage = over.lineage AND call.value = over.value
   WHERE toUnixTimestamp64Milli(call.time) > over.ended
   GROUP BY over.facet, over.owner, over.lineage, over.value, over.ended`,
  (raw) => ({ ...valuedOf(raw), ended: num(raw.ended), met: num(raw.met), firstStatus: num(raw.first_status) }),
);

/** Values whose first use is looked up in one query. */
const SLICE_VALUES = 500;

/**
 * usedAgain is what was used again before the scope's end, after the words about it had ended, by valueKey. The first use is
 * looked up in the events once and remembered; nothing is asked while no word has ended.
 */
export async function usedAgain(
  reads: Reads,
  feedback: Feedback,
  scope: Scope,
): Promise<ReadonlyMap<string, UsedAgain>> {
  const { from, to } = scope.within;
  const over = feedback.words.filter((word) => word.lineage !== '' && (wordEnd(word) ?? to) < to);
  const unknown = new Map(over.map((word) => [valueKey(word), word]));
  for (const key of feedback.again.keys()) unknown.delete(key);
  if (unknown.size > 0) {
    const waiting = [...unknown.values()];
    const last = await reads.read(lastUses, {
      owners: [...new Set(waiting.map((word) => word.owner))],
      lineages: [...new Set(waiting.map((word) => word.lineage))],
      from: from - OPEN_MS,
    });
    const used = last.flatMap((use) => {
      const word = unknown.get(valueKey(use));
      const ended = word === undefined ? null : wordEnd(word);
      return ended !== null && use.last > ended ? [{ ...use, ended }] : [];
    });
    for (const { met, firstStatus, ...use } of await firstUsesAfter(reads, used, to))
      feedback.again.set(valueKey(use), { met, firstStatus });
  }
  return new Map([...feedback.again].filter(([, use]) => use.met < to));
}

/** Lapsed is a value that is news again when it is used after `ended`, epoch milliseconds. */
export interface Lapsed extends Valued {
  readonly ended: number;
}

/** firstUsesAfter looks up in the events when values were used first after they had lapsed, before `to` (epoch milliseconds); those that were not are left out. */
export function firstUsesAfter(reads: Reads, lapsed: readonly Lapsed[], to: number): Promise<(UsedAgain & Lapsed)[]> {
  const ask = (slice: readonly Lapsed[]) =>
    reads.read(firstUses, {
      facets: slice.map(({ facet }) => facet),
      owners: slice.map(({ owner }) => owner),
      lineages: slice.map(({ lineage }) => lineage),
      values: slice.map(({ value }) => value),
      ends: slice.map(({ ended }) => ended),
      from: slice.reduce((earliest, { ended }) => Math.min(earliest, ended), to),
      to,
    });
  return sliced(lapsed, ask, SLICE_VALUES);
}

/** Spoken is the part of a met value that a word changes. */
interface Spoken extends Valued {
  readonly met: number;
  readonly calls: number;
  readonly firstStatus: number;
}

/**
 * valuesAsSaid applies what people said to the values that one lineage met: malicious ones were never met; expected ones are
 * marked; what was used again after the word about it had ended was first met then. Sorted by first meeting.
 */
export function valuesAsSaid<V extends Spoken>(
  values: readonly V[],
  words: readonly Word[],
  again: ReadonlyMap<string, UsedAgain>,
): readonly (V & { readonly said?: Said })[] {
  if (words.length === 0) return values;
  const wordOf = new Map(words.map((word) => [valueKey(word), word]));
  return values
    .flatMap((value) => {
      const key = valueKey(value);
      const word = wordOf.get(key);
      if (word === undefined) return [value];
      const { verdict } = word;
      const until = wordEnd(word);
      const use = again.get(key);
      if (use !== undefined && until !== null) {
        const calls = verdict === 'malicious' ? Math.max(1, value.calls - word.amount) : value.calls;
        return [{ ...value, ...use, calls, said: { verdict, again: true, until } }];
      }
      if (verdict === 'malicious') return [];
      return [value.met <= (until ?? value.met) ? { ...value, said: { verdict, again: false, until } } : value];
    })
    .sort((a, b) => a.met - b.met || (a.value < b.value ? -1 : 1));
}

/** isExpected tells whether a person expected this meeting: it is no news, and no less a habit. */
export function isExpected(value: { readonly said?: Said }): boolean {
  return value.said?.verdict === 'expected' && !value.said.again;
}

/**
 * activityAsSaid takes calls that were malicious out of a lineage's activity: the calls of each alert's values, of the facet
 * that most of them are known by, are spread over the hours of the abuse; an hour of which nothing is left was not active.
 */
export function activityAsSaid(activity: Activity, words: readonly Word[]): Activity {
  const abuses = abusesIn(words);
  if (abuses.length === 0) return activity;
  const calls = [...activity.calls];
  for (const { from, to, amount } of abuses) {
    const touched = activity.hours.flatMap((hour, i) => (hour + HOUR_MS > from && hour <= to ? [i] : []));
    const made = touched.reduce((sum, i) => sum + (calls[i] ?? 0), 0);
    const kept = made <= amount ? 0 : 1 - amount / made;
    for (const i of touched) calls[i] = (calls[i] ?? 0) * kept;
  }
  const left = calls.map((made, i) => made === activity.calls[i] || made >= 0.5);
  return { hours: activity.hours.filter((_, i) => left[i]), calls: calls.filter((_, i) => left[i]) };
}

/** Abuse is when malicious calls were made, and how many. */
interface Abuse {
  readonly from: number;
  readonly to: number;
  readonly amount: number;
}

function abusesIn(words: readonly Word[]): Abuse[] {
  const byAlert = new Map<string, Map<string, Abuse>>();
  for (const { alert, facet, verdict, from, to, amount } of words) {
    if (verdict !== 'malicious') continue;
    const facets = byAlert.get(alert) ?? new Map<string, Abuse>();
    byAlert.set(alert, facets);
    const abuse = facets.get(facet);
    facets.set(facet, {
      from: Math.min(from, abuse?.from ?? from),
      to: Math.max(to, abuse?.to ?? to),
      amount: amount + (abuse?.amount ?? 0),
    });
  }
  return [...byAlert.values()].map((facets) =>
    [...facets.values()].reduce((most, abuse) => (abuse.amount > most.amount ? abuse : most)),
  );
}

/** BURST_WINDOWS are the facets of words about churn: how long the window was that the burst was found in, milliseconds. */
export const BURST_WINDOWS: Readonly<Record<string, number>> = {
  'steps-hour': HOUR_MS,
  'steps-day': DAY_MS,
  'steps-three-days': 3 * DAY_MS,
};

/** BurstSaid is a burst of churn that people expect: how many steps in how short a window, until when (epoch milliseconds, null: for good). */
export interface BurstSaid {
  readonly steps: number;
  readonly windowMs: number;
  readonly until: number | null;
}

/** Steps is the part of an owner's churn that words change. Times are epoch milliseconds, sorted. */
interface Steps {
  readonly hours: readonly { readonly hour: number; readonly steps: number }[];
  readonly recent: readonly { readonly time: number; readonly token: string }[];
}

/**
 * churnAsSaid applies what people said of an owner's bursts of one kind of step, as of `now` (event time): a malicious burst,
 * and one that was expected until a time that is over, never happened; steps of an expected one are habit, but count for no
 * new burst.
 */
export function churnAsSaid<S extends Steps>(
  steps: S,
  words: readonly Word[],
  now: number,
): S & { readonly expected: readonly BurstSaid[] } {
  const held = words.filter((word) => word.verdict === 'expected' && (word.endsAt ?? now) >= now);
  const over = words.filter((word) => !held.includes(word));
  const inHour = (hour: number) => over.some((word) => hour + HOUR_MS > word.from && hour <= word.to);
  const inBurst = (time: number) => words.some((word) => time >= word.from && time <= word.to);
  return {
    ...steps,
    hours: steps.hours.filter(({ hour }) => !inHour(hour)),
    recent: steps.recent.filter(({ time }) => !inBurst(time)),
    expected: held.map((word) => ({
      steps: word.amount,
      windowMs: BURST_WINDOWS[word.facet] ?? Number.POSITIVE_INFINITY,
      until: word.endsAt,
    })),
  };
}

/** A burst this much fuller than an expected one is still that one. */
const BURST_TOLERANCE = 1.25;

/** isBurstExpected tells whether people expect as many steps in a window that ends at `at`; times are epoch milliseconds. */
export function isBurstExpected(expected: readonly BurstSaid[], at: number, windowMs: number, count: number): boolean {
  return expected.some(
    (burst) =>
      at <= (burst.until ?? at) && windowMs >= burst.windowMs && count <= Math.floor(burst.steps * BURST_TOLERANCE),
  );
}

/** recalled says in words how many of the values were malicious, or expected, before; '' when none was. */
export function recalled(values: readonly { readonly said?: Said }[]): string {
  const malicious = values.filter(({ said }) => said?.again && said.verdict === 'malicious').length;
  const ended = values.filter(({ said }) => said?.again && said.verdict === 'expected').length;
  return (
    (malicious > 0 ? ` ${malicious} of ${values.length} were found malicious before.` : '') +
    (ended > 0 ? ` ${ended} of ${values.length} were expected only until a time that is over.` : '')
  );
}
