import { existsSync, readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import type { TokenEvent } from '../../core/index.ts';
import { cloudtrail } from '../../ingest/formats/cloudtrail.ts';
import { detectFormat, unwrapRecords } from '../../ingest/formats/index.ts';

const NOW = Date.UTC(2026, 10, 22, 12);

const user = {
  type: 'IAMUser',
  principalId: 'AIDAEXAMPLE',
  arn: 'arn:aws:iam::111122223333:user/alice',
  accountId: '111122223333',
  accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
  userName: 'alice',
};
const role = {
  type: 'AssumedRole',
  arn: 'arn:aws:sts::111122223333:assumed-role/deployer/session-7',
  accountId: '111122223333',
  accessKeyId: 'ASIAIOSFODNN7EXAMPLE',
  sessionContext: { sessionIssuer: { type: 'Role', userName: 'deployer' } },
};
const record = (fields: Record<string, unknown> = {}) => ({
  eventVersion: '1.08',
  userIdentity: user,
  eventTime: '2026-11-22T01:02:03Z',
  eventSource: 's3.amazonaws.com',
  eventName: 'ListBuckets',
  awsRegion: 'eu-west-1',
  sourceIPAddress: '203.0.113.9',
  userAgent: 'aws-cli/2',
  requestParameters: null,
  responseElements: null,
  requestID: 'r1',
  eventID: 'e1',
  ...fields,
});
function events(fields: Record<string, unknown>): readonly TokenEvent[] {
  const parsed = cloudtrail.parse(record(fields), NOW);
  if (parsed.kind !== 'events') throw new Error(JSON.stringify(parsed));
  return parsed.events;
}

describe('a CloudTrail record', () => {
  it('is a call: the access key is the token, the principal the owner', () => {
    expect(events({})).toEqual([
      {
        kind: 'usage',
        time: Date.UTC(2026, 10, 22, 1, 2, 3),
        id: 'e1',
        token: 'AKIAIOSFODNN7EXAMPLE',
        owner: 'alice',
        method: '',
        path: '',
        endpoint: 's3.amazonaws.com:ListBuckets',
        status: 200,
        ip: '203.0.113.9',
        userAgent: 'aws-cli/2',
        bytes: 0,
        durationMs: 0,
        requestId: 'r1',
        attributes: { region: 'eu-west-1', account: '111122223333' },
      },
    ]);
  });

  it.each([
    [role, 'deployer'],
    [{ ...role, sessionContext: undefined }, 'deployer'],
    [{ ...user, userName: undefined }, 'alice'],
    [{ type: 'Root', accountId: '111122223333', accessKeyId: 'AKIA1' }, 'root:111122223333'],
    [{ type: 'AWSAccount', accountId: '444455556666', accessKeyId: 'AKIA1' }, '444455556666'],
    [{ ...user, type: 'FederatedUser', userName: undefined, arn: 'arn:aws:sts::1:federated-user/bob' }, 'bob'],
  ])('belongs to its principal: %j', (userIdentity, owner) => {
    expect(events({ userIdentity })[0]?.owner).toBe(owner);
  });

  it.each([
    ['AccessDenied', 403],
    ['Client.UnauthorizedOperation', 403],
    ['ThrottlingException', 429],
    ['RequestLimitExceeded', 429],
    ['NoSuchBucketPolicy', 404],
    ['Client.InvalidVpcID.NotFound', 404],
    ['ObjectLockConfigurationNotFoundError', 404],
    ['ExpiredToken', 401],
    ['InternalFailure', 500],
    ['BucketNotEmpty', 400],
  ])('with error %s has status %i', (errorCode, status) => {
    expect(events({ errorCode })[0]).toMatchObject({ status, attributes: { error_code: errorCode } });
  });

  it('has an address only when the source is one', () => {
    expect(events({ sourceIPAddress: 'rds.amazonaws.com' })[0]).toMatchObject({
      ip: '',
      attributes: { source: 'rds.amazonaws.com' },
    });
  });

  it('that AWS made for the caller, or that carries no key, is skipped and not an error', () => {
    const skip = (fields: Record<string, unknown>) => cloudtrail.parse(record(fields), NOW);
    expect(skip({ userIdentity: { ...user, invokedBy: 'AWS Internal' } })).toEqual({
      kind: 'skipped',
      reason: 'service_call',
    });
    expect(skip({ userIdentity: { ...user, accessKeyId: undefined } })).toEqual({
      kind: 'skipped',
      reason: 'no_token',
    });
    expect(skip({ userIdentity: undefined })).toEqual({ kind: 'skipped', reason: 'no_token' });
    expect(skip({ userIdentity: 'x', eventTime: 'never' })).toEqual({ kind: 'skipped', reason: 'no_token' });
  });

  it.each([
    [{ eventTime: undefined }, 'missing_time'],
    [{ eventTime: 'never' }, 'bad_time'],
    [{ eventTime: '1970-01-01T00:00:00Z' }, 'time_out_of_range'],
    [{ eventName: 7 }, 'bad_field'],
    [{ userIdentity: { ...user, accessKeyId: 'x'.repeat(600) } }, 'bad_token'],
  ])('that is broken is refused: %j', (fields, code) => {
    expect(cloudtrail.parse(record(fields), NOW)).toMatchObject({ kind: 'rejected', code });
  });
});

describe('a call about a key is also that key’s lifecycle', () => {
  const iam = { eventSource: 'iam.amazonaws.com' };
  const key = { accessKeyId: 'AKIAOTHER', userName: 'backdoor', status: 'Active' };

  it('issued by CreateAccessKey, for the user it belongs to', () => {
    const created = { ...iam, eventName: 'CreateAccessKey', responseElements: { accessKey: key } };
    expect(events(created)).toMatchObject([
      { kind: 'usage', token: 'AKIAIOSFODNN7EXAMPLE', owner: 'alice' },
      {
        kind: 'lifecycle',
        action: 'issued',
        token: 'AKIAOTHER',
        owner: 'backdoor',
        issuedBy: 'AKIAIOSFODNN7EXAMPLE',
        reason: 'CreateAccessKey by alice',
      },
    ]);
  });

  it('revoked by DeleteAccessKey, of the caller when no user is named', () => {
    const gone = { ...iam, eventName: 'DeleteAccessKey', requestParameters: { accessKeyId: 'AKIAOTHER' } };
    expect(events(gone)[1]).toMatchObject({
      action: 'revoked',
      token: 'AKIAOTHER',
      owner: 'alice',
      issuedBy: '',
    });
  });

  it('changed, not revoked, by UpdateAccessKey: an inactive key can come back', () => {
    const off = { accessKeyId: 'AKIAOTHER', userName: 'bob', status: 'Inactive' };
    expect(events({ ...iam, eventName: 'UpdateAccessKey', requestParameters: off })[1]).toMatchObject({
      action: 'config_changed',
      owner: 'bob',
      config: { key: 'status', from: 'Active', to: 'Inactive', approved: null },
    });
  });

  it.each([
    ['Nov 22, 2026 12:54:47 PM', Date.UTC(2026, 10, 22, 12, 54, 47)],
    ['Nov 22, 2026, 12:04:47\u202fAM', Date.UTC(2026, 10, 22, 0, 4, 47)],
    ['2026-11-22T02:02:03Z', Date.UTC(2026, 10, 22, 2, 2, 3)],
    ['?', null],
  ])('issued by AssumeRole until %s, for the role', (expiration, expiresAt) => {
    const assumed = {
      eventSource: 'sts.amazonaws.com',
      eventName: 'AssumeRole',
      requestParameters: { roleArn: 'arn:aws:iam::111122223333:role/path/deployer' },
      responseElements: { credentials: { accessKeyId: 'ASIANEW', expiration } },
    };
    expect(events(assumed)[1]).toMatchObject({ action: 'issued', token: 'ASIANEW', owner: 'deployer', expiresAt });
  });

  it('also when the caller has no key, as with a web identity', () => {
    const assumed = {
      userIdentity: { type: 'WebIdentityUser', userName: 'repo:acme/app' },
      eventSource: 'sts.amazonaws.com',
      eventName: 'AssumeRoleWithWebIdentity',
      requestParameters: { roleArn: 'arn:aws:iam::111122223333:role/ci' },
      responseElements: { credentials: { accessKeyId: 'ASIANEW' } },
    };
    expect(events(assumed)).toMatchObject([{ kind: 'lifecycle', action: 'issued', owner: 'ci', issuedBy: '' }]);
  });

  it('not when it failed', () => {
    const failed = { ...iam, eventName: 'DeleteAccessKey', requestParameters: key, errorCode: 'AccessDenied' };
    expect(events(failed)).toHaveLength(1);
  });
});

it('a CloudTrail file’s document is unwrapped, and nothing else is', () => {
  expect(unwrapRecords({ Records: [1, 2] })).toEqual([1, 2]);
  for (const other of [null, [], {}, { Records: {} }, 'x']) expect(unwrapRecords(other)).toBeNull();
});

const REAL = new URL('../../../shared/data/invictus-aws-cloudtrail/cloudtrail.ndjson.gz', import.meta.url);
it.skipIf(!existsSync(REAL))('2,900 real records of a red-team exercise are read without a refusal', () => {
  const counts = new Map<string, number>();
  const owners = new Set<string>();
  for (const line of gunzipSync(readFileSync(REAL)).toString('utf8').trim().split('\n')) {
    const parsed = (detectFormat(JSON.parse(line)) as typeof cloudtrail).parse(JSON.parse(line), NOW);
    const key = parsed.kind === 'skipped' ? parsed.reason : parsed.kind;
    counts.set(key, (counts.get(key) ?? 0) + 1);
    if (parsed.kind !== 'events') continue;
    for (const event of parsed.events) {
      owners.add(event.owner);
      const kind = event.kind === 'usage' ? 'used' : event.action;
      counts.set(kind, (counts.get(kind) ?? 0) + 1);
    }
  }
  expect(counts.get('rejected')).toBeUndefined();
  expect((counts.get('events') ?? 0) + (counts.get('service_call') ?? 0) + (counts.get('no_token') ?? 0)).toBe(2900);
  expect(counts.get('revoked')).toBe(2);
  expect(counts.get('issued')).toBeGreaterThanOrEqual(2);
  expect([...owners]).toEqual(
    expect.arrayContaining(['bert-jan', 'benjamin', 'stratus-red-team-ec2-get-password-data-role']),
  );
});
