import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { candidates, isCandidate, type Met } from '../../detectors/candidates.ts';
import { lineageKey } from '../../detectors/lineage.ts';
import type { Facet } from '../../detectors/prior.ts';
import type { Store } from '../../store/index.ts';
import { openTestStore, rows } from '../kit/store.ts';
import { DAY, HOUR } from './kit.ts';

let store: Store;
beforeAll(async () => {
  store = await openTestStore();
});
afterAll(() => store.close());

const NOW = Date.UTC(2026, 8, 1, 12);
const FACETS: readonly Facet[] = ['endpoint', 'country', 'network', 'kind', 'client'];

/** When values were met: just now, within the day, when a baseline begins, long ago, and at the very bounds. */
const age = fc.oneof(
  fc.constantFrom(0, HOUR, HOUR + 1, DAY + HOUR, 5 * DAY, 5 * DAY + 1),
  fc.integer({ min: 0, max: 2 * HOUR }),
  fc.integer({ min: 0, max: 30 * DAY }),
);
const met = fc.record({ facet: fc.constantFrom(...FACETS), met: age.map((ms) => NOW - ms) });
const lineage = fc.record({
  heir: fc.boolean(),
  values: fc.oneof(
    fc.array(met, { minLength: 1, maxLength: 8 }),
    fc.array(fc.record({ facet: fc.constant<Facet>('endpoint'), met: fc.constantFrom(NOW, NOW - DAY) }), {
      minLength: 1,
      maxLength: 16,
    }),
  ),
});

test('the function and the query name the same candidates', async () => {
  const fleet = fc.sample(lineage, { numRuns: 400, seed: 7 });
  const tuples = fleet.flatMap(({ values }, i) =>
    values.map(({ facet, met }: Met, k) => `('${facet}', 'v${k}', 't${i}', ${met})`),
  );
  await rows(
    store,
    `INSERT INTO rollup_facets (facet, value, owner, lineage, first_seen)
     SELECT met.1, met.2, 'acme', met.3, fromUnixTimestamp64Milli(met.4) FROM (SELECT arrayJoin([${tuples.join(', ')}]) AS met)`,
  );
  // Everybody is in the batch that is looked at.
  await rows(
    store,
    `INSERT INTO events (time, received_at, id, owner, lineage)
     SELECT fromUnixTimestamp64Milli(${NOW}), fromUnixTimestamp64Milli(${NOW}), toString(number), 'acme', 't' || toString(number)
     FROM numbers(${fleet.length})`,
  );
  const bounds = {
    fresh: NOW - HOUR,
    knownBefore: NOW - 5 * DAY,
    heirs: fleet.flatMap(({ heir }, i) => (heir ? [lineageKey({ owner: 'acme', lineage: `t${i}` })] : [])),
    rush: 12,
  };
  const asked = await store.read(candidates, { ...bounds, from: NOW, to: NOW, receivedAt: [NOW] });
  const said = fleet.flatMap(({ values }, i) =>
    isCandidate({ owner: 'acme', lineage: `t${i}` }, values, bounds) ? [`t${i}`] : [],
  );
  expect(asked.map((row) => row.lineage).sort()).toEqual(said.sort());
  // Neither all nor nobody: the sample tells them apart.
  expect(said.length).toBeGreaterThan(fleet.length * 0.2);
  expect(said.length).toBeLessThan(fleet.length * 0.8);
});
