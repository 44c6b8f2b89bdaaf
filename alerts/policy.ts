import {
  type Alert,
  type AlertStatus,
  type Detection,
  type HeldBack,
  maxSeverity,
  NOTHING_ISSUED,
  type Severity,
  type Subject,
  severityRank,
  stableId,
  type Verdict,
} from '../core/index.ts';

/** FOLD_WINDOW_MS is how far in event time a finding may be from an unresolved alert of its subject and still join it. */
export const FOLD_WINDOW_MS = 24 * 3_600_000;

/** PAGING_SEVERITIES page unless a route names severities of its own. */
export const PAGING_SEVERITIES: readonly Severity[] = ['medium', 'high', 'critical'];

/** Finding is what the fold needs to know of a detection. */
export type Finding = Pick<Detection, 'id' | 'detector' | 'subject' | 'severity' | 'surprise'> & {
  /** Event time, epoch milliseconds: the end of the detection's window. */
  readonly time: number;
};

/** AlertState is an alert without its detections: all that policy decides on. Times are epoch milliseconds of event time. */
export interface AlertState {
  readonly id: string;
  readonly subjectKey: string;
  readonly subject: Subject;
  readonly status: AlertStatus;
  readonly resolvedAs: Verdict | null;
  readonly severity: Severity;
  /** In the order in which they joined. */
  readonly detectors: readonly string[];
  readonly openedAt: number;
  readonly lastSeen: number;
  /** A finding of a paging severity was not held back by the alert budget: from then on the alert pages. */
  readonly overBar: boolean;
  /** The newest finding that was held back; null when none was. */
  readonly held: (HeldBack & { readonly time: number }) | null;
}

/** heldBackOf is why an alert does not page though its severity would, null when the alert budget has nothing to do with it. */
export function heldBackOf({ overBar, held }: AlertState): HeldBack | null {
  return overBar || held === null ? null : { detector: held.detector, needed: held.needed };
}

/** pagingSeverity is the severity by which an alert is sent: what the alert budget holds back is sent as `low` ones are. */
export function pagingSeverity(state: AlertState): Severity {
  return heldBackOf(state) === null ? state.severity : 'low';
}

/** AlertChange says which alert took a finding, and whether it had to be opened for it. */
export interface AlertChange<F extends Finding = Finding> {
  readonly kind: 'opened' | 'grew';
  readonly alert: string;
  readonly subjectKey: string;
  readonly finding: F;
}

/** Folded is what a fold did: every finding in exactly one change, and the alerts as they are after it. */
export interface Folded<F extends Finding> {
  readonly changes: readonly AlertChange<F>[];
  /** Only alerts that took a finding. */
  readonly touched: readonly AlertState[];
}

/** subjectKey names what an alert is about: the owner's lineage, so that a rotation does not split an alert; else the token, else the owner. */
export function subjectKey(subject: Subject): string {
  // Owners choose the ids of their tokens, and two of them may choose the same.
  if (subject.lineage !== null) return `lineage:${JSON.stringify([subject.owner, subject.lineage])}`;
  if (subject.token !== null) return `token:${JSON.stringify([subject.owner, subject.token])}`;
  return `owner:${subject.owner}`;
}

/** findingOf reduces a detection to what the fold needs. */
export function findingOf(detection: Detection): Finding {
  const { id, detector, subject, severity, surprise } = detection;
  return { id, detector, subject, severity, surprise, time: detection.window.to };
}

/**
 * fold puts findings into alerts. A finding joins the nearest unresolved alert of its subject within the fold window,
 * otherwise it opens one whose id follows from the finding; findings are taken in event time, so that however a stretch of
 * time is cut into runs the same alerts come out, and within one fold window the order of the runs does not matter either.
 */
export function fold<F extends Finding>(findings: readonly F[], existing: readonly AlertState[]): Folded<F> {
  const bySubject = new Map<string, AlertState[]>();
  for (const state of existing) listOf(bySubject, state.subjectKey).push(state);

  const unique = [...new Map(findings.map((finding) => [finding.id, finding])).values()];
  unique.sort((a, b) => a.time - b.time || (a.id < b.id ? -1 : 1));

  const changes: AlertChange<F>[] = [];
  const touched = new Map<string, AlertState>();
  for (const finding of unique) {
    const key = subjectKey(finding.subject);
    const states = listOf(bySubject, key);
    const at = nearest(states, finding.time);
    const before = states[at];
    const after = before === undefined ? openedBy(finding, key) : grownBy(before, finding);
    if (before === undefined) states.push(after);
    else states[at] = after;
    touched.set(after.id, after);
    changes.push({ kind: before === undefined ? 'opened' : 'grew', alert: after.id, subjectKey: key, finding });
  }
  return { changes, touched: [...touched.values()] };
}

/** foldDetections folds whole detections in memory: all alerts, the given ones among them, oldest first. */
export function foldDetections(detections: readonly Detection[], existing: readonly Alert[] = []): Alert[] {
  const held = new Map(existing.map((alert) => [alert.id, [...alert.detections]]));
  const known = new Set(existing.flatMap((alert) => alert.detections.map((detection) => detection.id)));
  const fresh = new Map(detections.filter((d) => !known.has(d.id)).map((d) => [d.id, d]));

  const states = existing.map(stateOf);
  const folded = fold([...fresh.values()].map(findingOf), states);
  for (const change of folded.changes) listOf(held, change.alert).push(fresh.get(change.finding.id) as Detection);

  const all = new Map(states.map((state) => [state.id, state]));
  for (const state of folded.touched) all.set(state.id, state);
  return [...all.values()]
    .map((state) => assembleAlert(state, held.get(state.id) ?? []))
    .sort((a, b) => a.openedAt - b.openedAt || (a.id < b.id ? -1 : 1));
}

/** assembleAlert makes the alert that people see: the most severe and surprising detection speaks for it, the others are named. What its tokens issued is not known here. */
export function assembleAlert(state: AlertState, detections: readonly Detection[]): Alert {
  const ordered = [...detections].sort((a, b) => a.window.to - b.window.to || (a.id < b.id ? -1 : 1));
  const lead = leadOf(ordered);
  return {
    id: state.id,
    status: state.status,
    resolvedAs: state.resolvedAs,
    severity: state.severity,
    title: lead?.title ?? `Alert about ${state.subject.token ?? state.subject.owner}`,
    summary: lead === undefined ? 'Its detections are older than what the store keeps.' : summaryOf(lead, ordered),
    subject: state.subject,
    detectors: state.detectors,
    openedAt: state.openedAt,
    lastSeen: state.lastSeen,
    heldBack: heldBackOf(state),
    issued: NOTHING_ISSUED,
    detections: ordered,
  };
}

/** leadOf is the detection that speaks for an alert: most severe, then most surprising, then first. */
export function leadOf(detections: readonly Detection[]): Detection | undefined {
  let lead: Detection | undefined;
  for (const detection of detections) {
    if (lead === undefined || speaksBefore(detection, lead)) lead = detection;
  }
  return lead;
}

function speaksBefore(a: Detection, b: Detection): boolean {
  const severer = severityRank(a.severity) - severityRank(b.severity);
  if (severer !== 0) return severer > 0;
  if (a.surprise !== b.surprise) return a.surprise > b.surprise;
  if (a.window.to !== b.window.to) return a.window.to < b.window.to;
  return a.id < b.id;
}

function summaryOf(lead: Detection, detections: readonly Detection[]): string {
  const titles = new Map<string, string>();
  for (const detection of detections) {
    const best = titles.get(detection.detector);
    if (detection.detector !== lead.detector && best === undefined) titles.set(detection.detector, detection.title);
  }
  if (titles.size === 0) return lead.summary;
  return `${lead.summary} Also: ${[...titles.values()].join('; ')}.`;
}

function stateOf(alert: Alert): AlertState {
  const { id, status, resolvedAs, severity, subject, detectors, openedAt, lastSeen, heldBack } = alert;
  return {
    ...{ id, subjectKey: subjectKey(subject), subject, status, resolvedAs, severity, detectors, openedAt, lastSeen },
    overBar: heldBack === null && PAGING_SEVERITIES.includes(severity),
    held: heldBack === null ? null : { ...heldBack, time: lastSeen },
  };
}

function openedBy(finding: Finding, key: string): AlertState {
  return {
    id: `al_${stableId([key, finding.id])}`,
    subjectKey: key,
    subject: finding.subject,
    status: 'open',
    resolvedAs: null,
    severity: finding.severity,
    detectors: [finding.detector],
    openedAt: finding.time,
    lastSeen: finding.time,
    overBar: PAGING_SEVERITIES.includes(finding.severity),
    held: null,
  };
}

function grownBy(state: AlertState, finding: Finding): AlertState {
  return {
    ...state,
    // The token seen last is the one to revoke; earlier ones of the lineage are in the detections.
    subject: finding.time >= state.lastSeen ? finding.subject : state.subject,
    severity: maxSeverity([state.severity, finding.severity]),
    detectors: state.detectors.includes(finding.detector) ? state.detectors : [...state.detectors, finding.detector],
    openedAt: Math.min(state.openedAt, finding.time),
    lastSeen: Math.max(state.lastSeen, finding.time),
    overBar: state.overBar || PAGING_SEVERITIES.includes(finding.severity),
  };
}

/** nearest is the index of the unresolved alert that a finding at `time` joins, -1 for none. */
function nearest(states: readonly AlertState[], time: number): number {
  let found = -1;
  let foundDistance = FOLD_WINDOW_MS;
  states.forEach((state, index) => {
    if (state.status === 'resolved') return;
    const distance = Math.max(state.openedAt - time, time - state.lastSeen, 0);
    if (distance > FOLD_WINDOW_MS) return;
    const best = states[found];
    const closer =
      best === undefined ||
      distance < foundDistance ||
      (distance === foundDistance &&
        (state.lastSeen > best.lastSeen || (state.lastSeen === best.lastSeen && state.id < best.id)));
    if (!closer) return;
    found = index;
    foundDistance = distance;
  });
  return found;
}

function listOf<T>(lists: Map<string, T[]>, key: string): T[] {
  let list = lists.get(key);
  if (list === undefined) {
    list = [];
    lists.set(key, list);
  }
  return list;
}
