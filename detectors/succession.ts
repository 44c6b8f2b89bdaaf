import { defineQuery, num, text } from '../store/index.ts';
import { DAY_MS, HOUR_MS, KNOWN_AFTER_MS, learningState, VOCABULARY_MS } from './baseline.ts';
import type { Reads } from './contract.ts';
import { askedOf, type Lineage, type LineageNames, lineageKey } from './lineage.ts';

/** Succession says that a lineage took over another one's habits without having been declared its replacement. */
export interface Succession extends Lineage {
  readonly predecessor: string;
  /** First call of the lineage, epoch milliseconds. */
  readonly since: number;
}

/** Successions are what was inferred at the start of a day, by lineageKey of the one that took over. */
export type Successions = ReadonlyMap<string, Succession>;

/** A lineage that began within this time may have taken over from another. */
const HEIR_AGE_MS = 30 * DAY_MS;
/** It is looked at once it has been used for this long. */
const HEIR_SETTLED_MS = HOUR_MS;
/** The predecessor may be heard for this long after its successor began, */
const OVERLAP_MS = 15 * 60_000;
/** and may have been silent for this long before: a weekend. */
const GAP_MS = 3 * DAY_MS;

/** Of what the successor met on its first day, this much its predecessor must have known: endpoints, networks, countries; every client. */
const KNOWN_SHARE = 0.9;
/** What they share was this much of the predecessor's calls. */
const CALLS_SHARE = 0.5;

/** Bounds: successors of one owner and predecessors of each that are looked at, and pairs altogether. */
const MAX_HEIRS_OF_OWNER = 200;
const MAX_PASTS_OF_HEIR = 20;
const MAX_PAIRS = 5_000;
/** Lineages asked about in one query. */
const SLICE = 500;
/** Links that are followed back from one token. */
const MAX_LINKS = 4;

interface Pair extends Succession {
  /** Start of the last hour before the day in which the predecessor was used. */
  readonly silentFrom: number;
}

/** Use is when a lineage was used first and last. Epoch milliseconds. */
interface Use extends Lineage {
  readonly first: number;
  readonly last: number;
}

const useOf = (raw: Record<string, unknown>): Use => ({
  owner: text(raw.owner),
  lineage: text(raw.lineage),
  first: num(raw.first),
  last: num(raw.last),
});

const USE = `
  SELECT owner, lineage, toUnixTimestamp64Milli(min(first_seen)) AS first, toUnixTimestamp64Milli(max(last_seen)) AS last
  FROM rollup_tokens`;

/** Who had begun when each day began, when others of the owner had been there for long; the latest of each owner. */
const heirs = defineQuery<{ days: number[] }, Use & { day: number }>(
  'succession_heirs',
  `SELECT day, owner, lineage, first, last
   FROM (
     SELECT *, min(first) OVER (PARTITION BY owner) AS oldest FROM (${USE} GROUP BY owner, lineage)
   )
   ARRAY JOIN {days:Array(Int64)} AS day
   WHERE first >= day - ${HEIR_AGE_MS} AND first < day - ${HEIR_SETTLED_MS} AND oldest < first - ${KNOWN_AFTER_MS}
   ORDER BY day, owner, first DESC, lineage
   LIMIT ${MAX_HEIRS_OF_OWNER} BY day, owner`,
  (raw) => ({ ...useOf(raw), day: num(raw.day) }),
);

/** Who was there before `before`, and heard from `since` on; it was known and not silent for long, so that it was used for this long at least. */
const pasts = defineQuery<{ owners: string[]; before: number; since: number }, Use>(
  'succession_pasts',
  `${USE}
   WHERE owner IN {owners:Array(String)}
   GROUP BY owner, lineage
   HAVING first < {before:Int64} AND last >= {since:Int64} AND last - first > ${KNOWN_AFTER_MS - GAP_MS}
   ORDER BY owner, lineage`,
  useOf,
);

/** The last hour before each of the days in which lineages were used; 0: none. */
const lastHours = defineQuery<LineageNames & { days: number[] }, Lineage & { hours: number[] }>(
  'succession_last_hours',
  `SELECT owner, lineage, maxForEach(arrayMap(day -> if(toUnixTimestamp(hour) * 1000 < day, toUnixTimestamp(hour), 0), {days:Array(Int64)})) AS hours
   FROM rollup_hours
   WHERE owner IN {owners:Array(String)} AND lineage IN {lineages:Array(String)}
   GROUP BY owner, lineage`,
  (raw) => ({
    owner: text(raw.owner),
    lineage: text(raw.lineage),
    hours: (raw.hours as unknown[]).map((hour) => num(hour) * 1000),
  }),
);

/**
 * handovers says, of each day, who began when which other lineage of the owner had just fallen silent. Only hours before the day count: a
 * predecessor that is heard again later was silent all the same, as far as anybody knew; the hours are read for those alone.
 */
async function handovers(reads: Reads, days: readonly number[]): Promise<Pair[][]> {
  const began = await reads.read(heirs, { days: [...days] });
  if (began.length === 0) return days.map(() => []);
  const [earliest, latest] = began.reduce(
    ([from, to], { first }) => [Math.min(from, first), Math.max(to, first)],
    [Number.POSITIVE_INFINITY, 0],
  );
  const used = await reads.read(pasts, {
    owners: [...new Set(began.map(({ owner }) => owner))],
    before: latest - KNOWN_AFTER_MS,
    since: earliest - GAP_MS,
  });
  const since = used.filter(({ last }) => last >= Math.min(...days));
  const heard = await askedOf(since, (names) => reads.read(lastHours, { ...names, days: [...days] }), SLICE);
  const lastHoursOf = new Map(heard.map((row) => [lineageKey(row), row.hours]));
  return days.map((day, i) => {
    const silentFrom = (use: Use) =>
      use.last < day ? Math.floor(use.last / HOUR_MS) * HOUR_MS : (lastHoursOf.get(lineageKey(use))?.[i] ?? 0);
    const pastsOf = new Map<string, (Use & { readonly silentFrom: number })[]>();
    for (const past of used) {
      const list = pastsOf.get(past.owner) ?? [];
      pastsOf.set(past.owner, list);
      list.push({ ...past, silentFrom: silentFrom(past) });
    }
    return began
      .filter((heir) => heir.day === day)
      .flatMap(({ owner, lineage, first }) =>
        (pastsOf.get(owner) ?? [])
          .filter((past) => past.lineage !== lineage && past.first < first - KNOWN_AFTER_MS)
          .filter((past) => past.silentFrom >= first - GAP_MS && past.silentFrom <= first + OVERLAP_MS)
          .sort((a, b) => b.silentFrom - a.silentFrom || (a.lineage < b.lineage ? -1 : 1))
          .slice(0, MAX_PASTS_OF_HEIR)
          .map((past) => ({ owner, lineage, predecessor: past.lineage, since: first, silentFrom: past.silentFrom })),
      )
      .slice(0, MAX_PAIRS);
  });
}

/** Habit is one value of a facet that a lineage has met, with the calls made with it. */
export interface Habit {
  readonly facet: string;
  readonly value: string;
  readonly met: number;
  readonly calls: number;
}

const habitsOf = defineQuery<LineageNames, Habit & Lineage>(
  'succession_habits',
  `SELECT facet, owner, lineage, value, toUnixTimestamp64Milli(min(first_seen)) AS met, sum(calls) AS calls
   FROM rollup_facets
   WHERE owner IN {owners:Array(String)} AND lineage IN {lineages:Array(String)}
   GROUP BY facet, owner, lineage, value`,
  (raw) => ({
    facet: text(raw.facet),
    owner: text(raw.owner),
    lineage: text(raw.lineage),
    value: text(raw.value),
    met: num(raw.met),
    calls: num(raw.calls),
  }),
);

/** The hours in which lineages were used. */
const hoursOf = defineQuery<LineageNames, Lineage & { hours: number[] }>(
  'succession_hours',
  `SELECT owner, lineage, arraySort(groupUniqArray(toUnixTimestamp(hour))) AS hours
   FROM rollup_hours
   WHERE owner IN {owners:Array(String)} AND lineage IN {lineages:Array(String)}
   GROUP BY owner, lineage`,
  (raw) => ({
    owner: text(raw.owner),
    lineage: text(raw.lineage),
    hours: (raw.hours as unknown[]).map((hour) => num(hour) * 1000),
  }),
);

/** takesOver tells whether what a lineage met on its first day are a predecessor's habits: its clients, networks, countries and endpoints. */
export function takesOver(heir: readonly Habit[], past: readonly Habit[], since: number): boolean {
  const before = new Set(past.filter((habit) => habit.met < since + OVERLAP_MS).map(keyOf));
  const first = heir.filter((habit) => habit.met < since + VOCABULARY_MS);
  const known = (facet: string, share: number, needed: boolean): boolean => {
    const met = first.filter((habit) => habit.facet === facet);
    if (met.length === 0) return !needed;
    return met.filter((habit) => before.has(keyOf(habit))).length >= share * met.length;
  };
  // A country is not always known, and follows from the network; without a client or a network nothing tells two callers apart.
  if (!known('endpoint', KNOWN_SHARE, true) || !known('network', KNOWN_SHARE, true)) return false;
  if (!known('client', 1, true) || !known('country', KNOWN_SHARE, false)) return false;
  const shared = new Set(first.map(keyOf));
  let [calls, total] = [0, 0];
  for (const habit of past) {
    if (habit.facet !== 'endpoint') continue;
    total += habit.calls;
    if (shared.has(keyOf(habit))) calls += habit.calls;
  }
  return calls >= CALLS_SHARE * total;
}

function keyOf({ facet, value }: Habit): string {
  return `${facet}\n${value}`;
}

/** usualPause is the pause, in milliseconds, that nine of ten pauses between hours of use do not exceed; an hour at least. */
export function usualPause(hours: readonly number[]): number {
  const pauses = hours.slice(1).map((hour, i) => hour - (hours[i] ?? hour));
  pauses.sort((a, b) => a - b);
  return Math.max(HOUR_MS, pauses[Math.floor(pauses.length * 0.9)] ?? pauses.at(-1) ?? HOUR_MS);
}

/**
 * inferSuccessions says which young lineages took over from which, as far as was known when each of the days began (epoch milliseconds,
 * starts of UTC days); in step with them. A lineage that could have taken over from two took over from none.
 */
export async function inferSuccessions(reads: Reads, days: readonly number[]): Promise<Successions[]> {
  const pairs = await handovers(reads, days);
  const both = pairs.flat().flatMap((pair) => [pair, pastOf(pair)]);
  const habits = new Map<string, Habit[]>();
  for (const habit of await askedOf(both, (names) => reads.read(habitsOf, names), SLICE)) {
    const list = habits.get(lineageKey(habit));
    if (list === undefined) habits.set(lineageKey(habit), [habit]);
    else list.push(habit);
  }
  const alike = pairs.map((ofDay, i) => {
    const before = (one: Lineage) => (habits.get(lineageKey(one)) ?? []).filter(({ met }) => met < (days[i] ?? 0));
    return ofDay.filter((pair) => takesOver(before(pair), before(pastOf(pair)), pair.since));
  });
  const hours = await askedOf(alike.flat().map(pastOf), (names) => reads.read(hoursOf, names), SLICE);
  const hoursOfLineage = new Map(hours.map((row) => [lineageKey(row), row.hours]));
  return alike.map((ofDay, i) => successionsAmong(ofDay, hoursOfLineage, days[i] ?? 0));
}

/** successionsAmong are the pairs whose predecessor was known when `day` began, and silent for longer than it usually is. */
function successionsAmong(
  pairs: readonly Pair[],
  hoursOfLineage: ReadonlyMap<string, readonly number[]>,
  day: number,
): Successions {
  const found = new Map<string, Succession | null>();
  for (const pair of pairs) {
    const { owner, lineage, predecessor, since, silentFrom } = pair;
    const hours = (hoursOfLineage.get(lineageKey(pastOf(pair))) ?? []).filter((hour) => hour < day);
    // Only a known one has habits to take over, and silence says something only once it is longer than its usual pauses.
    if (learningState(hours, day) !== 'known' || day - silentFrom - HOUR_MS < usualPause(hours)) continue;
    const key = lineageKey(pair);
    found.set(key, found.has(key) ? null : { owner, lineage, predecessor, since });
  }
  return new Map([...found].filter((entry): entry is [string, Succession] => entry[1] !== null));
}

/** pastOf is the lineage that another took over from. */
function pastOf({ owner, predecessor }: Pick<Succession, 'owner' | 'predecessor'>): Lineage {
  return { owner, lineage: predecessor };
}

/** predecessorsOf are the lineages, all of one owner, that a lineage took over from, the nearest first. */
export function predecessorsOf(successions: Successions, { owner, lineage }: Lineage): string[] {
  const found: string[] = [];
  const of = (one: string) => successions.get(lineageKey({ owner, lineage: one }));
  for (let next = of(lineage); next !== undefined; next = of(next.predecessor)) {
    if (found.length === MAX_LINKS || found.includes(next.predecessor) || next.predecessor === lineage) break;
    found.push(next.predecessor);
  }
  return found;
}

/** Met is a value that a lineage met, as the facts of novelty have it. */
export interface Met extends Habit {
  readonly lineage: string;
  readonly failed: number;
  readonly firstStatus: number;
}

/**
 * inheritValues gives a lineage what its predecessors had met before `day`: what both met was met when the first of them did. By first
 * meeting, as the facts are.
 */
export function inheritValues<T extends Met>(own: readonly T[], inherited: readonly T[], day: number): readonly T[] {
  if (inherited.length === 0) return own;
  const merged = new Map(own.map((met) => [keyOf(met), met]));
  for (const old of inherited) {
    if (old.met >= day) continue;
    const key = keyOf(old);
    const mine = merged.get(key);
    const lineage = own[0]?.lineage ?? old.lineage;
    if (mine === undefined) merged.set(key, { ...old, lineage });
    else {
      const first = old.met < mine.met ? old : mine;
      merged.set(key, { ...first, lineage, calls: mine.calls + old.calls, failed: mine.failed + old.failed });
    }
  }
  return [...merged.values()].sort((a, b) => a.met - b.met || (a.value < b.value ? -1 : 1));
}

/** Activity is when a lineage was used: starts of hours, epoch milliseconds, sorted, and the calls made in each. */
export interface Activity {
  readonly hours: readonly number[];
  readonly calls: readonly number[];
}

/** inheritActivity adds the hours in which its predecessors were used before `day` to a lineage's own. */
export function inheritActivity(own: Activity, inherited: readonly Activity[], day: number): Activity {
  if (inherited.length === 0) return own;
  const calls = new Map<number, number>(own.hours.map((hour, i) => [hour, own.calls[i] ?? 0]));
  for (const past of inherited)
    for (const [i, hour] of past.hours.entries())
      if (hour < day) calls.set(hour, (calls.get(hour) ?? 0) + (past.calls[i] ?? 0));
  const sorted = [...calls].sort(([a], [b]) => a - b);
  return { hours: sorted.map(([hour]) => hour), calls: sorted.map(([, made]) => made) };
}
