import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { plainFacts } from '../../evaluation/plain-facts.ts';
import { openReplay } from '../../evaluation/replay.ts';
import { surprisedLooks } from '../../evaluation/run-scenario.ts';

const folder = mkdtempSync(join(tmpdir(), 'tokenwatch-evaluation-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const LIVE = Date.UTC(2026, 10, 16);

async function* body(events: readonly object[]): AsyncGenerator<Uint8Array> {
  yield Buffer.from(events.map((event) => `${JSON.stringify(event)}\n`).join(''));
}

function call(token: string, at: number, path: string, status = 200): object {
  const time = new Date(at).toISOString();
  return {
    time,
    token,
    owner: 'acme',
    method: 'GET',
    path,
    status,
    ip: '8.8.8.8',
    user_agent: 'cron/1.0',
    id: `${token}${at}${path}`,
  };
}

test('history teaches and pages nobody, the live part is judged, and the plain rule sees the same facts', async () => {
  const replay = await openReplay({ folder, format: 'native', liveMs: LIVE, looks: true });
  try {
    const history = Array.from({ length: 15 * 24 }, (_, hour) => LIVE - 15 * DAY + hour * HOUR).flatMap((at) =>
      ['tok_quiet', 'tok_stolen'].flatMap((token) => [call(token, at, '/v1/jobs'), call(token, at, '/v1/health')]),
    );
    // The same walk in the history, and live.
    const walk = (at: number) =>
      Array.from({ length: 30 }, (_, i) => call('tok_stolen', at + i * 10_000, `/v1/secret${i}/list`, 403));
    await replay.take(body([...history, ...walk(LIVE - 4 * DAY).slice(0, 5)]), LIVE - 1, false);
    expect(replay.detections()).toEqual([]);
    const live = walk(LIVE + HOUR);
    expect(await replay.take(body(live), LIVE + 2 * HOUR, true)).toEqual({ accepted: live.length, rejected: 0 });

    expect(new Set(replay.detections().map(({ subject }) => subject.token))).toEqual(new Set(['tok_stolen']));
    expect(replay.detections().some(({ severity }) => severity === 'critical' || severity === 'high')).toBe(true);
    expect(surprisedLooks(replay.surprises())['endpoint-spread']).toEqual([1, 1, 1, 1]);

    const { facts, looks } = await plainFacts(replay.store, LIVE);
    expect(Math.max(...facts.endpoints.map(({ inHour }) => inHour))).toBe(25);
    expect(new Set(facts.endpoints.map(({ lineage }) => lineage))).toEqual(new Set(['tok_stolen']));
    expect(looks.lineageHours).toBe(1);
  } finally {
    await replay.close();
  }
});
