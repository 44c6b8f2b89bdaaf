import type { Query } from './contract.ts';

/** defineQuery names a typed read; see Query. */
export function defineQuery<P extends Record<string, unknown>, R>(
  name: string,
  sql: string,
  row: (raw: Record<string, unknown>) => R,
): Query<P, R> {
  return { name, sql: `/* ${name} */ ${sql}`, row };
}

/**
 * ONE_THREAD ends a read about a few named subjects: several of them run beside each other, and setting up more threads takes longer
 * than they save.
 */
export const ONE_THREAD = 'SETTINGS max_threads = 1';

/** num reads a number that the engine may have quoted; NaN for what is none. */
export function num(value: unknown): number {
  return typeof value === 'number' ? value : Number(value);
}

/** text reads a string, '' for null. */
export function text(value: unknown): string {
  return value === null || value === undefined ? '' : String(value);
}

/** time reads a DateTime or DateTime64 in UTC as epoch milliseconds. */
export function time(value: unknown): number {
  return Date.parse(`${String(value).replace(' ', 'T')}Z`);
}

/** list reads an array of strings. */
export function list(value: unknown): string[] {
  return Array.isArray(value) ? value.map(String) : [];
}
