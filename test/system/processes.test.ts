import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Role, startService } from '../../cli/service.ts';
import { loadConfig } from '../../config/index.ts';
import { type ApiAlert, createLogger } from '../../core/index.ts';
import { type NativeEvent, simulate } from '../../fixtures/index.ts';
import { type ClickHouseHttp, startClickHouseHttp } from '../kit/clickhouse-http.ts';
import { built, type Program, tokenwatch, until } from '../kit/processes.ts';
import { type RedisServer, startRedisServer } from '../kit/redis-server.ts';
import { startWebhookReceiver, type WebhookReceiver } from '../kit/webhook.ts';

const KEY = 'a-key-that-the-test-gives';

/** Ten days of habit and a day of attacks on four owners; everything arrives when it happened. */
const fleet = simulate({
  seed: 11,
  owners: 4,
  tokens: 16,
  historyDays: 10,
  liveDays: 1,
  endMs: Date.UTC(2026, 9, 15, 18),
  callsPerTokenDay: 40,
  attacks: ['theft-new-country', 'enumeration-fast', 'issuance-burst'],
  disorder: false,
});

const folder = mkdtempSync(join(tmpdir(), 'tokenwatch-processes-'));
let clickhouse: ClickHouseHttp;
let redis: RedisServer;
let receiver: WebhookReceiver;
const running: Program[] = [];

beforeAll(async () => {
  [clickhouse, redis, receiver] = await Promise.all([
    startClickHouseHttp(),
    startRedisServer(),
    startWebhookReceiver(),
    built(),
  ]);
  writeFileSync(
    join(folder, 'tokenwatch.yaml'),
    `alerts:
  max_age: none
  channels: { soc: { type: webhook, url: "${receiver.url}", allow_private_network: true } }
`,
  );
}, 120_000);

afterAll(async () => {
  await Promise.all(running.map((program) => program.kill()));
  await Promise.all([clickhouse?.stop(), redis?.close(), receiver?.close()]);
  rmSync(folder, { recursive: true, force: true });
});

const environment = (name: string) => ({
  CLICKHOUSE_URL: clickhouse.url,
  REDIS_URL: redis.url,
  TOKENWATCH_LISTEN: '127.0.0.1:0',
  TOKENWATCH_DATA: join(folder, name),
  TOKENWATCH_ACCESS_KEY: KEY,
  TOKENWATCH_LOG: 'warn',
});

async function start(role: Role, number: number): Promise<string> {
  const name = `${role}-${number}`;
  mkdirSync(join(folder, name), { recursive: true });
  const program = tokenwatch(['up', '--role', role], { cwd: folder, env: environment(name) });
  running.push(program);
  const [, url] = await program.printed(/listens at (\S+)/);
  return url as string;
}

const headers = { authorization: `Bearer ${KEY}` };

async function post(url: string, events: readonly NativeEvent[]): Promise<void> {
  const body = events.map((event) => JSON.stringify(event)).join('\n');
  const response = await fetch(`${url}/v1/events`, { method: 'POST', headers, body });
  expect(await response.json()).toMatchObject({ accepted: events.length });
}

/** Everything posted has been judged, folded and sent when no queue has anything to do, a few looks in a row. */
async function quiet(url: string): Promise<void> {
  let still = 0;
  await until(async () => {
    const metrics = await (await fetch(`${url}/metrics`)).text();
    const waiting = [...metrics.matchAll(/^tokenwatch_queue_jobs\{.*state="(?:waiting|active|delayed)"\} (\d+)$/gm)];
    expect(waiting.length).toBeGreaterThan(0);
    still = waiting.every(([, jobs]) => jobs === '0') ? still + 1 : 0;
    return still >= 3;
  });
}

async function feed(urls: readonly string[], settle: () => Promise<void>): Promise<void> {
  for (const range of [{ toMs: fleet.liveMs }, { fromMs: fleet.liveMs }]) {
    const events = [...fleet.events(range)];
    const size = 500;
    let batch = 0;
    for (let at = 0; at < events.length; at += size)
      await post(urls[batch++ % urls.length] as string, events.slice(at, at + size));
    await settle();
  }
}

async function alertsOf(url: string): Promise<ApiAlert[]> {
  const response = await fetch(`${url}/v1/alerts?limit=100`, { headers });
  return ((await response.json()) as { alerts: ApiAlert[] }).alerts;
}

const comparable = (alerts: readonly ApiAlert[]) =>
  alerts
    .map(({ id, severity, owner, lineage, detectors, opened_at }) => ({
      id,
      severity,
      owner,
      lineage,
      detectors: [...detectors].sort(),
      opened_at,
    }))
    .sort((a, b) => (a.id < b.id ? -1 : 1));

test('two processes of every role raise the alerts that one process raises, and page each once', async () => {
  const [console, ...ingests] = await Promise.all([
    start('console', 1),
    start('ingest', 1),
    start('ingest', 2),
    ...(['detect', 'alert'] as const).flatMap((role) => [start(role, 1), start(role, 2)]),
  ]);
  await feed(ingests.slice(0, 2), () => quiet(console as string));
  const many = await alertsOf(console as string);
  const pages = receiver.requests.map(({ headers, body }) => ({ id: headers['webhook-id'], ...JSON.parse(body) }));

  const paging = many.filter(({ severity }) => !['info', 'low'].includes(severity)).map(({ id }) => id);
  expect(paging.length).toBeGreaterThanOrEqual(2);
  expect(
    pages
      .filter(({ type }) => type === 'alert.first')
      .map(({ data }) => data.id)
      .sort(),
  ).toEqual(paging.sort());
  expect(new Set(pages.map(({ id }) => id)).size).toBe(pages.length);
  // Work went to both: the split is what is tested.
  for (const url of ingests.slice(0, 2))
    expect(await (await fetch(`${url}/metrics`)).text()).toMatch(/tokenwatch_accepted_lines_total [1-9]/);

  const alone = await startService(loadConfig({ env: environment('alone'), cwd: folder }), {
    accessKey: KEY,
    log: createLogger('silent'),
    database: 'alone',
    queuePrefix: 'alone',
  });
  try {
    await feed([alone.url], () => quiet(alone.url));
    expect(comparable(many)).toEqual(comparable(await alertsOf(alone.url)));
  } finally {
    await alone.close();
  }
}, 300_000);
