import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createLogger, type Detection, SEVERITIES, severityRank } from '../../core/index.ts';
import { DETECTORS, openJudge, scopeOf, thresholdsOf } from '../../detectors/index.ts';
import { gradeOf, severityOf } from '../../detectors/words.ts';
import { UNSAID } from '../../queues/index.ts';
import type { Store } from '../../store/index.ts';
import { openTestStore, rows } from '../kit/store.ts';
import { callEvent, DAY, HOUR, habit, judged, MINUTE, NEARBY_IP } from './kit.ts';

const NOW = Date.UTC(2026, 9, 12, 12);
const FROM = NOW - 7 * DAY;

let store: Store;
beforeAll(async () => {
  store = await openTestStore();
  const walk = Array.from({ length: 12 }, (_, i) => ({
    at: NOW + i * MINUTE,
    token: 'tok_cron',
    path: `/v1/secret${i}/list`,
    status: 403,
    ip: NEARBY_IP,
  }));
  await judged(store, [...habit('tok_cron', ['/v1/jobs', '/v1/health'], FROM, NOW), ...walk].map(callEvent));
});
afterAll(() => store.close());

describe('a threshold that is edited', () => {
  it('keeps what was learnt: the same facts and the same surprise, only another severity', async () => {
    const batches = await rows(store, 'SELECT DISTINCT toUnixTimestamp64Milli(received_at) AS at FROM events');
    const scope = scopeOf(
      batches.map(({ at }) => ({
        ...{ receivedAt: Number(at), minTime: NOW, maxTime: NOW + HOUR, usage: 12, lifecycle: 0 },
        ...UNSAID,
      })),
      NOW,
    );
    const walks = async (params: Record<string, number>): Promise<Detection[]> => {
      const others = DETECTORS.map(({ id }) => [id, { enabled: false, params: {} }] as const);
      const config = { detectors: { ...Object.fromEntries(others), 'endpoint-spread': { enabled: true, params } } };
      return openJudge({ config, store, log: createLogger('silent') })(scope);
    };
    const before = await walks({});
    const strongest = before.at(-1) as Detection;
    expect(strongest.surprise).toBeGreaterThan(6);
    // The surprise that is told is rounded.
    const after = await walks({ low: 1, medium: strongest.surprise - 0.06, high: 100, critical: 200 });
    const same = after.find(({ window }) => window.to === strongest.window.to);
    expect(strongest.severity).not.toBe('medium');
    expect(same).toMatchObject({ severity: 'medium', surprise: strongest.surprise, state: 'known' });
    expect([same?.observed, same?.expected]).toEqual([strongest.observed, strongest.expected]);
    expect(await walks({})).toEqual(before);
  });

  it('is what an alert budget compares by, also of a detector that is switched off', () => {
    const all = thresholdsOf({ 'geo-novelty': { enabled: false, params: { medium: 5 } } });
    expect(all['geo-novelty']).toMatchObject({ medium: 5 });
    expect(all['endpoint-spread']).toEqual({ medium: 4, critical: 15 });
  });
});

describe('the grades of a finding', () => {
  const at = { low: 3, medium: 4, high: 6, critical: 15 };

  it('are its severities, and each whole surprise beyond medium and high', () => {
    expect([2.9, 3.9, 4.9, 5.1, 6, 14.9, 15, 40].map((surprise) => gradeOf(surprise, at))).toEqual([
      '',
      'low',
      'medium',
      'medium+1',
      'high',
      'high+8',
      'critical',
      'critical',
    ]);
  });

  it('never hide a growth of a whole surprise within what pages', () => {
    const surprise = fc.double({ min: 4, max: 15, maxExcluded: true, noNaN: true });
    fc.assert(
      fc.property(surprise, (one) => {
        expect(gradeOf(one + 1, at)).not.toBe(gradeOf(one, at));
        expect(SEVERITIES.filter((name) => gradeOf(one, at).startsWith(name))).toEqual([severityOf(one, at)]);
        expect(severityRank(severityOf(one, at) ?? 'info')).toBeGreaterThanOrEqual(severityRank('medium'));
      }),
    );
  });
});
