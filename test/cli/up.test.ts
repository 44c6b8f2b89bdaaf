import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { stopPrivateRedis } from '../../queues/index.ts';
import { built, MAIN } from '../kit/processes.ts';

const folder = mkdtempSync(join(tmpdir(), 'tokenwatch-up-'));
const started: ChildProcess[] = [];

beforeAll(built, 120_000);

afterAll(async () => {
  for (const child of started) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  // A process that was killed leaves its Redis running.
  for (const data of ['data', 'other']) await stopPrivateRedis(join(folder, data));
  rmSync(folder, { recursive: true, force: true });
});

interface Up {
  readonly url: string;
  /** What it said until it listened. */
  readonly shown: string;
  readonly child: ChildProcess;
  readonly ended: Promise<{ code: number | null; output: string }>;
}

/** Starts the program as a user does; resolves when it says where it listens, rejects when it ends before. */
async function up(env: Record<string, string> = {}): Promise<Up> {
  const child = spawn(process.execPath, [MAIN, 'up'], {
    cwd: folder,
    env: {
      ...process.env,
      TOKENWATCH_LISTEN: '127.0.0.1:0',
      TOKENWATCH_DATA: join(folder, 'data'),
      TOKENWATCH_LOG: 'silent',
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  started.push(child);
  let output = '';
  const ended = once(child, 'close').then(([code]) => ({ code: code as number | null, output }));
  const url = await new Promise<string>((resolve, reject) => {
    const read = (chunk: Buffer) => {
      output += chunk.toString();
      const match = /listens at (\S+)/.exec(output);
      if (match !== null && output.includes('Then, in another terminal')) resolve(match[1] as string);
    };
    child.stdout.on('data', read);
    child.stderr.on('data', read);
    void ended.then(() => reject(new Error(output)));
  });
  return { url, shown: output, child, ended };
}

async function call(url: string, path: string, body: string): Promise<{ status: number; text: string }> {
  const key = readFileSync(join(folder, 'data', 'access-key'), 'utf8').trim();
  const response = await fetch(`${url}${path}`, {
    method: 'POST',
    body,
    headers: { authorization: `Bearer ${key}`, 'content-type': 'text/plain' },
  });
  return { status: response.status, text: await response.text() };
}

test('up ends in order on a signal, however often a terminal passes it on, and starts again with what it had', async () => {
  const first = await up();
  const event = JSON.stringify({
    time: new Date().toISOString(),
    token: 'tok_1',
    owner: 'acme',
    method: 'GET',
    path: '/v1/x',
    status: 200,
  });
  expect(await call(first.url, '/v1/events', event)).toMatchObject({ status: 200 });

  // The data directory has one owner: a second start says so and leaves the first alone.
  await expect(up()).rejects.toThrow(/in use by process \d+[\s\S]*\(store_locked\)/);
  expect((await fetch(`${first.url}/readyz`)).status).toBe(200);

  for (const signal of ['SIGINT', 'SIGINT', 'SIGTERM'] as const) first.child.kill(signal);
  expect(await first.ended).toMatchObject({ code: 0 });

  const second = await up();
  expect((await call(second.url, '/v1/sql', 'SELECT token FROM events FORMAT TSV')).text).toBe('tok_1\n');
  second.child.kill('SIGTERM');
  const { code, output } = await second.ended;
  expect(code).toBe(0);
  expect(output).toContain('access key     in ');
  expect(output).not.toMatch(/tw_[0-9a-f]{8}_/);
}, 90_000);

test('up says in clear words that its data folder cannot be used', async () => {
  writeFileSync(join(folder, 'a-file'), '');
  for (const data of [join(folder, 'a-file'), join(folder, 'a-file', 'data')])
    await expect(up({ TOKENWATCH_DATA: data })).rejects.toThrow(
      /The data folder \S+a-file\S* cannot be used: there is a file in its place or above it[\s\S]*\(store_unusable\)/,
    );
}, 60_000);

test('up ends in order when nobody reads its output any more, and shows the key that a start before could not', async () => {
  const data = join(folder, 'other');
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  const { port } = taken.address() as AddressInfo;
  const started = up({ TOKENWATCH_DATA: data, TOKENWATCH_LISTEN: `127.0.0.1:${port}` });
  await expect(started).rejects.toThrow(/\(listen_failed\)/);
  taken.close();
  expect(existsSync(join(data, 'access-key'))).toBe(false);

  const { url, child, shown } = await up({ TOKENWATCH_DATA: data });
  expect((await fetch(`${url}/readyz`)).status).toBe(200);
  expect(shown).toContain('Access key, shown this once');
  const exited = once(child, 'exit');
  child.stdout?.destroy();
  child.stderr?.destroy();
  child.kill('SIGINT');
  expect(await exited).toEqual([0, null]);
  expect(existsSync(join(data, 'redis', 'redis.sock'))).toBe(false);
}, 60_000);

test('up ends also while a query computes that the engine does not stop, with everything else in order', async () => {
  const { url, child, ended } = await up();
  // Seconds in every row: the limit on time is looked at between blocks of rows.
  const text = "repeat('a', 60000) || toString(number), repeat('b', 60000)";
  const asked = call(url, '/v1/sql', `SELECT sum(levenshteinDistance(${text})) FROM numbers(65000)`);
  const cut = asked.then(
    ({ status }) => status,
    () => 'cut off',
  );
  expect((await fetch(`${url}/readyz`)).status).toBe(200);
  child.kill('SIGTERM');
  const { output } = await ended;
  expect(output).toContain('a query that cannot be broken off');
  expect(await cut).toBe('cut off');
  expect(existsSync(join(folder, 'data', 'redis', 'redis.sock'))).toBe(false);
}, 60_000);
