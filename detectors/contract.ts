import type { Detection } from '../core/index.ts';
import type { BatchEntry, Subject } from '../queues/index.ts';
import type { Store } from '../store/index.ts';
import { DAY_MS, OPEN_MS } from './baseline.ts';

/** Scope says what a run looks at: the batches that arrived, and the event times that may page. Times are epoch milliseconds. */
export interface Scope {
  /** `received_at` of the batches; their subjects are the ones judged. */
  readonly receivedAt: readonly number[];
  /** Earliest and latest event time in them: bounds the read. */
  readonly from: number;
  readonly to: number;
  /** The clock of whoever looks; in a backtest event time is the clock. */
  readonly now: number;
  /** Findings before this event time teach and page nobody. */
  readonly since: number;
  /** The moments that are judged, from inclusive, to exclusive. */
  readonly within: { readonly from: number; readonly to: number };
  /** Calls and lifecycle steps in them: a detector of what is not there need not look. */
  readonly usage: number;
  readonly lifecycle: number;
  /** Who met something new in the batches or shortly before, as far as they tell: no other lineage can be news. Null: the store knows. */
  readonly subjects: readonly Subject[] | null;
  /** Whose refused calls in the batches may be a burst. Null: the store knows. */
  readonly refused: readonly Subject[] | null;
  /** Calls in the batches whose address has coordinates. Null: the store knows. */
  readonly placed: number | null;
  /** Owners of the lifecycle events in the batches, as far as these tell. Null: the store knows. */
  readonly owners: readonly string[] | null;
  /** Those whose tokens somebody new may have administered in the batches. Null: the store knows. */
  readonly unfamiliar: readonly string[] | null;
}

/** More owners than this are no longer cheaper to name than to find by a query over the batches. */
const MAX_OWNERS = 2_000;

/** scopeOf is the scope of some batches; findings before `since` page nobody. Without a `now` event time is the clock. */
export function scopeOf(
  entries: readonly BatchEntry[],
  since: number,
  subjects: readonly Subject[] | null = null,
  now: number | null = null,
  refused: readonly Subject[] | null = null,
): Scope {
  const scope = { from: Number.POSITIVE_INFINITY, to: 0, usage: 0, lifecycle: 0 };
  for (const { minTime, maxTime, usage, lifecycle } of entries) {
    scope.from = Math.min(scope.from, minTime);
    scope.to = Math.max(scope.to, maxTime);
    scope.usage += usage;
    scope.lifecycle += lifecycle;
  }
  const owners = namedIn(entries.map((entry) => entry.owners));
  const unfamiliar = namedIn(entries.map((entry) => entry.unfamiliar));
  const placed = entries.some((entry) => entry.placed === null)
    ? null
    : entries.reduce((sum, entry) => sum + (entry.placed ?? 0), 0);
  const receivedAt = [...new Set(entries.map((entry) => entry.receivedAt))];
  const from = Math.max(since, scope.from);
  // What follows a late call may have been stored before it: it is judged with it. Of the next day that is what has come by now.
  const clock = now ?? scope.to;
  const endOfDay = (Math.floor(scope.to / DAY_MS) + 1) * DAY_MS;
  const followed = Math.min(scope.to + OPEN_MS, Math.max(endOfDay - 1, clock));
  const within = { from: Math.max(since, from - DISORDER_MS), to: followed + 1 };
  return { ...scope, from, receivedAt, now: clock, since, within, subjects, refused, placed, owners, unfamiliar };
}

/** namedIn are the owners that all of some batches name; null where one does not, or they are too many. */
function namedIn(said: readonly (readonly string[] | null)[]): readonly string[] | null {
  if (said.includes(null)) return null;
  const named = new Set(said.flatMap((owners) => owners ?? []));
  return named.size > MAX_OWNERS ? null : [...named];
}

/** Stretch is days on end that are judged together: what they have in common is asked once. */
export interface Stretch extends Scope {
  readonly days: readonly Day[];
}

/** Day is the part of a stretch that is within one UTC day. */
export interface Day extends Scope {
  readonly stretch: Stretch;
  /** Its place among the days of the stretch. */
  readonly index: number;
}

/** startOf is when the UTC day of a part of it began, epoch milliseconds. */
export function startOf({ within }: Pick<Day, 'within'>): number {
  return Math.floor(within.from / DAY_MS) * DAY_MS;
}

/** Days in one stretch at most: a year of few events is asked about by the month. */
const MAX_DAYS = 31;

/**
 * stretchesOf cuts a scope where UTC days end, so that whatever batches are judged together, each day is judged by what was known when
 * it began.
 */
export function stretchesOf(scope: Scope): Stretch[] {
  const stretches: Stretch[] = [];
  for (let { from } = scope.within; from < scope.within.to; ) {
    const days: Day[] = [];
    const to = Math.min(scope.within.to, (Math.floor(from / DAY_MS) + MAX_DAYS) * DAY_MS);
    const stretch = { ...scope, within: { from, to }, days };
    while (from < to) {
      const end = Math.min(to, (Math.floor(from / DAY_MS) + 1) * DAY_MS);
      days.push({ ...scope, within: { from, to: end }, stretch, index: days.length });
      from = end;
    }
    stretches.push(stretch);
  }
  return stretches;
}

/** Batches of several processes come in any order: each run judges again what is this much older than its events. */
export const DISORDER_MS = 600_000;

/** Reads is the part of the store that facts are made from. */
export type Reads = Pick<Store, 'read'>;

/** once asks a question about a day, or a stretch, one time, however many detectors want the answer. */
export function once<S extends Scope, T>(ask: (reads: Reads, scope: S) => Promise<T>): typeof ask {
  const asked = new WeakMap<S, Promise<T>>();
  return (reads, scope) => {
    const answer = asked.get(scope) ?? ask(reads, scope);
    asked.set(scope, answer);
    return answer;
  };
}

/** remembered makes something of a thing one time, however often it is wanted. */
export function remembered<K extends object, T>(make: (of: K) => T): (of: K) => T {
  const made = new WeakMap<K, { readonly value: T }>();
  return (of) => {
    let known = made.get(of);
    if (known === undefined) {
      known = { value: make(of) };
      made.set(of, known);
    }
    return known.value;
  };
}

/** together asks about all days of a stretch at once, one time; the answers are in step with its days. */
export function together<T>(
  ask: (reads: Reads, stretch: Stretch) => Promise<readonly T[]>,
): (reads: Reads, day: Day) => Promise<T> {
  const asked = once(ask);
  return async (reads, { stretch, index }) => (await asked(reads, stretch))[index] as T;
}

/** Anchor is what makes a finding the one that it is, beside detector and subject. */
export interface Anchor {
  /** What makes it this finding and no other: hashed into the id with detector, subject and `began`. */
  readonly anchor: string;
  /**
   * When that began which it tells of, epoch milliseconds, where one subject may meet the same again. A call that comes late may move
   * it: what was told of the same episode stays told.
   */
  readonly began?: number;
}

/** Finding is what a judgement says; the run gives it its identity. Times are epoch milliseconds of event time. */
export interface Finding extends Omit<Detection, 'id' | 'detector'>, Anchor {}

/** episodeOf is an anchor as one text. */
export function episodeOf({ anchor, began }: Anchor): string {
  return began === undefined ? anchor : `${anchor} ${began}`;
}

/** Param is a knob of a detector. */
export interface Param {
  readonly default: number;
  readonly unit: string;
  readonly about: string;
}

/** Params are the values of a detector's parameters by name. */
export type Params<K extends string> = Readonly<Record<K, number>>;

/** Example shows a reader, and proves in a test, what a detector makes of some facts. */
export interface Example<F> {
  readonly name: string;
  readonly facts: F;
  readonly since: number;
  readonly fires: boolean;
}

/**
 * Detector turns facts about recent events into findings. `facts` is set-based SQL over all subjects of a day at once, and of the days
 * judged with it; `judge` is pure: one subject's facts, the parameters, and the event times from and until which findings count.
 */
export interface Detector<F = unknown, K extends string = string> {
  /** Also its file's name and its key in the configuration. */
  readonly id: string;
  readonly title: string;
  /** What it watches and how, for the docs. */
  readonly about: string;
  /** What to do when it pages. */
  readonly runbook: string;
  readonly knownGaps: readonly string[];
  readonly params: Readonly<Record<K, Param>>;
  facts(reads: Reads, day: Day): Promise<F[]>;
  /** `since` inclusive; findings at `until` and after it may be left out. */
  judge(facts: F, params: Params<K>, since: number, until?: number): Finding[];
  readonly examples: readonly Example<F>[];
}

/** defineDetector checks a detector's types and forgets its facts' shape, so that a registry can hold several. */
export function defineDetector<F, K extends string>(detector: Detector<F, K>): Detector {
  return detector as unknown as Detector;
}
