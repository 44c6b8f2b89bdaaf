import { type EvidenceTable, moreOf, type RenderedAlert, type RenderedFinding } from './render.ts';
import type { Pair } from './words.ts';

/** renderText writes a message as plain text: for mail readers and terminals. */
export function renderText(message: RenderedAlert): string {
  const parts = [
    message.title,
    message.lead,
    `${message.why}\nWhat to do: ${message.advice}${message.issued === '' ? '' : `\n${message.issued}`}`,
    pairs(message.facts),
    ...message.findings.map((finding, index) => findingText(finding, index, message.findings.length)),
  ];
  if (message.moreFindings > 0) parts.push(moreOf(message.moreFindings, 'finding'));
  const width = Math.max(...message.actions.map((action) => action.label.length));
  parts.push(message.actions.map((action) => `${action.label.padEnd(width)}  ${action.command}`).join('\n'));
  return `${parts.join('\n\n')}\n`;
}

function findingText(finding: RenderedFinding, index: number, count: number): string {
  const heading = count === 1 ? finding.detector : `${index + 1}. ${finding.title} (${finding.detector})`;
  const parts = [`--- ${heading}`];
  if (finding.summary !== '') parts.push(finding.summary);
  parts.push(
    pairs([
      { label: 'Chance', value: finding.odds },
      { label: 'When', value: finding.window },
      ...headed('Seen', finding.seen),
      ...headed('Expected', finding.expected),
    ]),
  );
  if (finding.evidence !== null) parts.push(evidenceText(finding.evidence));
  if (finding.sql !== '') parts.push(`Check it with tokenwatch sql:\n${finding.sql.replace(/^/gm, '  ')}`);
  return parts.join('\n');
}

/** evidenceText writes evidence as a table in a fixed-width font. */
export function evidenceText({ columns, rows, moreRows }: EvidenceTable): string {
  const widths = columns.map((column, i) => Math.max(column.length, ...rows.map((row) => (row[i] ?? '').length)));
  const line = (cells: readonly string[]) =>
    `  ${cells.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  ')}`.trimEnd();
  const lines = [line(columns), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)];
  if (moreRows > 0) lines.push(`  ${moreOf(moreRows, 'row')}`);
  return lines.join('\n');
}

function headed(head: string, figures: readonly Pair[]): Pair[] {
  return figures.map(({ label, value }, index) => ({ label: index === 0 ? head : '', value: `${label} ${value}` }));
}

function pairs(list: readonly Pair[]): string {
  const width = Math.max(...list.map((pair) => pair.label.length));
  return list.map(({ label, value }) => `${label.padEnd(width)}  ${value}`).join('\n');
}
