import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { built, type Program, tokenwatch, until } from '../kit/processes.ts';
import { freePort, type RedisServer, startRedisServer } from '../kit/redis-server.ts';

/** `TOKENWATCH_TEST_KILLS=50 TOKENWATCH_TEST_EVENTS=1000000 npx vitest run test/system/kill-ingest` is the long version. */
const EVENTS = Number(process.env.TOKENWATCH_TEST_EVENTS ?? 100_000);
const KILLS = Number(process.env.TOKENWATCH_TEST_KILLS ?? 6);
const SEED = Number(process.env.TOKENWATCH_TEST_SEED ?? 1);
/** More than stand still at once: what was in flight at a kill waits until the dead process's lease has ended. */
const SHIPPERS = 24;

const folder = mkdtempSync(join(tmpdir(), 'tokenwatch-kill-'));
let redis: RedisServer;
let port: number;
let program: Program;

beforeAll(async () => {
  [redis, port] = await Promise.all([startRedisServer(), freePort(), built()]);
}, 120_000);
afterAll(async () => {
  await program?.kill();
  await redis?.close();
  rmSync(folder, { recursive: true, force: true });
});

async function up(): Promise<void> {
  program = tokenwatch(['up'], {
    cwd: folder,
    env: {
      TOKENWATCH_LISTEN: `127.0.0.1:${port}`,
      TOKENWATCH_DATA: folder,
      REDIS_URL: redis.url,
      TOKENWATCH_LOG: 'warn',
    },
  });
  await program.printed(/listens at/);
}

/** Mulberry32: small, seeded, good enough to choose sizes and moments. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** Requests of one event, of some that share a batch, and of thousands that are batches of their own. */
function* requests(total: number, next: () => number): Generator<{ body: string; events: number }> {
  const startedAt = Date.now() - 60_000;
  for (let sent = 0; sent < total; ) {
    const kind = next();
    const wanted = kind < 0.6 ? 1 : kind < 0.9 ? 2 + Math.floor(next() * 300) : 1_000 + Math.floor(next() * 5_000);
    const events = Math.min(wanted, total - sent);
    const lines = Array.from({ length: events }, (_, i) => {
      const n = sent + i;
      return `{"time":${startedAt + (n % 60_000)},"token":"tok_${n % 500}","owner":"o${n % 20}","method":"GET","path":"/v1/users/${n}","status":200,"ip":"203.0.113.9","id":"e${n}"}`;
    });
    yield { body: lines.join('\n'), events };
    sent += events;
  }
}

test(`${EVENTS} events, the process killed ${KILLS} times: every acknowledged event is stored exactly once`, async () => {
  await up();
  const key = readFileSync(join(folder, 'access-key'), 'utf8').trim();
  const headers = { authorization: `Bearer ${key}` };
  const url = `http://127.0.0.1:${port}`;
  const next = random(SEED);
  const queue = requests(EVENTS, next);
  let acknowledged = 0;
  let retries = 0;
  /** What the programs complained of: when counts differ, it may say why. */
  const warnings: string[] = [];

  /** A shipper sends the same body until it is told that it was taken. */
  const ship = async () => {
    for (const { body, events } of queue) {
      for (;;) {
        const response = await fetch(`${url}/v1/events`, { method: 'POST', headers, body }).catch(() => null);
        const answer = response === null ? null : await response.json().catch(() => null);
        if (response?.status === 200 && answer !== null) {
          expect(answer).toMatchObject({ accepted: events, rejected: 0 });
          acknowledged += events;
          break;
        }
        if (response !== null && answer !== null) expect(response.status, JSON.stringify(answer)).toBe(503);
        retries++;
        await sleep(50);
      }
    }
  };
  const shippers = Promise.all(Array.from({ length: SHIPPERS }, ship));

  for (let kill = 0; kill < KILLS; kill++) {
    const at = ((kill + next()) / KILLS) * EVENTS * 0.8;
    await until(() => acknowledged >= at);
    await sleep(next() * 150);
    const { err } = await program.kill();
    warnings.push(...err.split('\n').filter((line) => line !== ''));
    await up();
  }
  await shippers;

  const response = await fetch(`${url}/v1/sql`, {
    method: 'POST',
    headers,
    body: `SELECT count() AS stored, uniqExact(id) AS ids, (SELECT sum(calls) FROM token_endpoints) AS endpoints,
             (SELECT sum(calls) FROM token_networks) AS networks,
             (SELECT sum(calls) FROM token_hourly) AS hours, (SELECT sum(calls) FROM tokens) AS tokens FROM events FORMAT JSONEachRow`,
  });
  const counts = Object.entries((await response.json()) as object).map(([name, n]) => [name, Number(n)]);
  expect(acknowledged).toBe(EVENTS);
  expect(Object.fromEntries(counts), `seed ${SEED}; ${warnings.slice(0, 20).join(' ')}`).toEqual({
    stored: EVENTS,
    ids: EVENTS,
    // The rollups are never merged by id: they would show what was stored twice.
    endpoints: EVENTS,
    networks: EVENTS,
    hours: EVENTS,
    tokens: EVENTS,
  });
  // Kills that nobody noticed would prove nothing.
  expect(retries).toBeGreaterThanOrEqual(KILLS);
}, 600_000);
