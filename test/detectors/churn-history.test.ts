import { afterAll, beforeAll, expect, test } from 'vitest';
import { HISTORY_MS } from '../../detectors/churn-habits.ts';
import { type ChurnFacts, churnRateDetector } from '../../detectors/churn-rate.ts';
import { scopeOf, stretchesOf } from '../../detectors/contract.ts';
import { UNSAID } from '../../queues/index.ts';
import { encodeLifecycle, type Store } from '../../store/index.ts';
import { lifecycleRow } from '../kit/rows.ts';
import { openTestStore } from '../kit/store.ts';
import { DAY, HOUR } from './kit.ts';

const NOON = Date.UTC(2026, 10, 16, 12);

let store: Store;
beforeAll(async () => {
  store = await openTestStore();
});
afterAll(() => store.close());

const issued = (time: number) =>
  encodeLifecycle(lifecycleRow({ time, id: `step ${time}`, token: `tok_${time}`, lineage: `tok_${time}` }));

test('eight weeks before the longest window are read, so that no day of them counts as one without steps', async () => {
  const days = Array.from({ length: 90 }, (_, day) => NOON - day * DAY);
  await store.insert('lifecycle', days.map(issued), 'steps');
  const batch = { receivedAt: NOON, minTime: NOON, maxTime: NOON, usage: 0, lifecycle: 1, owners: ['acme'] };
  const scope = scopeOf([{ ...UNSAID, ...batch }], NOON - HOUR);
  const day = stretchesOf(scope).flatMap((stretch) => stretch.days)[0];
  if (day === undefined) throw new Error('no day');
  const [facts] = (await churnRateDetector.facts(store, day)) as ChurnFacts[];
  const from = NOON - 3 * DAY - HISTORY_MS;
  expect(facts?.hours.filter(({ hour }) => hour >= from)).toHaveLength(days.filter((time) => time >= from).length);
  expect(facts?.hours.length).toBeLessThan(days.length);
});
