import { createHmac } from 'node:crypto';
import { createCache } from './cache.ts';
import { deeperThan, emptyRecord } from './text.ts';

/**
 * Redactor replaces whatever looks like a credential by `fp_` and 16 hex digits, an HMAC of it under the installation's
 * key: the same secret gives the same fingerprint everywhere, and nobody without the key can test a guess.
 */
export interface Redactor {
  /** text cleans a free text: path, user agent, header value, reason. Cached: for values that repeat. */
  text(text: string): string;
  /** token cleans a token's id: a raw secret that was sent in its place becomes its fingerprint, with or without `Bearer`. */
  token(token: string): string;
  /** attributes cleans a JSON object deeply, names of fields taken into account; the same object when nothing was found. */
  attributes(attributes: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>>;
  /** line cleans a refused raw line, JSON or not, and cuts it to 2,000 characters. */
  line(line: string): string;
  /** count adds replacements that a caller found again in a cache of its own. */
  count(replacements: number): void;
  /** How many credentials were replaced so far. */
  readonly replaced: number;
}

/** Credentials that their issuers made recognisable. The letters before them are matched too where a word could end that way. */
const SHAPES = new RegExp(
  [
    'gh[pousr]_[A-Za-z0-9]{10,}',
    'github_pat_[A-Za-z0-9_]{10,}',
    '[sr]k_(?:live|test)_[A-Za-z0-9]{8,}',
    'whsec_[A-Za-z0-9+/=_-]{8,}',
    'xox[abeoprs]-[A-Za-z0-9-]{8,}',
    'xapp-\\d-[A-Za-z0-9-]{8,}',
    'glpat-[A-Za-z0-9_-]{10,}',
    'npm_[A-Za-z0-9]{20,}',
    'AIza[A-Za-z0-9_-]{20,}',
    'ya29\\.[A-Za-z0-9_-]{16,}',
    'zpka_[A-Za-z0-9_]{8,}',
    'SG\\.[A-Za-z0-9_-]{16,}\\.[A-Za-z0-9_-]{16,}',
    'shp(?:at|ca|pa|ss)_[a-fA-F0-9]{16,}',
    'dop_v1_[a-f0-9]{32,}',
    'eyJ[A-Za-z0-9_-]{5,1000}\\.[A-Za-z0-9_-]{5,}(?:\\.[A-Za-z0-9_-]*)*',
    '(?<![A-Za-z0-9])(?:unkey|tw)_[A-Za-z0-9_-]{16,}',
    '(?<![A-Za-z0-9])sk-(?=[A-Za-z_-]*\\d)[A-Za-z0-9_-]{20,}',
    '-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----[^]*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----|$)',
  ].join('|'),
  'g',
);

/** One pass over a text tells whether any of the slower patterns can match at all. */
const HINT =
  /gh[pousr]_|github_pat_|[sr]k_(?:live|test)_|whsec_|xox[abeoprs]-|xapp-|glpat-|npm_|AIza|ya29\.|zpka_|SG\.|shp[acps]{2}_|dop_v1_|eyJ|unkey_|tw_|sk-|-----BEGIN|[=%]|:\/\/|: |[Bb]earer|[Bb]asic|BEARER|BASIC|["']/;

/** `Authorization`-like values. A word after "bearer" is prose ("bearer token expired") unless it looks made by a machine. */
const SCHEME = /\b((?:bearer|basic)(?:\s|%20|\+)+)([A-Za-z0-9._~+/=-]{6,})/gi;

const NAMES =
  'secret|client[_-]?secret|secret[_-]?(?:access[_-]?)?key|password|passwd|passphrase|pwd|(?:access|refresh|id|session|security|auth|bearer|csrf|xsrf)[_-]?token|api[_-]?key|x-api-key|apikey|private[_-]?key|access[_-]?key|signature|credentials?|(?:proxy-)?authorization';

/** A named secret in prose, a header, or (broken) JSON: `password=...`, `x-api-key: ...`, `"secret":"..."`, also with escaped quotes. */
const NAMED = new RegExp(
  `((?:${NAMES})(?:\\\\*["']\\s*:\\s*|\\s*=\\s*|%3D|:\\s+)(?:\\\\*["'])?(?:(?:bearer|basic|token|digest)\\s+)?)([^\\s"'\\\\,;&}\\]#]+)`,
  'gi',
);

/** A cookie header is secret as a whole. */
const COOKIE = /((?:set-)?cookie(?:\\*["']\s*:\s*|\s*=\s*|:\s+)(?:\\*["'])?)([^"'\\\r\n]+)/gi;

/** Query and form parameters; the short names are only safe to judge where a parameter begins. */
const PARAMETER =
  /((?:^|[?&;]|%3F|%26)(?:[A-Za-z0-9_.-]{0,40}[_-])?(?:token|key|apikey|secret|password|passwd|pwd|pass|signature|sig|code|jwt|auth|authorization|assertion|session|sessionid|jsessionid|phpsessid|sid|code_verifier|client_secret|accesstoken)(?:=|%3D))([^&;#\s"'\\]+)/gi;

/** `user:password@` of a URL; the password may itself hold an `@`. */
const USERINFO = /(:\/\/[^\s/?#@:"']{0,256}:)([^\s/?#"']{1,512})(?=@)/g;

/** Names of JSON fields and headers whose value is a secret whatever it looks like. */
const SECRET_NAME = new RegExp(`(?:${NAMES}|cookies?|(?:^|[._-])(?:jwt|otp|x-auth))$`, 'i');
/** Names whose value may be a stable id or a secret. */
const DOUBTFUL_NAME = /(?:^|[._-])(?:token|key|auth|code|session(?:_?id)?|sid|bearer)$/i;
const FINGERPRINT = /^fp_[0-9a-f]{16}$/;
/** AWS access key ids (long-term, temporary, in X-Amz-Credential with their scope) and unique ids name a credential; they are not the secret. */
const AWS_ID = /^(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,}(?:(?:%2F|\/)\d{8}[\w%/-]{0,80})?$/;
const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const SHORTEST = 5;

const LINE_READ_LIMIT = 8_192;
const LINE_KEPT_LIMIT = 2_000;
const CACHED_LENGTH = 1_024;
const DEPTH_LIMIT = 64;

/** looksRandom tells a machine-made secret from an id or a word: long, and letters and digits well mixed. AWS key ids are ids. */
function looksRandom(value: string): boolean {
  if (value.length < 20 || AWS_ID.test(value) || UUID.test(value) || !/^[\w.~+/=-]+$/.test(value)) {
    return false;
  }
  const kinds = Number(/[a-z]/.test(value)) + Number(/[A-Z]/.test(value)) + Number(/\d/.test(value));
  const digitRuns = value.match(/\d+/g)?.length ?? 0;
  return value.length >= 32 ? kinds >= 2 && digitRuns >= 2 : kinds === 3 || digitRuns >= 4;
}

/** Whether the word after `Bearer` is a credential rather than prose. */
function machineMade(word: string): boolean {
  return word.length >= 20 || /[\d_~+/=]|[a-z][A-Z]|\w\.\w/.test(word);
}

/** Basic credentials are base64 of `user:password` (RFC 7617). */
function isBasic(word: string): boolean {
  return Buffer.from(word, 'base64').includes(0x3a) && /^[A-Za-z0-9+/_-]+={0,2}$/.test(word);
}

/** createRedactor makes a redactor with the installation's key; every process of one installation must use the same. */
export function createRedactor(key: string | Buffer): Redactor {
  let replaced = 0;
  const cache = createCache<{ readonly text: string; readonly replaced: number }>(20_000);

  function fingerprint(secret: string): string {
    if (FINGERPRINT.test(secret) || AWS_ID.test(secret)) return secret;
    replaced++;
    return `fp_${createHmac('sha256', key).update(secret).digest('hex').slice(0, 16)}`;
  }
  const named = (_match: string, before: string, secret: string): string => before + fingerprint(secret);

  function scheme(match: string, before: string, secret: string): string {
    const isSecret = /^basic/i.test(before) ? isBasic(secret) : machineMade(secret);
    return isSecret ? before + fingerprint(secret) : match;
  }

  /** replace runs the patterns, the most exact first: what they find is not there any more for the vaguer ones. */
  function replace(text: string): string {
    if (text.length < SHORTEST || !HINT.test(text)) return text;
    return text
      .replace(SHAPES, fingerprint)
      .replace(COOKIE, named)
      .replace(SCHEME, scheme)
      .replace(USERINFO, named)
      .replace(PARAMETER, named)
      .replace(NAMED, named);
  }

  function text(value: string): string {
    if (value.length < SHORTEST) return value;
    if (value.length > CACHED_LENGTH) return replace(value);
    const hit = cache.get(value);
    if (hit !== undefined) {
      replaced += hit.replaced;
      return hit.text;
    }
    const before = replaced;
    const clean = replace(value);
    cache.set(value, { text: clean, replaced: replaced - before });
    return clean;
  }

  function token(value: string): string {
    if (value.length < SHORTEST) return value;
    const bare = /^(?:bearer|token)\s+/i.test(value) ? value.replace(/^\w+\s+/, '') : value;
    if (bare !== value && machineMade(bare)) return fingerprint(bare);
    return replace(value);
  }

  /** value cleans one JSON value that stands under `name`. Returns the same value when nothing was found. */
  function value(name: string, found: unknown): unknown {
    if (typeof found === 'string') {
      if (found === '') return found;
      if (SECRET_NAME.test(name)) return fingerprint(withoutScheme(found));
      const clean = replace(found);
      return clean === found && DOUBTFUL_NAME.test(name) && looksRandom(found) ? fingerprint(found) : clean;
    }
    if (typeof found === 'number') return SECRET_NAME.test(name) ? fingerprint(String(found)) : found;
    if (typeof found !== 'object' || found === null) return found;
    if (Array.isArray(found)) return list(name, found);
    return object(found as Record<string, unknown>, SECRET_NAME.test(name) ? name : '');
  }

  function list(name: string, found: unknown[]): unknown[] {
    let copy: unknown[] | null = null;
    // A header as a pair: ["Authorization", "..."].
    const paired = found.length === 2 && typeof found[0] === 'string' && SECRET_NAME.test(found[0]) ? found[0] : '';
    for (let i = 0; i < found.length; i++) {
      const clean = value(i === 1 && paired !== '' ? paired : name, found[i]);
      if (clean !== found[i]) {
        copy ??= found.slice();
        copy[i] = clean;
      }
    }
    return copy ?? found;
  }

  /** object cleans field by field; under a secret name (`under`), every value below it is secret. */
  function object(found: Readonly<Record<string, unknown>>, under: string): Readonly<Record<string, unknown>> {
    let changed: [string, unknown][] | null = null;
    const entries = Object.entries(found);
    // A header as an object: {"name":"Authorization","value":"..."}.
    const header = typeof found.name === 'string' && SECRET_NAME.test(found.name) ? found.name : '';
    for (let i = 0; i < entries.length; i++) {
      const [field, inner] = entries[i] as [string, unknown];
      const clean = value(under !== '' ? under : field === 'value' && header !== '' ? header : field, inner);
      const cleanField = replace(field);
      if (clean !== inner || cleanField !== field) {
        changed ??= entries.slice();
        changed[i] = [cleanField, clean];
      }
    }
    if (changed === null) return found;
    const copy = emptyRecord();
    for (const [field, inner] of changed) copy[field] = inner;
    return copy;
  }

  function line(raw: string): string {
    const head = raw.length > LINE_READ_LIMIT ? raw.slice(0, LINE_READ_LIMIT) : raw;
    const clean = structured(head) ?? doubtful(replace(head));
    return clean.length > LINE_KEPT_LIMIT ? clean.slice(0, LINE_KEPT_LIMIT) : clean;
  }

  /** structured cleans a line that is JSON by its field names; null when it is none. */
  function structured(raw: string): string | null {
    let parsed: unknown;
    try {
      parsed = JSON.parse(raw);
    } catch {
      return null;
    }
    if (deeperThan(parsed, DEPTH_LIMIT)) return null;
    const clean = value('', parsed);
    return clean === parsed ? raw : JSON.stringify(clean);
  }

  /** doubtful finds, in text that only resembles JSON, fields that may hold an id or a secret. */
  function doubtful(raw: string): string {
    return raw.replace(
      /("(?:[A-Za-z0-9_.-]{0,40}[._-])?(?:token|key|auth|code|session(?:_?id)?|sid)"\s*:\s*")([^"\\]+)/gi,
      (match: string, before: string, secret: string) =>
        looksRandom(secret) && !FINGERPRINT.test(secret) ? before + fingerprint(secret) : match,
    );
  }

  return {
    text,
    token,
    attributes: (attributes) => object(attributes, ''),
    line,
    count(replacements) {
      replaced += replacements;
    },
    get replaced() {
      return replaced;
    },
  };
}

/** withoutScheme makes `Bearer x` and `x` the same secret. */
function withoutScheme(text: string): string {
  return text.replace(/^(?:bearer|basic|token)\s+/i, '');
}
