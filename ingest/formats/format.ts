import type { Parsed, RejectCode } from '../../core/index.ts';

/**
 * LogFormat maps one record of a known log to events. A new one is a file in this folder and a line in FORMATS
 * (index.ts). It neither throws nor looks at the clock: `now` is the epoch milliseconds of the request.
 */
export interface LogFormat {
  /** As in `?format=` and `--format`. */
  readonly name: string;
  /** For people. */
  readonly title: string;
  /** detect is a cheap test for records that can only be of this format. */
  detect(record: Record<string, unknown>): boolean;
  parse(record: Record<string, unknown>, now: number): Parsed;
}

/** JSON nested deeper than this is refused: no log needs it, and recursion over it is how processes die. */
export const DEPTH_LIMIT = 64;
/** A token's id may have this many characters. */
export const TOKEN_LIMIT = 512;
/** Longer names (owner, id) are refused; cutting one could make two of them the same. */
export const NAME_LIMIT = 512;
/** Longer texts that only people read (user agent, reason) are cut. */
export const TEXT_LIMIT = 1024;

/** rejected is bad data as a value. */
export function rejected(code: RejectCode, message: string): Parsed {
  return { kind: 'rejected', code, message };
}

/** describe names a JSON value's type for a message, without repeating what may be a secret. */
export function describe(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'object') return 'an object';
  if (typeof value === 'string') return value === '' ? 'empty text' : 'text';
  return typeof value === 'boolean' ? 'true or false' : `the number ${value}`;
}

const CONTROL = /\p{Cc}/u;

/** hasControlCharacter finds C0 and C1 controls and DEL: they have no place in a name, and forge lines in logs. */
export function hasControlCharacter(text: string): boolean {
  return CONTROL.test(text);
}

/** withoutControlCharacters takes those characters out, so that a name written with one still is that name. */
export function withoutControlCharacters(text: string): string {
  return hasControlCharacter(text) ? text.replaceAll(/\p{Cc}/gu, '') : text;
}
