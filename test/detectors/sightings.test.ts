import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Reads } from '../../detectors/contract.ts';
import { type NewPlace, type Sighting, sightingsByEngine, sightingsOf } from '../../detectors/sightings.ts';
import { encodeUsage, type Store } from '../../store/index.ts';
import { usageRow } from '../kit/rows.ts';
import { openTestStore } from '../kit/store.ts';

const HOUR = 3_600_000;
const NOON = Date.UTC(2026, 10, 16, 12);

let store: Store;
beforeAll(async () => {
  store = await openTestStore();
});
afterAll(() => store.close());

const seconds = fc.integer({ min: 0, max: 2 * 3_600 });
const country = fc.constantFrom('', 'DE', 'BR', 'JP');
const kind = fc.constantFrom('' as const, 'hosting' as const, 'egress' as const);
const anyCall = fc.record({
  at: seconds,
  owner: fc.constantFrom('acme', 'bakery'),
  lineage: fc.constantFrom('tok', 'busy', 'other'),
  status: fc.constantFrom(200, 200, 200, 401, 403),
  ip: fc.constantFrom('198.51.100.7', '2001:db8::7', ''),
  asn: fc.constantFrom(0, 64500, 64501),
  ...{ country, networkKind: kind },
});
const anyPlace = fc.record({
  ...{ at: seconds, length: fc.integer({ min: 0, max: 5_000 }) },
  owner: fc.constantFrom('acme', 'bakery'),
  lineage: fc.constantFrom('tok', 'busy', 'nobody'),
  where: fc.constantFrom(
    ...(['BR', 'JP', 'egress'] as const).map((value) => ({ facet: 'country', value }) as const),
    ...(['hosting', 'other', 'egress'] as const).map((value) => ({ facet: 'kind', value }) as const),
  ),
  strange: fc.subarray(['JP', 'other']),
});

test('what followed an arrival is the same whether the engine says so or the calls are read, also of lineages that call often', async () => {
  let run = 0;
  const queries = new Set<string>();
  let followed = 0;
  for (const [calls, drawn] of fc.sample(
    fc.tuple(
      fc.array(anyCall, { minLength: 30, maxLength: 120 }),
      fc.array(anyPlace, { minLength: 20, maxLength: 40 }),
    ),
    { numRuns: 12, seed: 5 },
  )) {
    const start = NOON + ++run * 24 * HOUR;
    const made = calls.map(({ at, ...fields }, i) =>
      usageRow({ ...fields, time: start + at * 1_000, id: `${run} ${i}` }),
    );
    // The first hundred came twice; and one calls three times a second, at home and abroad.
    const busy = Array.from({ length: 400 }, (_, i) =>
      usageRow({ lineage: 'busy', time: start + i * 333, id: `busy ${run} ${i}`, country: i % 7 === 3 ? 'BR' : 'DE' }),
    );
    await store.insert('events', [...made, ...busy].map(encodeUsage), `run ${run}`);
    await store.insert('events', made.slice(0, 100).map(encodeUsage), `again ${run}`);
    const places = drawn.map(({ at, length, where, ...place }): NewPlace => {
      const met = start + at * 1_000;
      return { ...place, ...where, met, until: met + length * 1_000 };
    });
    const reads: Reads = {
      read: (query, params) => {
        queries.add(query.name);
        return store.read(query, params);
      },
    };
    const told = (rows: readonly { place: NewPlace; sighting: Omit<Sighting, 'moved'> }[]) =>
      places.map((place) => rows.find((row) => row.place === place)?.sighting ?? null);
    const read = told(await sightingsOf(reads, places));
    expect(read).toEqual(told(await sightingsByEngine(store, places)));
    followed += read.filter((one) => one !== null && one.calls.length > 0 && one.homeAfter !== null).length;
  }
  expect([...queries]).toEqual(['geo_calls', 'geo_sightings']);
  expect(followed).toBeGreaterThan(20);
});

test('of many places the engine is asked at once', async () => {
  const asked: string[] = [];
  const reads: Reads = {
    read: (query, params) => {
      asked.push(query.name);
      return store.read(query, params);
    },
  };
  const place = { owner: 'acme', lineage: 'tok', facet: 'country', value: 'BR', strange: [] } as const;
  const many = Array.from({ length: 65 }, (_, i) => ({ ...place, met: NOON + i, until: NOON + HOUR }));
  await sightingsOf(reads, many);
  expect(asked).toEqual(['geo_sightings']);
});
