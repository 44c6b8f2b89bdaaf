import type { LifecycleAction, LifecycleEvent, Parsed, TokenEvent, UsageEvent } from '../../core/index.ts';
import { createCache } from '../cache.ts';
import { normalizeIp } from '../ip.ts';
import { cutText } from '../text.ts';
import { outOfRangeMessage, parseLooseTime, parseTime, timeInRange } from '../time.ts';
import {
  describe,
  hasControlCharacter,
  type LogFormat,
  NAME_LIMIT,
  rejected,
  TEXT_LIMIT,
  TOKEN_LIMIT,
} from './format.ts';

type Fields = Record<string, unknown>;

/**
 * cloudtrail reads AWS CloudTrail records (record contents as in the CloudTrail user guide). The access key id is the
 * token, the principal the owner: a user's name, or the role behind an assumed-role session. Calls that AWS makes on the
 * caller's behalf (`invokedBy`) are skipped: they would show every user from AWS's own network. Calls about a key
 * (CreateAccessKey, AssumeRole, ...) are the caller's usage and, when they succeeded, the other key's lifecycle, which names the
 * caller's key as what issued it.
 */
export const cloudtrail: LogFormat = {
  name: 'cloudtrail',
  title: 'AWS CloudTrail',
  detect(record) {
    return typeof record.eventSource === 'string' && typeof record.eventName === 'string';
  },
  parse,
};

/** unwrapRecords is the list of records in a CloudTrail file's one document `{"Records":[...]}`; null for anything else. */
export function unwrapRecords(value: unknown): unknown[] | null {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return null;
  const records = (value as Fields).Records;
  return Array.isArray(records) ? records : null;
}

function parse(record: Fields, now: number): Parsed {
  const identity = object(record.userIdentity);
  if (textOf(identity.invokedBy) !== '') return { kind: 'skipped', reason: 'service_call' };
  const token = textOf(identity.accessKeyId);
  const errorCode = textOf(record.errorCode);
  const changes = errorCode === '' ? keyChanges(record, identity) : [];
  if (token === '' && changes.length === 0) return { kind: 'skipped', reason: 'no_token' };

  if (record.eventTime === undefined || record.eventTime === null) {
    return rejected('missing_time', 'eventTime is missing: RFC 3339, as CloudTrail writes it');
  }
  const time = parseTime(record.eventTime);
  if (time === null) {
    return rejected('bad_time', `eventTime is ${describe(record.eventTime)} that is no time; allowed is RFC 3339`);
  }
  if (!timeInRange(time, now)) {
    return rejected('time_out_of_range', outOfRangeMessage('eventTime', record.eventTime, time, now));
  }
  for (const key of token === '' ? changes.map((change) => change.token) : [token]) {
    if (key.length > TOKEN_LIMIT || hasControlCharacter(key)) {
      return rejected(
        'bad_token',
        `accessKeyId has ${key.length} characters or control characters; allowed are ${TOKEN_LIMIT}`,
      );
    }
  }
  const source = textOf(record.eventSource);
  const eventName = textOf(record.eventName);
  if (source === '' || eventName === '') {
    const field = source === '' ? 'eventSource' : 'eventName';
    return rejected('bad_field', `${field} is ${describe(record[field] ?? null)}; allowed is text`);
  }

  const call: Call = {
    time,
    id: cutText(textOf(record.eventID), NAME_LIMIT),
    ip: normalizeIp(textOf(record.sourceIPAddress)),
    userAgent: cutText(textOf(record.userAgent), TEXT_LIMIT),
    requestId: cutText(textOf(record.requestID), NAME_LIMIT),
    attributes: attributesOf(record, identity, errorCode),
  };
  const events: TokenEvent[] = [];
  if (token !== '')
    events.push(usage(call, token, principal(identity), cutText(`${source}:${eventName}`, 300), errorCode));
  for (const change of changes) events.push(lifecycle(call, change, token));
  return { kind: 'events', events };
}

/** What the usage and the lifecycle event of one record share. */
interface Call {
  readonly time: number;
  readonly id: string;
  readonly ip: string;
  readonly userAgent: string;
  readonly requestId: string;
  readonly attributes: Fields;
}

function usage(call: Call, token: string, owner: string, endpoint: string, errorCode: string): UsageEvent {
  return {
    kind: 'usage',
    time: call.time,
    id: call.id,
    token,
    owner,
    method: '',
    path: '',
    endpoint,
    status: statusOf(errorCode),
    ip: call.ip,
    userAgent: call.userAgent,
    bytes: 0,
    durationMs: 0,
    requestId: call.requestId,
    attributes: call.attributes,
  };
}

function lifecycle(call: Call, change: KeyChange, caller: string): LifecycleEvent {
  return {
    kind: 'lifecycle',
    action: change.action,
    time: call.time,
    id: call.id,
    token: change.token,
    owner: change.owner,
    replaces: '',
    issuedBy: change.action === 'issued' ? caller : '',
    requestedAt: null,
    expiresAt: change.expiresAt,
    effectiveAt: null,
    fingerprint: '',
    scopes: [],
    reason: change.reason,
    config: change.config,
    ip: call.ip,
    userAgent: call.userAgent,
    requestId: call.requestId,
    attributes: call.attributes,
  };
}

/** KeyChange is what a successful call did to a key that is usually not the caller's own. */
interface KeyChange {
  readonly action: LifecycleAction;
  readonly token: string;
  readonly owner: string;
  readonly expiresAt: number | null;
  readonly reason: string;
  readonly config: LifecycleEvent['config'];
}

function keyChanges(record: Fields, identity: Fields): KeyChange[] {
  const eventName = record.eventName;
  if (record.eventSource === 'iam.amazonaws.com') {
    if (eventName === 'CreateAccessKey') return created(record, identity);
    if (eventName === 'DeleteAccessKey') return aboutKey(record, identity, 'revoked', null);
    if (eventName === 'UpdateAccessKey') return updated(record, identity);
  } else if (record.eventSource === 'sts.amazonaws.com' && typeof eventName === 'string') {
    if (eventName.startsWith('AssumeRole') || eventName === 'GetSessionToken' || eventName === 'GetFederationToken') {
      return assumed(record, identity, eventName);
    }
  }
  return [];
}

function created(record: Fields, identity: Fields): KeyChange[] {
  const key = object(object(record.responseElements).accessKey);
  const token = textOf(key.accessKeyId);
  if (token === '') return [];
  const owner = textOf(key.userName) || textOf(object(record.requestParameters).userName) || principal(identity);
  return [
    { action: 'issued', token, owner, expiresAt: null, reason: reasonBy('CreateAccessKey', identity), config: null },
  ];
}

function aboutKey(
  record: Fields,
  identity: Fields,
  action: LifecycleAction,
  config: LifecycleEvent['config'],
): KeyChange[] {
  const request = object(record.requestParameters);
  const token = textOf(request.accessKeyId);
  if (token === '') return [];
  const owner = textOf(request.userName) || principal(identity);
  return [{ action, token, owner, expiresAt: null, reason: reasonBy(textOf(record.eventName), identity), config }];
}

/** An inactive key can be made active again, so it is a change, not a revocation. The record names only the new one of the two states. */
function updated(record: Fields, identity: Fields): KeyChange[] {
  const to = textOf(object(record.requestParameters).status);
  if (to !== 'Active' && to !== 'Inactive') return [];
  const from = to === 'Active' ? 'Inactive' : 'Active';
  return aboutKey(record, identity, 'config_changed', { key: 'status', from, to, approved: null });
}

function assumed(record: Fields, identity: Fields, eventName: string): KeyChange[] {
  const credentials = object(object(record.responseElements).credentials);
  const token = textOf(credentials.accessKeyId);
  if (token === '') return [];
  const role = lastPart(textOf(object(record.requestParameters).roleArn));
  return [
    {
      action: 'issued',
      token,
      owner: cutText(role || principal(identity), NAME_LIMIT),
      expiresAt: expirationOf(credentials.expiration),
      reason: reasonBy(eventName, identity),
      config: null,
    },
  ];
}

function reasonBy(eventName: string, identity: Fields): string {
  const by = principal(identity);
  return cutText(by === '' ? eventName : `${eventName} by ${by}`, TEXT_LIMIT);
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** CloudTrail prints a credential's expiration as Java does, `Jul 10, 2023 12:54:47 PM` in UTC, in newer records with a comma after the year. */
function expirationOf(value: unknown): number | null {
  const match =
    typeof value === 'string' ? /^(\w{3}) (\d{1,2}), (\d{4}),? (\d{1,2}):(\d\d):(\d\d)\s([AP])M$/.exec(value) : null;
  if (match === null) return parseLooseTime(value) ?? null;
  const [, month, day, year, hour, minute, second, half] = match as unknown as string[];
  const hours = (Number(hour) % 12) + (half === 'P' ? 12 : 0);
  const index = MONTHS.indexOf(month as string);
  return index < 0 ? null : Date.UTC(Number(year), index, Number(day), hours, Number(minute), Number(second));
}

/** principal is who a call was made as: the user, the role behind a session, or the account for its root. */
function principal(identity: Fields): string {
  return cutText(principalName(identity), NAME_LIMIT);
}

function principalName(identity: Fields): string {
  const account = textOf(identity.accountId);
  if (identity.type === 'Root') return account === '' ? 'root' : `root:${account}`;
  const issuer = object(object(identity.sessionContext).sessionIssuer);
  if (identity.type === 'AssumedRole') {
    return textOf(issuer.userName) || textOf(identity.arn).split('/')[1] || textOf(identity.principalId) || account;
  }
  return textOf(identity.userName) || textOf(issuer.userName) || lastPart(textOf(identity.arn)) || account;
}

function lastPart(arn: string): string {
  return arn.slice(arn.lastIndexOf('/') + 1);
}

const statuses = createCache<number>(1_000);

/** statusOf is the nearest HTTP status to an AWS error code, 200 without one. */
function statusOf(errorCode: string): number {
  if (errorCode === '') return 200;
  let status = statuses.get(errorCode);
  if (status === undefined) {
    status = classify(errorCode);
    statuses.set(errorCode, status);
  }
  return status;
}

function classify(errorCode: string): number {
  if (/Throttl|TooManyRequests|RequestLimitExceeded|SlowDown|RateExceeded/i.test(errorCode)) return 429;
  if (/ExpiredToken|InvalidClientTokenId|UnrecognizedClient|SignatureDoesNotMatch|AuthFailure/i.test(errorCode))
    return 401;
  if (/AccessDenied|Unauthorized|NotAuthorized|Forbidden|OptInRequired/i.test(errorCode)) return 403;
  if (/NotFound|NoSuch|DoesNotExist|NonExist/i.test(errorCode)) return 404;
  if (/^(Server\.|Internal)|InternalError|InternalFailure|Unavailable/i.test(errorCode)) return 500;
  return 400;
}

function attributesOf(record: Fields, identity: Fields, errorCode: string): Fields {
  const attributes: Fields = {
    region: cutText(textOf(record.awsRegion), 64),
    account: cutText(textOf(identity.accountId), 64),
  };
  if (errorCode !== '') attributes.error_code = cutText(errorCode, 256);
  if (identity.type === 'AssumedRole') attributes.session = cutText(lastPart(textOf(identity.arn)), 256);
  const from = textOf(record.sourceIPAddress);
  if (from !== '' && normalizeIp(from) === '') attributes.source = cutText(from, 256);
  return attributes;
}

function object(value: unknown): Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : NOTHING;
}

const NOTHING: Fields = Object.freeze({});

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
