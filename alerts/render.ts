import {
  type Alert,
  type Detection,
  type EvidenceRow,
  issuedSentence,
  type NotifyReason,
  oneLine,
  plural,
  type Severity,
  toApiIssued,
} from '../core/index.ts';
import { leadOf } from './policy.ts';
import { block, label, odds, type Pair, pairsOf, span, utc, valueText } from './words.ts';

/** RenderedAlert is one message about an alert in words, before any channel's markup. Texts come from logs: escape them. */
export interface RenderedAlert {
  /** As it is, for channels that programs read. */
  readonly alert: Alert;
  readonly reason: NotifyReason;
  /** The first thing that is read: severity and what happened, on one line. */
  readonly subject: string;
  readonly title: string;
  /** What was seen and what was expected, in one or two plain sentences. */
  readonly lead: string;
  /** Why this message comes now. */
  readonly why: string;
  readonly facts: readonly Pair[];
  /** The one that speaks for the alert first. */
  readonly findings: readonly RenderedFinding[];
  /** How many findings there are beyond the ones shown. */
  readonly moreFindings: number;
  /** What to consider, for a reader who was asleep a minute ago. */
  readonly advice: string;
  /** What else must be revoked; '' when its tokens issued none, and once it is resolved. */
  readonly issued: string;
  readonly actions: readonly Action[];
}

/** RenderedFinding is one detection in words. */
export interface RenderedFinding {
  readonly id: string;
  readonly detector: string;
  readonly severity: Severity;
  readonly title: string;
  /** '' for the finding whose summary leads the message. */
  readonly summary: string;
  readonly window: string;
  /** How surprising it is: `about 1 in 250,000 looks`. */
  readonly odds: string;
  readonly seen: readonly Pair[];
  readonly expected: readonly Pair[];
  readonly evidence: EvidenceTable | null;
  readonly sql: string;
}

/** EvidenceTable is the head of a detection's evidence; every row has one cell per column. */
export interface EvidenceTable {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
  readonly moreRows: number;
}

/** Action is a command that the reader may want to paste. */
export interface Action {
  readonly label: string;
  readonly command: string;
}

const FINDINGS_SHOWN = 4;
const EVIDENCE_ROWS_SHOWN = 5;
const EVIDENCE_COLUMNS_SHOWN = 5;
const SQL_LIMIT = 4_000;

/** renderAlert writes one message about an alert; same alert and reason, same words. */
export function renderAlert(alert: Alert, reason: NotifyReason): RenderedAlert {
  const title = oneLine(alert.title, 150);
  const lead = leadOf(alert.detections);
  const ranked = [...alert.detections].sort(
    (a, b) => Number(b === lead) - Number(a === lead) || b.window.to - a.window.to,
  );
  const shown = oneOfEachDetectorFirst(ranked).slice(0, FINDINGS_SHOWN);
  return {
    alert,
    reason,
    subject: `[${alert.status === 'resolved' ? 'resolved' : alert.severity}] ${title}`,
    title,
    lead: oneLine(alert.summary, 1_000),
    why: whyOf(alert, reason),
    facts: factsOf(alert),
    findings: shown.map((detection) => findingInWords(detection, detection === lead)),
    moreFindings: alert.detections.length - shown.length,
    advice: adviceOf(alert),
    issued: alert.status === 'resolved' ? '' : issuedSentence(toApiIssued(alert.issued)),
    actions: actionsOf(alert),
  };
}

/** The newest finding of each detector says more than four of one. */
function oneOfEachDetectorFirst(detections: readonly Detection[]): Detection[] {
  const seen = new Set<string>();
  const first: Detection[] = [];
  const rest: Detection[] = [];
  for (const detection of detections) {
    (seen.has(detection.detector) ? rest : first).push(detection);
    seen.add(detection.detector);
  }
  return [...first, ...rest];
}

function whyOf(alert: Alert, reason: NotifyReason): string {
  switch (reason) {
    case 'first':
      return 'New alert.';
    case 'worse':
      return `It got worse: now ${alert.severity}.`;
    case 'grew':
      return `It grew: found by ${alert.detectors.join(', ')}.`;
    case 'resolved':
      return 'It was resolved.';
  }
}

function factsOf(alert: Alert): Pair[] {
  const { token, lineage, owner } = alert.subject;
  const facts: Pair[] = [];
  if (token !== null) facts.push({ label: 'Token', value: oneLine(token, 200) });
  if (lineage !== null && lineage !== token) facts.push({ label: 'Rotated from', value: oneLine(lineage, 200) });
  facts.push(
    { label: 'Owner', value: oneLine(owner, 200) || 'unknown' },
    { label: 'Severity', value: alert.severity },
    { label: 'Status', value: alert.status },
    { label: 'Found by', value: oneLine(alert.detectors.join(', '), 200) },
  );
  if (alert.heldBack !== null) {
    const { detector, needed } = alert.heldBack;
    facts.push({ label: 'Held back', value: `by the alert budget: ${oneLine(detector, 60)} pages above ${needed}` });
  }
  if (alert.openedAt === alert.lastSeen) facts.push({ label: 'Seen', value: utc(alert.lastSeen) });
  else
    facts.push({ label: 'First seen', value: utc(alert.openedAt) }, { label: 'Last seen', value: utc(alert.lastSeen) });
  facts.push({ label: 'Alert', value: alert.id });
  return facts;
}

function findingInWords(detection: Detection, leads: boolean): RenderedFinding {
  return {
    id: detection.id,
    detector: oneLine(detection.detector, 60),
    severity: detection.severity,
    title: oneLine(detection.title, 200),
    summary: leads ? '' : oneLine(detection.summary, 500),
    window: span(detection.window.from, detection.window.to),
    odds: oddsOf(detection),
    seen: pairsOf(detection.observed),
    expected: pairsOf(detection.expected),
    evidence: evidenceOf(detection.evidence),
    sql: block(detection.sql, SQL_LIMIT),
  };
}

function oddsOf({ surprise, state }: Detection): string {
  const said = odds(surprise);
  const chance = said.includes('1 in') ? `${said} looks` : said;
  if (state === 'learning') return `${chance}, by a baseline that is still learning`;
  if (state === 'dormant') return `${chance}, by a baseline from before a long silence`;
  return chance;
}

function evidenceOf(evidence: readonly EvidenceRow[]): EvidenceTable | null {
  if (evidence.length === 0) return null;
  const shown = evidence.slice(0, EVIDENCE_ROWS_SHOWN);
  const keys = [...new Set(shown.flatMap((row) => Object.keys(row)))].slice(0, EVIDENCE_COLUMNS_SHOWN);
  return {
    columns: keys.map(label),
    rows: shown.map((row) => keys.map((key) => valueText(row[key], 60))),
    moreRows: evidence.length - shown.length,
  };
}

function adviceOf(alert: Alert): string {
  const owner = oneLine(alert.subject.owner, 80) || 'the owner';
  if (alert.status === 'resolved') return 'Nothing to do. A new finding about it opens a new alert.';
  if (alert.subject.token === null)
    return `Ask ${owner} whether this was planned; if not, stop whoever issues these tokens.`;
  return `Ask ${owner} whether this was them; if not, revoke ${oneLine(alert.subject.token, 80)} where it was issued, then look at what it did.`;
}

function actionsOf(alert: Alert): Action[] {
  const show = { label: 'See all of it', command: `tokenwatch alerts show ${alert.id}` };
  if (alert.status === 'resolved') return [show];
  const acknowledge = { label: 'Say that you are on it', command: `tokenwatch alerts ack ${alert.id}` };
  const resolve = { label: 'Close it', command: `tokenwatch alerts resolve ${alert.id}` };
  return alert.status === 'open' ? [show, acknowledge, resolve] : [show, resolve];
}

/** moreOf says what a bounded list left out: `and 3 more rows`. */
export function moreOf(count: number, one: string): string {
  return `and ${plural(count, `more ${one}`)}`;
}
