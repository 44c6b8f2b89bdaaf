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

function check<T>(schema: z.ZodType<T>, value: unknown, code: string): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const where = issue?.path.join('.') ?? '';
  throw badRequest(code, `${where === '' ? '' : `${where}: `}${issue?.message ?? 'not as expected'}`, '');
}

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
