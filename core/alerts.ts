import { oneLine, plural } from './words.ts';

/** Severity of a detection or an alert; `medium` and above page by default. */
export type Severity = (typeof SEVERITIES)[number];

/** From the least to the most severe: the index is the rank, and the enum value in the store. */
export const SEVERITIES = ['info', 'low', 'medium', 'high', 'critical'] as const;

/** severityRank orders severities: info 0, low 1, medium 2, high 3, critical 4. */
export function severityRank(severity: Severity): number {
  return SEVERITIES.indexOf(severity);
}

/** maxSeverity is the most severe of the given ones, `info` for none. */
export function maxSeverity(severities: Iterable<Severity>): Severity {
  let rank = 0;
  for (const severity of severities) rank = Math.max(rank, severityRank(severity));
  return SEVERITIES[rank] as Severity;
}

/** EvidenceRow is one line that an analyst can check: a stored event, a value first met, an hour's count. */
export type EvidenceRow = Readonly<Record<string, string | number | boolean | null>>;

/** Subject is what a detection is about: one lineage (token set to the token seen), or an owner (token and lineage null). */
export interface Subject {
  readonly token: string | null;
  readonly lineage: string | null;
  readonly owner: string;
}

/** LearningState of a subject: what the baseline knows when a detector judges. */
export type LearningState = 'learning' | 'known' | 'dormant';

/**
 * Detection is one immutable finding. Its id is a hash of detector, subject and what was found, so that a repeated or
 * concurrent run finds the same id again. Times are epoch milliseconds of event time.
 */
export interface Detection {
  readonly id: string;
  readonly detector: string;
  readonly subject: Subject;
  readonly severity: Severity;
  /** Short, plain, names the subject: "tok_9f2 called 6 endpoints it never touched". */
  readonly title: string;
  /** One or two plain sentences: what was seen, what was expected. */
  readonly summary: string;
  readonly window: { readonly from: number; readonly to: number };
  readonly observed: Readonly<Record<string, unknown>>;
  readonly expected: Readonly<Record<string, unknown>>;
  /** -log10 of the chance of seeing this or more under the subject's own baseline. */
  readonly surprise: number;
  readonly state: LearningState;
  readonly evidence: readonly EvidenceRow[];
  /** SQL that an analyst pastes into `tokenwatch sql` to see the same numbers. */
  readonly sql: string;
}

/** HeldBack says why an alert does not page: what the alert budget asks of the detector that found it last. */
export interface HeldBack {
  readonly detector: string;
  /** The surprise that a finding of this detector had to exceed to page at that time. */
  readonly needed: number;
}

/** AlertStatus is where an alert stands with the people who handle it. */
export type AlertStatus = 'open' | 'acknowledged' | 'resolved';

/** Verdict is what a person says that an alert found: habits to be learnt, or an attacker's, which must not be. */
export type Verdict = (typeof VERDICTS)[number];

/** VERDICTS lists every verdict as it stands on the wire. */
export const VERDICTS = ['expected', 'malicious'] as const;

/**
 * IssuedToken is a token that one under alert issued, or that came of one which it issued: it goes on when the stolen one ends.
 * Times are epoch milliseconds of event time, null for never or unknown.
 */
export interface IssuedToken {
  readonly token: string;
  readonly owner: string;
  /** The token that asked for it. */
  readonly issuedBy: string;
  readonly at: number;
  readonly expiresAt: number | null;
  readonly lastUsed: number | null;
  readonly revokedAt: number | null;
}

/** Issued is what the tokens of an alert issued since its first finding began: how many, and the first of them by name. */
export interface Issued {
  readonly count: number;
  readonly used: number;
  readonly revoked: number;
  /** Those in use first, those revoked last. */
  readonly tokens: readonly IssuedToken[];
}

/** NOTHING_ISSUED is of an alert whose tokens issued none, or of one about an owner. */
export const NOTHING_ISSUED: Issued = { count: 0, used: 0, revoked: 0, tokens: [] };

/** Alert is what a person handles: the detections about one subject, folded. Times are epoch milliseconds; opened and last seen are event time. */
export interface Alert {
  readonly id: string;
  readonly status: AlertStatus;
  /** What it was resolved as, null while it is not, or when nobody said. */
  readonly resolvedAs: Verdict | null;
  readonly severity: Severity;
  readonly title: string;
  readonly summary: string;
  readonly subject: Subject;
  readonly detectors: readonly string[];
  readonly openedAt: number;
  readonly lastSeen: number;
  /** Null unless the alert budget keeps it from paging. */
  readonly heldBack: HeldBack | null;
  readonly issued: Issued;
  readonly detections: readonly Detection[];
}

/** NotifyReason says why an alert is sent now: it is new, it grew by another kind of finding, it got worse, it was resolved. */
export type NotifyReason = 'first' | 'grew' | 'worse' | 'resolved';

/** toApiDetection is the wire shape of a detection, as in the product's contract. */
export function toApiDetection(d: Detection) {
  return {
    id: d.id,
    detector: d.detector,
    severity: d.severity,
    title: d.title,
    summary: d.summary,
    window: { from: new Date(d.window.from).toISOString(), to: new Date(d.window.to).toISOString() },
    observed: d.observed,
    expected: d.expected,
    surprise: d.surprise,
    state: d.state,
    evidence: d.evidence,
    sql: d.sql,
  };
}

/** toApiIssued is the wire shape of what was issued. */
export function toApiIssued({ count, used, revoked, tokens }: Issued) {
  const iso = (time: number | null) => (time === null ? null : new Date(time).toISOString());
  return {
    count,
    used,
    revoked,
    tokens: tokens.map(({ token, owner, issuedBy, at, expiresAt, lastUsed, revokedAt }) => ({
      token,
      owner,
      issued_by: issuedBy,
      at: new Date(at).toISOString(),
      expires_at: iso(expiresAt),
      last_used: iso(lastUsed),
      revoked_at: iso(revokedAt),
    })),
  };
}

/** ApiIssued is what was issued on the wire. */
export type ApiIssued = ReturnType<typeof toApiIssued>;

/** Tokens that a sentence names. */
const SAID = 5;

/** issuedSentence says in one line what else must be revoked, '' when a token issued nothing. */
export function issuedSentence({ count, used, revoked, tokens }: ApiIssued): string {
  if (count === 0) return '';
  const notes = [used > 0 ? `${used} used` : '', revoked > 0 ? `${revoked} revoked` : ''].filter((note) => note !== '');
  const head = `It has issued ${plural(count, 'token')} since${notes.length > 0 ? ` (${notes.join(', ')})` : ''}`;
  const left = count - revoked;
  if (left === 0) return `${head}.`;
  const named = tokens.filter((token) => token.revoked_at === null).slice(0, SAID);
  const list = named.map(({ token, owner }) => `${oneLine(token, 80)} (${oneLine(owner, 80) || 'owner unknown'})`);
  const more = left > named.length ? ` and ${plural(left - named.length, 'other')}` : '';
  return `${head}: ${list.join(', ')}${more} - revoke ${left === 1 ? 'it' : 'them'} too.`;
}

/** toApiAlert is the wire shape of an alert, as in the product's contract: snake_case, ISO times. */
export function toApiAlert(alert: Alert) {
  return {
    id: alert.id,
    status: alert.status,
    resolved_as: alert.resolvedAs,
    severity: alert.severity,
    title: alert.title,
    summary: alert.summary,
    token: alert.subject.token,
    lineage: alert.subject.lineage,
    owner: alert.subject.owner,
    detectors: alert.detectors,
    opened_at: new Date(alert.openedAt).toISOString(),
    last_seen: new Date(alert.lastSeen).toISOString(),
    held_back: alert.heldBack,
    issued: toApiIssued(alert.issued),
    detections: alert.detections.map(toApiDetection),
  };
}

/** ApiAlert is an alert on the wire. */
export type ApiAlert = ReturnType<typeof toApiAlert>;
