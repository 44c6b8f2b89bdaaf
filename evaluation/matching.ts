import { PAGING_SEVERITIES } from '../alerts/index.ts';
import type { Alert, Subject } from '../core/index.ts';
import type { AttackTruth } from '../fixtures/index.ts';

/** Page is one alert as far as it pages: whom it is about, and the event times (sorted, epoch milliseconds) that page. */
export interface Page {
  readonly subject: Subject;
  /** Every token that it named: an alert follows a lineage through rotations. */
  readonly tokens: readonly string[];
  readonly times: readonly number[];
}

/** Before its first event nothing can be known of an attack; the clocks of sources differ by this much. */
const EARLY_MS = 60_000;

/** A finding about the last event of an attack may need what follows it. */
const LATE_MS = 3_600_000;

/** pageOf is the paging part of an alert, null when nothing in it pages. */
export function pageOf(alert: Alert): Page | null {
  const paging = alert.detections.filter(({ severity }) => PAGING_SEVERITIES.includes(severity));
  if (paging.length === 0) return null;
  return {
    subject: alert.subject,
    tokens: [...new Set(paging.map(({ subject }) => subject.token).filter((token) => token !== null))],
    times: paging.map(({ window }) => window.to).sort((a, b) => a - b),
  };
}

/** isAbout tells whether an alert is about the subject of an attack: its token or lineage, or its owner as a whole. */
export function isAbout(page: Page, attack: Pick<AttackTruth, 'subject'>): boolean {
  const { token, lineage, owner } = attack.subject;
  if (page.subject.owner !== owner) return false;
  if (token === null && lineage === null) return page.subject.token === null && page.subject.lineage === null;
  return (lineage !== null && page.subject.lineage === lineage) || (token !== null && page.tokens.includes(token));
}

/** pagedAt is the first moment at which an alert pages for an attack, null when it does not. */
export function pagedAt(page: Page, attack: AttackTruth): number | null {
  if (!isAbout(page, attack)) return null;
  const within = (time: number) => time >= attack.firstEventMs - EARLY_MS && time <= attack.lastEventMs + LATE_MS;
  return page.times.find(within) ?? null;
}

/** Matched is a comparison of what paged with what happened. */
export interface Matched {
  /** Beside each attack, in order: when it was first paged, null for a miss. */
  readonly paged: readonly (number | null)[];
  /** Beside each page, in order: the ids of the attacks that it is true for; none: a false page. */
  readonly trueFor: readonly (readonly string[])[];
}

/** match compares pages with attacks: one page may be true for several attacks of its subject. */
export function match(pages: readonly Page[], attacks: readonly AttackTruth[]): Matched {
  const earliest = (times: readonly number[]) => (times.length === 0 ? null : Math.min(...times));
  return {
    paged: attacks.map((attack) =>
      earliest(pages.map((page) => pagedAt(page, attack)).filter((time) => time !== null)),
    ),
    trueFor: pages.map((page) => attacks.filter((attack) => pagedAt(page, attack) !== null).map((attack) => attack.id)),
  };
}

/**
 * delayOf is how long an attack went on before it was paged, in milliseconds: from its first event, also when that lies
 * before the live part. Nothing can be paged before the live part begins, whichever event a finding is about.
 */
export function delayOf(attack: Pick<AttackTruth, 'firstEventMs'>, pagedMs: number, liveMs: number): number {
  return Math.max(0, Math.max(pagedMs, liveMs) - attack.firstEventMs);
}
