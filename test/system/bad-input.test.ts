import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { built, type Program, tokenwatch } from '../kit/processes.ts';
import { type RedisServer, startRedisServer } from '../kit/redis-server.ts';

const MIB = 1 << 20;
/** What a process may hold whatever it is sent. */
const MEMORY_LIMIT_MIB = 1_200;

const folder = mkdtempSync(join(tmpdir(), 'tokenwatch-bad-input-'));
let redis: RedisServer;
let program: Program;
let url: string;
let headers: Record<string, string>;

beforeAll(async () => {
  [redis] = await Promise.all([startRedisServer(), built()]);
  program = tokenwatch(['up'], {
    cwd: folder,
    env: { REDIS_URL: redis.url, TOKENWATCH_DATA: folder, TOKENWATCH_LISTEN: '127.0.0.1:0', TOKENWATCH_LOG: 'silent' },
  });
  url = (await program.printed(/listens at (\S+)/))[1] as string;
  headers = { authorization: `Bearer ${readFileSync(join(folder, 'access-key'), 'utf8').trim()}` };
}, 120_000);
afterAll(async () => {
  await program?.kill();
  await redis?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Whatever a test sent: the process is up, ready, takes events, and has not grown out of bounds. */
afterEach(async () => {
  expect(program.child.exitCode).toBeNull();
  expect((await fetch(`${url}/readyz`)).status).toBe(200);
  expect(await post(event())).toMatchObject({ status: 200, accepted: 1 });
  const metrics = await (await fetch(`${url}/metrics`)).text();
  const resident = Number(/^process_resident_memory_bytes (\S+)$/m.exec(metrics)?.[1]);
  expect(resident / MIB).toBeLessThan(MEMORY_LIMIT_MIB);
});

interface Answer {
  readonly status: number;
  readonly accepted: number;
  readonly rejected: number;
  readonly errors: readonly { line: number; code: string; message: string }[];
  readonly error?: { readonly code: string; readonly fix: string };
}

async function post(body: string | Buffer | Iterable<Buffer>, more: Record<string, string> = {}): Promise<Answer> {
  const streamed = typeof body === 'string' || Buffer.isBuffer(body) ? null : Readable.from(body);
  const response = await fetch(`${url}/v1/events`, {
    method: 'POST',
    headers: { ...headers, ...more },
    ...(streamed === null
      ? { body: Buffer.isBuffer(body) ? new Uint8Array(body) : (body as string) }
      : { body: Readable.toWeb(streamed) as ReadableStream, duplex: 'half' }),
  });
  return { status: response.status, ...((await response.json()) as Omit<Answer, 'status'>) };
}

let serial = 0;
function event(fields: Record<string, unknown> = {}): string {
  return JSON.stringify({
    time: Date.now(),
    token: 'tok_good',
    owner: 'acme',
    path: '/x',
    id: `g${serial++}`,
    ...fields,
  });
}

const oddities: [string, string | Buffer, string][] = [
  ['invalid UTF-8', Buffer.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x7d]), 'bad_utf8'],
  ['a NUL byte', `{"time":${Date.now()},"token":"a\u0000b"}`, 'bad_json'],
  ['a NUL in a token', `{"time":${Date.now()},"token":"a\\u0000b"}`, 'bad_token'],
  ['wrong types', `{"time":${Date.now()},"token":{"a":1}}`, 'bad_token'],
  ['a date of 1970', '{"time":"1970-01-01T00:00:00Z","token":"t"}', 'time_out_of_range'],
  ['a date of 2100', '{"time":"2100-01-01T00:00:00Z","token":"t"}', 'time_out_of_range'],
  ['deep JSON', `{"time":${Date.now()},"token":"t","x":${'['.repeat(400_000)}${']'.repeat(400_000)}}`, 'too_deep'],
  ['a line of 50 MB', `{"x":"${'x'.repeat(50 * MIB)}"}`, 'line_too_long'],
  ['no JSON at all', 'GET / HTTP/1.1', 'bad_json'],
];

test.each(oddities)(
  '%s is one rejected line, with its reason; the lines around it are stored',
  async (_name, line, code) => {
    const newline = Buffer.from('\n');
    const body = Buffer.concat([Buffer.from(event()), newline, Buffer.from(line), newline, Buffer.from(event())]);
    const answer = await post(body);
    expect(answer).toMatchObject({ status: 200, accepted: 2, rejected: 1, errors: [{ line: 2, code }] });
    expect(answer.errors[0]?.message.length).toBeLessThan(300);
  },
);

test('a lone surrogate is stored as well-formed text', async () => {
  expect(await post(`{"time":${Date.now()},"token":"tok_surrogate","user_agent":"a\\ud800b"}`)).toMatchObject({
    accepted: 1,
  });
  const response = await fetch(`${url}/v1/sql`, {
    method: 'POST',
    headers,
    body: `SELECT isValidUTF8(user_agent) AS valid FROM events WHERE token = 'tok_surrogate' FORMAT TSV`,
  });
  expect(await response.text()).toBe('1\n');
});

test('truncated gzip keeps the whole lines before the cut and names it', async () => {
  const whole = gzipSync(Array.from({ length: 5_000 }, () => event({ request_id: Math.random() })).join('\n'));
  const answer = await post(whole.subarray(0, whole.length >> 1), { 'content-encoding': 'gzip' });
  expect(answer).toMatchObject({ status: 200, rejected: 1, errors: [{ code: 'truncated_body' }] });
  expect(answer.accepted).toBeGreaterThan(1_000);
});

test('ten gigabytes of zeros, inflated, are refused by size with what to do', async () => {
  const member = gzipSync(Buffer.alloc(256 * MIB));
  const bomb = Array.from({ length: 40 }, () => member);
  const answer = await post(Buffer.concat(bomb), { 'content-encoding': 'gzip' });
  expect(answer).toMatchObject({ status: 413, error: { code: 'body_too_large', fix: expect.stringMatching(/./) } });
});

test('what is no events at all is one clear refusal', async () => {
  expect(await post('')).toMatchObject({ status: 400, error: { code: 'empty_body' } });
  expect(await post('{"a":')).toMatchObject({ status: 400, error: { code: 'nothing_usable' } });
  expect(await post('x', { 'content-encoding': 'lzma' })).toMatchObject({ status: 415 });
  expect(await post('x', { 'content-encoding': 'gzip' })).toMatchObject({ status: 400 });
});

test('sixty thousand different paths become a few endpoints', async () => {
  for (let at = 0; at < 60_000; at += 10_000) {
    const lines = Array.from({ length: 10_000 }, (_, i) =>
      event({ token: 'tok_walker', path: `/files/n${(at + i) * 7919}x` }),
    );
    expect(await post(lines.join('\n'))).toMatchObject({ status: 200, accepted: 10_000 });
  }
  const response = await fetch(`${url}/v1/sql`, {
    method: 'POST',
    headers,
    body: `SELECT count() FROM token_endpoints WHERE lineage = 'tok_walker' FORMAT TSV`,
  });
  // The first ones are taken for names until they prove to be too many.
  expect(Number(await response.text())).toBeLessThan(2_000);
}, 180_000);
