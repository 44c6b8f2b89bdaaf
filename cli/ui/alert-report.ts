import { type ApiAlert, issuedSentence } from '../../core/index.ts';
import { plain, table } from './words.ts';

const SHOWN_DETECTIONS = 10;
const SHOWN_EVIDENCE = 8;

/** alertReport is one alert as a person wants to read it: what, about whom, why, and how to check. */
export function alertReport(alert: ApiAlert): string {
  const lines = [
    `${alert.severity.toUpperCase()}  ${alert.title}`,
    `  ${alert.summary}`,
    '',
    `  alert     ${alert.id} (${standing(alert)})`,
    `  about     ${subject(alert)}`,
    `  when      ${alert.opened_at} to ${alert.last_seen}`,
    `  found by  ${alert.detectors.join(', ')}`,
  ];
  if (alert.held_back !== null) {
    const { detector, needed } = alert.held_back;
    lines.push(`  held back by the alert budget: a surprise above ${needed} of ${detector} would have paged`);
  }
  lines.push(...issuedLines(alert));
  for (const detection of alert.detections.slice(0, SHOWN_DETECTIONS)) {
    lines.push('', `  ${detection.title}`, `    ${detection.summary}`);
    lines.push(`    observed  ${facts(detection.observed)}`, `    expected  ${facts(detection.expected)}`);
    lines.push(`    surprise  ${detection.surprise.toFixed(1)} (one chance in 10^${Math.round(detection.surprise)})`);
    for (const row of detection.evidence.slice(0, SHOWN_EVIDENCE)) lines.push(`    evidence  ${facts(row)}`);
    if (detection.evidence.length > SHOWN_EVIDENCE)
      lines.push(`    ... ${detection.evidence.length - SHOWN_EVIDENCE} more`);
    lines.push('    check it  tokenwatch sql with', ...detection.sql.split('\n').map((line) => `      ${line}`));
  }
  if (alert.detections.length > SHOWN_DETECTIONS)
    lines.push('', `  ... ${alert.detections.length - SHOWN_DETECTIONS} more detections`);
  return plain(`${lines.join('\n')}\n`);
}

/** standing is an alert's status in words, with what it was resolved as. */
export function standing({ status, resolved_as: as }: Pick<ApiAlert, 'status' | 'resolved_as'>): string {
  return as === null ? status : `${status} as ${as}`;
}

function issuedLines({ issued }: ApiAlert): string[] {
  if (issued.count === 0) return [];
  const rows = issued.tokens.map((token) => [
    `    ${token.token}`,
    token.owner,
    `issued ${token.at}`,
    token.revoked_at !== null
      ? `revoked ${token.revoked_at}`
      : token.last_used !== null
        ? `last used ${token.last_used}`
        : 'not used yet',
  ]);
  const more = issued.count - issued.tokens.length;
  const listed = table(rows).trimEnd().split('\n');
  return ['', `  ${issuedSentence(issued)}`, ...listed, ...(more > 0 ? [`    ... ${more} more`] : [])];
}

function subject(alert: ApiAlert): string {
  if (alert.token === null) return `owner ${alert.owner}`;
  const lineage = alert.lineage === alert.token ? '' : ` (lineage ${alert.lineage})`;
  return `token ${alert.token}${lineage}, owner ${alert.owner}`;
}

function facts(values: Readonly<Record<string, unknown>>): string {
  const entries = Object.entries(values).map(
    ([name, value]) => `${name} ${typeof value === 'string' ? value : JSON.stringify(value)}`,
  );
  return entries.length === 0 ? '-' : entries.join(', ');
}
