import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { detection, geoDetection, HOUR, issueLine, ownerDetection, T0 } from '../alerts/samples.ts';
import { openService, type Service } from './service.ts';

let service: Service;
beforeAll(async () => {
  service = await openService(T0 + HOUR, { sqlLimits: { maxRows: 100, timeoutMs: 10_000 } });
  await service.found(detection(), geoDetection(), ownerDetection({ severity: 'low' }));
});
afterAll(() => service.close());

const error = (code: string) => ({ error: { code, message: expect.any(String), fix: expect.any(String) } });

describe('alerts', () => {
  test('are listed in the shape of the contract, last seen first', async () => {
    const { status, json, headers } = await service.call('GET', '/v1/alerts');
    expect(status).toBe(200);
    expect(headers).toMatchObject({ 'cache-control': 'no-store', 'x-request-id': expect.any(String) });
    expect(json.next).toBeNull();
    expect(json.alerts).toHaveLength(2);
    const token = json.alerts.find((alert: { token: unknown }) => alert.token === 'tok_9f2');
    expect(token).toMatchObject({
      id: expect.stringMatching(/^al_/),
      status: 'open',
      severity: 'critical',
      lineage: 'tok_9f2',
      owner: 'acme',
      detectors: expect.arrayContaining(['endpoint-spread', 'geo-novelty']),
      opened_at: expect.stringMatching(/Z$/),
      detections: [
        { id: expect.any(String), window: { from: expect.any(String), to: expect.any(String) } },
        { sql: expect.stringContaining('SELECT') },
      ],
    });
    const times = json.alerts.map((alert: { last_seen: string }) => alert.last_seen);
    expect(times).toEqual([...times].sort().reverse());
  });

  test.each([
    ['status=open', 2],
    ['status=resolved,acknowledged', 0],
    ['severity=critical', 1],
    ['severity=low&severity=critical', 2],
    ['severity=medium', 0],
    ['token=tok_9f2', 1],
    ['token=tok_none', 0],
    ['owner=nobody', 0],
    [`since=${encodeURIComponent(new Date(T0 + HOUR).toISOString())}`, 0],
    ['since=2020-01-01T00:00:00%2B01:00', 2],
    ['since=1577836800', 2],
    ['since=1577836800000', 2],
  ])('are filtered by %s', async (query, count) => {
    const { json } = await service.call('GET', `/v1/alerts?${query}`);
    expect(json.alerts).toHaveLength(count);
  });

  test('come in pages that follow one another', async () => {
    const first = await service.call('GET', '/v1/alerts?limit=1');
    const second = await service.call('GET', `/v1/alerts?limit=1&cursor=${first.json.next}`);
    const all = await service.call('GET', '/v1/alerts');
    expect([...first.json.alerts, ...second.json.alerts].map(({ id }) => id)).toEqual(
      all.json.alerts.map(({ id }: { id: string }) => id),
    );
    expect(second.json.next).toBeNull();
  });

  test.each([
    ['status=opened', 'one of open, acknowledged, resolved'],
    ['severity=fatal', 'one of info, low'],
    ['sevrity=high', 'sevrity: there is no such parameter'],
    ['limit=0', 'limit: expected a whole number from 1 to 200'],
    ['limit=201', 'limit: expected a whole number from 1 to 200'],
    ['limit=ten', 'limit: expected a whole number from 1 to 200'],
    ['limit=1.5', 'limit: expected a whole number from 1 to 200'],
    ['since=yesterday', 'since: expected a time'],
    ['since=2026-11-22', 'since: expected a time'],
    ['token=', 'token: expected something that is not empty'],
    ['token=a&token=b', 'token: expected text'],
  ])('refuse a filter that is not right: %s', async (query, part) => {
    const { status, json } = await service.call('GET', `/v1/alerts?${query}`);
    expect(status).toBe(400);
    expect(json).toEqual(error('bad_parameter'));
    expect(json.error.message).toContain(part);
  });

  test('refuse a cursor that is not one', async () => {
    const { status, json } = await service.call('GET', '/v1/alerts?cursor=abc');
    expect([status, json.error.code]).toEqual([400, 'bad_cursor']);
  });

  test('are counted at other budgets', async () => {
    const { status, json } = await service.call('GET', '/v1/budget?days=90');
    expect(status).toBe(200);
    expect(json.budget).toBe('none');
    expect(json.rows.map(({ budget }: { budget: string }) => budget)).toEqual(
      ['1', '2', '5', '10', '20', '50'].map((count) => `${count} per week`).concat('none'),
    );
    const refused = await service.call('GET', '/v1/budget?days=91');
    expect([refused.status, refused.json.error.message]).toEqual([400, 'days: expected a whole number from 1 to 90']);
  });

  test('one alert comes with its notifications', async () => {
    const { json: list } = await service.call('GET', '/v1/alerts?token=tok_9f2');
    const { status, json } = await service.call('GET', `/v1/alerts/${list.alerts[0].id}`);
    expect(status).toBe(200);
    expect(json).toEqual({ ...list.alerts[0], notifications: [] });
    expect(json.issued).toEqual({ count: 0, used: 0, revoked: 0, tokens: [] });
    const missing = await service.call('GET', '/v1/alerts/al_none');
    expect([missing.status, missing.json]).toEqual([404, error('alert_not_found')]);
  });

  test('one alert says what else must be revoked', async () => {
    await service.store.insert('lifecycle', [issueLine('tok_child', 'tok_i', { expiresAt: T0 + HOUR })], '');
    await service.found(detection({ id: 'det_i', subject: { token: 'tok_i', lineage: 'tok_i', owner: 'acme' } }));
    const { json: list } = await service.call('GET', '/v1/alerts?token=tok_i');
    const { json } = await service.call('GET', `/v1/alerts/${list.alerts[0].id}`);
    const [at, expires] = [T0, T0 + HOUR].map((time) => new Date(time).toISOString());
    const child = { token: 'tok_child', owner: 'acme', issued_by: 'tok_i', at, expires_at: expires };
    expect(json.issued).toEqual({
      ...{ count: 1, used: 0, revoked: 0 },
      tokens: [{ ...child, last_used: null, revoked_at: null }],
    });
  });

  test('are acknowledged and resolved, with or without a note', async () => {
    await service.found(detection({ id: 'det_x', subject: { token: 'tok_x', lineage: 'tok_x', owner: 'acme' } }));
    const { json: list } = await service.call('GET', '/v1/alerts?token=tok_x');
    const id = list.alerts[0].id;
    const acknowledged = await service.call('POST', `/v1/alerts/${id}/acknowledge`);
    expect([acknowledged.status, acknowledged.json.status]).toEqual([200, 'acknowledged']);
    const resolved = await service.call('POST', `/v1/alerts/${id}/resolve`, {
      body: '{"note":"it was us"}',
      type: 'application/json',
    });
    expect(resolved.json).toMatchObject({ id, status: 'resolved' });
    expect((await service.call('GET', `/v1/alerts/${id}`)).json.status).toBe('resolved');
    const late = await service.call('POST', `/v1/alerts/${id}/acknowledge`, { body: '', type: 'application/json' });
    expect([late.status, late.json]).toEqual([409, error('alert_resolved')]);
    const none = await service.call('POST', '/v1/alerts/al_none/resolve');
    expect([none.status, none.json]).toEqual([404, error('alert_not_found')]);
  });

  test.each([
    ['{"note":1}', 'bad_body', 'note: expected text'],
    ['{"comment":"x"}', 'bad_body', 'comment: there is no such field'],
    ['{"as":"fine"}', 'bad_body', 'as: expected one of expected, malicious'],
    [
      '{"as":"expected","until":"soon"}',
      'bad_body',
      'until: expected a time such as 2026-11-22T01:02:03Z, or epoch seconds',
    ],
    ['{"as":"malicious","until":"2027-01-01T00:00:00Z"}', 'bad_body', 'until: only what is expected has an end'],
    ['{"as":"expected","since":"2026-01-01T00:00:00Z"}', 'bad_body', 'since: only for what is malicious'],
    ['{"note":', 'bad_json', 'The body is not valid JSON.'],
    ['[]', 'bad_body', 'the body: expected a JSON object'],
  ])('refuse %s as a word on an alert', async (body, code, message) => {
    const { status, json } = await service.call('POST', '/v1/alerts/al_none/resolve', {
      body,
      type: 'application/json',
    });
    expect([status, json]).toEqual([400, error(code)]);
    expect(json.error.message).toBe(message);
    expect(json.error.fix).not.toBe('');
  });
});

describe('SQL', () => {
  test.each([
    ['the body as text', '/v1/sql', 'SELECT 1 AS one', 'text/plain'],
    ['the body as whatever curl calls it', '/v1/sql', 'SELECT 1 AS one', 'application/x-www-form-urlencoded'],
    ['the body without a type', '/v1/sql', 'SELECT 1 AS one', undefined],
    ['JSON', '/v1/sql', '{"query":"SELECT 1 AS one"}', 'application/json'],
    ['JSON with parameters', '/v1/sql', '{"query":"SELECT {n:UInt8} AS one","params":{"n":1}}', 'application/json'],
    ['the URL', '/v1/sql?query=SELECT%201%20AS%20one', undefined, undefined],
    ['the URL with parameters', '/v1/sql?query=SELECT%20%7Bn%3AUInt8%7D%20AS%20one&param_n=1', undefined, undefined],
  ])('is read from %s', async (_where, url, body, type) => {
    const { status, json, headers } = await service.call('POST', url, { body, type });
    expect([status, headers['content-type']]).toEqual([200, 'application/json; charset=utf-8']);
    expect(json).toMatchObject({ data: [{ one: 1 }], rows: 1 });
  });

  test('answers in the format that the query or the URL names', async () => {
    const named = await service.call('POST', '/v1/sql?format=TSV', { body: 'SELECT 1 AS one FORMAT CSVWithNames' });
    expect([named.headers['content-type'], named.text]).toEqual(['text/csv; charset=utf-8', '"one"\n1\n']);
    const asked = await service.call('POST', '/v1/sql?format=TSVWithNames', { body: 'SELECT 1 AS one;' });
    expect(asked.text).toBe('one\n1\n');
    expect(asked.headers).toMatchObject({ 'x-content-type-options': 'nosniff' });
  });

  test('reads the tables of the contract', async () => {
    const { json } = await service.call('POST', '/v1/sql', {
      body: 'SELECT detector FROM detections ORDER BY detector',
    });
    expect(json.rows).toBeGreaterThan(2);
  });

  test('says when the row limit cut', async () => {
    const cut = await service.call('POST', '/v1/sql', { body: 'SELECT number FROM numbers(1000)' });
    expect([cut.json.rows, cut.headers['x-tokenwatch-truncated']]).toEqual([100, 'true']);
    const whole = await service.call('POST', '/v1/sql', { body: 'SELECT number FROM numbers(10)' });
    expect([whole.json.rows, whole.headers['x-tokenwatch-truncated']]).toEqual([10, undefined]);
  });

  test.each([
    ['SELEC 1', 'sql_failed', '62'],
    ['SELECT * FROM nope', 'sql_failed', '60'],
    ['DROP TABLE events', 'sql_refused', ''],
    ["SELECT * FROM url('http://127.0.0.1/', 'CSV')", 'sql_refused', ''],
    ['SELECT hash FROM access_keys', 'sql_refused', ''],
    ['', 'sql_refused', ''],
  ])('%s is a 400 with the code of the engine', async (body, code, engine_code) => {
    const { status, json } = await service.call('POST', '/v1/sql', { body });
    expect(status).toBe(400);
    expect(json.error).toEqual({ code, message: expect.any(String), fix: expect.any(String), engine_code });
  });

  test.each([
    ['/v1/sql?query=SELECT%201', 'SELECT 2', undefined],
    ['/v1/sql?max_rows=5', 'SELECT 2', undefined],
    ['/v1/sql?format=a%20b', 'SELECT 2', undefined],
    ['/v1/sql', '{"sql":"SELECT 1"}', 'application/json'],
    ['/v1/sql', '{"query":', 'application/json'],
  ])('a request that is not clear is refused: %s %s', async (url, body, type) => {
    const { status, json } = await service.call('POST', url, { body, type });
    expect([status, json]).toEqual([400, error(json.error.code)]);
  });

  test('a body that is too large is a 413', async () => {
    const { status, json } = await service.call('POST', '/v1/sql', { body: 'x'.repeat(300_000) });
    expect([status, json]).toEqual([413, error('body_too_large')]);
  });
});

describe('access keys', () => {
  test('are issued, listed, rotated and revoked', async () => {
    const issued = await service.call('POST', '/v1/keys', {
      body: '{"name":"shipper","scopes":["ingest"],"expires_at":"2030-01-01T00:00:00Z"}',
      type: 'application/json',
    });
    expect(issued.status).toBe(201);
    expect(issued.json).toMatchObject({
      name: 'shipper',
      scopes: ['ingest'],
      status: 'active',
      expires_at: '2030-01-01T00:00:00.000Z',
    });
    expect(await service.keys.authenticate(`Bearer ${issued.json.key}`, 'ingest')).toMatchObject({ kind: 'ok' });

    const rotated = await service.call('POST', `/v1/keys/${issued.json.id}/rotate`, { body: '{"grace_seconds":0}' });
    expect(rotated.status).toBe(201);
    expect(await service.keys.authenticate(`Bearer ${rotated.json.key}`, 'ingest')).toMatchObject({ kind: 'ok' });
    expect(await service.keys.authenticate(`Bearer ${issued.json.key}`, 'ingest')).toEqual({ kind: 'unknown' });

    const revoked = await service.call('DELETE', `/v1/keys/${rotated.json.id}`);
    expect([revoked.status, revoked.json.status]).toEqual([200, 'revoked']);
    expect(await service.keys.authenticate(`Bearer ${rotated.json.key}`, 'ingest')).toEqual({ kind: 'unknown' });

    const list = await service.call('GET', '/v1/keys');
    expect(list.json.keys.map(({ id }: { id: string }) => id)).toEqual(
      expect.arrayContaining([issued.json.id, rotated.json.id]),
    );
    expect(list.text).not.toContain(issued.json.key);
    expect(list.text).not.toContain('hash');
  });

  test.each([
    '{"scopes":["read"]}',
    '{"name":"x","scopes":[]}',
    '{"name":"x","scopes":["admin"]}',
    '{"name":"x","scopes":["read"],"expires_at":"2001-01-01T00:00:00Z"}',
    '{"name":"x","scopes":["read"],"secret":"mine"}',
  ])('%s issues none', async (body) => {
    const { status, json } = await service.call('POST', '/v1/keys', { body });
    expect([status, json]).toEqual([400, error('bad_body')]);
  });

  test('an unknown key is a 404', async () => {
    for (const [method, url] of [
      ['DELETE', '/v1/keys/nope'],
      ['POST', '/v1/keys/nope/rotate'],
    ] as const) {
      const { status, json } = await service.call(method, url);
      expect([status, json]).toEqual([404, error('key_unknown')]);
    }
  });
});

describe('who may call', () => {
  const calls = [
    ['GET', '/v1/alerts', 'read'],
    ['GET', '/v1/alerts/al_1', 'read'],
    ['POST', '/v1/alerts/al_1/acknowledge', 'manage'],
    ['POST', '/v1/alerts/al_1/resolve', 'manage'],
    ['POST', '/v1/sql', 'read'],
    ['GET', '/v1/keys', 'manage'],
    ['POST', '/v1/keys', 'manage'],
    ['POST', '/v1/keys/1/rotate', 'manage'],
    ['DELETE', '/v1/keys/1', 'manage'],
  ] as const;

  test.each(calls)('%s %s needs a key with the scope %s', async (method, url, scope) => {
    const none = await service.call(method, url, { scopes: [] });
    expect([none.status, none.json]).toEqual([401, error('unauthorized')]);
    expect(none.headers['www-authenticate']).toContain('Bearer');
    const other = scope === 'read' ? 'manage' : 'read';
    const wrong = await service.call(method, url, { scopes: ['ingest', other] });
    expect([wrong.status, wrong.json]).toEqual([403, error('forbidden')]);
    const right = await service.call(method, url, { scopes: [scope] });
    expect([401, 403]).not.toContain(right.status);
  });

  test('what is not there is a 404 in JSON', async () => {
    for (const [method, url] of [
      ['GET', '/v1/nope?secret=1'],
      ['GET', '/'],
      ['DELETE', '/v1/alerts'],
    ] as const) {
      const { status, json, text } = await service.call(method, url);
      expect([status, json]).toEqual([404, error('not_found')]);
      expect(text).not.toContain('secret');
    }
  });

  test('a URL that cannot be decoded is refused in the same form as all else', async () => {
    const { status, json } = await service.call('GET', '/v1/alerts/%00%ff');
    expect([status, json]).toEqual([400, error('bad_url')]);
  });
});
