import type { LifecycleAction, NetworkKind } from '../core/index.ts';

/** UsageRow is one usage event as it is stored: enriched, free of secrets. Times are epoch milliseconds. */
export interface UsageRow {
  readonly time: number;
  /** Wall time of the batch; every row of one batch carries the same value. */
  readonly receivedAt: number;
  readonly id: string;
  readonly token: string;
  readonly lineage: string;
  readonly owner: string;
  readonly endpoint: string;
  readonly method: string;
  readonly status: number;
  readonly ip: string;
  /** ISO 3166-1 alpha-2, '' when unknown. */
  readonly country: string;
  /** Autonomous system number, 0 when unknown. */
  readonly asn: number;
  /** What sort of network it is; '' when nothing tells. */
  readonly networkKind: NetworkKind | '';
  /** Degrees; 0 when unknown, and so is accuracyKm. */
  readonly latitude: number;
  readonly longitude: number;
  /** Radius around them, kilometres; 0: no coordinates. */
  readonly accuracyKm: number;
  readonly userAgent: string;
  readonly bytes: number;
  readonly durationMs: number;
  readonly requestId: string;
  /** JSON object text, '' when there is nothing. */
  readonly attributes: string;
  /** The log format that read it: `native`, `cloudtrail`. */
  readonly source: string;
}

/** LifecycleRow is one lifecycle event as it is stored. Times are epoch milliseconds, null when not given. */
export interface LifecycleRow {
  readonly time: number;
  readonly receivedAt: number;
  readonly id: string;
  readonly action: LifecycleAction;
  readonly token: string;
  readonly lineage: string;
  readonly owner: string;
  readonly replaces: string;
  /** The token that asked for the issue, and its lineage; '' when unknown. */
  readonly issuedBy: string;
  readonly issuerLineage: string;
  readonly requestedAt: number | null;
  readonly expiresAt: number | null;
  readonly effectiveAt: number | null;
  readonly fingerprint: string;
  readonly scopes: readonly string[];
  readonly reason: string;
  /** JSON object text `{key, from, to, approved}`, '' when none. */
  readonly config: string;
  readonly ip: string;
  readonly country: string;
  /** As in UsageRow. */
  readonly asn: number;
  readonly networkKind: NetworkKind | '';
  readonly userAgent: string;
  readonly requestId: string;
  readonly attributes: string;
  readonly source: string;
}

/** RejectedRow is one refused line, redacted and cut. */
export interface RejectedRow {
  readonly receivedAt: number;
  /** Where it came from: the access key's id, or the imported file's name. */
  readonly sender: string;
  /** 1-based line (or array element) of the request. */
  readonly line: number;
  readonly code: string;
  readonly message: string;
  /** The line itself, credentials replaced, at most 2,000 characters. */
  readonly content: string;
  readonly source: string;
}

/** Columns of `events` in the order in which encodeUsage writes them. */
export const EVENT_COLUMNS = [
  'time',
  'received_at',
  'id',
  'token',
  'lineage',
  'owner',
  'endpoint',
  'method',
  'status',
  'ip',
  'country',
  'asn',
  'network_kind',
  'latitude',
  'longitude',
  'accuracy_km',
  'user_agent',
  'bytes',
  'duration_ms',
  'request_id',
  'attributes',
  'source',
] as const;

/** LIFECYCLE_COLUMNS are the columns of `lifecycle` in the order in which encodeLifecycle writes them. */
export const LIFECYCLE_COLUMNS = [
  'time',
  'received_at',
  'id',
  'action',
  'token',
  'lineage',
  'owner',
  'replaces',
  'requested_at',
  'expires_at',
  'effective_at',
  'fingerprint',
  'scopes',
  'reason',
  'config',
  'ip',
  'country',
  'user_agent',
  'request_id',
  'attributes',
  'source',
  // Last: a batch that an older version wrote ahead ends before these, and the engine fills in what is missing.
  'issued_by',
  'issuer_lineage',
  'asn',
  'network_kind',
] as const;

/** REJECTED_COLUMNS are the columns of `rejected_events` in the order in which encodeRejected writes them. */
export const REJECTED_COLUMNS = ['received_at', 'sender', 'line', 'code', 'message', 'content', 'source'] as const;
