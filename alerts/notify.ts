import type { AlertsConfig } from '../config/index.ts';
import { type NotifyReason, type Severity, severityRank, stableId } from '../core/index.ts';
import type { NotificationJob } from '../queues/index.ts';
import { type LogEntry, type Step, stepsOf } from './history.ts';
import { type AlertState, PAGING_SEVERITIES, pagingSeverity } from './policy.ts';

/** Told is what a channel was last told of an alert; null when nothing. */
export interface Told {
  /** As pagingSeverity has it. */
  readonly severity: Severity;
  readonly detectors: readonly string[];
}

/**
 * notifyReason is why a channel should hear of an alert that took new findings, null when it should not. `told` is what
 * the channel was last told, `before` the alert before this step, null when the step opened it.
 */
export function notifyReason(told: Told | null, before: AlertState | null, alert: AlertState): NotifyReason | null {
  const severity = pagingSeverity(alert);
  const worst = before === null || severityRank(severity) > severityRank(pagingSeverity(before));
  // Whoever acknowledged it is on it: only worse news than ever is news.
  if (alert.status !== 'open' && !worst) return null;
  if (told === null) return 'first';
  if (severityRank(severity) > severityRank(told.severity)) return 'worse';
  return alert.detectors.some((detector) => !told.detectors.includes(detector)) ? 'grew' : null;
}

/** channelsFor routes an alert: the first matching route decides; without routes every channel hears of what pages. */
export function channelsFor(alert: AlertState, config: Pick<AlertsConfig, 'routes' | 'channels'>): readonly string[] {
  const severity = pagingSeverity(alert);
  if (config.routes.length === 0) {
    return PAGING_SEVERITIES.includes(severity) ? Object.keys(config.channels) : [];
  }
  const route = config.routes.find(
    ({ match }) =>
      (match.severity ?? PAGING_SEVERITIES).includes(severity) &&
      (match.owner === undefined || match.owner.includes(alert.subject.owner)) &&
      (match.detector === undefined || alert.detectors.some((detector) => match.detector?.includes(detector))),
  );
  return route === undefined ? [] : [...new Set(route.channels)];
}

/** PlanOptions bound which steps of a history still ask for a message. */
export interface PlanOptions {
  /** Steps recorded before this (epoch milliseconds) are past: they count as told and are not sent again. */
  readonly since: number;
  /** Findings older than this when they were found page nobody; null: no limit. */
  readonly maxAgeMs: number | null;
  /** Whether a message about this alert was really sent to the channel. */
  readonly wasSent: (channel: string) => boolean;
}

/** PlannedMessage is a message that an alert's log calls for. */
export interface PlannedMessage {
  readonly job: NotificationJob;
  /** When the reason for it arose, wall time: the step's first detection, or the word that resolved the alert. */
  readonly askedAt: number;
}

/**
 * planNotifications derives from one alert's log every message that it asks for. The ids follow from what is said, never
 * from when it was derived: deriving again, on any process, asks for the same messages.
 */
export function planNotifications(
  history: readonly LogEntry[],
  config: Pick<AlertsConfig, 'routes' | 'channels'>,
  options: PlanOptions,
): PlannedMessage[] {
  const planned: PlannedMessage[] = [];
  const told = new Map<string, Told>();
  let before: AlertState | null = null;
  for (const step of stepsOf(history)) {
    const messages = saysResolved(step)
      ? [...told.keys()].filter(options.wasSent).map((channel) => ({ channel, reason: 'resolved' as const }))
      : messagesOf(step, before, told, config, options.maxAgeMs);
    before = step.after;
    for (const { channel, reason } of messages) {
      told.set(channel, { severity: pagingSeverity(step.after), detectors: step.after.detectors });
      if (step.recordedAt < options.since) continue;
      planned.push({ job: notificationJob(step.after, channel, reason), askedAt: askedAt(step) });
    }
  }
  return planned;
}

function messagesOf(
  step: Step,
  before: AlertState | null,
  told: ReadonlyMap<string, Told>,
  config: Pick<AlertsConfig, 'routes' | 'channels'>,
  maxAgeMs: number | null,
): { channel: string; reason: NotifyReason }[] {
  if (!step.entries.some((entry) => isFresh(entry, maxAgeMs))) return [];
  return channelsFor(step.after, config).flatMap((channel) => {
    const reason = notifyReason(told.get(channel) ?? null, before, step.after);
    return reason === null ? [] : [{ channel, reason }];
  });
}

function askedAt(step: Step): number {
  const found = step.entries.filter((entry) => entry.detectedAt > 0).map((entry) => entry.detectedAt);
  return saysResolved(step) || found.length === 0 ? step.recordedAt : Math.min(...found);
}

function saysResolved(step: Step): boolean {
  return step.entries.some((entry) => entry.kind === 'resolved');
}

/** isFresh tells whether an entry brings a finding that was young enough to page when it was found. */
function isFresh(entry: LogEntry, maxAgeMs: number | null): boolean {
  if (entry.detection === '') return false;
  return maxAgeMs === null || entry.detectedAt - entry.detectionTime <= maxAgeMs;
}

function notificationJob(alert: AlertState, channel: string, reason: NotifyReason): NotificationJob {
  const said: string[] = [];
  if (reason === 'worse') said.push(alert.severity);
  if (reason === 'grew') said.push(...[...alert.detectors].sort());
  return { id: `ntf_${stableId([alert.id, channel, reason, ...said])}`, alert: alert.id, channel, reason };
}
