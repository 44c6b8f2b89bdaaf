/** Year whose first quarter is number 0: the lowest bit of `rollup_facets.quarters`. */
const FIRST_YEAR = 2020;

/**
 * FORGOTTEN_AFTER is how many whole quarters (three months) a value must be unused in to be forgotten: as the use before them and the one
 * after them may lie anywhere in their own quarters, 12 to 15 months or more.
 */
export const FORGOTTEN_AFTER = 4;

/**
 * quarterOf is the calendar quarter (UTC) of a moment in epoch milliseconds, counted from the first of 2020; 0 for whatever was before. The
 * rollup has bits for 0 to 63, to the end of 2035: what is used later leaves none, and is not forgotten.
 */
export function quarterOf(at: number): number {
  const date = new Date(at);
  return Math.max(0, (date.getUTCFullYear() - FIRST_YEAR) * 4 + Math.floor(date.getUTCMonth() / 3));
}

/** quarterStart is when a quarter as `quarterOf` counts them begins, epoch milliseconds. */
export function quarterStart(quarter: number): number {
  return Date.UTC(FIRST_YEAR, quarter * 3, 1);
}

/** sqlQuarter is SQL for the quarter of a moment, an expression, as `quarterOf` counts them. */
export function sqlQuarter(time: string): string {
  return `greatest(0, toInt64(toRelativeQuarterNum(${time})) - ${FIRST_YEAR * 4})`;
}

/** sqlQuarterStart is SQL for when a quarter, an expression, begins: a DateTime64(3). */
export function sqlQuarterStart(quarter: string): string {
  return `addQuarters(toDateTime64('${FIRST_YEAR}-01-01', 3, 'UTC'), ${quarter})`;
}

/** quarterName says in words when a quarter was: `July to September 2025`. */
export function quarterName(quarter: number): string {
  const month = (add: number) =>
    new Date(Date.UTC(FIRST_YEAR, quarter * 3 + add, 1)).toLocaleString('en', { month: 'long', timeZone: 'UTC' });
  const name = `${month(0)} to ${month(2)} ${FIRST_YEAR + Math.floor(quarter / 4)}`;
  return quarter === 0 ? `${name} or before` : name;
}

/**
 * sqlRenewals is SQL for the bits of `quarters` (aggregated, a UInt64) in which use began anew: those before which it was unused for
 * FORGOTTEN_AFTER quarters. The lowest, in which a value was met first, is among them.
 */
export function sqlRenewals(quarters: string): string {
  const covered = Array.from({ length: FORGOTTEN_AFTER }, (_, i) => `bitShiftLeft(${quarters}, ${i + 1})`);
  return `bitAnd(${quarters}, bitNot(${covered.reduce((all, one) => `bitOr(${all}, ${one})`)}))`;
}
