/** Action is what happened to or with a token; `used` is a call, all others are lifecycle. */
export type Action = 'used' | LifecycleAction;

/** LifecycleAction is one step in the life of a token. */
export type LifecycleAction = (typeof LIFECYCLE_ACTIONS)[number];

/** LIFECYCLE_ACTIONS lists every lifecycle action as it stands on the wire. */
export const LIFECYCLE_ACTIONS = ['issued', 'verified', 'rotated', 'revoked', 'expired', 'config_changed'] as const;

/**
 * NetworkKind is what sort of network a call came from: machines (`hosting`), people (`mobile`, `business`), somebody who may be
 * anywhere behind it (`vpn`, `relay`), or the organisation's own way out as the operator lists it (`egress`).
 */
export type NetworkKind = (typeof NETWORK_KINDS)[number] | 'egress';

/** NETWORK_KINDS are the kinds that range lists may name, the one that wins first. */
export const NETWORK_KINDS = ['relay', 'vpn', 'hosting', 'mobile', 'business'] as const;

/** UsageEvent is one call made with a token, as a log format reads it; times are epoch milliseconds, UTC. */
export interface UsageEvent {
  readonly kind: 'usage';
  readonly time: number;
  /** The source's own unique id, '' when it gave none. */
  readonly id: string;
  readonly token: string;
  readonly owner: string;
  /** Upper case, '' when the source names no method. */
  readonly method: string;
  /** The raw path; '' when the source names the endpoint itself. Never stored as it is. */
  readonly path: string;
  /** The endpoint when the source names it; '' to derive it from method and path. */
  readonly endpoint: string;
  /** HTTP status or the nearest to it; 0 when unknown. */
  readonly status: number;
  /** Textual IPv4 or IPv6 address; '' when unknown. */
  readonly ip: string;
  readonly userAgent: string;
  readonly bytes: number;
  readonly durationMs: number;
  readonly requestId: string;
  /** Fields that the format does not know, kept for the analyst; null when there are none. */
  readonly attributes: Readonly<Record<string, unknown>> | null;
}

/** LifecycleEvent is something that happened to a token; times are epoch milliseconds, UTC, null when not given. */
export interface LifecycleEvent {
  readonly kind: 'lifecycle';
  readonly action: LifecycleAction;
  readonly time: number;
  readonly id: string;
  readonly token: string;
  readonly owner: string;
  /** The token that this one takes over from; '' when none. */
  readonly replaces: string;
  /** The token that asked for the issue; '' when unknown. */
  readonly issuedBy: string;
  readonly requestedAt: number | null;
  readonly expiresAt: number | null;
  readonly effectiveAt: number | null;
  /** Fingerprint of the secret, never the secret. */
  readonly fingerprint: string;
  readonly scopes: readonly string[];
  readonly reason: string;
  readonly config: {
    readonly key: string;
    readonly from: string;
    readonly to: string;
    readonly approved: boolean | null;
  } | null;
  readonly ip: string;
  readonly userAgent: string;
  readonly requestId: string;
  readonly attributes: Readonly<Record<string, unknown>> | null;
}

/** TokenEvent is what a log format makes of a record that says something about a token. */
export type TokenEvent = UsageEvent | LifecycleEvent;

/**
 * RejectCode names why a line was refused; a closed set, each counted in `tokenwatch_rejected_lines_total{code}`.
 */
export type RejectCode = (typeof REJECT_CODES)[number];

/** REJECT_CODES lists every code of a refused line. */
export const REJECT_CODES = [
  'bad_json',
  'bad_utf8',
  'not_an_object',
  'too_deep',
  'line_too_long',
  'missing_time',
  'bad_time',
  'time_out_of_range',
  'missing_token',
  'bad_token',
  'bad_action',
  'bad_field',
  'truncated_body',
  'body_too_large',
  'unknown_format',
] as const;

/** SkipReason names why a well-formed record holds nothing for us; counted, neither stored nor an error. */
export type SkipReason = 'no_token' | 'service_call' | 'probe';

/** Parsed is what a log format makes of one record: bad data is a value, never an exception. */
export type Parsed =
  | { readonly kind: 'events'; readonly events: readonly TokenEvent[] }
  | { readonly kind: 'rejected'; readonly code: RejectCode; readonly message: string }
  | { readonly kind: 'skipped'; readonly reason: SkipReason };
