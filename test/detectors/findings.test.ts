import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Finding } from '../../detectors/contract.ts';
import { storeDetections } from '../../detectors/findings.ts';
import { toDetection } from '../../detectors/run.ts';
import type { Store } from '../../store/index.ts';
import { openTestStore } from '../kit/store.ts';
import { HOUR, MINUTE } from './kit.ts';

const NOON = Date.UTC(2026, 10, 16, 12);

let store: Store;
beforeAll(async () => {
  store = await openTestStore();
});
afterAll(() => store.close());

interface Walk {
  readonly began: number;
  readonly grade?: string;
  readonly owner?: string;
  readonly detector?: string;
}

/** stored is whether a finding about a walk is stored, after what was stored before it. */
async function stored({ began, grade = 'medium', owner = 'acme', detector = 'endpoint-spread' }: Walk) {
  const finding: Finding = {
    ...{ anchor: `walk ${grade}`, began, subject: { token: 'tok', lineage: 'tok', owner }, severity: 'medium' },
    ...{ title: 'a walk', summary: '', window: { from: began, to: NOON + MINUTE }, observed: {}, expected: {} },
    ...{ surprise: 4, state: 'known', evidence: [], sql: '' },
  };
  const late = { ...finding, window: { from: began, to: Math.max(began, NOON + MINUTE) } };
  const detection = toDetection(detector, late);
  return (await storeDetections(store, [detection], NOON, new Map([[detection.id, late]]))).length === 1;
}

test('an episode that seems to have begun at another time is not told again; whatever else is found is', async () => {
  expect(await stored({ began: NOON })).toBe(true);
  // The same once more, and with a call that came late.
  expect(await stored({ began: NOON })).toBe(false);
  expect(await stored({ began: NOON - 20 * MINUTE })).toBe(false);
  // A late call shows that what it began with was known before.
  expect(await stored({ began: NOON + MINUTE / 2 })).toBe(false);
  // It grew; it is somebody else's, or another detector's; it is another one, later or long before.
  expect(await stored({ began: NOON - 20 * MINUTE, grade: 'medium+1' })).toBe(true);
  expect(await stored({ began: NOON - 20 * MINUTE, owner: 'bakery' })).toBe(true);
  expect(await stored({ began: NOON - 20 * MINUTE, detector: 'combined-signals' })).toBe(true);
  expect(await stored({ began: NOON + 5 * HOUR })).toBe(true);
});
