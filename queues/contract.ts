import { AHEAD_MS, type Clock, type Logger, type NotifyReason, type TokenwatchError } from '../core/index.ts';

/** Subject is a lineage and whom it belongs to. */
export type Subject = readonly [owner: string, lineage: string];

/** BatchEntry is one stored batch in the batch log: what wakes the detectors. Times are epoch milliseconds. */
export interface BatchEntry {
  /** `received_at` of its rows. */
  readonly receivedAt: number;
  /** Earliest and latest event time in it. */
  readonly minTime: number;
  readonly maxTime: number;
  readonly usage: number;
  readonly lifecycle: number;
  /** Subjects that came to a new place shortly before, as any receiver heard, and whose calls may tell more of it; null when that is not known. */
  readonly touched: readonly Subject[] | null;
  /** Those that met an endpoint, place or client which their receiver had not seen of them; null when they are too many to name. */
  readonly news: readonly Subject[] | null;
  /** Those of the news that met one new endpoint and nothing else: alone that pages nobody. Null when the receiver does not say. */
  readonly single: readonly Subject[] | null;
  /** Whose calls in it were refused (403 or 404); null when they are too many to name, or the receiver does not say. */
  readonly refused: readonly Subject[] | null;
  /** Calls in it whose address has coordinates; null when the receiver does not say. */
  readonly placed: number | null;
  /** Owners of the lifecycle events in it; null when they are too many to name. */
  readonly owners: readonly string[] | null;
  /** Those of them with a step from where, or with what, their tokens have not long been administered; null when the receiver does not say. */
  readonly unfamiliar: readonly string[] | null;
}

/** UNSAID is what a batch does not tell whose receiver took no note of it: an older version, or whoever looks at history. */
export const UNSAID = {
  ...{ touched: null, news: null, single: null, refused: null },
  ...{ placed: null, owners: null, unfamiliar: null },
} as const;

/** NotificationJob asks for one message of one alert to one channel; its id is the idempotency key, stable over retries and restarts. */
export interface NotificationJob {
  readonly id: string;
  readonly alert: string;
  readonly channel: string;
  readonly reason: NotifyReason;
}

/** RECENT_MS is how much older than the newest mark a mark of `SharedState.recent` may be before it is forgotten: a sender's clock may be a day ahead. */
export const RECENT_MS = 3 * 24 * 3_600_000;

/**
 * isTallied tells whether a tally that began at `began` has every mark of `from` or later. A mark may have come AHEAD_MS before its
 * own time, and is kept for RECENT_MS after it came.
 */
export function isTallied(began: number, from: number, now: number): boolean {
  return from - AHEAD_MS >= Math.max(began, now - RECENT_MS);
}

/** BatchLog holds the batches that the detectors have not judged yet; kept in Redis, appended before a sender is acknowledged. */
export interface BatchLog {
  /** append adds entries and wakes a detector worker. Fails fast when Redis is away. */
  append(entries: readonly BatchEntry[]): Promise<void>;
  /** peek reads up to `limit` oldest entries without taking them. */
  peek(limit: number): Promise<{ readonly key: string; readonly entry: BatchEntry }[]>;
  /** remove deletes entries that have been judged. */
  remove(keys: readonly string[]): Promise<void>;
  size(): Promise<number>;
}

/** Outcome of one run of a worker: what it did, for metrics; `more` asks to be run again at once. */
export interface RunResult {
  readonly more: boolean;
  /** The run worked on a flood: others get their turn before the next. */
  readonly flood?: boolean;
}

/** Workers register what runs when a queue wakes; every one of them may run in any number of processes. */
export interface Workers {
  /** At most one detect run at a time over all processes; coalesced wake-ups; also woken every `sweepMs`. */
  onDetect(run: () => Promise<RunResult>): void;
  /** At most one alert run at a time over all processes. */
  onAlert(run: () => Promise<RunResult>): void;
  /**
   * Notifications run concurrently. `send` throws a TokenwatchError: `transient` is retried with backoff (or after
   * `retryAfterMs` of a RetryLater), anything else ends the job. `attempt` counts from 1.
   */
  onNotify(send: (job: NotificationJob, attempt: number) => Promise<void>): void;
}

/**
 * HINTS is the tally of what subjects met: detect workers count in it, and a receiver that starts begins it anew, because the one that
 * ran before it may have stored what it never entered.
 */
export const HINTS = 'hints';

/** Mark is one thing that is tallied: the same name for one member counts once. `time` is event time, epoch milliseconds. */
export interface Mark {
  readonly name: string;
  readonly time: number;
}

/** SharedState is small state that every process must agree on. */
export interface SharedState {
  /** setOnce stores `value` under `name` unless one is there, and returns the one that is there. */
  setOnce(name: string, value: string): Promise<string>;
  /** setAdd adds members to a set and bumps its version; returns the version. */
  setAdd(name: string, members: readonly string[]): Promise<number>;
  /** setSince returns the members added after `version` (0: all), and the version now. */
  setSince(name: string, version: number): Promise<{ readonly version: number; readonly members: string[] }>;
  /**
   * countDistinct adds each group's members to the group's bounded set and returns, for each group, its size (counting
   * stops at `limit`); a group that reached the limit is remembered as such and its members are dropped.
   */
  countDistinct(
    name: string,
    groups: ReadonlyMap<string, readonly string[]>,
    limit: number,
  ): Promise<Map<string, number>>;
  /**
   * recent marks members with a time (the latest stays) and returns at most `limit` of those whose time is `from` or later.
   * Members RECENT_MS older than the newest mark are forgotten.
   */
  recent(name: string, marks: ReadonlyMap<string, number>, from: number, limit: number): Promise<string[]>;
  /**
   * tally marks members and returns how many marks of `from` or later each of them has, counting no further than `limit`. Null when
   * that is not known: the tally began less than a day before `from`, or `from` is about RECENT_MS ago. `now` is the clock.
   */
  tally(
    name: string,
    marks: ReadonlyMap<string, readonly Mark[]>,
    { from, now, limit }: { readonly from: number; readonly now: number; readonly limit: number },
  ): Promise<ReadonlyMap<string, number> | null>;
  /** tallyAnew begins a tally again at `now`, because something was not marked. */
  tallyAnew(name: string, now: number): Promise<void>;
  /** count adds to a counter and returns what it stands at. */
  count(name: string, by: number): Promise<number>;
}

/**
 * RequestLog makes retries harmless beyond the engine's deduplication window, and coalesced batches replayable. Ids are hashes.
 */
export interface RequestLog {
  /** done returns what was recorded for each id (a small JSON text), null where nothing was. */
  done(ids: readonly string[]): Promise<(string | null)[]>;
  /** record remembers results for `ttlMs`. */
  record(results: ReadonlyMap<string, string>, ttlMs: number): Promise<void>;
  /**
   * reserve writes a batch ahead of its insert, with the requests in it; the payload stays until `release`. False, and nothing
   * is written, when one of the requests waits in another batch or was stored meanwhile.
   */
  reserve(batch: string, requests: readonly string[], payload: string, owner: string): Promise<boolean>;
  /** pending returns the batch that each request waits in, null where none. */
  pending(requests: readonly string[]): Promise<(string | null)[]>;
  /** release drops a stored batch's payload and its reservations. */
  release(batch: string): Promise<void>;
  /** orphans takes over reserved batches whose owner's lease has ended: each is handed to one caller only. */
  orphans(owner: string): Promise<{ readonly batch: string; readonly requests: string[]; readonly payload: string }[]>;
  /** lease keeps `owner` alive for `ttlMs`. */
  lease(owner: string, ttlMs: number): Promise<void>;
}

/** Queues is the door to Redis and BullMQ. */
export interface Queues {
  readonly batches: BatchLog;
  readonly shared: SharedState;
  readonly requests: RequestLog;
  /** wakeAlerts asks for an alert run. */
  wakeAlerts(): Promise<void>;
  /** notify enqueues notification jobs; a job with an id that is already queued is not added again. */
  notify(jobs: readonly NotificationJob[]): Promise<void>;
  /** startWorkers connects what `register` names and starts it. */
  startWorkers(register: (workers: Workers) => void): Promise<void>;
  /** ping checks that Redis answers and takes a write. */
  ping(): Promise<void>;
  /** fault is why the private Redis, which had ended, cannot be started again; null otherwise, and for any other Redis. */
  fault(): TokenwatchError | null;
  /** depth of each queue by state, for metrics. */
  depths(): Promise<{ readonly queue: string; readonly state: string; readonly jobs: number }[]>;
  /** lastActivity is when a worker last finished a run, per queue, epoch milliseconds; for the wedge alarm. */
  lastActivity(): ReadonlyMap<string, number>;
  /** close stops workers (waiting for running jobs up to `deadlineMs`), then connections, then a private server. */
  close(deadlineMs: number): Promise<void>;
}

/** RetryLater is thrown by a sender that was told when to come back. */
export class RetryLater extends Error {
  readonly retryAfterMs: number;
  constructor(message: string, retryAfterMs: number) {
    super(message);
    this.name = 'RetryLater';
    this.retryAfterMs = retryAfterMs;
  }
}

/** Tries of one notification before it is given up and said so. */
export const NOTIFY_ATTEMPTS = 10;

/** QueuesContext is what queues are opened with, besides their configuration. */
export interface QueuesContext {
  readonly log: Logger;
  readonly clock: Clock;
  /** Prefix of every key; `tokenwatch` unless told otherwise (tests keep apart by it). */
  readonly prefix?: string;
}
