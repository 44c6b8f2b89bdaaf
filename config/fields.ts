import { isIP } from 'node:net';
import { z } from 'zod';
import type { AlertBudget } from './types.ts';
import { BUDGET_MOST, formatDuration, formatSize, parseBudget, parseDuration, parseSize } from './units.ts';

/** Field is the kind of value that one key takes: how it is read, and what is allowed in words. */
export interface Field<T> {
  /** "a duration from 1ms to 10s, such as 100ms"; stands in errors and in the documentation. */
  readonly allowed: string;
  readonly schema: z.ZodType<T, unknown>;
}

/** Issue parameters that explain.ts reads. */
export interface FieldIssue {
  readonly allowed: string;
  /** The value must not be shown. */
  readonly secret: boolean;
}

/** field makes a Field of a reader that gives undefined for a value that is not allowed. */
export function field<T>(
  allowed: string,
  read: (value: unknown) => T | undefined,
  options: { readonly secret?: boolean } = {},
): Field<T> {
  const params: FieldIssue = { allowed, secret: options.secret ?? false };
  const schema = z.unknown().transform((value, context): T => {
    const result = value === undefined ? undefined : read(value);
    if (result !== undefined) return result;
    context.addIssue({ code: 'custom', message: allowed, params: { ...params }, input: value });
    return z.NEVER;
  });
  return { allowed, schema };
}

/** duration is `500ms`, `1h`, `90d`, within bounds; `none` is a word that means "no limit" and gives null. */
export function duration(minMs: number, maxMs: number): Field<number>;
export function duration(minMs: number, maxMs: number, none: string): Field<number | null>;
export function duration(minMs: number, maxMs: number, none?: string): Field<number | null> {
  const range = `a duration from ${formatDuration(minMs)} to ${formatDuration(maxMs)}`;
  return field(none === undefined ? range : `${range}, or ${none}`, (value) => {
    if (none !== undefined && value === none) return null;
    const ms = typeof value === 'string' ? parseDuration(value) : null;
    return ms !== null && ms >= minMs && ms <= maxMs ? ms : undefined;
  });
}

/** size is `64KiB`, `8MiB`, within bounds. */
export function size(minBytes: number, maxBytes: number): Field<number> {
  return field(`a size from ${formatSize(minBytes)} to ${formatSize(maxBytes)}`, (value) => {
    const bytes = typeof value === 'string' ? parseSize(value) : null;
    return bytes !== null && bytes >= minBytes && bytes <= maxBytes ? bytes : undefined;
  });
}

/** budget is `5 per week` or `2 per day`, or `none`, which gives null. */
export function budget(): Field<AlertBudget | null> {
  return field(`a whole number from 1 to ${BUDGET_MOST} per day or per week, such as 5 per week, or none`, (value) => {
    if (value === 'none') return null;
    return (typeof value === 'string' ? parseBudget(value) : null) ?? undefined;
  });
}

/** wholeNumber is an integer within bounds; digits in a text count too, since that is what `${VAR}` gives. */
export function wholeNumber(min: number, max: number): Field<number> {
  return field(`a whole number from ${min} to ${max}`, (value) => {
    const number = numeric(value);
    return number !== undefined && Number.isInteger(number) && number >= min && number <= max ? number : undefined;
  });
}

/** number is any finite number. */
export function number(): Field<number> {
  return field('a number', numeric);
}

/** flag is true or false. */
export function flag(): Field<boolean> {
  return field('true or false', (value) => {
    if (value === true || value === 'true') return true;
    return value === false || value === 'false' ? false : undefined;
  });
}

/** text is a non-empty text of at most 4,096 characters. */
export function text(allowed = 'a text'): Field<string> {
  return field(allowed, (value) => {
    if (typeof value === 'number') return String(value);
    return typeof value === 'string' && value.trim() !== '' && value.length <= 4096 ? value.trim() : undefined;
  });
}

/** choice is one of the words given. */
export function choice<T extends string>(words: readonly T[]): Field<T> {
  return field(words.join(', '), (value) => words.find((word) => word === value));
}

/** address is an URL with one of the schemes given; never shown, it may hold a password or be a secret itself. */
export function address(...schemes: readonly string[]): Field<string> {
  const allowed = `an address that begins with ${schemes.map((scheme) => `${scheme}://`).join(' or ')}`;
  return field(
    allowed,
    (value) => {
      if (typeof value !== 'string' || !URL.canParse(value)) return undefined;
      const url = new URL(value);
      return schemes.includes(url.protocol.slice(0, -1)) && (url.hostname !== '' || url.pathname.length > 1)
        ? value
        : undefined;
    },
    { secret: true },
  );
}

/** listenAddress is `host:port`; an IPv6 host stands in brackets, port 0 is any free one. */
export function listenAddress(): Field<{ host: string; port: number }> {
  return field('host:port, such as 127.0.0.1:8653 or [::1]:8653', (value) => {
    const match =
      typeof value === 'string' ? /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9._-]+)):(\d{1,5})$/.exec(value) : null;
    const port = Number(match?.[3]);
    return match !== null && port <= 65_535 ? { host: (match[1] ?? match[2]) as string, port } : undefined;
  });
}

/** addressRange is an IPv4 or IPv6 range, `203.0.113.0/24`, or one address. */
export function addressRange(): Field<string> {
  return field('an address range, such as 203.0.113.0/24 or 2001:db8::/48', (value) => {
    const match = typeof value === 'string' ? /^([0-9a-fA-F:.]+)(?:\/(\d{1,3}))?$/.exec(value.trim()) : null;
    const family = isIP(match?.[1] ?? '');
    return match !== null && family !== 0 && Number(match[2] ?? 0) <= (family === 4 ? 32 : 128) ? match[0] : undefined;
  });
}

/** mailAddress is `name@host`, or `Name <name@host>`. */
export function mailAddress(): Field<string> {
  return field('a mail address, such as oncall@example.org', (value) =>
    typeof value === 'string' && /^(?:[^<>\r\n]*<[^\s@<>]+@[^\s@<>]+>|[^\s@<>]+@[^\s@<>]+)$/.test(value)
      ? value
      : undefined,
  );
}

/** signingSecret is a Standard Webhooks secret: `whsec_` and the base64 of 24 to 64 bytes; never shown. */
export function signingSecret(): Field<string> {
  return field(
    'whsec_ and the base64 of 24 to 64 random bytes, as `echo whsec_$(openssl rand -base64 32)` makes it',
    (value) => {
      const match = typeof value === 'string' ? /^whsec_([A-Za-z0-9+/]+={0,2})$/.exec(value) : null;
      if (match === null) return undefined;
      const length = Buffer.from(match[1] as string, 'base64').length;
      return length >= 24 && length <= 64 ? (value as string) : undefined;
    },
    { secret: true },
  );
}

/** oneOrMore is a list of a field's values, or a single one. */
export function oneOrMore<T>(one: Field<T>, max = 100): Field<T[]> {
  const schema = z.preprocess(
    (value) => (value === undefined || Array.isArray(value) ? value : [value]),
    z
      .array(one.schema, { error: () => `${one.allowed}, or a list of 1 to ${max} such` })
      .min(1)
      .max(max),
  );
  return { allowed: `${one.allowed}, or a list of such`, schema };
}

function numeric(value: unknown): number | undefined {
  if (typeof value === 'number') return Number.isFinite(value) ? value : undefined;
  return typeof value === 'string' && /^-?\d{1,15}(\.\d+)?$/.test(value) ? Number(value) : undefined;
}
