import type { Alert, NotifyReason } from '../core/index.ts';
import type { LogEntry } from './history.ts';

/** NotificationRecord is one message as the log of notifications keeps it. Times are epoch milliseconds. */
export interface NotificationRecord {
  /** The idempotency key that the receiver saw. */
  readonly id: string;
  readonly alert: string;
  readonly channel: string;
  readonly channelType: string;
  readonly reason: NotifyReason;
  readonly status: 'sent' | 'failed';
  readonly attempts: number;
  /** Where it went, without anything that opens a door. */
  readonly target: string;
  /** Why it failed, or what the receiver refused of it; '' when there is nothing to say. */
  readonly error: string;
  readonly at: number;
  /** From the newest detection (or the person's word, for `resolved`) to the send. */
  readonly delayMs: number;
}

/** encodeLogEntry writes a row of `alert_log` as one JSONCompactEachRow line. */
export function encodeLogEntry(entry: LogEntry): string {
  return JSON.stringify([
    iso(entry.recordedAt),
    entry.alert,
    entry.kind,
    entry.subjectKey,
    entry.subject.token,
    entry.subject.lineage,
    entry.subject.owner,
    entry.detection,
    entry.detector,
    iso(entry.detectedAt),
    iso(entry.detectionTime),
    entry.severity,
    entry.status,
    entry.note,
    entry.by,
    entry.resolvedAs ?? '',
    entry.needed,
  ]);
}

/** encodeNotification writes a row of `notifications` as one JSONCompactEachRow line. */
export function encodeNotification(record: NotificationRecord): string {
  return JSON.stringify([
    record.id,
    record.alert,
    record.channel,
    record.channelType,
    record.reason,
    record.status,
    record.attempts,
    record.target,
    record.error,
    iso(record.at),
    record.delayMs,
  ]);
}

/** toApiNotification is the wire shape of a notification. */
export function toApiNotification(record: NotificationRecord) {
  return {
    id: record.id,
    alert: record.alert,
    channel: record.channel,
    channel_type: record.channelType,
    reason: record.reason,
    status: record.status,
    attempts: record.attempts,
    target: record.target,
    error: record.error,
    at: iso(record.at),
    delay_ms: record.delayMs,
  };
}

/** AlertPage is one page of alerts, newest first, and the cursor of the next one. */
export interface AlertPage {
  readonly alerts: readonly Alert[];
  readonly next: string | null;
}

function iso(time: number): string {
  return new Date(time).toISOString();
}
