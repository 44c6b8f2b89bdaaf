import type { AlertStatus, Severity, Subject, Verdict } from '../core/index.ts';
import { maxSeverity } from '../core/index.ts';
import { type AlertState, PAGING_SEVERITIES } from './policy.ts';

/** LogEntry is one row of the alert log. Times are epoch milliseconds. */
export interface LogEntry {
  readonly recordedAt: number;
  readonly alert: string;
  readonly kind: 'opened' | 'grew' | 'acknowledged' | 'resolved';
  readonly subjectKey: string;
  readonly subject: Subject;
  /** '' for a state change. */
  readonly detection: string;
  /** Event time. */
  readonly detectionTime: number;
  readonly severity: Severity;
  /** '' unless the entry sets it. */
  readonly status: AlertStatus | '';
  readonly note: string;
  readonly by: string;
  /** What a person resolved it as, null where nobody said. */
  readonly resolvedAs: Verdict | null;
  /** Surprise that the finding had to exceed to page within the alert budget; 0 when it was not held back. */
  readonly needed: number;
  /** '' for a state change. */
  readonly detector: string;
  /** Wall time at which the detector found it; 0 for a state change. */
  readonly detectedAt: number;
}

/** Step is what one run, or one person, did to an alert, and the alert as it was afterwards. */
export interface Step {
  readonly recordedAt: number;
  readonly entries: readonly LogEntry[];
  readonly after: AlertState;
}

const STATUS_ORDER: readonly AlertStatus[] = ['open', 'acknowledged', 'resolved'];

/** historiesOf sorts log entries into alerts. */
export function historiesOf(entries: readonly LogEntry[]): Map<string, LogEntry[]> {
  const histories = new Map<string, LogEntry[]>();
  for (const entry of entries) {
    const history = histories.get(entry.alert);
    if (history === undefined) histories.set(entry.alert, [entry]);
    else history.push(entry);
  }
  return histories;
}

/** stateAfter replays one alert's log. The order of the entries, and an entry that is there twice, make no difference. */
export function stateAfter(history: readonly LogEntry[]): AlertState {
  const steps = stepsOf(history);
  const last = steps[steps.length - 1];
  if (last === undefined) throw new RangeError('stateAfter: an alert has at least one log entry');
  return last.after;
}

/** stepsOf replays one alert's log step by step, oldest first; entries of one recording time are one step. */
export function stepsOf(history: readonly LogEntry[]): Step[] {
  const byTime = new Map<number, LogEntry[]>();
  const seen = new Set<string>();
  for (const entry of [...history].sort(inOrder)) {
    const identity = entry.detection === '' ? `${entry.kind} ${entry.recordedAt}` : entry.detection;
    if (seen.has(identity)) continue;
    seen.add(identity);
    const group = byTime.get(entry.recordedAt);
    if (group === undefined) byTime.set(entry.recordedAt, [entry]);
    else group.push(entry);
  }
  const steps: Step[] = [];
  let state: AlertState | null = null;
  for (const [recordedAt, entries] of byTime) {
    state = entries.reduce<AlertState | null>(apply, state) as AlertState;
    steps.push({ recordedAt, entries, after: state });
  }
  return steps;
}

function inOrder(a: LogEntry, b: LogEntry): number {
  if (a.recordedAt !== b.recordedAt) return a.recordedAt - b.recordedAt;
  const byStatus = statusRank(a) - statusRank(b);
  if (byStatus !== 0) return byStatus;
  if (a.detectionTime !== b.detectionTime) return a.detectionTime - b.detectionTime;
  return a.detection < b.detection ? -1 : 1;
}

/** statusRank puts an opening first and a person's word last among entries of one recording time. */
function statusRank(entry: LogEntry): number {
  if (entry.kind === 'opened') return -1;
  return entry.status === '' ? 0 : STATUS_ORDER.indexOf(entry.status);
}

function apply(state: AlertState | null, entry: LogEntry): AlertState {
  const status = entry.status === '' ? (state?.status ?? 'open') : entry.status;
  const resolvedAs = entry.status === '' ? (state?.resolvedAs ?? null) : entry.resolvedAs;
  if (state === null) {
    return {
      id: entry.alert,
      subjectKey: entry.subjectKey,
      subject: entry.subject,
      status,
      resolvedAs,
      severity: entry.severity,
      detectors: entry.detector === '' ? [] : [entry.detector],
      openedAt: entry.detectionTime,
      lastSeen: entry.detectionTime,
      overBar: isOverBar(entry),
      held: heldBy(entry, null),
    };
  }
  if (entry.detection === '') return { ...state, status, resolvedAs };
  const detectors =
    entry.detector === '' || state.detectors.includes(entry.detector)
      ? state.detectors
      : [...state.detectors, entry.detector];
  return {
    ...state,
    status,
    resolvedAs,
    subject: entry.detectionTime >= state.lastSeen ? entry.subject : state.subject,
    severity: maxSeverity([state.severity, entry.severity]),
    detectors,
    openedAt: Math.min(state.openedAt, entry.detectionTime),
    lastSeen: Math.max(state.lastSeen, entry.detectionTime),
    overBar: state.overBar || isOverBar(entry),
    held: heldBy(entry, state.held),
  };
}

function isOverBar({ detection, severity, needed }: LogEntry): boolean {
  return detection !== '' && needed === 0 && PAGING_SEVERITIES.includes(severity);
}

function heldBy({ detector, needed, detectionTime: time }: LogEntry, before: AlertState['held']): AlertState['held'] {
  if (needed === 0 || (before !== null && before.time > time)) return before;
  return before?.time === time && before.needed > needed ? before : { detector, needed, time };
}
