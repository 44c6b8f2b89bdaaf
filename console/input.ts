import type { FastifyRequest } from 'fastify';
import { z } from 'zod';
import { badRequest } from './errors.ts';

/** readQuery checks a request's query parameters; an unknown one is an error, because a misspelt filter would show everything. */
export function readQuery<T>(request: FastifyRequest, schema: z.ZodType<T>): T {
  return check(schema, request.query, 'bad_parameter');
}

/** readJson checks a JSON body; an empty one reads as `{}`. */
export function readJson<T>(request: FastifyRequest, schema: z.ZodType<T>): T {
  return check(schema, parseJson(bodyText(request)), 'bad_body');
}

/** bodyText is the body as it came, '' for none. */
export function bodyText(request: FastifyRequest): string {
  return typeof request.body === 'string' ? request.body : '';
}

/** isJson tells whether the caller says that the body is JSON. */
export function isJson(request: FastifyRequest): boolean {
  return /^application\/(\w+\+)?json\b/i.test(request.headers['content-type'] ?? '');
}

function parseJson(text: string): unknown {
  if (text.trim() === '') return {};
  try {
    return JSON.parse(text);
  } catch {
    throw badRequest('bad_json', 'The body is not valid JSON.', 'Send a JSON object, or nothing.');
  }
}

function check<T>(schema: z.ZodType<T>, value: unknown, code: 'bad_parameter' | 'bad_body'): T {
  const result = schema.safeParse(value, { error: expected });
  if (result.success) return result.data;
  const issue = result.error.issues[0] as z.core.$ZodIssue;
  if (issue.code === 'unrecognized_keys') {
    const what = code === 'bad_parameter' ? 'parameter' : 'field';
    const known = schema instanceof z.ZodObject ? Object.keys(schema.shape).join(', ') : 'none';
    throw badRequest(code, `${issue.keys[0]?.slice(0, 80)}: there is no such ${what}`, `Known: ${known}.`);
  }
  const where = issue.path.length === 0 ? 'the body' : issue.path.join('.');
  throw badRequest(code, `${where}: expected ${issue.message}`, 'docs/api.md says what each call takes.');
}

/** expected says what a value should have been, where the schema does not say it itself. */
function expected(issue: z.core.$ZodRawIssue): string {
  const missing = issue.input === undefined ? ', found nothing' : '';
  switch (issue.code) {
    case 'invalid_type':
      return `${KINDS[String(issue.expected)] ?? issue.expected}${missing}`;
    case 'invalid_union':
      return `text or a number${missing}`;
    case 'too_small':
      return issue.origin === 'number' ? `a number from ${issue.minimum}` : 'something that is not empty';
    case 'too_big':
      return issue.origin === 'number' ? `a number up to ${issue.maximum}` : `at most ${issue.maximum} characters`;
    default:
      return 'another value';
  }
}

const KINDS: Readonly<Record<string, string>> = {
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  object: 'a JSON object',
  record: 'a JSON object',
  array: 'a list',
};

/** oneOf reads a filter of known words, several with commas or by repeating it. */
export function oneOf<T extends string>(words: readonly T[]) {
  return z
    .union([z.string(), z.array(z.string())])
    .transform((value) => [value].flat().flatMap((part) => part.split(',')))
    .pipe(z.array(z.enum(words as readonly [T, ...T[]], { error: `one of ${words.join(', ')}` })));
}

/** TIME reads an instant: RFC 3339 with its offset, epoch seconds, or epoch milliseconds. */
export const TIME = z.string().transform((text, context) => {
  const time = /^\d{1,13}(\.\d+)?$/.test(text)
    ? Number(text) * (Number(text) < 1e11 ? 1000 : 1)
    : /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:?\d\d)$/.test(text)
      ? Date.parse(text.replace(' ', 'T'))
      : Number.NaN;
  if (Number.isFinite(time)) return time;
  context.addIssue({ code: 'custom', message: 'a time such as 2026-11-22T01:02:03Z, or epoch seconds' });
  return z.NEVER;
});
