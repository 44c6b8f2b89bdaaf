import type { LifecycleRow, RejectedRow, UsageRow } from './rows.ts';

/** iso writes epoch milliseconds as the engine's DateTime64 text; null stays null. */
function iso(time: number | null): string | null {
  return time === null ? null : new Date(time).toISOString();
}

/**
 * encodeUsage writes a row of `events` as one JSONCompactEachRow line, columns as in EVENT_COLUMNS. Times are bare numbers, which
 * the engine takes for a DateTime64's ticks, here milliseconds: both sides are done sooner than with text.
 */
export function encodeUsage(row: UsageRow): string {
  return JSON.stringify([
    row.time,
    row.receivedAt,
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
    row.asn,
    row.networkKind,
  ]);
}

/** encodeRejected writes a row of `rejected_events` as one JSONCompactEachRow line, columns as in REJECTED_COLUMNS. */
export function encodeRejected(row: RejectedRow): string {
  return JSON.stringify([iso(row.receivedAt), row.sender, row.line, row.code, row.message, row.content, row.source]);
}
