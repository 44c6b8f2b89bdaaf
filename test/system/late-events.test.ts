import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Service, startService } from '../../cli/service.ts';
import { loadConfig } from '../../config/index.ts';
import { createLogger } from '../../core/index.ts';
import { callEvent, DAY, HOUR, habit, MINUTE, NEARBY_IP } from '../detectors/kit.ts';
import { settled } from '../kit/settled.ts';
import { rows, testStoreFolder } from '../kit/store.ts';
import { startWebhookReceiver, type WebhookReceiver } from '../kit/webhook.ts';

/** A Monday noon, long ago: only event time may matter. */
const NOON = Date.UTC(2026, 9, 12, 12);
const PATHS = ['/v1/jobs', '/v1/health', '/v1/metrics'];
const TOKENS = ['tok_late', ...Array.from({ length: 9 }, (_, i) => `tok_peer_${i}`)];

const folder = mkdtempSync(join(tmpdir(), 'tokenwatch-late-'));
let receiver: WebhookReceiver;
let service: Service;

function start(): Promise<Service> {
  const config = loadConfig({
    env: { TOKENWATCH_LISTEN: '127.0.0.1:0', TOKENWATCH_DATA: testStoreFolder() },
    cwd: folder,
  });
  const soc = { type: 'webhook' as const, url: receiver.url, secrets: [], allowPrivateNetwork: true };
  return startService(
    { ...config, alerts: { ...config.alerts, maxAgeMs: null, channels: { soc } } },
    { log: createLogger('silent'), database: 'late' },
  );
}

beforeAll(async () => {
  receiver = await startWebhookReceiver();
  service = await start();
});
afterAll(async () => {
  await service?.close();
  await receiver.close();
  rmSync(folder, { recursive: true, force: true });
});

async function post(events: readonly object[]): Promise<void> {
  const response = await fetch(`${service.url}/v1/events`, {
    method: 'POST',
    headers: { authorization: `Bearer ${service.accessKey}` },
    body: events.map((event) => JSON.stringify(event)).join('\n'),
  });
  expect(await response.json()).toMatchObject({ accepted: events.length });
  await settled(service);
}

async function stored(): Promise<{ id: string; from: number; to: number }[]> {
  const found = await rows(
    service.store,
    'SELECT id, toUnixTimestamp64Milli(window_from) AS from, toUnixTimestamp64Milli(window_to) AS to FROM detections ORDER BY id',
  );
  return found.map(({ id, from, to }) => ({ id: String(id), from: Number(from), to: Number(to) }));
}

const sent = async () => (await rows(service.store, 'SELECT id FROM notifications ORDER BY id')).map(({ id }) => id);

test('late events are judged in the window that they belong to, once, whoever brings them how often', async () => {
  const usual = TOKENS.flatMap((token) => habit(token, PATHS, NOON - 14 * DAY, NOON + HOUR));
  await post(usual.map(callEvent));
  expect(await stored()).toEqual([]);

  // What a stranger did at five past twelve comes when everything until one o'clock is long judged; the end of it comes first.
  const walk = Array.from({ length: 12 }, (_, i) => ({
    at: NOON + 5 * MINUTE + i * 10_000,
    token: 'tok_late',
    path: `/v1/vault${i}/keys`,
    status: 403,
    ip: NEARBY_IP,
    client: 'curl',
  })).map(callEvent);
  await post([...walk].reverse());
  const first = await stored();
  expect(first.length).toBeGreaterThan(0);
  for (const { from, to } of first) {
    expect(from).toBeGreaterThanOrEqual(NOON + 5 * MINUTE);
    expect(to).toBeLessThan(NOON + 7 * MINUTE);
  }
  const pages = await sent();
  expect(pages.length).toBeGreaterThan(0);
  expect(receiver.requests).toHaveLength(pages.length);

  // The same again, in a batch of its own with something else in it.
  const more = callEvent({ at: NOON + HOUR, token: 'tok_peer_0', path: '/v1/jobs' });
  await post([...walk, more]);
  expect(await stored()).toEqual(first);

  // And once more, to another process over the same store and queue.
  await service.close();
  service = await start();
  await post([...walk.slice(3), callEvent({ at: NOON + 2 * HOUR, token: 'tok_peer_1', path: '/v1/jobs' })]);
  expect(await stored()).toEqual(first);
  expect(await sent()).toEqual(pages);
  expect(receiver.requests).toHaveLength(pages.length);
}, 300_000);

test('a late call that came before all of a walk moves its beginning, and nothing is told twice', async () => {
  const before = await stored();
  const early = { at: NOON + 4 * MINUTE, token: 'tok_late', path: '/v1/vault99/keys', status: 403 };
  await post([callEvent({ ...early, ip: NEARBY_IP, client: 'curl' })]);
  const twice =
    'SELECT detector, lineage, anchor FROM detections GROUP BY detector, lineage, anchor HAVING count() > 1';
  expect(await rows(service.store, twice)).toEqual([]);
  // What was told stays told.
  const after = await stored();
  for (const one of before) expect(after).toContainEqual(one);
}, 60_000);
