import { createCache } from './cache.ts';
import type { Redactor } from './redact.ts';
import { cleanText } from './text.ts';

/** PathReader splits raw paths into segments. */
export type PathReader = (path: string) => ReadPath;

/** ReadPath is a path in segments, and how many credentials it held. */
export interface ReadPath {
  readonly segments: readonly string[];
  readonly replaced: number;
}

const PATH_LIMIT = 2_048;
const SEGMENTS_LIMIT = 24;
const SEGMENT_LIMIT = 64;
const CACHED_SEGMENTS = 20_000;

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const NUMBER = /^-?\d+(?:\.\d+)?$/;
const DATE = /^\d{4}-\d{2}(?:-\d{2}(?:[T ].*)?)?$/;
const EMAIL = /^[^@\s/]+@[^@\s/]+\.[^@\s/]+$/;
const HEX = /^(?:0x)?(?=[a-f]*\d)[0-9a-f]{8,}$/i;
/** What gateways write for a variable that they know, `{user_id}`, and what this file writes, also with an extension. */
const NAMED_VARIABLE = /^\{[\w.*-]{1,40}\}(?:\.[a-z][a-z0-9]{1,4})?$/;
const FINGERPRINT = /fp_[0-9a-f]{16}/;
/** What a route's literal part is made of; anything else was filled in by a caller. Letters of any script. */
const LITERAL = /^[\p{L}\p{M}\p{N}_.~!$&'()*+,=:@-]+$/u;
const EXTENSION = /^(.+)(\.[a-z][a-z0-9]{1,4})$/;
/** Parameters worth a closer look; a query is not stored, but a credential in it is counted. */
const SECRET_QUERY = /(?:token|key|secret|passw(?:or)?d|pwd|sig|signature|code|auth|session|sid|jwt)(?:=|%3D)/i;

const PLACEHOLDERS = new Set(
  ['id', 'uuid', 'hex', 'token', 'email', 'date', 'long', 'secret', 'var', 'rest'].map(braced),
);

function braced(name: string): string {
  return `{${name}}`;
}

/** isPlaceholder tells the placeholders of createPathReader from literal segments, of which there may be any number. */
export function isPlaceholder(segment: string): boolean {
  return segment.charCodeAt(0) === 0x7b && PLACEHOLDERS.has(segment);
}

/**
 * createPathReader makes what splits a raw path into segments, each either literal or a placeholder that its shape
 * earned: `{id}` (number), `{uuid}`, `{hex}`, `{token}` (base64-like), `{email}`, `{date}`, `{long}`, `{secret}` (a
 * credential), `{var}` (characters that no route has), `{rest}` (too many segments). Query, fragment, origin and matrix
 * parameters are left out. What the redactor finds is not added to its count: that is the caller's, per call.
 */
export function createPathReader(redactor: Pick<Redactor, 'text' | 'count' | 'replaced'>): PathReader {
  const known = createCache<{ readonly segment: string; readonly replaced: number }>(CACHED_SEGMENTS);
  let replaced = 0;

  function redact(text: string): string {
    const before = redactor.replaced;
    const clean = redactor.text(text);
    const found = redactor.replaced - before;
    redactor.count(-found);
    replaced += found;
    return clean;
  }

  function judged(raw: string): string {
    const hit = known.get(raw);
    if (hit !== undefined) {
      replaced += hit.replaced;
      return hit.segment;
    }
    const before = replaced;
    const segment = judge(raw, redact);
    known.set(raw, { segment, replaced: replaced - before });
    return segment;
  }

  return (path) => {
    replaced = 0;
    const end = endOfPath(path);
    if (end < path.length) {
      const query = path.slice(end, end + PATH_LIMIT);
      if (SECRET_QUERY.test(query)) redact(query);
    }
    const limit = Math.min(end, PATH_LIMIT);
    const segments: string[] = [];
    let start = startOfPath(path, end);
    while (start < limit) {
      let slash = path.indexOf('/', start);
      if (slash < 0 || slash > limit) slash = limit;
      if (slash > start) {
        if (segments.length === SEGMENTS_LIMIT) {
          segments.push('{rest}');
          break;
        }
        segments.push(quick(path, start, slash) ?? judged(path.slice(start, slash)));
      }
      start = slash + 1;
    }
    if (end > PATH_LIMIT && segments.length > 0) segments[segments.length - 1] = '{long}';
    return { segments, replaced };
  };
}

function endOfPath(path: string): number {
  const query = path.indexOf('?');
  const fragment = path.indexOf('#');
  if (query < 0) return fragment < 0 ? path.length : fragment;
  return fragment < 0 ? query : Math.min(query, fragment);
}

/** Proxies log absolute URLs: the path begins after the origin. */
function startOfPath(path: string, end: number): number {
  if (path.charCodeAt(0) === 0x2f) return 0;
  const origin = path.indexOf('://');
  if (origin <= 0 || origin > 16 || origin > end) return 0;
  const slash = path.indexOf('/', origin + 3);
  return slash < 0 || slash > end ? end : slash;
}

/** Long enough for the words of a route, too short for a credential in lower case. */
const WORD_LIMIT = 14;

/** quick judges what one look at the characters can: plain words, numbers, hex, UUIDs. Nearly every segment is one. */
function quick(path: string, start: number, end: number): string | null {
  const length = end - start;
  if (length > SEGMENT_LIMIT) return null;
  let digits = 0;
  let hexLetters = 0;
  let capitals = 0;
  for (let i = start; i < end; i++) {
    const code = path.charCodeAt(i);
    if (code >= 0x30 && code <= 0x39) digits++;
    else if ((code >= 0x61 && code <= 0x66) || (code >= 0x41 && code <= 0x46)) {
      hexLetters++;
      if (code < 0x61) capitals++;
    } else if (!(code >= 0x61 && code <= 0x7a) && code !== 0x2d) return null;
  }
  if (digits === length) return '{id}';
  if (digits === 0) return capitals === 0 && length <= WORD_LIMIT ? path.slice(start, end) : null;
  if (length >= 8 && digits + hexLetters === length) return '{hex}';
  if (length !== 36 || digits + hexLetters !== 32) return null;
  return UUID.test(path.slice(start, end)) ? '{uuid}' : null;
}

function judge(raw: string, redact: (text: string) => string): string {
  if (NAMED_VARIABLE.test(raw)) return raw;
  const matrix = raw.indexOf(';');
  if (matrix >= 0) redact(raw.slice(matrix));
  const segment = redact(decode(matrix > 0 ? raw.slice(0, matrix) : raw));
  if (FINGERPRINT.test(segment)) return '{secret}';
  const variable = shapeOf(segment);
  if (variable !== '') return variable;
  const dotted = EXTENSION.exec(segment);
  if (dotted === null) return segment;
  const stem = shapeOf(dotted[1] as string);
  return stem === '' ? segment : `${stem}${dotted[2]}`;
}

/** shapeOf is the placeholder for a segment that cannot be part of a route, '' for one that can. */
function shapeOf(segment: string): string {
  if (segment.length > SEGMENT_LIMIT) return '{long}';
  if (/\d/.test(segment)) {
    if (NUMBER.test(segment)) return '{id}';
    if (UUID.test(segment)) return '{uuid}';
    if (DATE.test(segment)) return '{date}';
    if (HEX.test(segment)) return '{hex}';
    if (looksEncoded(segment)) return '{token}';
  }
  if (EMAIL.test(segment)) return '{email}';
  return LITERAL.test(segment) ? '' : '{var}';
}

/**
 * looksEncoded tells ids in base62, base64url, base32 and the like from words: digits stand in several places. Two are
 * enough where both cases are mixed in; a name like `oauth2-callback` has one.
 */
function looksEncoded(segment: string): boolean {
  if (segment.length < 16 || !/^[A-Za-z0-9_=+.~-]+$/.test(segment)) return false;
  const runs = segment.match(/\d+/g)?.length ?? 0;
  return runs >= 3 || (runs >= 2 && /[a-z]/.test(segment) && /[A-Z]/.test(segment));
}

function decode(segment: string): string {
  if (!segment.includes('%')) return cleanText(segment);
  try {
    return cleanText(decodeURIComponent(segment));
  } catch {
    return cleanText(segment);
  }
}
