import { cleanText } from './text.ts';

const PATH_LIMIT = 2_048;
const TEMPLATE_LIMIT = 260;
const SEGMENTS_LIMIT = 24;
const SEGMENT_LIMIT = 64;

const NUMBER = /^-?\d+(?:\.\d+)?$/;
const UUID = /^\{?[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\}?$/i;
const DATE = /^\d{4}-\d{2}(?:-\d{2}(?:[T ].*)?)?$/;
const EMAIL = /^[^@\s/]+@[^@\s/]+\.[^@\s/]+$/;
const HEX = /^(?:0x)?(?=[a-f]*\d)[0-9a-f]{8,}$/i;
const PLACEHOLDER = /^\{[\w.*-]{1,40}\}$/;
const FINGERPRINT = /fp_[0-9a-f]{16}/;
/** What a route's literal part is made of; anything else was filled in by a caller. Letters of any script. */
const LITERAL = /^[\p{L}\p{M}\p{N}_.~!$&'()*+,=:@-]+$/u;
const EXTENSION = /^(.+)(\.[a-z][a-z0-9]{1,4})$/;

/**
 * segmentsOf splits a raw path into segments, each either literal or a placeholder that its shape earned: `{id}`
 * (number), `{uuid}`, `{hex}`, `{token}` (base64-like), `{email}`, `{date}`, `{long}`, `{secret}` (a credential, found
 * by `redact`), `{var}` (characters that no route has). Query, fragment, origin and matrix parameters are left out.
 */
export function segmentsOf(path: string, redact: (text: string) => string): string[] {
  let end = path.length;
  for (let i = 0; i < path.length; i++) {
    const code = path.charCodeAt(i);
    if (code === 0x3f || code === 0x23) {
      end = i;
      break;
    }
  }
  // The query is not kept, but a credential in it is worth counting.
  if (end < path.length) redact(path.slice(end, PATH_LIMIT));
  let start = 0;
  const origin = path.indexOf('://');
  if (origin > 0 && origin < end && origin < 16) {
    const slash = path.indexOf('/', origin + 3);
    start = slash < 0 || slash > end ? end : slash;
  }
  const segments: string[] = [];
  const whole = path.length <= PATH_LIMIT;
  for (const raw of path.slice(start, Math.min(end, PATH_LIMIT)).split('/')) {
    if (raw === '') continue;
    if (segments.length === SEGMENTS_LIMIT) {
      segments.push('{rest}');
      return segments;
    }
    segments.push(templateSegment(raw, redact));
  }
  if (!whole && end > PATH_LIMIT) segments[segments.length - 1] = '{long}';
  return segments;
}

/** isTooLong tells whether a template has to end here. */
export function isTooLong(template: string): boolean {
  return template.length > TEMPLATE_LIMIT;
}

function templateSegment(raw: string, redact: (text: string) => string): string {
  if (PLACEHOLDER.test(raw)) return raw;
  const matrix = raw.indexOf(';');
  if (matrix >= 0) redact(raw);
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
