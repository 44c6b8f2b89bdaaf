import { type CaseResult, type Figure, meets } from './contract.ts';
import type { Machine } from './machine.ts';

/** CaseReport is a case with its result, or why it has none. */
export interface CaseReport {
  readonly id: string;
  readonly title: string;
  readonly seconds: number;
  readonly result: CaseResult | null;
  readonly error: string | null;
}

/** Report is one run of the benchmarks, as it is written to JSON. */
export interface Report {
  /** RFC 3339. */
  readonly at: string;
  readonly quick: boolean;
  readonly machine: Machine;
  readonly cases: readonly CaseReport[];
}

/** failed tells whether a case broke, or a promise that has nothing to do with speed was not kept. */
export function failed(report: Report): boolean {
  return report.cases.some(
    ({ result, error }) =>
      error !== null || result?.figures.some((figure) => figure.bar?.kind === 'exactly' && !meets(figure)),
  );
}

/** textReport is the report as a table for a terminal. */
export function textReport(report: Report): string {
  const lines = [machineText(report.machine), ...quickNote(report)];
  for (const { id, title, seconds, result, error } of report.cases) {
    lines.push('', `${id}: ${title} (${amount(seconds)} s)`);
    if (error !== null) lines.push(`  broke: ${error}`);
    if (result === null) continue;
    const rows = result.figures.map(cells);
    const widths = [0, 1, 2, 3].map((column) => Math.max(...rows.map((row) => (row[column] as string).length)));
    for (const row of rows)
      lines.push(
        `  ${row.map((cell, i) => (i === 1 ? cell.padStart(widths[1] as number) : cell.padEnd(widths[i] ?? 0))).join('  ')}`.trimEnd(),
      );
    for (const note of result.notes) lines.push(`  ${note}`);
  }
  return `${lines.join('\n')}\n`;
}

/** markdownReport is the report as the table of docs/benchmarks.md. */
export function markdownReport(report: Report): string {
  const cell = (text: string) => text.replaceAll('|', '\\|');
  const lines = [
    `Measured ${report.at.slice(0, 10)} on ${machineText(report.machine)}`,
    ...quickNote(report),
    '',
    '| case | figure | value | least to greatest | bar |',
    '| --- | --- | ---: | --- | --- |',
  ];
  const notes: string[] = [];
  for (const { id, result, error } of report.cases) {
    if (error !== null) lines.push(`| ${id} | broke | | ${cell(error)} | |`);
    for (const figure of result?.figures ?? []) lines.push(`| ${[id, ...cells(figure)].map(cell).join(' | ')} |`);
    for (const note of result?.notes ?? []) notes.push(`- ${id}: ${note}`);
  }
  return `${[...lines, '', ...notes].join('\n').trimEnd()}\n`;
}

function quickNote({ quick }: Report): string[] {
  return quick ? ['Small sizes (--quick): these figures show that the benchmarks work, and nothing else.'] : [];
}

function machineText(machine: Machine): string {
  const { cpu, cores, memoryBytes, loadBefore, node, chdb, engine, redis } = machine;
  return (
    `${cpu}, ${cores} cores, ${amount(memoryBytes / 2 ** 30)} GiB; Node ${node}, chdb ${chdb} ` +
    `(ClickHouse ${engine}), Redis ${redis}; load average before ${loadBefore.toFixed(1)}`
  );
}

function cells(figure: Figure): string[] {
  const { name, value, unit, spread, bar } = figure;
  const suffix = unit === '' ? '' : ` ${unit}`;
  return [
    name,
    `${amount(value)}${suffix}`,
    spread === undefined ? '' : `${amount(spread[0])} to ${amount(spread[1])}`,
    bar === undefined ? '' : `${bar.kind} ${amount(bar.value)}${suffix}: ${meets(figure) ? 'met' : 'MISSED'}`,
  ];
}

/** amount writes a number with three digits that matter, whole numbers with commas. */
export function amount(value: number): string {
  if (!Number.isFinite(value)) return 'none';
  if (Number.isInteger(value) || Math.abs(value) >= 100) return Math.round(value).toLocaleString('en-US');
  return String(Number(value.toPrecision(3)));
}
