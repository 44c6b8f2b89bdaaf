import { cloudtrail } from './cloudtrail.ts';
import type { LogFormat } from './format.ts';
import { native } from './native.ts';

export { unwrapRecords } from './cloudtrail.ts';
export type { LogFormat } from './format.ts';

/** FORMATS are the logs that Tokenwatch reads; detection asks them in this order, the most specific first. */
export const FORMATS: readonly LogFormat[] = [cloudtrail, native];

/** formatNamed finds a format by the name that `?format=` and `--format` use; null when there is none. */
export function formatNamed(name: string): LogFormat | null {
  return FORMATS.find((format) => format.name === name) ?? null;
}

/** detectFormat finds the format of a record; null when it looks like none of them. */
export function detectFormat(record: Record<string, unknown>): LogFormat | null {
  for (const format of FORMATS) if (format.detect(record)) return format;
  return null;
}
