import type { Severity } from '../core/index.ts';
import { type EvidenceTable, moreOf, type RenderedAlert, type RenderedFinding } from './render.ts';
import type { Pair } from './words.ts';

/** Of each severity: the bar's colour, dark enough for white text on it. */
const COLOURS: Readonly<Record<Severity, string>> = {
  info: '#4b5563',
  low: '#1d6fa5',
  medium: '#a15c00',
  high: '#c2410c',
  critical: '#b91c1c',
};
const RESOLVED_COLOUR = '#15803d';

const SANS = "font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif";
const MONO = "font-family:ui-monospace,'SF Mono',Menlo,Consolas,monospace";

/** Mail readers that know dark mode take these; the others keep the inline light colours. */
const DARK = `@media (prefers-color-scheme: dark) {
  .page { background: #16181d !important; }
  .card { background: #20242b !important; color: #e6e8eb !important; border-color: #363c46 !important; }
  .soft { color: #a4acb8 !important; }
  .line { border-color: #363c46 !important; }
  .code { background: #16181d !important; color: #e6e8eb !important; border-color: #363c46 !important; }
}`;

/** renderHtml writes a message as a mail: tables and inline styles, as mail readers need it; every text is escaped. */
export function renderHtml(message: RenderedAlert): string {
  const { alert } = message;
  const resolved = alert.status === 'resolved';
  const colour = resolved ? RESOLVED_COLOUR : COLOURS[alert.severity];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="supported-color-schemes" content="light dark">
<title>${escapeHtml(message.subject)}</title>
<style>${DARK}</style>
</head>
<body class="page" style="margin:0;padding:0;background:#f3f4f6">
<table class="page" role="presentation" width="100%" cellpadding="0" cellspacing="0" style="background:#f3f4f6"><tr><td align="center" style="padding:16px 8px">
<table class="card" role="presentation" width="100%" cellpadding="0" cellspacing="0" style="max-width:680px;background:#ffffff;color:#1f2328;border:1px solid #d8dce2;border-radius:8px;${SANS};font-size:15px;line-height:1.5">
<tr><td style="background:${colour};color:#ffffff;padding:8px 20px;border-radius:7px 7px 0 0;font-size:13px;font-weight:600">${resolved ? 'RESOLVED' : alert.severity.toUpperCase()} &nbsp;·&nbsp; ${escapeHtml(message.why)}</td></tr>
<tr><td style="padding:18px 20px 4px">
<h1 style="margin:0 0 8px;font-size:20px;line-height:1.3">${escapeHtml(message.title)}</h1>
<p style="margin:0 0 12px;font-size:16px">${escapeHtml(message.lead)}</p>
<p style="margin:0 0 14px;word-break:break-word"><b>What to do:</b> ${escapeHtml(message.advice)}${message.issued === '' ? '' : `<br>${escapeHtml(message.issued)}`}</p>
${pairTable(message.facts)}
</td></tr>
${message.findings.map((finding, index) => findingHtml(finding, index, message.findings.length)).join('\n')}
${message.moreFindings > 0 ? `<tr><td class="soft" style="padding:4px 20px;color:#59636e">${moreOf(message.moreFindings, 'finding')}</td></tr>` : ''}
<tr><td class="line" style="padding:14px 20px 18px;border-top:1px solid #d8dce2">
${message.actions.map((action) => `<div class="soft" style="color:#59636e;font-size:13px;margin-top:6px">${escapeHtml(action.label)}</div>${code(action.command)}`).join('\n')}
</td></tr>
</table>
</td></tr></table>
</body>
</html>
`;
}

function findingHtml(finding: RenderedFinding, index: number, count: number): string {
  const heading = count === 1 ? 'Why it was raised' : `${index + 1}. ${escapeHtml(finding.title)}`;
  const parts = [
    `<h2 style="margin:0 0 6px;font-size:15px">${heading} <span class="soft" style="color:#59636e;font-weight:400">${escapeHtml(finding.detector)}</span></h2>`,
  ];
  if (finding.summary !== '') parts.push(`<p style="margin:0 0 8px">${escapeHtml(finding.summary)}</p>`);
  parts.push(
    pairTable([
      { label: 'Chance', value: finding.odds },
      { label: 'When', value: finding.window },
      ...headed('Seen', finding.seen),
      ...headed('Expected', finding.expected),
    ]),
  );
  if (finding.evidence !== null) parts.push(evidenceHtml(finding.evidence));
  if (finding.sql !== '') {
    parts.push(
      `<div class="soft" style="color:#59636e;font-size:13px;margin-top:8px">Check it with tokenwatch sql</div>${code(finding.sql)}`,
    );
  }
  return `<tr><td class="line" style="padding:14px 20px;border-top:1px solid #d8dce2">\n${parts.join('\n')}\n</td></tr>`;
}

function evidenceHtml({ columns, rows, moreRows }: EvidenceTable): string {
  const cell = 'padding:3px 10px 3px 0;text-align:left;vertical-align:top;word-break:break-word';
  const head = columns
    .map(
      (column) =>
        `<th class="soft" style="${cell};color:#59636e;font-weight:400;white-space:nowrap">${escapeHtml(column)}</th>`,
    )
    .join('');
  const body = rows
    .map(
      (row) =>
        `<tr>${row.map((value) => `<td style="${cell};${MONO};font-size:12px">${escapeHtml(value)}</td>`).join('')}</tr>`,
    )
    .join('\n');
  const more =
    moreRows > 0 ? `<div class="soft" style="color:#59636e;font-size:13px">${moreOf(moreRows, 'row')}</div>` : '';
  return `<table width="100%" cellpadding="0" cellspacing="0" style="margin:8px 0 2px;font-size:13px"><tr>${head}</tr>\n${body}</table>${more}`;
}

function headed(head: string, figures: readonly Pair[]): Pair[] {
  return figures.map(({ label, value }, index) => ({ label: index === 0 ? head : '', value: `${label}: ${value}` }));
}

function pairTable(list: readonly Pair[]): string {
  const rows = list.map(
    ({ label, value }) =>
      `<tr><td class="soft" width="96" style="padding:2px 12px 2px 0;color:#59636e;vertical-align:top">${escapeHtml(label)}</td><td style="padding:2px 0;vertical-align:top;word-break:break-word">${escapeHtml(value)}</td></tr>`,
  );
  return `<table role="presentation" width="100%" cellpadding="0" cellspacing="0" style="font-size:14px">${rows.join('\n')}</table>`;
}

function code(text: string): string {
  return `<pre class="code" style="margin:2px 0 0;padding:8px 10px;background:#f3f4f6;color:#1f2328;border:1px solid #d8dce2;border-radius:6px;${MONO};font-size:12px;line-height:1.45;white-space:pre-wrap;word-break:break-word">${escapeHtml(text)}</pre>`;
}

/** escapeHtml makes text safe between tags and in quoted attributes. */
export function escapeHtml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;');
}
