import type { z } from 'zod';
import type { FieldIssue } from './fields.ts';
import { nearest } from './nearest.ts';
import { ALLOWED_KEYS } from './schema.ts';

/** Path leads to a value: keys, and places in lists from 0. */
export type Path = readonly (string | number)[];

/** Problem is one thing wrong with the configuration: where, and what, in words that hold no secret. */
export interface Problem {
  readonly path: Path;
  readonly text: string;
}

/** Origins tells explain where values came from. */
export interface Origins {
  /** Paths (as pathText writes them) whose value was filled in from a variable. */
  readonly filledIn: ReadonlySet<string>;
  readonly valueAt: (path: Path) => unknown;
}

/** pathText writes a path as a person would: `alerts.routes[0].channels`. */
export function pathText(path: Path): string {
  let text = '';
  for (const part of path) {
    if (typeof part === 'number') text += `[${part}]`;
    else text += text === '' ? part : `.${part}`;
  }
  return text === '' ? 'the file' : text;
}

/** explain turns what the schema found into problems, one for each unknown key or bad value. */
export function explain(issues: readonly z.core.$ZodIssue[], origins: Origins): Problem[] {
  return issues.flatMap((issue) => explainOne(issue, origins));
}

/** unknownName says that a name is not one of those known, and which one was probably meant. */
export function unknownName(path: Path, what: string, name: string, allowed: readonly string[]): Problem {
  const meant = nearest(name, allowed);
  const guess = meant === null ? '' : `did you mean ${meant}? `;
  const list = allowed.length === 0 ? 'none' : allowed.join(', ');
  return { path, text: `unknown ${what}; ${guess}allowed: ${list}` };
}

function explainOne(issue: z.core.$ZodIssue, origins: Origins): Problem[] {
  const written = issue.path.map((part) => (typeof part === 'number' ? part : String(part)));
  // Where one value stands for a list of one, the list is ours: the value is what was found.
  const single = written.at(-1) === 0 && !Array.isArray(origins.valueAt(written.slice(0, -1)));
  const path = single ? written.slice(0, -1) : written;
  const value = origins.valueAt(path);
  const hidden = origins.filledIn.has(pathText(path));
  switch (issue.code) {
    case 'custom': {
      const { allowed, secret } = issue.params as FieldIssue & Record<string, unknown>;
      return [{ path, text: found(value, secret || hidden, allowed) }];
    }
    case 'unrecognized_keys': {
      const allowed = issue.message.slice(ALLOWED_KEYS.length).split(', ');
      return issue.keys.map((key) => unknownName([...path, key], 'key', key, allowed));
    }
    case 'invalid_union': {
      const options = (issue as { options?: readonly unknown[] }).options ?? [];
      return [{ path, text: found(value, hidden, options.join(', ')) }];
    }
    case 'invalid_key':
      return [{ path, text: 'a name has up to 64 letters, digits, - and _, and begins with a letter or digit' }];
    case 'invalid_type':
      return [{ path, text: found(value, hidden, TYPES[issue.expected] ?? issue.message) }];
    case 'too_small':
    case 'too_big':
      return [{ path, text: found(value, hidden, issue.message) }];
    default:
      return [{ path, text: found(value, hidden, 'see docs/configuration.md') }];
  }
}

const TYPES: Readonly<Record<string, string>> = {
  object: 'keys with values',
  record: 'names with values',
  array: 'a list',
};

function found(value: unknown, hidden: boolean, allowed: string): string {
  return value === undefined ? `missing; allowed: ${allowed}` : `found ${shown(value, hidden)}, allowed: ${allowed}`;
}

function shown(value: unknown, hidden: boolean): string {
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list';
  if (typeof value === 'object' && value !== null) return 'keys with values';
  if (hidden) return 'something else (not shown, it may be a secret)';
  const text = JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 77)}..."` : text;
}
