import type { AlertBudget } from './types.ts';

const DURATION_UNITS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const SIZE_UNITS = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3, KB: 1e3, MB: 1e6, GB: 1e9 } as const;

/** parseDuration reads `500ms`, `30s`, `15m`, `1h` or `90d` as milliseconds; null for anything else. */
export function parseDuration(text: string): number | null {
  return parse(text, DURATION_UNITS);
}

/** parseSize reads `512B`, `64KiB`, `8MiB`, `1GiB` (powers of 1024) or `KB`, `MB`, `GB` (powers of 1000) as bytes; null for anything else. */
export function parseSize(text: string): number | null {
  return parse(text, SIZE_UNITS);
}

/** formatDuration writes milliseconds in the largest unit that gives a whole number: 5400000 is `90m`. */
export function formatDuration(ms: number): string {
  return format(ms, DURATION_UNITS, ['d', 'h', 'm', 's', 'ms']);
}

/** formatSize writes bytes in the largest power of 1024 that gives a whole number: 1048576 is `1MiB`. */
export function formatSize(bytes: number): string {
  return format(bytes, SIZE_UNITS, ['GiB', 'MiB', 'KiB', 'B']);
}

const BUDGET_PERIODS = { day: 86_400_000, week: 604_800_000 } as const;

/** BUDGET_MOST is the largest number of alerts that a budget may name. */
export const BUDGET_MOST = 10_000;

/** parseBudget reads `5 per week` or `2 per day`, a whole number from 1 to BUDGET_MOST; null for anything else. */
export function parseBudget(text: string): AlertBudget | null {
  const match = /^([1-9]\d{0,4}) per (day|week)$/.exec(text.trim());
  const count = Number(match?.[1]);
  if (match === null || count > BUDGET_MOST) return null;
  return { count, periodMs: BUDGET_PERIODS[match[2] as keyof typeof BUDGET_PERIODS] };
}

/** formatBudget writes a budget as parseBudget reads it; null is `none`. */
export function formatBudget(budget: AlertBudget | null): string {
  if (budget === null) return 'none';
  return `${budget.count} per ${budget.periodMs === BUDGET_PERIODS.day ? 'day' : 'week'}`;
}

function parse(text: string, units: Readonly<Record<string, number>>): number | null {
  const match = /^(\d{1,15}(?:\.\d{1,9})?)\s?([A-Za-z]+)$/.exec(text.trim());
  const factor = match?.[2] !== undefined && Object.hasOwn(units, match[2]) ? units[match[2]] : undefined;
  if (match === null || factor === undefined) return null;
  const value = Math.round(Number(match[1]) * factor);
  return Number.isSafeInteger(value) ? value : null;
}

function format(value: number, units: Readonly<Record<string, number>>, largestFirst: readonly string[]): string {
  const smallest = largestFirst[largestFirst.length - 1] as string;
  if (value === 0) return `0${smallest}`;
  const unit = largestFirst.find((name) => value % (units[name] as number) === 0) ?? smallest;
  return `${value / (units[unit] as number)}${unit}`;
}
