import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { type Service, startService } from '../../cli/service.ts';
import { loadConfig } from '../../config/index.ts';
import { createLogger } from '../../core/index.ts';
import { callEvent, cityDatabase, DAY, habit, MINUTE } from '../detectors/kit.ts';
import { settled } from '../kit/settled.ts';
import { testStoreFolder } from '../kit/store.ts';

const NOW = Date.UTC(2026, 9, 14, 12);
const folder = mkdtempSync(join(tmpdir(), 'tokenwatch-travel-'));
let service: Service;
afterAll(async () => {
  await service?.close();
  rmSync(folder, { recursive: true, force: true });
});

async function post(events: readonly object[]): Promise<void> {
  const response = await fetch(`${service.url}/v1/events`, {
    method: 'POST',
    headers: { authorization: `Bearer ${service.accessKey}` },
    body: events.map((event) => JSON.stringify(event)).join('\n'),
  });
  expect(await response.json()).toMatchObject({ accepted: events.length, rejected: 0 });
  await settled(service);
}

test('a token in two places at once, call by call through the receiver, is one alert that says so', async () => {
  const config = loadConfig({
    env: { TOKENWATCH_LISTEN: '127.0.0.1:0', TOKENWATCH_DATA: testStoreFolder() },
    cwd: folder,
  });
  service = await startService(
    {
      ...config,
      geo: { ...config.geo, city: cityDatabase() },
      alerts: { ...config.alerts, maxAgeMs: null },
    },
    { log: createLogger('silent'), database: 'travel' },
  );
  const call = (minute: number, ip: string) =>
    callEvent({ at: NOW + minute * MINUTE, token: 'tok_travels', path: '/v1/jobs', ip });
  await post(habit('tok_travels', ['/v1/jobs'], NOW - 14 * DAY, NOW, { ip: '198.51.100.7' }).map(callEvent));
  await post([call(1, '192.0.2.7')]);
  await post([call(9, '198.51.100.7')]);

  const response = await fetch(`${service.url}/v1/alerts?token=tok_travels`, {
    headers: { authorization: `Bearer ${service.accessKey}` },
  });
  const { alerts } = (await response.json()) as { alerts: { id: string; detectors: string[]; severity: string }[] };
  expect(alerts).toHaveLength(1);
  expect(alerts[0]?.detectors).toContain('impossible-travel');
  const alert = await (
    await fetch(`${service.url}/v1/alerts/${alerts[0]?.id}`, {
      headers: { authorization: `Bearer ${service.accessKey}` },
    })
  ).json();
  const summaries = (alert as { detections: { detector: string; summary: string }[] }).detections
    .filter(({ detector }) => detector === 'impossible-travel')
    .map(({ summary }) => summary);
  expect(summaries.join(' ')).toContain('it is in two places at once');
  expect(summaries.join(' ')).toContain('Germany (DE) (198.51.100.7)');
  expect(summaries.join(' ')).toContain('Japan (JP) (192.0.2.7)');
});
