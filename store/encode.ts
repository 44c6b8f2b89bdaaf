import type { LifecycleRow, RejectedRow, UsageRow } from './rows.ts';

/** iso writes epoch milliseconds as the engine's DateTime64 text; null stays null. */
function iso(time: number | null): string | null {
  return time === null ? null : new Date(time).toISOString();
}

/** Times repeat within a batch and grow slowly: the day and minute part of the last one is kept. */
let lastMinute = Number.NaN;
let lastPrefix = '';

/** isoFast is new Date(time).toISOString() for the hot path. */
export function isoFast(time: number): string {
  const minute = Math.floor(time / 60_000);
  if (minute !== lastMinute) {
    lastPrefix = new Date(minute * 60_000).toISOString().slice(0, 17);
    lastMinute = minute;
  }
  const rest = time - minute * 60_000;
  const seconds = Math.floor(rest / 1000);
  const millis = Math.floor(rest - seconds * 1000);
  return `${lastPrefix}${seconds < 10 ? '0' : ''}${seconds}.${millis < 10 ? '00' : millis < 100 ? '0' : ''}${millis}Z`;
}

/** All rows of a batch carry one received_at, far from their own times: it would throw out the minute kept above. */
let lastReceivedAt = Number.NaN;
let lastReceivedText = '';

function isoReceived(time: number): string {
  if (time !== lastReceivedAt) {
    lastReceivedText = new Date(time).toISOString();
    lastReceivedAt = time;
  }
  return lastReceivedText;
}

/** encodeUsage writes a row of `events` as one JSONCompactEachRow line, columns as in EVENT_COLUMNS. */
export function encodeUsage(row: UsageRow): string {
  return JSON.stringify([
    isoFast(row.time),
    isoReceived(row.receivedAt),
    row.id,
    row.token,
    row.lineage,
    row.owner,
    row.endpoint,
    row.method,
    row.status,
    row.ip,
    row.country,
    row.asn,
    row.networkKind,
    row.latitude,
    row.longitude,
    row.accuracyKm,
    row.userAgent,
    row.bytes,
    row.durationMs,
    row.requestId,
    row.attributes,
    row.source,
  ]);
}

/** encodeLifecycle writes a row of `lifecycle` as one JSONCompactEachRow line, columns as in LIFECYCLE_COLUMNS. */
export function encodeLifecycle(row: LifecycleRow): string {
  return JSON.stringify([
    iso(row.time),
    iso(row.receivedAt),
    row.id,
    row.action,
    row.token,
    row.lineage,
    row.owner,
    row.replaces,
    iso(row.requestedAt),
    iso(row.expiresAt),
    iso(row.effectiveAt),
    row.fingerprint,
    row.scopes,
    row.reason,
    row.config,
    row.ip,
    row.country,
    row.userAgent,
    row.requestId,
    row.attributes,
    row.source,
    row.issuedBy,
    row.issuerLineage,
  ]);
}

/** encodeRejected writes a row of `rejected_events` as one JSONCompactEachRow line, columns as in REJECTED_COLUMNS. */
export function encodeRejected(row: RejectedRow): string {
  return JSON.stringify([iso(row.receivedAt), row.sender, row.line, row.code, row.message, row.content, row.source]);
}
