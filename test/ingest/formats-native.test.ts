import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { LifecycleEvent, Parsed, UsageEvent } from '../../core/index.ts';
import { detectFormat, FORMATS, formatNamed } from '../../ingest/formats/index.ts';
import { native } from '../../ingest/formats/native.ts';

const NOW = Date.UTC(2026, 10, 22, 12);
const AT = Date.UTC(2026, 10, 22, 1, 2, 3, 123);
const base = { time: '2026-11-22T01:02:03.123Z', token: 'tok_9f2' };

function parse(record: Record<string, unknown>): Parsed {
  return native.parse(record, NOW);
}
function usage(record: Record<string, unknown>): UsageEvent {
  const parsed = parse(record);
  if (parsed.kind !== 'events' || parsed.events[0]?.kind !== 'usage') throw new Error(JSON.stringify(parsed));
  return parsed.events[0];
}
function lifecycle(record: Record<string, unknown>): LifecycleEvent {
  const parsed = parse(record);
  if (parsed.kind !== 'events' || parsed.events[0]?.kind !== 'lifecycle') throw new Error(JSON.stringify(parsed));
  return parsed.events[0];
}
function refusal(record: Record<string, unknown>): { code: string; message: string } {
  const parsed = parse(record);
  if (parsed.kind !== 'rejected') throw new Error(JSON.stringify(parsed));
  return parsed;
}

describe('the native event', () => {
  it('of the contract is read field by field', () => {
    expect(
      usage({
        ...base,
        owner: 'acme',
        method: 'get',
        path: '/v1/users/42',
        status: 200,
        ip: '203.0.113.9',
        user_agent: 'curl/8.5',
        bytes: 512,
        duration_ms: 12.5,
        request_id: 'r1',
        id: 'unique',
      }),
    ).toEqual({
      kind: 'usage',
      time: AT,
      id: 'unique',
      token: 'tok_9f2',
      owner: 'acme',
      method: 'GET',
      path: '/v1/users/42',
      endpoint: '',
      status: 200,
      ip: '203.0.113.9',
      userAgent: 'curl/8.5',
      bytes: 512,
      durationMs: 12.5,
      requestId: 'r1',
      attributes: null,
    });
  });

  it('needs only a time and a token', () => {
    expect(usage(base)).toMatchObject({ token: 'tok_9f2', owner: '', endpoint: '', status: 0, attributes: null });
  });

  it('may name its endpoint itself, whose method is then known', () => {
    expect(usage({ ...base, endpoint: 'GET /v1/users/{id}' })).toMatchObject({ method: 'GET', path: '' });
    expect(usage({ ...base, endpoint: 'ListUsers' })).toMatchObject({ method: '', endpoint: 'ListUsers' });
  });

  it('keeps its line when a name has control characters, and loses them', () => {
    expect(usage({ ...base, owner: 'ac\r\nme\u009b', id: '\u001b[2Jx', method: '\u0016\u0003A' })).toMatchObject({
      owner: 'acme',
      id: '[2Jx',
      method: '',
    });
    expect(lifecycle({ ...base, action: 'rotated', replaces: 'tok\t_1', fingerprint: 'f\0p\u007f' })).toMatchObject({
      replaces: 'tok_1',
      fingerprint: 'fp',
    });
  });

  it('may have a number as its token, nulls for what it has not, and numbers as text', () => {
    expect(usage({ ...base, token: 4711, owner: 12, status: '404', bytes: '-', ip: null, path: null })).toMatchObject({
      token: '4711',
      owner: '12',
      status: 404,
      bytes: 0,
      ip: '',
    });
  });

  it('has the address without its port, and keeps what is no address for the analyst', () => {
    expect(usage({ ...base, ip: '::ffff:203.0.113.9' }).ip).toBe('203.0.113.9');
    expect(usage({ ...base, ip: 'unix:' })).toMatchObject({ ip: '', attributes: { ip: 'unix:' } });
  });
});

describe('time', () => {
  it.each([
    ['2026-11-22T01:02:03.123Z', AT],
    ['2026-11-22T01:02:03.123456789Z', AT],
    ['2026-11-22 01:02:03.123z', AT],
    ['2026-11-22T02:32:03.123+01:30', AT],
    ['2026-11-21T20:02:03.123-0500', AT],
    [AT, AT],
    [String(AT), AT],
    [AT / 1000, AT],
    [String(AT / 1000), AT],
    [1763773323, 1763773323000],
  ])('%s is read', (time, expected) => {
    expect(usage({ ...base, time }).time).toBe(expected);
  });

  it.each([
    'yesterday',
    '',
    '2026-11-22',
    '2026-11-22T01:02:03',
    '2026-02-30T01:02:03Z',
    '2026-13-01T01:02:03Z',
    '2026-11-22T25:02:03Z',
    '2026-11-22T01:02:03.Z',
    '2026-11-22T01:02:03Zulu',
    true,
    {},
    Number.NaN,
  ])('%s is refused as bad_time', (time) => {
    expect(refusal({ ...base, time })).toMatchObject({
      code: 'bad_time',
      message: expect.stringContaining('RFC 3339'),
    });
  });

  it.each([
    [0, '1970-01-01'],
    [1_763_773, '1970-01-21'],
    ['1970-01-01T00:00:00Z', '1970-01-01'],
    ['2100-01-01T00:00:00Z', '2100-01-01'],
    [4_102_444_800, '2100-01-01'],
    [NOW + 25 * 3_600_000, '2026-11-23T13'],
    [NOW * 1000, 'microseconds'],
    [NOW * 1_000_000, 'nanoseconds'],
    [1e300, 'beyond the calendar'],
  ])('%s is refused as out of range, with what was read', (time, read) => {
    const { code, message } = refusal({ ...base, time });
    expect(code).toBe('time_out_of_range');
    expect(message).toContain(read);
    expect(message).toContain('2000-01-01');
    if (typeof time === 'number') expect(message).toMatch(/seconds/);
  });

  it('may be a little in the future, by the clocks of others', () => {
    expect(usage({ ...base, time: NOW + 23 * 3_600_000 }).time).toBe(NOW + 23 * 3_600_000);
  });

  it.each(['timestamp', '@timestamp', 'date', 'started_at'])('may be called %s where shippers do', (name) => {
    expect(usage({ token: 't', [name]: AT })).toMatchObject({ time: AT, attributes: null });
    expect(usage({ ...base, [name]: 'x' }).attributes).toEqual({ [name]: 'x' });
  });

  it('missing is its own error', () => {
    expect(refusal({ token: 't' }).code).toBe('missing_time');
    expect(refusal({ token: 't', time: null }).code).toBe('missing_time');
  });

  it('round-trips through RFC 3339 for every moment', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: Date.UTC(2000, 0, 1), max: NOW }),
        fc.integer({ min: -839, max: 839 }),
        (ms, offset) => {
          const sign = offset < 0 ? '-' : '+';
          const zone = `${sign}${String(Math.floor(Math.abs(offset) / 60)).padStart(2, '0')}:${String(Math.abs(offset) % 60).padStart(2, '0')}`;
          const text = new Date(ms + offset * 60_000).toISOString().replace('Z', zone);
          expect(usage({ ...base, time: text }).time).toBe(ms);
        },
      ),
    );
  });
});

describe('a refused event says which field, what was found and what is allowed', () => {
  it.each([
    [{ token: undefined }, 'missing_token', 'token is missing'],
    [{ token: '' }, 'bad_token', 'token is empty'],
    [{ token: '  ' }, 'bad_token', 'token is empty'],
    [{ token: 'a\nb' }, 'bad_token', 'control characters'],
    [{ token: 'a\0b' }, 'bad_token', 'control characters'],
    [{ token: 'x'.repeat(513) }, 'bad_token', '513 characters'],
    [{ token: ['a'] }, 'bad_token', 'an array'],
    [{ action: 'stolen' }, 'bad_action', 'issued, verified'],
    [{ action: 7 }, 'bad_action', 'the number 7'],
    [{ status: 'ok' }, 'bad_field', 'status is text'],
    [{ status: -1 }, 'bad_field', 'status is the number -1'],
    [{ bytes: {} }, 'bad_field', 'bytes is an object'],
    [{ path: { a: 1 } }, 'bad_field', 'path is an object'],
    [{ ip: 12 }, 'bad_field', 'ip is the number 12'],
    [{ owner: [] }, 'bad_field', 'owner is an array'],
    [{ owner: 'x'.repeat(600) }, 'bad_field', 'owner has 600 characters'],
    [{ action: 'issued', scopes: [1] }, 'bad_field', 'scopes'],
    [{ action: 'issued', expires_at: 'never' }, 'bad_field', 'expires_at'],
    [{ action: 'config_changed', config: 'x' }, 'bad_field', 'config is text'],
    [{ action: 'config_changed', config: { from: 1 } }, 'bad_field', 'config.key'],
    [{ action: 'config_changed', config: { key: 'k', approved: 'yes' } }, 'bad_field', 'config.approved'],
  ])('%j', (fields, code, message) => {
    expect(refusal({ ...base, ...fields })).toMatchObject({ code, message: expect.stringContaining(message) });
  });

  it('and never repeats a text that might be a secret', () => {
    expect(refusal({ ...base, status: 'hunter2' }).message).not.toContain('hunter2');
    expect(refusal({ ...base, time: 'hunter2' }).message).not.toContain('hunter2');
  });

  it('when it nests too deep, however deep', () => {
    const nested = (levels: number) => JSON.parse(`${'{"a":'.repeat(levels)}1${'}'.repeat(levels)}`);
    expect(refusal({ ...base, x: nested(64) }).code).toBe('too_deep');
    expect(refusal({ ...base, x: nested(20_000) }).code).toBe('too_deep');
    expect(refusal({ ...base, attributes: nested(20_000) }).code).toBe('too_deep');
    expect(usage({ ...base, x: nested(60) }).attributes).not.toBeNull();
  });
});

describe('a lifecycle event', () => {
  it('is read with all its fields', () => {
    expect(
      lifecycle({
        ...base,
        action: 'rotated',
        replaces: 'tok_9f1',
        issued_by: 'tok_9f0',
        requested_at: 1763773323,
        expires_at: '2100-01-01T00:00:00Z',
        effective_at: AT,
        fingerprint: 'sha256:ab',
        scopes: ['read', 'write'],
        reason: 'scheduled',
        config: { key: 'scopes', from: ['read'], to: 'read write', approved: true },
      }),
    ).toMatchObject({
      action: 'rotated',
      token: 'tok_9f2',
      replaces: 'tok_9f1',
      issuedBy: 'tok_9f0',
      requestedAt: 1763773323000,
      expiresAt: Date.UTC(2100, 0, 1),
      effectiveAt: AT,
      fingerprint: 'sha256:ab',
      scopes: ['read', 'write'],
      reason: 'scheduled',
      config: { key: 'scopes', from: '["read"]', to: 'read write', approved: true },
    });
  });

  it('takes OAuth scopes as one text, and "never" as systems write it', () => {
    expect(lifecycle({ ...base, action: 'issued', scopes: 'read write', expires_at: 0 })).toMatchObject({
      scopes: ['read', 'write'],
      expiresAt: null,
    });
    expect(lifecycle({ ...base, action: 'issued', expires_at: '9999-12-31T00:00:00Z' }).expiresAt).toBeNull();
  });

  it('keeps the fields of a call as attributes', () => {
    expect(lifecycle({ ...base, action: 'revoked', status: 204 }).attributes).toEqual({ status: 204 });
  });
});

describe('unknown fields', () => {
  it('are kept, those of an attributes object too', () => {
    expect(usage({ ...base, region: 'eu', tls: { v: 1.3 }, attributes: { plan: 'pro' } }).attributes).toEqual({
      region: 'eu',
      tls: { v: 1.3 },
      plan: 'pro',
    });
  });

  it('are bounded in number and size, and what was dropped is counted', () => {
    const many = Object.fromEntries(Array.from({ length: 60 }, (_, i) => [`k${i}`, i]));
    const kept = usage({ ...base, ...many }).attributes as Record<string, unknown>;
    expect(Object.keys(kept)).toHaveLength(51);
    expect(kept._dropped).toBe(10);
    expect(usage({ ...base, big: 'x'.repeat(9_000), small: 1 }).attributes).toEqual({ small: 1, _dropped: 1 });
  });

  it('cannot reach an object prototype', () => {
    const record = JSON.parse('{"time":1763773323,"token":"t","__proto__":{"polluted":1}}');
    expect(JSON.stringify(usage(record).attributes)).toBe('{"__proto__":{"polluted":1}}');
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });
});

it('every stored string is well-formed and free of NUL, whatever was sent', () => {
  const unit = fc.oneof(fc.constantFrom('\ud800', '\udc00', '\0', 'é', '😀'), fc.string());
  const dirty = fc.array(unit).map((parts) => parts.join(''));
  fc.assert(
    fc.property(dirty, (text) => {
      const parsed = parse({ ...base, owner: text, path: text, user_agent: text, [`x${text}`]: [{ [text]: text }] });
      if (parsed.kind !== 'events') return;
      const visit = (value: unknown): void => {
        if (typeof value === 'string') {
          expect(value).not.toContain('\0');
          expect(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/.test(value)).toBe(false);
        } else if (typeof value === 'object' && value !== null) {
          for (const [key, inner] of Object.entries(value)) {
            visit(key);
            visit(inner);
          }
        }
      };
      visit(parsed.events);
    }),
  );
});

it('any JSON object is a value: events, rejected or skipped, never an exception', () => {
  const fields = [
    'time',
    'token',
    'action',
    'path',
    'status',
    'ip',
    'scopes',
    'config',
    'expires_at',
    'attributes',
    'x',
  ];
  const record = fc.dictionary(
    fc.constantFrom(...fields),
    fc.oneof(fc.jsonValue(), fc.constant(AT), fc.constant('rotated')),
  );
  fc.assert(
    fc.property(record, (found) => {
      for (const format of FORMATS) {
        expect(['events', 'rejected', 'skipped']).toContain(format.parse(found as Record<string, unknown>, NOW).kind);
      }
    }),
  );
});

describe('formats', () => {
  it('are found by name and by what a record looks like', () => {
    expect(new Set(FORMATS.map(({ name }) => name)).size).toBe(FORMATS.length);
    for (const format of FORMATS) expect(formatNamed(format.name)).toBe(format);
    expect(formatNamed('nothing')).toBeNull();
    expect(detectFormat(base)?.name).toBe('native');
    expect(detectFormat({ eventSource: 'iam.amazonaws.com', eventName: 'X' })?.name).toBe('cloudtrail');
    expect(detectFormat({ hello: 1 })).toBeNull();
  });

  it('know the probe with which Cloudflare Logpush tests a destination', () => {
    expect(detectFormat({ content: 'tests' })?.name).toBe('native');
    expect(parse({ content: 'tests' })).toEqual({ kind: 'skipped', reason: 'probe' });
  });
});
