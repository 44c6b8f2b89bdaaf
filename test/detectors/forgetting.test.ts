import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { scopeOf, startOf, stretchesOf } from '../../detectors/contract.ts';
import { memoryOf, renewalIn, renewalQuarters } from '../../detectors/forgetting.ts';
import { inheritValues } from '../../detectors/succession.ts';
import { UNSAID } from '../../queues/index.ts';
import {
  encodeUsage,
  quarterName,
  quarterOf,
  quarterStart,
  type Store,
  sqlQuarter,
  sqlQuarterStart,
  sqlRenewals,
  type UsageRow,
} from '../../store/index.ts';
import { emptyStore, openTestStore, rows } from '../kit/store.ts';
import { DAY, HOUR } from './kit.ts';

let store: Store;
beforeAll(async () => {
  store = await openTestStore();
});
afterAll(() => store.close());

function call(time: number, fields: Partial<UsageRow> = {}): string {
  return encodeUsage({
    ...{ time, receivedAt: time, id: '', token: 'tok_1', lineage: 'tok_1', owner: 'acme', endpoint: 'GET /v1' },
    ...{ method: 'GET', status: 200, ip: '', country: '', asn: 0, networkKind: '', latitude: 0, longitude: 0 },
    ...{ accuracyKm: 0, userAgent: '', bytes: 1, durationMs: 1, requestId: '', attributes: '', source: 'native' },
    ...fields,
  });
}

describe('quarters', () => {
  const moments = fc
    .oneof(
      fc.integer({ min: Date.UTC(1960, 0, 1), max: Date.UTC(2080, 0, 1) }),
      fc
        .integer({ min: 0, max: 70 })
        .chain((quarter) => fc.constantFrom(-1, 0, 1).map((ms) => quarterStart(quarter) + ms)),
    )
    .filter((at) => at !== 0);

  test('are the same in the rollup, in SQL and in the program, and calls of any year are stored', async () => {
    const times = [...new Set(fc.sample(moments, { numRuns: 300, seed: 3 }))];
    await store.insert(
      'events',
      times.map((time, i) => call(time, { id: `${i}`, endpoint: `GET /v1/${i}` })),
      'quarters',
    );
    const found = await rows(
      store,
      `SELECT value, toUnixTimestamp64Milli(min(first_seen)) AS at, bitPositionsToArray(groupBitOr(quarters)) AS used,
         ${sqlQuarter('min(first_seen)')} AS quarter, toUnixTimestamp64Milli(${sqlQuarterStart('quarter')}) AS start
       FROM rollup_facets WHERE facet = 'endpoint' GROUP BY value`,
    );
    expect(found.length).toBe(times.length);
    for (const row of found) {
      const quarter = quarterOf(Number(row.at));
      expect(Number(row.quarter)).toBe(quarter);
      expect(Number(row.start)).toBe(quarterStart(quarter));
      expect((row.used as unknown[]).map(Number)).toEqual(quarter < 64 ? [quarter] : []);
    }
    await emptyStore(store);
  });

  test('have names', () => {
    expect(quarterName(quarterOf(Date.UTC(2025, 7, 11)))).toBe('July to September 2025');
    expect(quarterName(quarterOf(Date.UTC(2018, 7, 11)))).toBe('January to March 2020 or before');
  });

  test('SQL finds where use begins: the first use, and each after four quarters without', async () => {
    const used = fc.uniqueArray(fc.integer({ min: 0, max: 63 }), { maxLength: 12 });
    const sets = fc.sample(used, { numRuns: 300, seed: 5 }).map((set) => set.sort((a, b) => a - b));
    const bits = sets.map((set) => set.reduce((all, quarter) => all | (1n << BigInt(quarter)), 0n));
    const found = await rows(
      store,
      `SELECT bitPositionsToArray(${sqlRenewals('used')}) AS starts FROM (SELECT arrayJoin([${bits.map((one) => `toUInt64('${one}')`).join(', ')}]) AS used)`,
    );
    expect(found.map(({ starts }) => (starts as unknown[]).map(Number))).toEqual(
      sets.map((set) => set.filter((quarter, i) => i === 0 || quarter - (set[i - 1] ?? 0) > 4)),
    );
  });
});

describe('what is forgotten', () => {
  const quarters = fc.uniqueArray(fc.integer({ min: 0, max: 30 }), { minLength: 1, maxLength: 31 });

  test('is what was unused in four quarters in which the lineage used something else', () => {
    fc.assert(
      fc.property(quarters, quarters, fc.integer({ min: 0, max: 30 }), (used, others, at) => {
        const sorted = [...used].sort((a, b) => a - b);
        const before = sorted.findLast((quarter) => quarter < at);
        const busy = new Set([...used, ...others].filter((quarter) => quarter > (before ?? 0) && quarter < at)).size;
        const expected =
          sorted.includes(at) && before !== undefined && busy >= 4 ? { quarter: at, lastUsed: before } : null;
        expect(renewalIn(sorted, new Set([...used, ...others]), [at])).toEqual(expected);
      }),
    );
  });

  test('is never anything of a lineage that did nothing else meanwhile, nor of one that is younger than a year', () => {
    fc.assert(
      fc.property(quarters, fc.integer({ min: 0, max: 30 }), (used, at) => {
        const sorted = [...used].sort((a, b) => a - b);
        expect(renewalIn(sorted, new Set(sorted), [at])).toBeNull();
        const young = sorted.filter((quarter) => quarter > at - 5);
        expect(renewalIn(young, new Set(Array.from({ length: 31 }, (_, i) => i)), [at])).toBeNull();
      }),
    );
  });

  test('counts for a day by its own quarter, and at the beginning of one by the quarter before', () => {
    const quarter = quarterOf(Date.UTC(2026, 9, 12));
    const on = (from: number) => renewalQuarters({ within: { from, to: from + DAY } });
    expect(on(Date.UTC(2026, 9, 12))).toEqual([quarter]);
    expect(on(Date.UTC(2026, 9, 2))).toEqual([quarter - 1, quarter]);
    expect(on(Date.UTC(2026, 8, 30))).toEqual([quarter - 1]);
    // Whatever part of the day is judged: a live look sees an hour of it, a backtest all.
    const from = Date.UTC(2026, 9, 2, 12);
    expect(renewalQuarters({ within: { from, to: from + DAY / 24 } })).toEqual([quarter - 1, quarter]);
  });
});

describe('what a lineage remembers', () => {
  const chain = (...lineages: string[]) => lineages.map((lineage) => ({ owner: 'acme', lineage }));
  /** A call from home in every quarter of two years, and from abroad in the first of them. */
  const past = (lineage: string) => [
    ...Array.from({ length: 8 }, (_, i) => call(Date.UTC(2024, 9 + 3 * i, 3), { lineage, country: 'DE', id: `${i}` })),
    call(Date.UTC(2024, 9, 5), { lineage, country: 'BR', id: 'first' }),
  ];
  /** What it met of countries, as it counts on the day that `at` is in. */
  const remembered = async (at: number, ...lineages: string[]) => {
    const entry = { minTime: at, maxTime: at, usage: 1, lifecycle: 0, receivedAt: at };
    const [stretch] = stretchesOf(scopeOf([{ ...UNSAID, ...entry }], 0, null, at));
    const day = stretch?.days.find(({ within }) => within.from <= at && within.to > at);
    if (stretch === undefined || day === undefined) throw new Error('no such day');
    const stored = await rows(
      store,
      `SELECT lineage, value, toUnixTimestamp64Milli(min(first_seen)) AS met, bitPositionsToArray(groupBitOr(quarters)) AS used FROM rollup_facets
       WHERE has({lineages:Array(String)}, lineage) AND facet = 'country' GROUP BY lineage, value ORDER BY met`,
      { lineages },
    );
    const values = stored.map(({ lineage, value, met, used }) => ({
      ...{ facet: 'country', owner: 'acme', lineage: String(lineage), value: String(value), met: Number(met) },
      ...{ calls: 1, failed: 0, firstStatus: 200, quarters: (used as unknown[]).map(Number) },
    }));
    const isOwn = ({ lineage }: { lineage: string }) => lineage === lineages[0];
    const inherited = values.filter((value) => !isOwn(value));
    const known = inheritValues(values.filter(isOwn), inherited, startOf(day));
    const usedOf = ({ lineage }: { lineage: string }) => values.filter((value) => value.lineage === lineage);
    const memory = await memoryOf(store, stretch, [chain(...lineages)], usedOf);
    return memory.asRemembered(day, chain(...lineages), known).map(({ value, met, firstStatus, lastUsed }) => ({
      ...{ value, met, firstStatus, lastUsed },
    }));
  };
  const BACK = Date.UTC(2026, 11, 10, 9);
  const LAST_USED = quarterOf(Date.UTC(2024, 9, 5));

  test('was met when it was used again, however that day is judged: at once, late, or after it was used in the next quarter too', async () => {
    await store.insert('events', past('tok_back'), 'back');
    const before = await remembered(BACK - DAY, 'tok_back');
    expect(before.map(({ lastUsed }) => lastUsed)).toEqual([undefined, undefined]);
    await store.insert('events', [call(BACK, { lineage: 'tok_back', country: 'BR', status: 403, id: 'back' })], 'b');
    const anew = { value: 'BR', met: BACK, firstStatus: 403, lastUsed: LAST_USED };
    expect((await remembered(BACK, 'tok_back')).at(-1)).toEqual(anew);
    // Not before it was used, though by now it is known that it was; and from then on to the end of the quarter.
    expect((await remembered(BACK - DAY, 'tok_back')).at(-1)).toMatchObject({ value: 'BR', lastUsed: undefined });
    expect((await remembered(BACK + 9 * DAY, 'tok_back')).at(-1)).toEqual(anew);
    // A call that comes late was earlier.
    const early = BACK - 6 * HOUR;
    await store.insert('events', [call(early, { lineage: 'tok_back', country: 'BR', id: 'late' })], 'late');
    expect((await remembered(BACK, 'tok_back')).at(-1)).toEqual({ ...anew, met: early, firstStatus: 200 });
    // In the next quarter it is used again.
    const next = Date.UTC(2027, 0, 20);
    await store.insert('events', [call(next, { lineage: 'tok_back', country: 'BR', id: 'next' })], 'next');
    expect((await remembered(BACK, 'tok_back')).at(-1)).toMatchObject({ met: early, lastUsed: LAST_USED });
    // And by then it has long been known again.
    expect((await remembered(next, 'tok_back')).at(-1)).toMatchObject({ value: 'BR', lastUsed: undefined });
  });

  test('at the very end of a quarter is as new when the next one has begun', async () => {
    const late = Date.UTC(2026, 11, 31, 23, 50);
    const calls = [call(late, { country: 'BR', id: 'e' }), call(late + HOUR, { country: 'BR', id: 'f' })];
    await store.insert('events', [...past('tok_1'), ...calls], 'end');
    for (const at of [late, late + HOUR])
      expect((await remembered(at, 'tok_1')).at(-1)).toMatchObject({ value: 'BR', met: late, lastUsed: LAST_USED });
  });

  test('what another token knew whose habits count as its own is forgotten like its own', async () => {
    const heir = [
      call(BACK - 30 * DAY, { lineage: 'tok_heir', country: 'DE', id: 'h' }),
      call(BACK, { lineage: 'tok_heir', country: 'BR', id: 'i' }),
    ];
    await store.insert('events', [...past('tok_old'), ...heir], 'heir');
    const [, abroad] = await remembered(BACK, 'tok_heir', 'tok_old');
    expect(abroad).toMatchObject({ value: 'BR', met: BACK, lastUsed: LAST_USED });
  });
});
