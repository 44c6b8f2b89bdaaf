import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Service, startService } from '../../cli/service.ts';
import { loadConfig } from '../../config/index.ts';
import { createLogger, type Detection } from '../../core/index.ts';
import type { Store } from '../../store/index.ts';
import {
  ABROAD_IP,
  asPrinted,
  type Call,
  callEvent,
  DAY,
  HOUR,
  judged,
  MINUTE,
  NEARBY_IP,
  plain,
} from '../detectors/kit.ts';
import { settled } from '../kit/settled.ts';
import { openTestStore, rows, testStoreFolder } from '../kit/store.ts';

/** A Monday noon in the fourth quarter, long ago: only event time may matter. */
const NOW = Date.UTC(2026, 9, 12, 12);
const START = Date.UTC(2025, 4, 5);
/** Fourteen months before, with four whole quarters between, and eight. */
const LONG_AGO = Date.UTC(2025, 7, 11);
const LATELY = Date.UTC(2026, 1, 9);

const HOME = ['/v1/jobs', '/v1/health'];
const OLD = Array.from({ length: 8 }, (_, i) => `/v1/archive${i}/list`);

/** Calls at home, each token with an owner of its own: once a week, and every hour in the last 30 days. */
function home(token: string, from: number, to: number): Call[] {
  const calls: Call[] = [];
  for (let at = from; at < to; at += at < to - 30 * DAY ? 7 * DAY : HOUR)
    for (const [i, path] of HOME.entries())
      calls.push({ at: at + i * MINUTE, token, owner: `owner of ${token}`, path });
  return calls;
}

/** Three days of calls, one every six hours, from elsewhere or to other endpoints. */
function stay(token: string, from: number, paths: readonly string[], rest: Partial<Call>): Call[] {
  return Array.from({ length: 12 }, (_, i) => from + i * 6 * HOUR + 5 * MINUTE).flatMap((at) =>
    paths.map((path, i) => ({ at: at + i * 1000, token, owner: `owner of ${token}`, path, ...rest })),
  );
}

const abroad = (token: string, client: string): Call[] =>
  Array.from({ length: 30 }, (_, i) => ({
    ...{
      at: NOW + 2 * MINUTE + i * 20_000,
      token,
      owner: `owner of ${token}`,
      path: '/v1/jobs',
      ip: ABROAD_IP,
      client,
    },
  }));
const again = (token: string, rest: Partial<Call>): Call[] =>
  OLD.map((path, i) => ({ at: NOW + 3 * MINUTE + i * 10_000, token, owner: `owner of ${token}`, path, ...rest }));
const stranger = { ip: NEARBY_IP, client: 'python-requests' };

const events = [
  ...Array.from({ length: 8 }, (_, i) => home(`tok_peer_${i}`, START, NOW + HOUR)),
  home('tok_returns', START, NOW + HOUR),
  stay('tok_returns', LONG_AGO, ['/v1/jobs'], { ip: ABROAD_IP }),
  abroad('tok_returns', 'cron'),
  home('tok_commutes', START, NOW + HOUR),
  stay('tok_commutes', LATELY, ['/v1/jobs'], { ip: ABROAD_IP }),
  abroad('tok_commutes', 'cron'),
  // Asleep for fourteen months: whatever they used before is as long ago.
  home('tok_sleeps', START, LONG_AGO),
  stay('tok_sleeps', LONG_AGO - 20 * DAY, OLD, {}),
  again('tok_sleeps', {}),
  home('tok_stolen', START, LONG_AGO),
  abroad('tok_stolen', 'curl'),
  home('tok_digs', START, NOW + HOUR),
  stay('tok_digs', LONG_AGO, OLD, stranger),
  again('tok_digs', stranger),
]
  .flat()
  .sort((a, b) => a.at - b.at)
  .map(callEvent);

let store: Store;
let detections: readonly Detection[];
const folder = mkdtempSync(join(tmpdir(), 'tokenwatch-forgetting-'));
let service: Service | undefined;
beforeAll(async () => {
  store = await openTestStore();
  ({ detections } = await judged(store, events));
});
afterAll(async () => {
  await service?.close();
  await store.close();
  rmSync(folder, { recursive: true, force: true });
});

const since = (token: string) =>
  detections.filter(({ subject, window }) => subject.lineage === token && window.to >= NOW);
const pages = (token: string) => since(token).filter(({ severity }) => severity !== 'low');

describe('of a history of seventeen months', () => {
  test('a country last used fourteen months ago is met anew, and the finding says when it was used last', () => {
    const [found] = pages('tok_returns').filter(({ detector }) => detector === 'geo-novelty');
    expect(found?.title).toBe('tok_returns was used from Brazil (BR), where it has not been for over a year');
    expect(found?.summary).toContain('It was last there in July to September 2025.');
    expect(found?.expected).toMatchObject({ countries: ['US'], last_used: 'July to September 2025' });
    // The journey before was a finding of its own.
    const first = detections.filter(({ subject, window }) => subject.lineage === 'tok_returns' && window.to < NOW);
    expect(first.map(({ id }) => id)).not.toContain(found?.id);
  });

  test('a country last used eight months ago is known', () => {
    expect(since('tok_commutes')).toEqual([]);
  });

  test('a token that was asleep for fourteen months forgot nothing: used as before it is no news', () => {
    expect(since('tok_sleeps')).toEqual([]);
  });

  test('and used from where it has never been it pages', () => {
    expect(pages('tok_stolen').map(({ title }) => title)).toContain(
      'tok_stolen was used from Brazil (BR), where it has never been',
    );
    expect(since('tok_stolen').every(({ state }) => state === 'dormant')).toBe(true);
  });

  test('endpoints, a network and a client that were not used for over a year are a walk of a stranger', () => {
    const found = new Set(pages('tok_digs').map(({ detector }) => detector));
    expect([...found].sort()).toEqual(expect.arrayContaining(['combined-signals', 'endpoint-spread']));
    const walk = since('tok_digs').findLast(({ detector }) => detector === 'endpoint-spread');
    expect(walk?.title).toMatch(/^tok_digs called \d endpoints it had not touched for over a year$/);
    expect(walk?.evidence[0]).toMatchObject({ last_used: 'July to September 2025' });
    const together = since('tok_digs').findLast(({ detector }) => detector === 'combined-signals');
    expect(together?.summary).toContain('python-requests, a client that it had not used for over a year');
  });

  test('the SQL of what was found returns the same numbers, run as printed', async () => {
    for (const { sql, observed, window } of ['tok_returns', 'tok_digs'].flatMap(since)) {
      const row = await asPrinted(store, sql);
      for (const [key, value] of Object.entries(observed))
        if (typeof value !== 'string') expect([key, plain(row[key])]).toEqual([key, plain(value)]);
      if (row.first === undefined) continue;
      expect(Date.parse(`${row.first}Z`)).toBe(window.from);
      expect(Date.parse(`${row.last}Z`)).toBe(window.to);
    }
  });
});

test('the live service forgets as a backtest does: its receivers name who used again what was forgotten', async () => {
  const config = loadConfig({
    env: { TOKENWATCH_LISTEN: '127.0.0.1:0', TOKENWATCH_DATA: testStoreFolder() },
    cwd: folder,
  });
  // What is older than a day teaches, as an import does.
  service = await startService(
    { ...config, store: { url: null, retention: { eventsMs: null } }, alerts: { ...config.alerts, maxAgeMs: DAY } },
    { log: createLogger('silent'), database: 'forgetting', clock: { now: () => NOW + 2 * HOUR } },
  );
  const running = service;
  const post = async (body: readonly object[]) => {
    const response = await fetch(`${running.url}/v1/events`, {
      method: 'POST',
      headers: { authorization: `Bearer ${running.accessKey}` },
      body: body.map((event) => JSON.stringify(event)).join('\n'),
    });
    expect(await response.json()).toMatchObject({ accepted: body.length, rejected: 0 });
  };
  const last = events.findIndex((event) => Date.parse((event as { time: string }).time) >= NOW);
  for (let i = 0; i < last; i += 4_000) await post(events.slice(i, Math.min(last, i + 4_000)));
  await settled(running);
  for (let i = last; i < events.length; i += 60) {
    await post(events.slice(i, i + 60));
    await settled(running);
  }
  const live = await rows(running.store, 'SELECT id FROM detections FINAL ORDER BY id');
  const judgedLive = detections.filter(({ window }) => window.to >= NOW - DAY);
  expect(live.map(({ id }) => id)).toEqual(judgedLive.map(({ id }) => id).sort());
  expect(live.length).toBeGreaterThan(3);
}, 120_000);
