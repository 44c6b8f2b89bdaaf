import { connect } from 'node:net';
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { rows } from '../kit/store.ts';
import { event, ndjson, openEngines, type Receiver, startReceiver, stored, until } from './kit.ts';

let engines: Awaited<ReturnType<typeof openEngines>>;
let receiver: Receiver;

beforeAll(async () => {
  engines = await openEngines();
  receiver = await startReceiver(engines.store, engines.queues);
});

afterAll(async () => {
  await receiver?.close();
  await engines?.close();
});

describe('POST /v1/events', () => {
  test('answers 200 when the events are stored, in every shape and encoding', async () => {
    const shapes: [string, (events: unknown[]) => string][] = [
      ['ndjson', ndjson],
      ['array', (events) => JSON.stringify(events)],
      ['pretty', (events) => events.map((item) => JSON.stringify(item, null, 2)).join('\n')],
      ['concatenated', (events) => events.map((item) => JSON.stringify(item)).join('')],
    ];
    for (const [name, shape] of shapes) {
      const token = `tok_shape_${name}`;
      const { status, body } = await receiver.post(shape([event({ token }), event({ token }), event({ token })]));
      expect({ status, body }).toEqual({ status: 200, body: { accepted: 3, rejected: 0, skipped: 0, errors: [] } });
      expect(await stored(engines.store, token)).toBe(3);
    }
    const encodings: [string, (body: string) => Uint8Array<ArrayBuffer>][] = [
      ['gzip', (body) => new Uint8Array(gzipSync(body))],
      ['deflate', (body) => new Uint8Array(deflateSync(body))],
      ['br', (body) => new Uint8Array(brotliCompressSync(body))],
    ];
    for (const [encoding, compress] of encodings) {
      const token = `tok_${encoding}`;
      const body = compress(ndjson([event({ token }), event({ token })]));
      const answer = await receiver.post(body, { headers: { 'content-encoding': encoding } });
      expect(answer.status).toBe(200);
      expect(await stored(engines.store, token)).toBe(2);
    }
  });

  test('one object without a usable content type is an event, the key may be a Basic password', async () => {
    const response = await fetch(`${receiver.url}/v1/events`, {
      method: 'POST',
      headers: {
        authorization: `Basic ${Buffer.from(`shipper:${receiver.key}`).toString('base64')}`,
        'content-type': '',
      },
      body: JSON.stringify(event({ token: 'tok_single' })),
    });
    expect(response.status).toBe(200);
    expect(await stored(engines.store, 'tok_single')).toBe(1);
  });

  test('good lines of a mixed batch are kept, bad ones named and kept with their reason, secrets replaced', async () => {
    const secret = 'ghp_abcdefghijklmnopqrstuvwxyz0123456789';
    const lines = [
      JSON.stringify(event({ token: 'tok_mixed' })),
      `{"time": "never", "token": "tok_mixed", "user_agent": "${secret}"}`,
      '{broken',
      '[1,2]',
      '{"time": 1, "token": 5}',
      JSON.stringify(event({ token: 'tok_mixed' })),
    ];
    const { status, body } = await receiver.post(lines.join('\n'));
    expect(status).toBe(200);
    expect(body).toMatchObject({ accepted: 2, rejected: 4 });
    expect(body.errors.map((error: { line: number; code: string }) => [error.line, error.code])).toEqual([
      [2, 'bad_time'],
      [3, 'bad_json'],
      [4, 'not_an_object'],
      [5, expect.any(String)],
    ]);
    expect(JSON.stringify(body)).not.toContain(secret);
    expect(await stored(engines.store, 'tok_mixed')).toBe(2);
    const kept = await rows(
      engines.store,
      'SELECT line, code, content FROM rejected_events WHERE line <= 6 ORDER BY line',
    );
    expect(kept.map((row) => [row.line, row.code])).toEqual(
      body.errors.map((error: { line: number; code: string }) => [error.line, error.code]),
    );
    expect(JSON.stringify(kept)).not.toContain(secret);
    expect(String(kept[0]?.content)).toContain('"never"');
  });

  test('a request that is sent again stores nothing twice and says so', async () => {
    const small = ndjson([event({ token: 'tok_again' }), event({ token: 'tok_again' })]);
    const large = ndjson(Array.from({ length: 1500 }, () => event({ token: 'tok_again_large' })));
    for (const [token, body, count] of [
      ['tok_again', small, 2],
      ['tok_again_large', large, 1500],
    ] as const) {
      const first = await receiver.post(body);
      expect(first.body).toEqual({ accepted: count, rejected: 0, skipped: 0, errors: [] });
      const second = await receiver.post(new Uint8Array(gzipSync(body)), { headers: { 'content-encoding': 'gzip' } });
      expect(second.body).toEqual({ accepted: count, rejected: 0, skipped: 0, errors: [], duplicate: true });
      expect(await stored(engines.store, token)).toBe(count);
    }
  });

  test('requests of the same bytes are two when their idempotency keys differ, and one when they do not', async () => {
    const body = ndjson([event({ token: 'tok_keyed' })]);
    const post = (key: string) => receiver.post(body, { headers: { 'idempotency-key': key } });
    for (const key of ['"batch-1"', '"batch-2"', '"batch-1"']) expect((await post(key)).body.accepted).toBe(1);
    expect(await stored(engines.store, 'tok_keyed')).toBe(2);
    const ids = await rows(engines.store, `SELECT uniqExact(id) AS n FROM events WHERE token = 'tok_keyed'`);
    expect(Number(ids[0]?.n)).toBe(2);
    for (const key of ['', 'k'.repeat(256)]) {
      expect(await post(key)).toMatchObject({ status: 400, body: { error: { code: 'bad_idempotency_key' } } });
    }
  });

  test('the same request sent many times at once is stored once', async () => {
    const body = ndjson([event({ token: 'tok_at_once' })]);
    const answers = await Promise.all(Array.from({ length: 8 }, () => receiver.post(body)));
    for (const answer of answers) expect(answer.body).toMatchObject({ accepted: 1 });
    expect(await stored(engines.store, 'tok_at_once')).toBe(1);
  });

  test('small requests of many senders share inserts, and each gets its own answer', async () => {
    const answers = await Promise.all(
      Array.from({ length: 40 }, (_, i) =>
        receiver.post(ndjson([event({ token: 'tok_many' }), ...(i % 2 ? ['bad'] : [])])),
      ),
    );
    for (const [i, { body }] of answers.entries()) expect(body).toMatchObject({ accepted: 1, rejected: i % 2 });
    expect(await stored(engines.store, 'tok_many')).toBe(40);
    const [row] = await rows(
      engines.store,
      "SELECT uniqExact(received_at) AS batches FROM events WHERE token = 'tok_many'",
    );
    expect(Number(row?.batches)).toBeLessThan(40);
  });

  test('rows carry the enrichment of their event, and lifecycle events their table', async () => {
    const { body } = await receiver.post(
      ndjson([
        event({ token: 'tok_old', path: '/v1/users/42?x=1', ip: '8.8.8.8' }),
        { time: Date.now(), token: 'tok_new', owner: 'acme', action: 'rotated', replaces: 'tok_old' },
        event({ token: 'tok_new', path: '/v1/users/43', id: 'own-id' }),
      ]),
    );
    expect(body).toMatchObject({ accepted: 3 });
    const found = await rows(
      engines.store,
      "SELECT token, lineage, endpoint, country, id FROM events WHERE token IN ('tok_old', 'tok_new') ORDER BY time",
    );
    expect(found).toMatchObject([
      { token: 'tok_old', lineage: 'tok_old', endpoint: 'GET /v1/users/{id}', country: 'US' },
      { token: 'tok_new', lineage: 'tok_old', endpoint: 'GET /v1/users/{id}', id: 'own-id' },
    ]);
    const lifecycle = await rows(engines.store, "SELECT action, lineage FROM lifecycle WHERE token = 'tok_new'");
    expect(lifecycle).toEqual([{ action: 'rotated', lineage: 'tok_old' }]);
  });

  test('CloudTrail files are recognised, calls without a key are skipped', async () => {
    const record = {
      eventVersion: '1.08',
      userIdentity: { type: 'IAMUser', userName: 'ben', accessKeyId: 'AKIAEXAMPLEEXAMPLE01', accountId: '1' },
      eventTime: new Date().toISOString(),
      eventSource: 's3.amazonaws.com',
      eventName: 'ListBuckets',
      sourceIPAddress: '203.0.113.5',
      eventID: 'e-1',
    };
    const noKey = { ...record, eventID: 'e-2', userIdentity: { type: 'AWSService', invokedBy: 'ec2.amazonaws.com' } };
    const { status, body } = await receiver.post(JSON.stringify({ Records: [record, noKey] }));
    expect({ status, body }).toMatchObject({ status: 200, body: { accepted: 1, rejected: 0, skipped: 1 } });
    const skippedOnly = await receiver.post(JSON.stringify(noKey), { format: 'cloudtrail' });
    expect({ status: skippedOnly.status, body: skippedOnly.body }).toMatchObject({
      status: 200,
      body: { skipped: 1, skipped_by: { service_call: 1 } },
    });
    expect(await stored(engines.store, 'AKIAEXAMPLEEXAMPLE01')).toBe(1);
  });
});

test('a CloudTrail document without records is taken: there is nothing in it', async () => {
  for (const body of ['{"Records":[]}', '{ "Records": [\n] }\n', '{"Records":[],"more":{"x":[1]}}']) {
    const answer = await receiver.post(body);
    expect(answer).toMatchObject({ status: 200, body: { accepted: 0, rejected: 0, skipped: 0, errors: [] } });
  }
  expect((await receiver.post('{"Records":[')).body.error.code).toBe('empty_body');
});

describe('what cannot be taken is refused with its reason and the fix', () => {
  const cases: [
    string,
    string | Uint8Array<ArrayBuffer>,
    { format?: string; headers?: Record<string, string> },
    number,
    string,
  ][] = [
    ['an empty body', '', {}, 400, 'empty_body'],
    ['an empty array', '[]', {}, 400, 'empty_body'],
    ['nothing but garbage', 'hello\nworld', {}, 400, 'nothing_usable'],
    ['an unknown format', '{}', { format: 'nope' }, 400, 'unknown_format'],
    ['an unknown encoding', '{}', { headers: { 'content-encoding': 'snappy' } }, 415, 'unsupported_encoding'],
    ['protobuf', 'x', { headers: { 'content-type': 'application/x-protobuf' } }, 415, 'unsupported_media_type'],
  ];
  test.each(cases)('%s', async (_name, body, options, status, code) => {
    const answer = await receiver.post(body, options);
    expect({ status: answer.status, code: answer.body.error.code }).toEqual({ status, code });
    expect(answer.body.error.fix).not.toBe('');
  });

  test('no key is 401, a wrong key is 401, a key without the scope is 403', async () => {
    const { key } = await receiver.keys.issue('reader', ['read']);
    for (const [authorization, status] of [
      ['', 401],
      ['Bearer nope', 401],
      [`Bearer ${receiver.key}x`, 401],
      [`Bearer ${key}`, 403],
    ] as const) {
      const answer = await receiver.post(ndjson([event()]), { headers: { authorization } });
      expect(answer.status).toBe(status);
      expect(answer.body.error.code).toBe(status === 401 ? 'unauthorized' : 'forbidden');
    }
  });

  test('the health probe of shippers is answered without a key', async () => {
    for (const method of ['GET', 'HEAD']) {
      expect((await fetch(`${receiver.url}/v1/events`, { method })).status).toBe(200);
    }
  });
});

describe('bad input costs itself and nothing else', () => {
  const bad: [string, string | Buffer, string][] = [
    [
      'invalid UTF-8',
      Buffer.concat([Buffer.from('{"time":1,"token":"'), Buffer.from([0xff]), Buffer.from('"}')]),
      'bad_utf8',
    ],
    ['a NUL byte', '{"time":1,"token":"a\u0000b"}', 'bad_json'],
    ['deep JSON', `{"time":${Date.now()},"token":"t","x":${'['.repeat(200_000)}${']'.repeat(200_000)}}`, 'too_deep'],
    ['a date of 1970', '{"time":"1970-01-01T00:00:00Z","token":"t"}', 'time_out_of_range'],
    ['a date of 2100', '{"time":"2100-01-01T00:00:00Z","token":"t"}', 'time_out_of_range'],
    ['wrong types', '{"time":{"a":1},"token":"t"}', 'bad_time'],
    ['a line of 3 MB', `{"x":"${'x'.repeat(3 << 20)}"}`, 'line_too_long'],
    ['no time', '{"token":"t"}', 'missing_time'],
  ];
  test.each(bad)('%s is one rejected line', async (name, line, code) => {
    const token = `tok_good_${name.replaceAll(' ', '_')}`;
    const good = () => Buffer.from(JSON.stringify(event({ token })));
    const newline = Buffer.from('\n');
    const body = Buffer.concat([good(), newline, Buffer.from(line), newline, good()]);
    const answer = await receiver.post(new Uint8Array(body));
    expect(answer.status).toBe(200);
    expect(answer.body).toMatchObject({ accepted: 2, rejected: 1, errors: [{ line: 2, code }] });
    expect(await stored(engines.store, token)).toBe(2);
  });

  test('lone surrogates and escaped NULs in values are stored without harm', async () => {
    const body = `{"time":${Date.now()},"token":"tok_surrogate","user_agent":"a\\ud800b\\u0000c","x":"\\udc00"}`;
    expect((await receiver.post(body)).body).toMatchObject({ accepted: 1 });
    expect(await stored(engines.store, 'tok_surrogate')).toBe(1);
  });

  test('truncated gzip keeps the complete lines and names the cut', async () => {
    const lines = Array.from({ length: 3000 }, () => event({ token: 'tok_truncated' }));
    const whole = gzipSync(ndjson(lines));
    const { status, body } = await receiver.post(new Uint8Array(whole.subarray(0, whole.length >> 1)), {
      headers: { 'content-encoding': 'gzip' },
    });
    expect(status).toBe(200);
    expect(body.accepted).toBeGreaterThan(1000);
    expect(body).toMatchObject({ rejected: 1, errors: [{ code: 'truncated_body' }] });
    expect(await stored(engines.store, 'tok_truncated')).toBe(body.accepted);
  });

  test('a bomb of zeros is 413, and the receiver is up after it', async () => {
    const bomb = gzipSync(Buffer.alloc(100 << 20));
    const { status, body } = await receiver.post(new Uint8Array(bomb), { headers: { 'content-encoding': 'gzip' } });
    expect({ status, code: body.error.code }).toEqual({ status: 413, code: 'body_too_large' });
    expect((await receiver.post(ndjson([event()]))).status).toBe(200);
  });

  test('a sender that is still writing when it is refused gets its answer, and may go on with the connection', async () => {
    const narrow = await startReceiver(engines.store, engines.queues, { config: { bodyLimitBytes: 1 << 20 } });
    const body = `${ndjson([event({ token: 'tok_too_large' })])}\n${'{"a":1}\n'.repeat(4 << 20)}`;
    for (let i = 0; i < 2; i++) {
      const { status, body: answer } = await narrow.post(body);
      expect({ status, code: answer.error.code }).toEqual({ status: 413, code: 'body_too_large' });
      expect((await narrow.post(body, { headers: { authorization: 'Bearer wrong' } })).status).toBe(401);
    }
    expect(await stored(engines.store, 'tok_too_large')).toBe(1);
    await narrow.close();
  });

  test('a sender that goes away in the middle leaves nothing held', async () => {
    const { hostname, port } = new URL(receiver.url);
    const socket = connect(Number(port), hostname);
    const held = async () =>
      (await receiver.metrics.getSingleMetricAsString('tokenwatch_ingest_buffered_bytes')).split('\n').at(-1);
    socket.write(
      `POST /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${receiver.key}\r\ncontent-length: 1000000\r\n\r\n${ndjson([event({ token: 'tok_gone' })])}\n`,
    );
    await until(async () => !(await held())?.endsWith(' 0'));
    socket.destroy();
    await until(async () => (await held())?.endsWith(' 0') === true);
    expect(await stored(engines.store, 'tok_gone')).toBe(0);
    expect((await receiver.post(ndjson([event()]))).status).toBe(200);
  });
});
