import type { AlertsConfig } from '../config/index.ts';
import { stableId } from '../core/index.ts';
import type { NotificationJob, Queues } from '../queues/index.ts';
import type { Store } from '../store/index.ts';
import { BUDGET_WINDOW_MS, heldBack, type Thresholds } from './budget.ts';
import { historiesOf, type LogEntry, stateAfter } from './history.ts';
import { planNotifications } from './notify.ts';
import { readPast } from './past.ts';
import { type AlertChange, FOLD_WINDOW_MS, fold, PAGING_SEVERITIES, subjectKey } from './policy.ts';
import { changedSince, type FoundFinding, historyNear, historyOf, notificationsOf, unfolded } from './queries.ts';
import { encodeLogEntry } from './rows.ts';

const DAY_MS = 24 * 3_600_000;

/** UNFOLDED_LOOKBACK_MS is how long a detection may wait for an alert run, wall time; RECENT is how far an ordinary run looks. */
export const UNFOLDED_LOOKBACK_MS = { recent: 3_600_000, all: 14 * DAY_MS } as const;

/** RECOVERY_LOOKBACK_MS is how long after a change its messages are still derived again, wall time. */
export const RECOVERY_LOOKBACK_MS = DAY_MS;

const FINDINGS_PER_RUN = 500;
const ALERTS_PER_RECOVERY = 2_000;
const ALERTS_PER_READ = 250;

/** RunContext is what the steps of an alert run work on. */
export interface RunContext {
  readonly store: Store;
  readonly queues: Pick<Queues, 'notify'>;
  readonly config: AlertsConfig;
  /** Of every detector: what a budget compares findings by. */
  readonly thresholds: Thresholds;
}

/** FoldStep is what the first step of a run did. */
export interface FoldStep {
  readonly changes: readonly AlertChange<FoundFinding>[];
  /** The whole logs of the alerts that changed. */
  readonly histories: ReadonlyMap<string, readonly LogEntry[]>;
  /** Findings that the alert budget keeps from paging: id, and the surprise that each had to exceed. */
  readonly held: ReadonlyMap<string, number>;
  /** More findings wait than one run takes. */
  readonly more: boolean;
}

/**
 * foldNew puts the detections of the last `lookbackMs` that are in no alert yet into alerts and writes the log; a repeat
 * changes nothing.
 */
export async function foldNew(context: RunContext, now: number, lookbackMs: number): Promise<FoldStep> {
  const { store } = context;
  const since = now - lookbackMs;
  const found = await store.read(unfolded, { since, logSince: since - DAY_MS, limit: FINDINGS_PER_RUN });
  if (found.length === 0) return { changes: [], histories: new Map(), held: new Map(), more: false };

  const times = found.map((finding) => finding.time);
  const log = await store.read(historyNear, {
    keys: [...new Set(found.map((finding) => subjectKey(finding.subject)))],
    from: Math.min(...times) - FOLD_WINDOW_MS,
    to: Math.max(...times) + FOLD_WINDOW_MS,
  });
  const histories = historiesOf(log);
  const { changes } = fold(found, [...histories.values()].map(stateAfter));
  const held = await holdBack(context, changes);
  const entries = changes.map((change) => logEntryOf(change, now, held.get(change.finding.id) ?? 0));
  await store.insert('alert_log', entries.map(encodeLogEntry), insertToken(entries));

  const touched = new Map<string, LogEntry[]>();
  for (const [alert, added] of historiesOf(entries)) touched.set(alert, [...(histories.get(alert) ?? []), ...added]);
  return { changes, histories: touched, held, more: found.length === FINDINGS_PER_RUN };
}

/** What pages is judged against all that did, or would have; without a budget nothing is read. */
async function holdBack(
  { store, config, thresholds }: RunContext,
  changes: readonly AlertChange<FoundFinding>[],
): Promise<ReadonlyMap<string, number>> {
  const paging = changes.filter(({ finding }) => PAGING_SEVERITIES.includes(finding.severity));
  if (config.budget === null || paging.length === 0) return new Map();
  const earliest = Math.min(...paging.map(({ finding }) => finding.time));
  const past = await readPast(store, earliest - BUDGET_WINDOW_MS, earliest, thresholds);
  return heldBack(paging, past, config.budget, thresholds);
}

/** changedHistories reads the logs of every alert that changed lately: a message lost in a crash is found in them again. */
export async function changedHistories(context: RunContext, now: number): Promise<Map<string, LogEntry[]>> {
  const { store } = context;
  const alerts = await store.read(changedSince, { since: now - RECOVERY_LOOKBACK_MS, limit: ALERTS_PER_RECOVERY });
  const log: LogEntry[] = [];
  for (const ids of slices(alerts, ALERTS_PER_READ)) log.push(...(await store.read(historyOf, { alerts: ids })));
  return historiesOf(log);
}

/**
 * enqueueMessages asks for the messages that the histories call for and that are not in the log of notifications. Nothing
 * can have been said of the alerts that the caller just `opened`: for a new alert's page that is one read less.
 */
export async function enqueueMessages(
  context: RunContext,
  histories: ReadonlyMap<string, readonly LogEntry[]>,
  now: number,
  opened: ReadonlySet<string> = new Set(),
): Promise<readonly NotificationJob[]> {
  const { config, queues, store } = context;
  if (Object.keys(config.channels).length === 0) return [];
  const jobs: NotificationJob[] = [];
  for (const ids of slices([...histories.keys()], ALERTS_PER_READ)) {
    const older = ids.filter((alert) => !opened.has(alert));
    const records = older.length === 0 ? [] : await store.read(notificationsOf, { alerts: older });
    const known = new Set(records.map((record) => record.id));
    const sent = new Set(records.filter((r) => r.status === 'sent').map((r) => `${r.alert} ${r.channel}`));
    for (const alert of ids) {
      const planned = planNotifications(histories.get(alert) ?? [], config, {
        since: now - RECOVERY_LOOKBACK_MS,
        maxAgeMs: config.maxAgeMs,
        wasSent: (channel) => sent.has(`${alert} ${channel}`),
      });
      jobs.push(...planned.map(({ job }) => job).filter((job) => !known.has(job.id)));
    }
  }
  if (jobs.length > 0) await queues.notify(jobs);
  return jobs;
}

/** insertToken is the same for the same changes, whenever they are written. */
export function insertToken(entries: readonly LogEntry[]): string {
  return `alert_log ${stableId(entries.map((e) => `${e.alert} ${e.kind} ${e.detection} ${e.by} ${e.note} ${e.resolvedAs ?? ''}`))}`;
}

function logEntryOf(change: AlertChange<FoundFinding>, now: number, needed: number): LogEntry {
  const { finding } = change;
  return {
    recordedAt: now,
    alert: change.alert,
    kind: change.kind,
    subjectKey: change.subjectKey,
    subject: finding.subject,
    detection: finding.id,
    detectionTime: finding.time,
    severity: finding.severity,
    status: change.kind === 'opened' ? 'open' : '',
    note: '',
    by: '',
    resolvedAs: null,
    needed,
    detector: finding.detector,
    detectedAt: finding.detectedAt,
  };
}

function* slices<T>(items: readonly T[], size: number): Generator<T[]> {
  for (let at = 0; at < items.length; at += size) yield items.slice(at, at + size);
}
