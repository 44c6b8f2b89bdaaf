import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createLogger, createMetrics } from '../../core/index.ts';
import { type Detectors, openDetectors } from '../../detectors/index.ts';
import { type Fleet, fleetAt, renewFleets } from '../../detectors/prior.ts';
import { type Queues, UNSAID } from '../../queues/index.ts';
import { encodeUsage, type Store } from '../../store/index.ts';
import { openTestQueues } from '../kit/redis.ts';
import { openTestStore, rows } from '../kit/store.ts';
import { DAY, HOUR } from './kit.ts';

const heirsOf = ({ successions }: Fleet) => [...successions.values()].map(({ lineage }) => lineage);

const TODAY = Date.UTC(2026, 9, 14);
const TOMORROW = TODAY + DAY;

describe('the fleet of a day that has not begun', () => {
  let store: Store;
  let redis: { queues: Queues; close(): Promise<void> };
  let detectors: Detectors;
  const clock = { at: 0, now: () => clock.at };
  beforeAll(async () => {
    store = await openTestStore();
    redis = await openTestQueues();
    detectors = openDetectors({
      ...{ config: { detectors: {}, alerts: { maxAgeMs: null, channels: {}, routes: [], budget: null } } },
      ...{ store, queues: redis.queues, clock, log: createLogger('silent'), metrics: createMetrics() },
    });
  });
  afterAll(async () => {
    await redis.close();
    await store.close();
  });

  /** A call of one service in each of these hours. */
  const calls = (token: string, from: number, to: number, owner = 'acme') =>
    Array.from({ length: Math.round((to - from) / HOUR) }, (_, i) => from + i * HOUR).map((time) => ({
      ...{ time, receivedAt: 0, id: `${token} ${time}`, token, lineage: token, owner, endpoint: 'GET /v1' },
      ...{ method: 'GET', status: 200, ip: '198.51.100.7', country: 'DE', asn: 64500, networkKind: '' as const },
      ...{ latitude: 0, longitude: 0, accuracyKm: 0, userAgent: 'cron/1.0', bytes: 1, durationMs: 1, requestId: '' },
      ...{ attributes: '', source: 'native' },
    }));

  /** arrived stores calls at a wall time, and has them judged. */
  async function arrived(at: number, ...made: ReturnType<typeof calls>[]): Promise<void> {
    clock.at = at;
    const all = made.flat().map((call) => ({ ...call, receivedAt: at }));
    await store.insert('events', all.map(encodeUsage), `calls at ${at}`);
    const times = all.map(({ time }) => time);
    const entry = { receivedAt: at, minTime: Math.min(...times), maxTime: Math.max(...times), usage: all.length };
    await redis.queues.batches.append([{ ...entry, lifecycle: 0, ...UNSAID }]);
    await detectors.runOnce();
  }

  const recorded = () => rows(store, "SELECT lineage, predecessor FROM successions WHERE lineage != '' ORDER BY as_of");

  it("is looked at anew once it has, however far ahead a sender's clock is", async () => {
    const others = Array.from({ length: 8 }, (_, i) => calls(`tok_${i}`, TODAY - 8 * DAY, TODAY + 18 * HOUR));
    // One falls silent at noon, another begins; in the evening somebody sends a call of tomorrow.
    await arrived(
      TODAY + 18 * HOUR,
      ...others,
      calls('tok_old', TODAY - 8 * DAY, TODAY + 12 * HOUR),
      calls('tok_new', TODAY + 12 * HOUR, TODAY + 18 * HOUR),
      calls('tok_0', TOMORROW + HOUR, TOMORROW + 2 * HOUR),
    );
    const early = await fleetAt(store, TOMORROW, clock.at);
    expect(heirsOf(early)).toEqual(['tok_new']);
    expect(await fleetAt(store, TOMORROW, TOMORROW - 1)).toBe(early);

    // Before the day ends it is heard again: nobody took over from it.
    await arrived(TODAY + 22 * HOUR, calls('tok_old', TODAY + 20 * HOUR, TODAY + 22 * HOUR));
    await arrived(TOMORROW + 2 * HOUR, calls('tok_0', TOMORROW + 2 * HOUR, TOMORROW + 3 * HOUR));
    // What the detectors kept: asked by a clock of yesterday nothing is looked at anew.
    const fleet = await fleetAt(store, TOMORROW, TODAY);
    expect(heirsOf(fleet)).toEqual([]);
    // One look a day, and what was never so is not written down.
    expect(await fleetAt(store, TOMORROW + 5 * HOUR, clock.at + HOUR)).toBe(fleet);
    expect(await recorded()).toEqual([]);
  });

  it('is looked at anew when history of earlier days was imported since', async () => {
    const day = TOMORROW + DAY;
    const peers = Array.from({ length: 8 }, (_, i) => calls(`tok_peer_${i}`, day - 8 * DAY, day + HOUR));
    await arrived(day + HOUR, ...peers);
    const before = await fleetAt(store, day, clock.at);
    expect(heirsOf(before)).toEqual([]);
    // The rest of the import: who fell silent the day before, and who began then.
    await arrived(
      day + 2 * HOUR,
      calls('tok_silent', day - 8 * DAY, day - 6 * HOUR, 'globex'),
      calls('tok_heir', day - 6 * HOUR, day + HOUR, 'globex'),
    );
    expect(await recorded()).toContainEqual({ lineage: 'tok_heir', predecessor: 'tok_silent' });
    // What is only a little late renews nothing.
    const after = await fleetAt(store, day, clock.at);
    expect(heirsOf(after)).toEqual(['tok_heir']);
    await arrived(day + 2 * HOUR + 1, calls('tok_peer_0', day - HOUR / 2, day + HOUR));
    expect(await fleetAt(store, day, clock.at)).toBe(after);

    // A sender that is always late does not have it looked at with every batch.
    const later = day + 12 * HOUR;
    const renewed = Array.from(
      { length: 30 },
      (_, i) => [fleetAt(store, day, later), renewFleets(store, later + i)][1],
    );
    expect(renewed.filter(Boolean)).toHaveLength(20);
    expect(renewFleets(store, later + HOUR)).toBe(true);
  });
});
