import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createAdministration, FAMILIAR_MS } from '../../ingest/administration.ts';
import { ACTS, encodeLifecycle, type LifecycleRow, ORIGINS_OF_STEPS, type Store } from '../../store/index.ts';
import { lifecycleRow } from '../kit/rows.ts';
import { openTestStore, rows } from '../kit/store.ts';

const AT = Date.parse('2026-11-20T12:00:00Z');
const HOUR_MS = 3_600_000;

const step = (fields: Partial<LifecycleRow> = {}) =>
  lifecycleRow({ time: AT, ip: '192.0.2.7', country: 'CH', asn: 64500, userAgent: 'curl/8.5', ...fields });

const part = fc.constantFrom('', 'a', 'Ä', '1', '10', '/', ':', '.', 'fe80', ' ');
const text = fc.array(part, { maxLength: 5 }).map((parts) => parts.join(''));
const anyStep = fc.record({
  owner: fc.constantFrom('acme', 'globex', ''),
  action: fc.constantFrom('issued', 'verified', 'rotated', 'revoked', 'expired', 'config_changed'),
  hours: fc.integer({ min: 0, max: 200 }),
  ip: fc.oneof(fc.ipV4(), fc.ipV6(), text),
  country: fc.constantFrom('', 'CH', 'BR'),
  asn: fc.constantFrom(0, 0, 64500, 4_294_967_295),
  networkKind: fc.constantFrom('' as const, 'hosting' as const, 'vpn' as const, 'egress' as const),
  userAgent: text,
});

describe('whose tokens somebody new may have administered', () => {
  let store: Store;
  beforeAll(async () => {
    store = await openTestStore();
  });
  afterAll(() => store.close());

  test('is told by the first step from an origin and those of two days after, late ones too; steps that nobody takes tell nothing', () => {
    const administration = createAdministration();
    const told = (fields: Partial<LifecycleRow>) => administration.isUnfamiliar(step(fields));
    const home = { ip: '192.0.2.7', userAgent: 'curl/8.5' };
    expect(told({ ...home })).toBe(true);
    expect(told({ ...home, time: AT + FAMILIAR_MS - 1 })).toBe(true);
    expect(told({ ...home, time: AT + FAMILIAR_MS })).toBe(false);
    // From the same place, with another client.
    const stranger = { ...home, userAgent: 'python/3', time: AT + 9 * FAMILIAR_MS };
    expect(told({ ...stranger, action: 'expired' })).toBe(false);
    expect(told(stranger)).toBe(true);
    expect(told({ ...home, time: AT + 9 * FAMILIAR_MS + 1 })).toBe(false);
    // Of another owner nothing is known, and a late step moves the beginning.
    expect(told({ ...home, owner: 'globex', time: AT + 9 * FAMILIAR_MS })).toBe(true);
    expect(told({ ...home, time: AT - HOUR_MS })).toBe(true);
    expect(told({ ...home, time: AT - HOUR_MS + FAMILIAR_MS })).toBe(false);
    // What names neither address nor client is no origin.
    expect(told({ owner: 'bare', ip: '', country: '', asn: 0, userAgent: '' })).toBe(false);
    administration.forget();
    expect(told({ ...home, time: AT + 9 * FAMILIAR_MS })).toBe(true);
  });

  test('is named whenever the store says that an origin was met within two days before, whatever the steps look like', async () => {
    let serial = 0;
    for (const drawn of fc.sample(fc.array(anyStep, { minLength: 20, maxLength: 60 }), { numRuns: 6, seed: 11 })) {
      const run = ++serial;
      const taken = drawn.map(({ hours, ...fields }, i) =>
        step({ ...fields, owner: `${fields.owner} ${run}`, time: AT + hours * HOUR_MS, id: `${run} ${i}` }),
      );
      const administration = createAdministration();
      const named = taken.filter((row) => administration.isUnfamiliar(row)).map(({ id }) => id);
      await store.insert('lifecycle', taken.map(encodeLifecycle), `run ${run}`);
      // As the detectors see it, with all steps stored: from an origin whose first step is less than two days before.
      const fresh = await rows(
        store,
        `SELECT DISTINCT id FROM lifecycle ARRAY JOIN ${ORIGINS_OF_STEPS} AS origin
         INNER JOIN (SELECT owner, facet, value, min(first_seen) AS first FROM rollup_origins GROUP BY owner, facet, value) AS met
           ON met.owner = lifecycle.owner AND met.facet = origin.1 AND met.value = origin.2
         WHERE startsWith(id, '${run} ') AND action IN ${ACTS} AND time < first + toIntervalDay(2)`,
      );
      expect(fresh.length).toBeGreaterThan(5);
      expect(named).toEqual(expect.arrayContaining(fresh.map(({ id }) => id)));
    }
  });

  test('is not forgotten by a restart', async () => {
    const before = [
      step({ owner: 'known' }),
      step({ owner: 'lately', time: AT + 9 * FAMILIAR_MS - HOUR_MS, id: 's2' }),
    ];
    await store.insert('lifecycle', before.map(encodeLifecycle), 'restart');
    const administration = createAdministration();
    await administration.warm(store, AT + 9 * FAMILIAR_MS - 2 * HOUR_MS, new AbortController().signal);
    const told = (owner: string, fields: Partial<LifecycleRow> = {}) =>
      administration.isUnfamiliar(step({ owner, time: AT + 9 * FAMILIAR_MS, ...fields }));
    expect(told('known')).toBe(false);
    expect(told('known', { country: 'BR' })).toBe(true);
    // Nobody may have judged it.
    expect(told('lately')).toBe(true);
  });
});
