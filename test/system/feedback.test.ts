import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Service, startService } from '../../cli/service.ts';
import { loadConfig } from '../../config/index.ts';
import { type ApiAlert, createLogger } from '../../core/index.ts';
import { ABROAD_IP, type Call, callEvent, DAY, HOUR, habit, MINUTE } from '../detectors/kit.ts';
import { settled } from '../kit/settled.ts';
import { testStoreFolder } from '../kit/store.ts';

/** Long ago: only event time may matter. */
const START = Date.UTC(2026, 8, 1);
const ATTACK = START + 20 * DAY;
const PATHS = ['/v1/a', '/v1/b', '/v1/c'];

const folder = mkdtempSync(join(tmpdir(), 'tokenwatch-feedback-'));
let service: Service;
beforeAll(async () => {
  const config = {
    ...loadConfig({ env: { TOKENWATCH_LISTEN: '127.0.0.1:0', TOKENWATCH_DATA: testStoreFolder() }, cwd: folder }),
    alerts: { maxAgeMs: null, channels: {}, routes: [], budget: null },
  };
  service = await startService(config, { log: createLogger('silent'), database: 'feedback' });
  // Each token's owner has no other: no test discounts what another met.
  await post(TOKENS.flatMap((token) => habit(token, PATHS, START, ATTACK, { owner: `owner of ${token}` })));
});
afterAll(async () => {
  await service?.close();
  rmSync(folder, { recursive: true, force: true });
});

const TOKENS = ['tok_plain', 'tok_malicious', 'tok_expected', 'tok_unsaid'];

async function post(calls: readonly Call[]): Promise<void> {
  const sorted = [...calls].sort((a, b) => a.at - b.at);
  for (let i = 0; i < sorted.length; i += 2_000) {
    const response = await fetch(`${service.url}/v1/events`, {
      method: 'POST',
      headers: { authorization: `Bearer ${service.accessKey}` },
      body: sorted
        .slice(i, i + 2_000)
        .map((call) => JSON.stringify(callEvent(call)))
        .join('\n'),
    });
    expect(response.status).toBe(200);
    await response.text();
  }
  await settled(service);
}

async function api<T>(method: 'GET' | 'POST', path: string, body?: unknown): Promise<T> {
  const response = await fetch(`${service.url}${path}`, {
    method,
    headers: { authorization: `Bearer ${service.accessKey}` },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  expect(response.status, path).toBe(200);
  return (await response.json()) as T;
}

/** What would page somebody about a token, and is not resolved yet. */
async function paging(token: string): Promise<ApiAlert[]> {
  const { alerts } = await api<{ alerts: ApiAlert[] }>(
    'GET',
    `/v1/alerts?token=${token}&status=open&severity=medium,high,critical`,
  );
  return alerts;
}

async function resolveAll(token: string, body: unknown): Promise<void> {
  const open = await paging(token);
  expect(open.length).toBeGreaterThan(0);
  for (const alert of open) await api('POST', `/v1/alerts/${alert.id}/resolve`, body);
}

/** A stranger calls `count` endpoints from abroad, a minute apart, between two calls from home. */
function stranger(token: string, at: number, count: number, first = 0): Call[] {
  const owner = `owner of ${token}`;
  return [
    { at: at - MINUTE, token, owner, path: '/v1/a' },
    ...Array.from({ length: count }, (_, i) => ({
      ...{ at: at + i * MINUTE, token, owner, path: `/v1/admin/${'abcdefghijklmnop'[first + i]}` },
      ...{ ip: ABROAD_IP, client: 'curl' },
    })),
    { at: at + count * MINUTE, token, owner, path: '/v1/a' },
  ];
}

test('what was resolved as malicious pages again when it comes again; resolved without a word it does not', async () => {
  await post([...stranger('tok_plain', ATTACK, 6), ...stranger('tok_malicious', ATTACK, 6)]);
  await resolveAll('tok_plain', { note: 'looked at it' });
  await resolveAll('tok_malicious', { as: 'malicious' });
  const quiet = (token: string, from: number) =>
    habit(token, PATHS, from, from + 2 * DAY, { owner: `owner of ${token}` });
  await post([...quiet('tok_plain', ATTACK + HOUR), ...quiet('tok_malicious', ATTACK + HOUR)]);
  expect([await paging('tok_plain'), await paging('tok_malicious')]).toEqual([[], []]);

  const again = ATTACK + 3 * DAY;
  await post([...stranger('tok_plain', again, 6), ...stranger('tok_malicious', again, 6)]);
  expect(await paging('tok_plain')).toEqual([]);
  const [alert] = await paging('tok_malicious');
  expect(alert?.detectors).toEqual(expect.arrayContaining(['endpoint-spread', 'geo-novelty']));
  expect(alert?.detections.map(({ summary }) => summary).join()).toContain('were found malicious before');

  // Each finding's SQL returns what it observed, though the endpoints were first seen days ago.
  for (const { observed, sql } of alert?.detections ?? []) {
    const { data } = await api<{ data: Record<string, unknown>[] }>('POST', `/v1/sql?query=${encodeURIComponent(sql)}`);
    for (const [name, value] of Object.entries(observed))
      if (typeof value === 'number' && name in (data[0] ?? {}))
        expect(Number(data[0]?.[name]), `${name}: ${sql}`).toBe(value);
  }

  // And once more, after that alert too was resolved as malicious.
  await resolveAll('tok_malicious', { as: 'malicious' });
  await post(stranger('tok_malicious', again + 3 * DAY, 6));
  expect(await paging('tok_malicious')).toHaveLength(1);
});

test('what was resolved as expected does not page again until its end; resolved without a word it does', async () => {
  const [expected, unsaid] = ['tok_expected', 'tok_unsaid'];
  await post([...stranger(expected, ATTACK, 6), ...stranger(unsaid, ATTACK, 6)]);
  await resolveAll(expected, { as: 'expected', until: new Date(ATTACK + 5 * DAY).toISOString() });
  await resolveAll(unsaid, {});

  // The same, and two endpoints more, hours later: one walk of eight, unless six of them are expected.
  const more = ATTACK + 4 * HOUR;
  await post([...stranger(expected, more, 8), ...stranger(unsaid, more, 8)]);
  expect(await paging(expected)).toEqual([]);
  expect(await paging(unsaid)).toHaveLength(1);

  await post(stranger(expected, ATTACK + 3 * DAY, 6));
  expect(await paging(expected)).toEqual([]);
  await post(stranger(expected, ATTACK + 6 * DAY, 6));
  const [alert] = await paging(expected);
  expect(alert?.detections.map(({ summary }) => summary).join()).toContain('expected only until a time that is over');
});
