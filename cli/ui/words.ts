import type { SkipReason } from '../../core/index.ts';
import type { LineCounts } from '../../ingest/index.ts';

/** thousands writes a whole number with commas: 1234567 is 1,234,567. */
export function thousands(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}

/** duration writes milliseconds as a person says them: 900 ms, 4.2 s, 3 min 20 s, 2 h 5 min. */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60
    ? `${minutes} min ${Math.floor(seconds % 60)} s`
    : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** table lines columns up, two spaces apart; without rows it is empty. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows)
    row.forEach((cell, i) => {
      widths[i] = Math.max(widths[i] ?? 0, cell.length);
    });
  return rows
    .map(
      (row) => `${row.map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(widths[i] as number))).join('  ')}\n`,
    )
    .join('');
}

/** plain is text that may go to a terminal: no control character in it can move the cursor or colour the screen. */
export function plain(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is removed.
  return text.replaceAll(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, '');
}

const SKIPPED: Readonly<Record<SkipReason, string>> = {
  service_call: "made by AWS services on somebody's behalf",
  no_token: 'without a token',
  probe: 'that only test the connection',
};

/** skippedWords says how many lines were passed over, and why: `356 skipped (353 made by AWS services ..., 3 without a token)`. */
export function skippedWords({ skipped, skippedBy = {} }: Pick<LineCounts, 'skipped' | 'skippedBy'>): string {
  const reasons = Object.entries(skippedBy)
    .sort((a, b) => b[1] - a[1])
    // An instance of another version may know other reasons.
    .map(([reason, lines]) => `${thousands(lines)} ${SKIPPED[reason as SkipReason] ?? reason}`);
  return `${thousands(skipped)} skipped${reasons.length === 0 ? '' : ` (${reasons.join(', ')})`}`;
}
