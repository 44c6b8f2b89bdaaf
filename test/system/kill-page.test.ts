import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { simulate } from '../../fixtures/index.ts';
import { built, type Program, tokenwatch, until } from '../kit/processes.ts';
import { type RedisServer, startRedisServer } from '../kit/redis-server.ts';
import { startWebhookReceiver, type WebhookReceiver } from '../kit/webhook.ts';

const KEY = 'a-key-that-the-test-gives';
const headers = { authorization: `Bearer ${KEY}` };

/** Seven quiet days of one owner, then a burst of issued tokens. */
const fleet = simulate({
  seed: 3,
  owners: 1,
  tokens: 4,
  historyDays: 7,
  liveDays: 1,
  endMs: Date.UTC(2026, 9, 15, 18),
  callsPerTokenDay: 20,
  attacks: ['issuance-burst'],
  disorder: false,
});

const folder = mkdtempSync(join(tmpdir(), 'tokenwatch-kill-page-'));
let redis: RedisServer;
let receiver: WebhookReceiver;
let program: Program;

beforeAll(async () => {
  [redis, receiver] = await Promise.all([startRedisServer(), startWebhookReceiver(), built()]);
  writeFileSync(
    join(folder, 'tokenwatch.yaml'),
    `alerts:
  max_age: none
  channels: { soc: { type: webhook, url: "${receiver.url}", allow_private_network: true } }
`,
  );
}, 120_000);
afterAll(async () => {
  await program?.kill();
  await Promise.all([redis?.close(), receiver?.close()]);
  rmSync(folder, { recursive: true, force: true });
});

async function up(...roles: string[]): Promise<string> {
  program = tokenwatch(['up', ...roles.map((role) => `--role=${role}`)], {
    cwd: folder,
    env: {
      REDIS_URL: redis.url,
      TOKENWATCH_LISTEN: '127.0.0.1:0',
      TOKENWATCH_DATA: folder,
      TOKENWATCH_ACCESS_KEY: KEY,
      TOKENWATCH_LOG: 'warn',
    },
  });
  const [, url] = await program.printed(/listens at (\S+)/);
  return url as string;
}

async function sql(url: string, query: string): Promise<string> {
  const response = await fetch(`${url}/v1/sql`, { method: 'POST', headers, body: `${query} FORMAT TSV` });
  expect(response.status).toBe(200);
  return (await response.text()).trim();
}

test('killed after detecting, while sending, and while told to come later: the page arrives, once under its key', async () => {
  // Nobody folds or sends yet: what was detected is all there is when the process dies.
  let url = await up('ingest', 'detect', 'console');
  const response = await fetch(`${url}/v1/events`, { method: 'POST', headers, body: [...fleet.lines()].join('') });
  expect(response.status).toBe(200);
  await until(async () => (await sql(url, `SELECT count() FROM detections WHERE severity >= 'medium'`)) !== '0');
  await program.kill();
  expect(receiver.requests).toHaveLength(0);

  receiver.answer('hang', { status: 503 });
  await up();
  await receiver.until(1);
  await program.kill();

  await up();
  await receiver.until(2);
  await program.kill();

  url = await up();
  await until(async () => (await sql(url, `SELECT count() FROM notifications WHERE status = 'sent'`)) !== '0');
  const paging = await sql(url, `SELECT id FROM alerts WHERE severity >= 'medium'`);
  expect(paging.split('\n')).toHaveLength(1);

  const first = receiver.requests
    .map(({ headers, body }) => ({ key: headers['webhook-id'], ...JSON.parse(body) }))
    .filter(({ type }) => type === 'alert.first');
  // Two tries that came to nothing, one that was taken; one message all the while.
  expect(first).toHaveLength(3);
  expect(new Set(first.map(({ key }) => key)).size).toBe(1);
  expect(new Set(first.map(({ data }) => data.id))).toEqual(new Set([paging]));
  expect(await sql(url, `SELECT id, channel, reason, status FROM notifications WHERE reason = 'first'`)).toBe(
    `${first[0]?.key}\tsoc\tfirst\tsent`,
  );
}, 300_000);
