import { afterAll, beforeAll, expect, test } from 'vitest';
import { createLogger, type Detection } from '../../core/index.ts';
import { type Scope, scopeOf, stretchesOf } from '../../detectors/contract.ts';
import { enabledDetectors, judgeScope } from '../../detectors/run.ts';
import { simulate } from '../../fixtures/index.ts';
import { UNSAID } from '../../queues/index.ts';
import type { Store } from '../../store/index.ts';
import { openTestStore, rows } from '../kit/store.ts';
import { judged } from './kit.ts';

let store: Store;
beforeAll(async () => {
  store = await openTestStore();
});
afterAll(() => store.close());

const fleet = simulate({
  ...{ seed: 11, owners: 4, tokens: 16, historyDays: 9, liveDays: 2, endMs: Date.UTC(2026, 9, 15, 18) },
  callsPerTokenDay: 30,
  attacks: ['theft-new-country', 'enumeration-fast', 'denied-probing', 'issuance-burst'],
  changes: ['deploy', 'rotation', 'region-failover'],
});

/** Nothing that was looked at for one judgement is known to another. */
async function judge(scope: Scope): Promise<Detection[]> {
  const reads = { read: store.read };
  const { detections, broken } = await judgeScope(reads, enabledDetectors({}), scope, createLogger('silent'));
  expect(broken).toEqual([]);
  return detections;
}

test('days that are judged together find what each finds alone', async () => {
  await judged(store, [...fleet.events()]);
  const batches = await rows(
    store,
    `SELECT toUnixTimestamp64Milli(received_at) AS receivedAt, toUnixTimestamp64Milli(min(time)) AS minTime, toUnixTimestamp64Milli(max(time)) AS maxTime
     FROM events GROUP BY received_at`,
  );
  const unnamed = { usage: 1, lifecycle: 1, ...UNSAID };
  const scope = scopeOf(
    batches.map(({ receivedAt, minTime, maxTime }) => ({
      ...{ receivedAt: Number(receivedAt), minTime: Number(minTime), maxTime: Number(maxTime) },
      ...unnamed,
    })),
    0,
  );
  const days = stretchesOf(scope).flatMap((stretch) => stretch.days);
  const alone = new Map<string, Detection>();
  for (const { within } of days)
    for (const detection of await judge({ ...scope, within }))
      if (!alone.has(detection.id)) alone.set(detection.id, detection);

  const together = await judge(scope);
  expect(days.length).toBeGreaterThan(10);
  expect(new Set(together.map(({ detector }) => detector)).size).toBeGreaterThan(3);
  expect(new Map(together.map((detection) => [detection.id, detection]))).toEqual(alone);
});
