import { type ApiAlert, issuedSentence, severityRank } from '../../core/index.ts';
import { plain, table } from './words.ts';

const SHOWN_EVIDENCE = 5;

/** pageReport is a page in short, for a terminal: what happened, why it is unusual, the first evidence, how to check it. */
export function pageReport(alert: ApiAlert): string {
  const [lead] = [...alert.detections].sort(
    (x, y) => severityRank(y.severity) - severityRank(x.severity) || y.surprise - x.surprise,
  );
  const lines = [`${alert.severity.toUpperCase()}  ${alert.title}`, `  ${alert.summary}`];
  const issued = issuedSentence(alert.issued);
  if (issued !== '') lines.push(`  ${issued}`);
  if (lead !== undefined) {
    if (lead.surprise > 0)
      lines.push(`  ${lead.detector}: about one chance in ${odds(lead.surprise)}, seen ${alert.opened_at}`);
    else lines.push(`  ${lead.detector}: a fixed rule, because there is no baseline yet; seen ${alert.opened_at}`);
    const shown = lead.evidence.slice(0, SHOWN_EVIDENCE);
    const columns = Object.keys(shown[0] ?? {});
    if (columns.length > 0) {
      const rows = [columns, ...shown.map((row) => columns.map((column) => String(row[column] ?? '')))];
      lines.push(
        ...table(rows.map((row) => ['   ', ...row]))
          .trimEnd()
          .split('\n'),
      );
      if (lead.evidence.length > SHOWN_EVIDENCE) lines.push(`     ... ${lead.evidence.length - SHOWN_EVIDENCE} more`);
    }
    lines.push('  check it: tokenwatch sql with', `    ${lead.sql}`);
  }
  lines.push(`  handle it: tokenwatch alerts ack ${alert.id}`);
  return plain(`${lines.join('\n')}\n`);
}

function odds(surprise: number): string {
  return surprise < 6 ? Math.round(10 ** surprise).toLocaleString('en-US') : `10^${Math.round(surprise)}`;
}
