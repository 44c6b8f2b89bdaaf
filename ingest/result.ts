import type { RejectCode, SkipReason } from '../core/index.ts';

/** LineError says what was wrong with one line of a request. */
export interface LineError {
  /** 1-based line (or array element) of the request. */
  readonly line: number;
  readonly code: RejectCode;
  readonly message: string;
}

/** SkippedBy counts skipped lines by their reason. */
export type SkippedBy = Readonly<Partial<Record<SkipReason, number>>>;

/** LineCounts is what became of the lines of a chunk or a request. */
export interface LineCounts {
  readonly accepted: number;
  readonly rejected: number;
  /** Well-formed lines that hold nothing for us. */
  readonly skipped: number;
  /** `skipped` by reason; missing where nothing was skipped. */
  readonly skippedBy?: SkippedBy;
  /** The first of the rejected lines; `rejected` is the true count. */
  readonly errors: readonly LineError[];
}

/** Errors named in an answer; the counts are always complete. */
export const ERRORS_LIMIT = 20;

/** NO_LINES counts nothing. */
export const NO_LINES: LineCounts = { accepted: 0, rejected: 0, skipped: 0, errors: [] };

/** addCounts sums two counts and keeps the first errors by line. */
export function addCounts(a: LineCounts, b: LineCounts): LineCounts {
  const errors = [...a.errors, ...b.errors].sort((x, y) => x.line - y.line).slice(0, ERRORS_LIMIT);
  return {
    accepted: a.accepted + b.accepted,
    rejected: a.rejected + b.rejected,
    skipped: a.skipped + b.skipped,
    errors,
    ...addSkipped(a.skippedBy, b.skippedBy),
  };
}

function addSkipped(a: SkippedBy = {}, b: SkippedBy = {}): Pick<LineCounts, 'skippedBy'> {
  const sum: Partial<Record<SkipReason, number>> = { ...a };
  for (const [reason, lines] of Object.entries(b)) {
    sum[reason as SkipReason] = (sum[reason as SkipReason] ?? 0) + lines;
  }
  return Object.keys(sum).length === 0 ? {} : { skippedBy: sum };
}

/** refuseLines moves lines from accepted to rejected: they were fine to their format, but could not be stored. */
export function refuseLines(counts: LineCounts, refused: readonly LineError[]): LineCounts {
  if (refused.length === 0) return counts;
  return addCounts(
    { ...counts, accepted: counts.accepted - refused.length },
    { ...NO_LINES, rejected: refused.length, errors: refused },
  );
}

/** encodeCounts is how a request's answer is remembered: the usual one, where all was accepted, is its number alone. */
export function encodeCounts(counts: LineCounts): string {
  return counts.rejected === 0 && counts.skipped === 0 ? String(counts.accepted) : JSON.stringify(counts);
}

/** decodeCounts reads what encodeCounts wrote. */
export function decodeCounts(text: string): LineCounts {
  const counts = JSON.parse(text) as LineCounts | number;
  return typeof counts === 'number' ? { ...NO_LINES, accepted: counts } : counts;
}
