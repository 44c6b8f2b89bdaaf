import { type Config, formatBudget } from '../config/index.ts';
import type { Alert, Clock, Logger, Registry } from '../core/index.ts';
import type { NotificationJob, Queues, RunResult, Workers } from '../queues/index.ts';
import type { Store } from '../store/index.ts';
import type { Thresholds } from './budget.ts';
import { type Bar, type BudgetReport, currentBar, reportBudgets } from './budget-report.ts';
import { type Channel, createChannel } from './channels/index.ts';
import { createDeliver } from './deliver.ts';
import type { Lesson } from './feedback.ts';
import { type AlertFilter, findAlert, listAlerts } from './load.ts';
import { changeState, type Word } from './manage.ts';
import { createAlertMetrics } from './metrics.ts';
import { createOpenings } from './openings.ts';
import { notificationsOf } from './queries.ts';
import type { AlertPage, NotificationRecord } from './rows.ts';
import { changedHistories, enqueueMessages, foldNew, type RunContext, UNFOLDED_LOOKBACK_MS } from './run.ts';

export type { Thresholds } from './budget.ts';
export { type ApiBudgetReport, type BudgetReport, toApiBudgetReport } from './budget-report.ts';
export { createChannel } from './channels/index.ts';
export type { Lesson } from './feedback.ts';
export { findIssued } from './issued.ts';
export type { AlertFilter } from './load.ts';
export { FOLD_WINDOW_MS, foldDetections, PAGING_SEVERITIES } from './policy.ts';
export { type RenderedAlert, renderAlert } from './render.ts';
export { type AlertPage, type NotificationRecord, toApiNotification } from './rows.ts';
export { renderText } from './text.ts';

/** How often a process looks for what earlier runs may have lost, rather than at what is new only, */
const RECOVER_EVERY_MS = 15_000;
/** and how often when there are new findings all the time. */
const RECOVER_AT_LAST_MS = 60_000;

/** How often a process works out the bar of the alert budget though nothing was found: it falls with time. */
const BAR_EVERY_MS = 3_600_000;

/** AlertsContext is what alerting is given. */
export interface AlertsContext {
  readonly config: Pick<Config, 'alerts'>;
  /** Of every detector, also of those that are switched off: what they found before is compared too. */
  readonly thresholds: Thresholds;
  readonly store: Store;
  readonly queues: Queues;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Registry;
}

/** AlertRun is what one run did. */
export interface AlertRun extends RunResult {
  readonly opened: number;
  readonly grew: number;
  /** Messages asked for; one that is queued already is not queued twice. */
  readonly enqueued: readonly NotificationJob[];
}

/** Alerts is the door to alerting: the worker's side and people's side. */
export interface Alerts {
  /** register makes this process one that folds detections and sends notifications. */
  register(workers: Workers): void;
  list(filter: AlertFilter): Promise<AlertPage>;
  get(id: string): Promise<Alert | null>;
  /** notificationsOf lists what was sent about an alert, or given up, oldest first. */
  notificationsOf(id: string): Promise<NotificationRecord[]>;
  acknowledge(id: string, note: string, by: string): Promise<Alert>;
  /** resolve ends an alert; with a lesson detectors learn from it. */
  resolve(id: string, note: string, by: string, lesson?: Lesson): Promise<Alert>;
  /** reportBudgets replays the last days at the budget in force, at others, and without one. */
  reportBudgets(days: number): Promise<BudgetReport>;
  /** runOnce folds what is new and asks for every message that the last day's changes call for. */
  runOnce(): Promise<AlertRun>;
  /** deliver sends one message, as a notification worker does. */
  deliver(job: NotificationJob, attempt: number): Promise<void>;
  /** stop ends messages that are being sent; their jobs are taken up again by whoever runs next. */
  stop(): void;
}

/** openAlerts builds alerting over a store and queues. Throws when a channel cannot work as it is configured. */
export function openAlerts(context: AlertsContext): Alerts {
  const { store, queues, clock, log, thresholds } = context;
  const config = context.config.alerts;
  const metrics = createAlertMetrics(context.metrics);
  const channels = new Map<string, Channel>(
    Object.entries(config.channels).map(([name, channel]) => [name, createChannel(name, channel, { clock })]),
  );
  const openings = createOpenings();
  const stopping = new AbortController();
  const running: RunContext = { store, queues, config, thresholds };
  const deliver = createDeliver({
    store,
    config,
    channels,
    openings,
    now: () => clock.now(),
    signal: stopping.signal,
    log,
    metrics,
  });

  let bar: { readonly at: number; readonly pagesFrom: Bar } | null = null;
  /** The bar decides nothing here, it is shown: each finding was judged by the store's own findings when it was folded. */
  const showBar = async (now: number, changed: boolean): Promise<void> => {
    if (config.budget === null || (!changed && bar !== null && now - bar.at < BAR_EVERY_MS)) return;
    const pagesFrom = await currentBar(store, config.budget, thresholds, now);
    for (const [detector, surprise] of Object.entries(pagesFrom)) metrics.bar(detector, surprise);
    if (bar !== null && JSON.stringify(bar.pagesFrom) !== JSON.stringify(pagesFrom)) {
      log.info({ budget: formatBudget(config.budget), pagesFrom }, 'The bar of the alert budget moved.');
    }
    bar = { at: now, pagesFrom };
  };

  let recoveredAt = Number.NEGATIVE_INFINITY;
  const run = async (): Promise<AlertRun> => {
    const now = clock.now();
    const quietFor = now - recoveredAt;
    const due = quietFor >= RECOVER_EVERY_MS;
    const step = await foldNew(running, now, due ? UNFOLDED_LOOKBACK_MS.all : UNFOLDED_LOOKBACK_MS.recent);
    const opened = step.changes.filter(({ kind }) => kind === 'opened');
    for (const { finding } of opened) metrics.opened(finding.severity);
    const openedNow = new Set(opened.map(({ alert }) => alert));
    for (const alert of openedNow) {
      const detections = step.changes
        .filter((change) => change.alert === alert)
        .map(({ finding }) => finding.detection);
      openings.remember(alert, { history: step.histories.get(alert) ?? [], detections });
    }
    const enqueued = [...(await enqueueMessages(running, step.histories, now, openedNow))];
    // New findings go first: looking at a day's changes again must not make a page wait, nor wait for ever itself.
    if (due && (step.changes.length === 0 || quietFor >= RECOVER_AT_LAST_MS)) {
      enqueued.push(...(await enqueueMessages(running, await changedHistories(running, now), now)));
      // Only now: a recovery that failed half way is due again at once.
      recoveredAt = now;
    }
    metrics.heldBack(step.held.size);
    await showBar(now, step.changes.length > 0);
    const grew = step.changes.length - opened.length;
    const jobs = [...new Map(enqueued.map((job) => [job.id, job])).values()];
    if (step.changes.length + jobs.length > 0)
      log.info({ opened: opened.length, grew, heldBack: step.held.size, enqueued: jobs.length }, 'alerts');
    return { more: step.more, opened: opened.length, grew, enqueued: jobs };
  };

  const say = (id: string, kind: Word['kind'], note: string, by: string, lesson?: Lesson) => {
    // Whoever resolves an alert wakes a run that has no new finding: it must look at all recent changes.
    recoveredAt = Number.NEGATIVE_INFINITY;
    return changeState({ store, queues, log }, id, { kind, note, by, now: clock.now(), ...(lesson ? { lesson } : {}) });
  };

  return {
    register: (workers) => {
      workers.onAlert(run);
      workers.onNotify(deliver);
    },
    list: (filter) => listAlerts(store, filter),
    get: (id) => findAlert(store, id),
    notificationsOf: (id) => store.read(notificationsOf, { alerts: [id] }),
    acknowledge: (id, note, by) => say(id, 'acknowledged', note, by),
    resolve: (id, note, by, lesson) => say(id, 'resolved', note, by, lesson),
    reportBudgets: (days) => reportBudgets(store, config.budget, thresholds, { days, now: clock.now() }),
    runOnce: () => {
      recoveredAt = Number.NEGATIVE_INFINITY;
      return run();
    },
    deliver,
    stop: () => stopping.abort(),
  };
}
