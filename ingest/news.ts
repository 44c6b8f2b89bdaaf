import type { Subject } from '../queues/index.ts';
import {
  clientOf,
  defineQuery,
  FORGOTTEN_AFTER,
  type LifecycleRow,
  networkOf,
  num,
  placesOf,
  quarterOf,
  quarterStart,
  type Store,
  sqlQuarter,
  text,
  type UsageRow,
} from '../store/index.ts';
import { createAdministration } from './administration.ts';
import { ARRIVAL_MS } from './arrivals.ts';

/** Subjects that met something new that a batch names at most: of one with more, the store is asked. */
const MAX_SUBJECTS = 1_000;

/** Values of all subjects that are remembered at most, some 50 bytes each; past it the memory starts anew. */
const MAX_VALUES = 4_000_000;

/** Quarters that are told apart: the number of a value and the quarter of its last use are one small integer. */
const QUARTERS = 128;

/** Quarters of last uses in the order in which they are tried: mostly it was this one; a call that comes late may be of the one before. */
const TRIED = [0, ...Array.from({ length: FORGOTTEN_AFTER }, (_, i) => -1 - i), 1];

/** Values that are read from the store at once. */
const SLICE_VALUES = 200_000;

/** Note is what one chunk's calls say about their subjects. */
export interface Note {
  /** see takes note of a call that is about to be stored. */
  see(row: UsageRow): void;
  /** seeStep takes note of a step in a token's life that is about to be stored. */
  seeStep(row: LifecycleRow): void;
  /** touched are the subjects whose calls may tell more of an arrival in a new place. */
  touched(): Subject[];
  /** news are those of them that met something new; null when they are too many to name. */
  news(): Subject[] | null;
  /** single are those of the news that met one new endpoint and nothing else. */
  single(): Subject[] | null;
  /** refused are the subjects that were refused a call; null when they are too many to name. */
  refused(): Subject[] | null;
  /** unfamiliar are the owners with a step that somebody new may have taken; null when they are too many to name. */
  unfamiliar(): string[] | null;
  /** arrived are those of the news that came to a new country, or to a new kind of network. */
  arrived(): Subject[] | null;
}

/**
 * News knows what each subject has been seen with, so that the detectors need not ask the store about every batch who met
 * something new: in steady state hardly anybody does. It is a memory of one process: what it has not seen itself counts as new,
 * which costs a look and never a finding. So does what a subject last used more than FORGOTTEN_AFTER quarters before, by event
 * time: the detectors may have forgotten it.
 */
export interface News {
  note(): Note;
  /**
   * warm reads what the store knows since before a moment (epoch milliseconds of event time), so that a restart is no news. What
   * was met later may have been stored by a process that died before anybody could judge it.
   */
  warm(store: Pick<Store, 'read'>, before: number, signal: AbortSignal): Promise<void>;
  /** forget starts anew: calls that were taken note of may not have been stored. */
  forget(): void;
  /** size is the number of values remembered. */
  size(): number;
}

/** Stay is a place that a subject came to lately. */
interface Stay {
  readonly place: 'country' | 'kind';
  readonly value: string;
  /** First call from there, epoch milliseconds of event time. */
  readonly at: number;
  /** It was heard from elsewhere since. */
  left: boolean;
}

/** What a call is to its subject: nothing new, one new endpoint, something else new as well, or an arrival in a new place. */
type What = 'none' | 'endpoint' | 'met' | 'arrived';

interface Known {
  readonly subject: Subject;
  /** Numbers of values, each with the quarter in which it was used last. */
  readonly values: Set<number>;
  /** Places that it came to lately, as far as this process knows. */
  stays: Stay[];
  /** Event time at which it last met something new, epoch milliseconds. */
  lastMet: number;
}

/** The facets of `rollup_facets`, as its view makes them; a finer value would only be news more often. */
const FACETS = ['endpoint', 'country', 'network', 'kind', 'client'] as const;

/** isRefused tells whether a call was not allowed, or asked for what is not there: what somebody who guesses gets. */
function isRefused(status: number): boolean {
  return status === 403 || status === 404;
}

/**
 * tells says whether a call may tell more of an arrival: it is from the new place, or the first from elsewhere since. Of a subject
 * that came to no new place as far as this process knows, every call may: another receiver may have heard it arrive.
 */
function tells(known: Known, row: UsageRow): boolean {
  // Who failed to authenticate was not the token, here or there.
  if (row.status === 401) return false;
  if (known.stays.length === 0) return true;
  known.stays = known.stays.filter(({ at }) => row.time - at < ARRIVAL_MS);
  const places = placesOf(row);
  let telling = known.stays.length === 0;
  for (const stay of known.stays) {
    const value = places[stay.place];
    if (value === '') continue;
    if (value === stay.value) telling = true;
    else if (!stay.left && row.time >= stay.at) {
      stay.left = true;
      telling = true;
    }
  }
  return telling;
}

const valuesSize = defineQuery<Record<string, never>, number>(
  'news_size',
  'SELECT count() AS values FROM rollup_facets',
  (raw) => num(raw.values),
);

/**
 * What was met before a moment, and when it was last used as far as is known: by its last use, or where that is later than the moment
 * by the newest quarter before. Where there is none, its first use counts.
 */
const knownValues = defineQuery<
  { slices: number; slice: number; before: number; quarter: number },
  { owner: string; lineage: string; lastMet: number; values: [facet: string, value: string, quarter: number][] }
>(
  'news_known_values',
  `SELECT owner, lineage, toUnixTimestamp64Milli(max(met)) AS last_met, groupArray((toString(facet), toString(value), quarter)) AS values
   FROM (
     SELECT owner, lineage, facet, value, min(first_seen) AS met, max(last_seen) AS last,
       bitPositionsToArray(bitAnd(groupBitOr(quarters), bitShiftLeft(toUInt64(1), {quarter:UInt8}) - 1)) AS earlier,
       if(last < fromUnixTimestamp64Milli({before:Int64}), last, met) AS used,
       greatest(toInt64(if(empty(earlier), 0, earlier[-1])), ${sqlQuarter('used')}) AS quarter
     FROM rollup_facets
     WHERE cityHash64(lineage) % {slices:UInt32} = {slice:UInt32}
     GROUP BY owner, lineage, facet, value
     HAVING met < fromUnixTimestamp64Milli({before:Int64})
   )
   GROUP BY owner, lineage`,
  (raw) => ({
    owner: text(raw.owner),
    lineage: text(raw.lineage),
    lastMet: num(raw.last_met),
    values: (raw.values as [string, string, unknown][]).map(([facet, value, quarter]) => [facet, value, num(quarter)]),
  }),
);

/** memorable is a quarter as it is remembered: with room for those before and after it that are tried. */
function memorable(quarter: number): number {
  return Math.min(quarter + FORGOTTEN_AFTER, QUARTERS - 2);
}

/** createNews makes an empty memory. */
export function createNews(): News {
  const administration = createAdministration();
  const owners = new Map<string, Map<string, Known>>();
  /** Every value once, by facet: subjects share most of them. */
  const numbers = FACETS.map(() => new Map<string, number>());
  let next = 0;
  let size = 0;

  function forget(): void {
    administration.forget();
    owners.clear();
    for (const values of numbers) values.clear();
    next = 0;
    size = 0;
  }

  function knownOf(owner: string, lineage: string): Known {
    let lineages = owners.get(owner);
    if (lineages === undefined) {
      lineages = new Map();
      owners.set(owner, lineages);
    }
    let known = lineages.get(lineage);
    if (known === undefined) {
      known = { subject: [owner, lineage], values: new Set(), stays: [], lastMet: Number.NEGATIVE_INFINITY };
      lineages.set(lineage, known);
    }
    return known;
  }

  /** meet remembers that a value was used in a quarter, and tells whether it is new to the subject. */
  function meet(known: Known, facet: number, value: string, quarter: number): boolean {
    if (value === '') return false;
    const values = numbers[facet] as Map<string, number>;
    let number = values.get(value);
    if (number === undefined) {
      number = next++;
      values.set(value, number);
    }
    const now = number * QUARTERS + quarter;
    for (const away of TRIED) {
      if (!known.values.has(now + away)) continue;
      if (away < 0) {
        known.values.delete(now + away);
        known.values.add(now);
      }
      return false;
    }
    known.values.add(now);
    size++;
    return true;
  }

  /** The quarter of the last call: most are of one. */
  let current = { from: 0, to: 0, quarter: 0 };
  function quarterAt(time: number): number {
    if (time < current.from || time >= current.to) {
      const quarter = quarterOf(time);
      current = {
        from: quarter === 0 ? Number.NEGATIVE_INFINITY : quarterStart(quarter),
        to: quarterStart(quarter + 1),
        quarter,
      };
    }
    return memorable(current.quarter);
  }

  function newsOf(known: Known, row: UsageRow): What {
    const quarter = quarterAt(row.time);
    const endpoint = meet(known, 0, row.endpoint, quarter) ? 'endpoint' : 'none';
    // Who failed to authenticate was not the token: its place and client are not met.
    if (row.status === 401) return metLast(known, row, endpoint);
    const places = placesOf(row);
    const country = meet(known, 1, places.country, quarter);
    const network = meet(known, 2, networkOf(row), quarter);
    const kind = meet(known, 3, places.kind, quarter);
    const client = meet(known, 4, clientOf(row), quarter);
    if (country) known.stays.push({ place: 'country', value: places.country, at: row.time, left: false });
    if (kind) known.stays.push({ place: 'kind', value: places.kind, at: row.time, left: false });
    if (country || kind) return metLast(known, row, 'arrived');
    return metLast(known, row, network || client ? 'met' : endpoint);
  }

  function metLast(known: Known, row: UsageRow, what: What): What {
    // Late, it may move a first meeting to an earlier time; and a second try of a call is as new as the first.
    if (what === 'none') return row.time <= known.lastMet ? 'arrived' : 'none';
    if (row.time > known.lastMet) known.lastMet = row.time;
    return what;
  }

  return {
    note() {
      const touched = new Set<Known>();
      const news = new Set<Known>();
      const arrived = new Set<Known>();
      /** New endpoints of each; without end where it met anything else. */
      const endpoints = new Map<Known, number>();
      const refused = new Set<Known>();
      const unfamiliar = new Set<string>();
      const named = (subjects: ReadonlySet<Known>) =>
        subjects.size > MAX_SUBJECTS ? null : [...subjects].map(({ subject }) => subject);
      return {
        see(row) {
          if (size > MAX_VALUES) forget();
          const known = knownOf(row.owner, row.lineage);
          if (tells(known, row)) touched.add(known);
          if (isRefused(row.status)) refused.add(known);
          const what = newsOf(known, row);
          if (what === 'none') return;
          news.add(known);
          if (what === 'arrived') arrived.add(known);
          endpoints.set(known, (endpoints.get(known) ?? 0) + (what === 'endpoint' ? 1 : Number.POSITIVE_INFINITY));
        },
        touched: () => [...touched].map(({ subject }) => subject),
        news: () => named(news),
        single: () => named(new Set([...news].filter((known) => endpoints.get(known) === 1))),
        refused: () => named(refused),
        seeStep(row) {
          if (administration.isUnfamiliar(row)) unfamiliar.add(row.owner);
        },
        unfamiliar: () => (unfamiliar.size > MAX_SUBJECTS ? null : [...unfamiliar]),
        arrived: () => named(arrived),
      };
    },
    async warm(store, before, signal) {
      await administration.warm(store, before, signal);
      const [rows = 0] = await store.read(valuesSize, {});
      const slices = Math.max(1, Math.ceil(rows / SLICE_VALUES));
      const until = { before, quarter: Math.min(quarterOf(before), 63) };
      for (let slice = 0; slice < slices && size < MAX_VALUES && !signal.aborted; slice++) {
        for (const { owner, lineage, lastMet, values } of await store.read(knownValues, { slices, slice, ...until })) {
          const known = knownOf(owner, lineage);
          known.lastMet = Math.max(known.lastMet, lastMet);
          for (const [facet, value, quarter] of values)
            meet(known, FACETS.indexOf(facet as (typeof FACETS)[number]), value, memorable(quarter));
        }
      }
    },
    forget,
    size: () => size,
  };
}
