import {
  type AlertStatus,
  type Detection,
  type EvidenceRow,
  type LearningState,
  type NotifyReason,
  SEVERITIES,
  type Severity,
  type Subject,
  VERDICTS,
  type Verdict,
} from '../core/index.ts';
import { defineQuery, num, text, time } from '../store/index.ts';
import type { LogEntry } from './history.ts';
import { type Finding, findingOf } from './policy.ts';
import type { NotificationRecord } from './rows.ts';

type Raw = Record<string, unknown>;

/** FoundFinding is a finding with the whole of its detection, and the wall time at which its detector found it. */
export interface FoundFinding extends Finding {
  readonly detection: Detection;
  readonly detectedAt: number;
}

/** unfolded finds detections that are in no alert yet, oldest first; `logSince` is before anything they can be recorded at. */
export const unfolded = defineQuery<{ since: number; logSince: number; limit: number }, FoundFinding>(
  'alerts.unfolded',
  `SELECT *
   FROM detections
   WHERE detected_at >= fromUnixTimestamp64Milli({since:Int64})
     AND id NOT IN (
       SELECT detection FROM alert_log
       WHERE detection != '' AND recorded_at >= fromUnixTimestamp64Milli({logSince:Int64})
     )
   ORDER BY detected_at, id
   LIMIT 1 BY id
   LIMIT {limit:UInt32}`,
  (raw) => {
    const detection = detectionOf(raw);
    return { ...findingOf(detection), detection, detectedAt: time(raw.detected_at) };
  },
);

/** historySql reads the whole log of the alerts that `selection` names. */
function historySql(selection: string): string {
  return `SELECT * FROM alert_log WHERE alert IN (${selection}) ORDER BY recorded_at`;
}

/** historyNear reads the logs of the subjects' alerts that were active in a stretch of event time. */
export const historyNear = defineQuery<{ keys: string[]; from: number; to: number }, LogEntry>(
  'alerts.history_near',
  historySql(
    `SELECT alert FROM alert_log WHERE subject_key IN {keys:Array(String)}
     GROUP BY alert
     HAVING max(detection_time) >= fromUnixTimestamp64Milli({from:Int64})
        AND min(detection_time) <= fromUnixTimestamp64Milli({to:Int64})`,
  ),
  logEntryOf,
);

/** historyOf reads the logs of alerts by id. */
export const historyOf = defineQuery<{ alerts: string[] }, LogEntry>(
  'alerts.history_of',
  historySql('{alerts:Array(String)}'),
  logEntryOf,
);

/** changedSince names the alerts that changed, the newest change first. */
export const changedSince = defineQuery<{ since: number; limit: number }, string>(
  'alerts.changed_since',
  `SELECT alert FROM alert_log
   WHERE recorded_at >= fromUnixTimestamp64Milli({since:Int64})
   GROUP BY alert
   ORDER BY max(recorded_at) DESC, alert
   LIMIT {limit:UInt32}`,
  (raw) => text(raw.alert),
);

/** PastFinding is a finding that pages without a budget, or may: the thresholds of now decide. */
export interface PastFinding extends Pick<Finding, 'detector' | 'severity' | 'surprise' | 'time'> {
  readonly alert: string;
  /** What its alert was resolved as. */
  readonly resolvedAs: Verdict | null;
  /** Event time of the first finding there is. */
  readonly began: number;
}

/**
 * pastFindings reads the findings of a stretch of event time, from exclusive, that were medium or have a surprise of at least
 * `least`, each with its alert, oldest first; the newest when there are more than `limit`.
 */
export const pastFindings = defineQuery<{ from: number; least: number; limit: number }, PastFinding>(
  'alerts.past_findings',
  `SELECT entry.alert AS alert, entry.resolved_as AS resolved_as, found.detector AS detector, found.severity AS severity,
     found.surprise AS surprise, found.window_to AS window_to, (SELECT min(window_to) FROM detections) AS began
   FROM (
     SELECT id, detector, severity, surprise, window_to FROM detections
     WHERE window_to > fromUnixTimestamp64Milli({from:Int64})
       AND (toInt8(severity) >= 2 OR surprise >= {least:Float64})
     ORDER BY window_to DESC
     LIMIT 1 BY id
     LIMIT {limit:UInt32}
   ) AS found
   INNER JOIN (
     SELECT alert, resolved_as, arrayJoin(detections) AS detection
     FROM (
       SELECT alert, argMaxIf(resolved_as, recorded_at, status = 'resolved') AS resolved_as,
         groupUniqArrayIf(detection, detection != '') AS detections
       FROM alert_log GROUP BY alert
     )
   ) AS entry ON entry.detection = found.id
   ORDER BY window_to, alert`,
  (raw) => ({
    alert: text(raw.alert),
    resolvedAs: verdictOf(raw.resolved_as),
    detector: text(raw.detector),
    severity: severityOf(raw.severity),
    surprise: num(raw.surprise),
    time: time(raw.window_to),
    began: time(raw.began),
  }),
);

/** AlertKey is one alert's place in the list: newest last sight first. */
export interface AlertKey {
  readonly alert: string;
  readonly lastSeen: number;
}

/** alertKeys pages through the alerts that a filter takes; an empty list or text takes all, `after` of 0 starts at the top. */
export const alertKeys = defineQuery<
  {
    statuses: string[];
    severities: string[];
    token: string;
    owner: string;
    since: number;
    afterTime: number;
    afterAlert: string;
    limit: number;
  },
  AlertKey
>(
  'alerts.keys',
  `SELECT alert, maxIf(detection_time, detection != '') AS last_seen
   FROM alert_log
   GROUP BY alert
   HAVING (empty({statuses:Array(String)}) OR has({statuses:Array(String)}, toString(
         argMaxIf(status, (recorded_at, indexOf(['open', 'acknowledged', 'resolved'], toString(status))), status != ''))))
     AND (empty({severities:Array(String)}) OR has({severities:Array(String)}, toString(max(severity))))
     AND ({token:String} = '' OR countIf(ifNull(token, '') = {token:String} OR ifNull(lineage, '') = {token:String}) > 0)
     AND ({owner:String} = '' OR countIf(owner = {owner:String}) > 0)
     AND last_seen >= fromUnixTimestamp64Milli({since:Int64})
     AND ({afterAlert:String} = '' OR (last_seen, alert) < (fromUnixTimestamp64Milli({afterTime:Int64}), {afterAlert:String}))
   ORDER BY last_seen DESC, alert DESC
   LIMIT {limit:UInt32}`,
  (raw) => ({ alert: text(raw.alert), lastSeen: time(raw.last_seen) }),
);

/** AlertDetection is a detection and the alert that holds it. */
export interface AlertDetection {
  readonly alert: string;
  readonly detection: Detection;
}

/** detectionsOf reads each alert's detections, the most severe and surprising ones when there are more than `limit`. */
export const detectionsOf = defineQuery<{ alerts: string[]; limit: number }, AlertDetection>(
  'alerts.detections_of',
  `SELECT entry.alert AS alert, found.*
   FROM (SELECT DISTINCT alert, detection FROM alert_log WHERE alert IN {alerts:Array(String)} AND detection != '') AS entry
   INNER JOIN (
     SELECT * FROM detections
     WHERE id IN (SELECT detection FROM alert_log WHERE alert IN {alerts:Array(String)})
     LIMIT 1 BY id
   ) AS found ON found.id = entry.detection
   ORDER BY severity DESC, surprise DESC, window_to, id
   LIMIT {limit:UInt32} BY alert`,
  (raw) => ({ alert: text(raw.alert), detection: detectionOf(raw) }),
);

/** notificationsOf reads what was sent, or given up, about alerts; oldest first. */
export const notificationsOf = defineQuery<{ alerts: string[] }, NotificationRecord>(
  'alerts.notifications_of',
  `SELECT * FROM notifications WHERE alert IN {alerts:Array(String)} ORDER BY at, id LIMIT 1 BY id`,
  (raw) => ({
    id: text(raw.id),
    alert: text(raw.alert),
    channel: text(raw.channel),
    channelType: text(raw.channel_type),
    reason: text(raw.reason) as NotifyReason,
    status: text(raw.status) === 'sent' ? 'sent' : 'failed',
    attempts: num(raw.attempts),
    target: text(raw.target),
    error: text(raw.error),
    at: time(raw.at),
    delayMs: num(raw.delay_ms),
  }),
);

function logEntryOf(raw: Raw): LogEntry {
  const detector = text(raw.detector);
  return {
    recordedAt: time(raw.recorded_at),
    alert: text(raw.alert),
    kind: text(raw.kind) as LogEntry['kind'],
    subjectKey: text(raw.subject_key),
    subject: subjectOf(raw),
    detection: text(raw.detection),
    detectionTime: time(raw.detection_time),
    severity: severityOf(raw.severity),
    status: text(raw.status) as AlertStatus | '',
    note: text(raw.note),
    by: text(raw.by),
    resolvedAs: verdictOf(raw.resolved_as),
    needed: num(raw.needed),
    detector,
    detectedAt: detector === '' ? 0 : time(raw.detected_at),
  };
}

function detectionOf(raw: Raw): Detection {
  return {
    id: text(raw.id),
    detector: text(raw.detector),
    subject: subjectOf(raw),
    severity: severityOf(raw.severity),
    title: text(raw.title),
    summary: text(raw.summary),
    window: { from: time(raw.window_from), to: time(raw.window_to) },
    observed: json<Record<string, unknown>>(raw.observed, {}),
    expected: json<Record<string, unknown>>(raw.expected, {}),
    surprise: num(raw.surprise),
    state: text(raw.state) as LearningState,
    evidence: json<EvidenceRow[]>(raw.evidence, []),
    sql: text(raw.sql),
  };
}

function subjectOf(raw: Raw): Subject {
  return {
    token: raw.token === null ? null : text(raw.token),
    lineage: raw.lineage === null ? null : text(raw.lineage),
    owner: text(raw.owner),
  };
}

function verdictOf(value: unknown): Verdict | null {
  return VERDICTS.find((verdict) => verdict === value) ?? null;
}

function severityOf(value: unknown): Severity {
  return SEVERITIES.find((severity) => severity === value) ?? 'info';
}

/** A text that is not JSON (a row written by hand) must not hide the alert that it belongs to. */
function json<T>(value: unknown, otherwise: T): T {
  try {
    return JSON.parse(text(value)) as T;
  } catch {
    return otherwise;
  }
}
