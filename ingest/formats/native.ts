import {
  type Action,
  LIFECYCLE_ACTIONS,
  type LifecycleAction,
  type LifecycleEvent,
  type Parsed,
  type RejectCode,
  type UsageEvent,
} from '../../core/index.ts';
import { normalizeIp } from '../ip.ts';
import { cleanText, cleanValue, cutText, deeperThan, emptyRecord } from '../text.ts';
import { outOfRangeMessage, parseLooseTime, parseTime, timeInRange } from '../time.ts';
import {
  DEPTH_LIMIT,
  describe,
  hasControlCharacter,
  type LogFormat,
  NAME_LIMIT,
  rejected,
  TEXT_LIMIT,
  TOKEN_LIMIT,
  withoutControlCharacters,
} from './format.ts';

type Fields = Record<string, unknown>;

/** Problem is the first thing wrong with a record; parsing goes on with a placeholder and the caller asks once at the end. */
interface Problem {
  code: RejectCode;
  message: string;
}

/** What other shippers call the time, asked in this order when `time` is missing: Logstash, Vector, Fluent Bit, Kong. */
const TIME_ALIASES = ['timestamp', '@timestamp', 'date', 'started_at'] as const;
const COMMON_FIELDS = ['time', 'id', 'token', 'owner', 'action', 'ip', 'user_agent', 'request_id', 'attributes'];
const USAGE_FIELDS = new Set([...COMMON_FIELDS, 'endpoint', 'method', 'path', 'status', 'bytes', 'duration_ms']);
const LIFECYCLE_FIELDS = new Set([
  ...COMMON_FIELDS,
  'replaces',
  'issued_by',
  'requested_at',
  'expires_at',
  'effective_at',
  'fingerprint',
  'scopes',
  'reason',
  'config',
]);
const ATTRIBUTE_KEYS_LIMIT = 50;
const ATTRIBUTE_TEXT_LIMIT = 8 * 1024;
const ENDPOINT_LIMIT = 300;
const PATH_LIMIT = 8 * 1024;
const SCOPES_LIMIT = 100;
const METHOD = /^[A-Z][A-Z-]{0,31}$/;
const ACTIONS = new Map<string, Action>(['used' as const, ...LIFECYCLE_ACTIONS].map((action) => [action, action]));

/** native is the product's own event, as in the contract. */
export const native: LogFormat = {
  name: 'native',
  title: 'Tokenwatch event',
  detect(record) {
    return record.token !== undefined || record.time !== undefined || record.action !== undefined || isProbe(record);
  },
  parse,
};

/** Cloudflare Logpush sends this once to see whether a destination answers. */
function isProbe(record: Fields): boolean {
  if (record.content !== 'tests') return false;
  for (const key in record) if (key !== 'content') return false;
  return true;
}

function parse(record: Fields, now: number): Parsed {
  if (isProbe(record)) return { kind: 'skipped', reason: 'probe' };
  const problem: Problem = { code: 'bad_field', message: '' };

  let timeField = 'time';
  if (record.time === undefined || record.time === null) {
    const alias = TIME_ALIASES.find((name) => record[name] !== undefined && record[name] !== null);
    if (alias === undefined)
      return rejected('missing_time', 'time is missing: RFC 3339, epoch seconds or milliseconds');
    timeField = alias;
  }
  const time = parseTime(record[timeField]);
  if (time === null) {
    const found = typeof record[timeField] === 'string' ? 'this text' : describe(record[timeField]);
    return rejected(
      'bad_time',
      `${timeField} cannot be read from ${found}: allowed are RFC 3339 with an offset (2026-11-22T01:02:03Z), epoch seconds and epoch milliseconds`,
    );
  }
  if (!timeInRange(time, now)) {
    return rejected('time_out_of_range', outOfRangeMessage(timeField, record[timeField], time, now));
  }

  const token = tokenOf(record.token, problem);
  const action = actionOf(record.action, problem);
  if (problem.message !== '') return rejected(problem.code, problem.message);
  const ip = ipOf(record, problem);
  const fields = action === 'used' ? USAGE_FIELDS : LIFECYCLE_FIELDS;
  const attributes = attributesOf(record, fields, timeField, ip, problem);
  const event =
    action === 'used'
      ? usage(record, time, token, ip, attributes, problem)
      : lifecycle(record, action, time, token, ip, attributes, problem);
  if (problem.message !== '') return rejected(problem.code, problem.message);
  return { kind: 'events', events: [event] };
}

function usage(
  record: Fields,
  time: number,
  token: string,
  ip: string,
  attributes: Fields | null,
  problem: Problem,
): UsageEvent {
  const endpoint = text(record, 'endpoint', ENDPOINT_LIMIT, problem);
  let method = text(record, 'method', NAME_LIMIT, problem).toUpperCase();
  // What a proxy logs for bytes that were no HTTP request is no method, and no reason to lose the call.
  if (!METHOD.test(method)) method = '';
  if (method === '' && endpoint !== '') method = methodOf(endpoint);
  return {
    kind: 'usage',
    time,
    id: name(record, 'id', NAME_LIMIT, problem),
    token,
    owner: name(record, 'owner', NAME_LIMIT, problem),
    method,
    path: text(record, 'path', PATH_LIMIT, problem),
    endpoint,
    status: count(record, 'status', 999, problem),
    ip,
    userAgent: text(record, 'user_agent', TEXT_LIMIT, problem),
    bytes: count(record, 'bytes', Number.MAX_SAFE_INTEGER, problem),
    durationMs: count(record, 'duration_ms', 0xffffffff, problem, false),
    requestId: text(record, 'request_id', NAME_LIMIT, problem),
    attributes,
  };
}

function lifecycle(
  record: Fields,
  action: LifecycleAction,
  time: number,
  token: string,
  ip: string,
  attributes: Fields | null,
  problem: Problem,
): LifecycleEvent {
  return {
    kind: 'lifecycle',
    action,
    time,
    id: name(record, 'id', NAME_LIMIT, problem),
    token,
    owner: name(record, 'owner', NAME_LIMIT, problem),
    replaces: name(record, 'replaces', TOKEN_LIMIT, problem),
    issuedBy: name(record, 'issued_by', TOKEN_LIMIT, problem),
    requestedAt: looseTime(record, 'requested_at', problem),
    expiresAt: looseTime(record, 'expires_at', problem),
    effectiveAt: looseTime(record, 'effective_at', problem),
    fingerprint: name(record, 'fingerprint', NAME_LIMIT, problem),
    scopes: scopesOf(record.scopes, problem),
    reason: text(record, 'reason', TEXT_LIMIT, problem),
    config: configOf(record.config, problem),
    ip,
    userAgent: text(record, 'user_agent', TEXT_LIMIT, problem),
    requestId: text(record, 'request_id', NAME_LIMIT, problem),
    attributes,
  };
}

function complain(problem: Problem, code: RejectCode, message: string): void {
  if (problem.message !== '') return;
  problem.code = code;
  problem.message = message;
}

function tokenOf(value: unknown, problem: Problem): string {
  if (value === undefined || value === null) {
    complain(problem, 'missing_token', 'token is missing: the stable id of the credential, never its secret');
    return '';
  }
  const token = typeof value === 'number' ? String(value) : value;
  const allowed = `allowed is text of 1 to ${TOKEN_LIMIT} characters without control characters, or a number`;
  if (typeof token !== 'string') {
    complain(problem, 'bad_token', `token is ${describe(value)}; ${allowed}`);
    return '';
  }
  if (token.length > TOKEN_LIMIT) complain(problem, 'bad_token', `token has ${token.length} characters; ${allowed}`);
  else if (token.trim() === '') complain(problem, 'bad_token', `token is empty; ${allowed}`);
  else if (hasControlCharacter(token)) complain(problem, 'bad_token', `token has control characters; ${allowed}`);
  return cleanText(token);
}

function actionOf(value: unknown, problem: Problem): Action {
  if (value === undefined || value === null || value === '') return 'used';
  const action = typeof value === 'string' ? ACTIONS.get(value) : undefined;
  if (action !== undefined) return action;
  complain(problem, 'bad_action', `action is ${describe(value)}; allowed are ${[...ACTIONS.keys()].join(', ')}`);
  return 'used';
}

/** text is a field that people read: numbers become text, what is too long is cut. */
function text(record: Fields, field: string, limit: number, problem: Problem): string {
  const value = record[field];
  if (value === undefined || value === null) return '';
  if (typeof value === 'string') return cutText(value, limit);
  if (typeof value === 'number') return String(value);
  complain(problem, 'bad_field', `${field} is ${describe(value)}; allowed is text`);
  return '';
}

/** name is a field that identifies something: too long it is refused, and control characters in it go. */
function name(record: Fields, field: string, limit: number, problem: Problem): string {
  const value = record[field];
  if (value === undefined || value === null) return '';
  const found = typeof value === 'number' ? String(value) : value;
  if (typeof found !== 'string') {
    complain(problem, 'bad_field', `${field} is ${describe(value)}; allowed is text`);
    return '';
  }
  if (found.length > limit) {
    complain(problem, 'bad_field', `${field} has ${found.length} characters; allowed are ${limit}`);
    return '';
  }
  return cleanText(withoutControlCharacters(found));
}

/** count is a number from 0, rounded when only a whole one makes sense; numeric text is taken, and `-` and empty text are how proxies write "none". */
function count(record: Fields, field: string, largest: number, problem: Problem, whole = true): number {
  let value = record[field];
  if (value === undefined || value === null || value === '' || value === '-') return 0;
  if (typeof value === 'string' && /^\d+(?:\.\d+)?$/.test(value)) value = Number(value);
  if (typeof value === 'number' && value >= 0 && value <= largest) return whole ? Math.round(value) : value;
  complain(problem, 'bad_field', `${field} is ${describe(value)}; allowed is a number from 0 to ${largest}`);
  return 0;
}

function ipOf(record: Fields, problem: Problem): string {
  const value = record.ip;
  if (value === undefined || value === null) return '';
  if (typeof value === 'string') return normalizeIp(value);
  complain(problem, 'bad_field', `ip is ${describe(value)}; allowed is an IPv4 or IPv6 address as text`);
  return '';
}

function looseTime(record: Fields, field: string, problem: Problem): number | null {
  const time = parseLooseTime(record[field]);
  if (time !== undefined) return time;
  const allowed = 'allowed is RFC 3339 with an offset, epoch seconds or milliseconds';
  complain(problem, 'bad_field', `${field} is ${describe(record[field])} that is no time; ${allowed}`);
  return null;
}

function scopesOf(value: unknown, problem: Problem): string[] {
  if (value === undefined || value === null) return [];
  // OAuth writes scopes as one text with spaces (RFC 6749, 3.3).
  const list = typeof value === 'string' ? value.split(' ').filter((scope) => scope !== '') : value;
  if (Array.isArray(list) && list.length <= SCOPES_LIMIT && list.every((scope) => typeof scope === 'string')) {
    return list.map((scope: string) => cutText(scope, 256));
  }
  const found = Array.isArray(list) ? `an array of ${list.length} items` : describe(value);
  complain(problem, 'bad_field', `scopes is ${found}; allowed is an array of at most ${SCOPES_LIMIT} texts`);
  return [];
}

function configOf(value: unknown, problem: Problem): LifecycleEvent['config'] {
  if (value === undefined || value === null) return null;
  if (typeof value !== 'object' || Array.isArray(value) || deeperThan(value, DEPTH_LIMIT - 1)) {
    complain(problem, 'bad_field', `config is ${describe(value)}; allowed is {"key","from","to","approved"}`);
    return null;
  }
  const { key, from, to, approved } = value as Fields;
  if (typeof key !== 'string' || key === '') {
    complain(problem, 'bad_field', `config.key is ${describe(key ?? null)}; allowed is the name of what changed`);
    return null;
  }
  if (approved !== undefined && approved !== null && typeof approved !== 'boolean') {
    complain(problem, 'bad_field', `config.approved is ${describe(approved)}; allowed is true or false`);
    return null;
  }
  return { key: cutText(key, 256), from: configValue(from), to: configValue(to), approved: approved ?? null };
}

function configValue(value: unknown): string {
  if (value === undefined || value === null) return '';
  return cutText(typeof value === 'string' ? value : JSON.stringify(value), TEXT_LIMIT);
}

/** methodOf takes the method out of an endpoint that the source wrote as `GET /v1/users/{id}`. */
function methodOf(endpoint: string): string {
  const space = endpoint.indexOf(' ');
  if (space < 3 || space > 7) return '';
  const word = endpoint.slice(0, space);
  return /^[A-Z]+$/.test(word) ? word : '';
}

/** attributesOf keeps the fields that the contract does not name, and those of an `attributes` object; null for none. */
function attributesOf(
  record: Fields,
  known: ReadonlySet<string>,
  timeField: string,
  ip: string,
  problem: Problem,
): Fields | null {
  let kept: Fields | null = null;
  const room = { keys: ATTRIBUTE_KEYS_LIMIT, text: ATTRIBUTE_TEXT_LIMIT, dropped: 0 };
  for (const key in record) {
    const value = record[key];
    if (typeof value === 'object' && value !== null && deeperThan(value, DEPTH_LIMIT - 1)) {
      complain(problem, 'too_deep', `the event nests deeper than ${DEPTH_LIMIT} levels`);
      return null;
    }
    if (known.has(key) ? key !== 'attributes' : key === timeField) {
      // An address that is none is still worth reading: it stays beside the event.
      if (key !== 'ip' || ip !== '' || typeof value !== 'string' || value === '' || value === '-') continue;
    }
    kept ??= emptyRecord();
    if (key === 'attributes' && typeof value === 'object' && value !== null && !Array.isArray(value)) {
      for (const inner in value) keep(kept, inner, (value as Fields)[inner], room);
    } else keep(kept, key, value, room);
  }
  if (kept === null) return null;
  if (room.dropped > 0) kept._dropped = room.dropped;
  for (const _key in kept) return kept;
  return null;
}

function keep(kept: Fields, key: string, value: unknown, room: { keys: number; text: number; dropped: number }): void {
  if (value === undefined || value === null) return;
  const size = key.length + (typeof value === 'object' ? JSON.stringify(value).length : String(value).length);
  if (room.keys === 0 || size > room.text) {
    room.dropped++;
    return;
  }
  room.keys--;
  room.text -= size;
  kept[cleanText(key)] = cleanValue(value);
}
