import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Service, startService } from '../../cli/service.ts';
import { loadConfig } from '../../config/index.ts';
import { createLogger, systemClock } from '../../core/index.ts';
import { importFiles } from '../../ingest/index.ts';
import { ABROAD_IP, type Call, callEvent, DAY, HOUR, habit, MINUTE } from '../detectors/kit.ts';
import { settled } from '../kit/settled.ts';
import { rows, testStoreFolder } from '../kit/store.ts';

/** The last full hour: what happens now is recent enough to page. */
const NOW = Math.floor(systemClock.now() / HOUR) * HOUR;
const NOON = Math.floor(NOW / DAY) * DAY;
const PATHS = ['/v1/jobs', '/v1/health', '/v1/metrics'];
const PEERS = Array.from({ length: 9 }, (_, i) => `tok_peer_${i}`);

const folder = mkdtempSync(join(tmpdir(), 'tokenwatch-warm-'));
let service: Service;
beforeAll(async () => {
  const env = { TOKENWATCH_LISTEN: '127.0.0.1:0', TOKENWATCH_DATA: testStoreFolder() };
  service = await startService(loadConfig({ env, cwd: folder }), { log: createLogger('silent'), database: 'warm' });
});
afterAll(async () => {
  await service?.close();
  rmSync(folder, { recursive: true, force: true });
});

const walk = (token: string, from: number): Call[] =>
  Array.from({ length: 15 }, (_, i) => ({
    at: from + i * 2_000,
    token,
    path: `/v1/vault${i}/keys`,
    status: 403,
    ip: ABROAD_IP,
    client: 'curl',
  }));

test('imported history teaches the baselines and pages nobody for the past; what comes then is judged by it', async () => {
  const history = [
    ...['tok_walked', 'tok_stolen', ...PEERS].flatMap((token) => habit(token, PATHS, NOW - 14 * DAY, NOW)),
    // Abuse of last week, which nobody wants to be woken for today.
    ...walk('tok_walked', NOW - 4 * DAY),
    ...habit('tok_young', PATHS, NOON - DAY, NOON - DAY + 3 * HOUR),
    ...habit('tok_asleep', PATHS, NOW - 60 * DAY, NOW - 50 * DAY),
    // Took over from a token that fell silent, and nobody said so.
    ...habit('tok_before', PATHS, NOW - 14 * DAY, NOON - DAY, { owner: 'globex' }),
    ...habit('tok_after', PATHS, NOON - DAY, NOW, { owner: 'globex' }),
  ];
  const file = join(folder, 'history.ndjson');
  writeFileSync(file, history.map((call) => `${JSON.stringify(callEvent(call))}\n`).join(''));
  const imported = await importFiles({
    files: [file],
    url: service.url,
    key: service.accessKey ?? '',
    format: 'auto',
    clock: systemClock,
  });
  expect(imported).toMatchObject({ accepted: history.length, rejected: 0 });
  await settled(service);
  expect(await rows(service.store, 'SELECT * FROM detections')).toEqual([]);
  expect(await rows(service.store, 'SELECT * FROM notifications')).toEqual([]);

  const now = Math.max(NOON, systemClock.now() - MINUTE);
  const response = await fetch(`${service.url}/v1/events`, {
    method: 'POST',
    headers: { authorization: `Bearer ${service.accessKey}` },
    body: walk('tok_stolen', now)
      .map((call) => JSON.stringify(callEvent(call)))
      .join('\n'),
  });
  expect(response.status).toBe(200);
  await settled(service);
  const found = await rows(service.store, 'SELECT DISTINCT lineage, state FROM detections');
  expect(found).toEqual([{ lineage: 'tok_stolen', state: 'known' }]);

  const states = new Map(
    (await rows(service.store, 'SELECT *, toUnixTimestamp(state_since) * 1000 AS since FROM tokens')).map((row) => [
      String(row.token),
      { state: row.state, since: Number(row.since), missing: row.missing, inferred_from: row.inferred_from },
    ]),
  );
  const fifth = NOW - 14 * DAY + 5 * DAY;
  expect(states.get('tok_stolen')).toEqual({ state: 'known', since: fifth, missing: '', inferred_from: '' });
  expect(states.get('tok_young')).toEqual({
    state: 'learning',
    since: NOON - DAY,
    missing: `${Math.ceil((NOON + 4 * DAY - systemClock.now()) / DAY)} more days of history and use on 2 more days`,
    inferred_from: '',
  });
  expect(states.get('tok_asleep')).toMatchObject({ state: 'dormant', missing: '' });
  expect(states.get('tok_after')).toEqual({ state: 'known', since: NOON, missing: '', inferred_from: 'tok_before' });
}, 300_000);
