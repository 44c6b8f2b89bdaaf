import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { candidates, isCandidate, type Met } from '../../detectors/candidates.ts';
import { lineageKey } from '../../detectors/lineage.ts';
import type { Facet } from '../../detectors/prior.ts';
import { quarterOf, type Store } from '../../store/index.ts';
import { openTestStore, rows } from '../kit/store.ts';
import { DAY, HOUR } from './kit.ts';

let store: Store;
beforeAll(async () => {
  store = await openTestStore();
});
afterAll(() => store.close());

const NOW = Date.UTC(2026, 8, 1, 12);
const FACETS: readonly Facet[] = ['endpoint', 'country', 'network', 'kind', 'client'];

/** A value: when it was met, and the quarters in which it was used. */
type Told = { readonly facet: Facet; readonly met: number; readonly used: readonly number[] };

/** When values were met: just now, within the day, when a baseline begins, long ago, and at the very bounds. */
const age = fc.oneof(
  fc.constantFrom(0, HOUR, HOUR + 1, DAY + HOUR, 5 * DAY, 5 * DAY + 1),
  fc.integer({ min: 0, max: 2 * HOUR }),
  fc.integer({ min: 0, max: 30 * DAY }),
);
const THIS_QUARTER = quarterOf(NOW);
/** Quarters in which it was used after the one in which it was met: mostly none, seldom this one after a long time or a short one. */
const later = fc.oneof(
  { weight: 6, arbitrary: fc.constant<number[]>([]) },
  { weight: 1, arbitrary: fc.constant([THIS_QUARTER]) },
  { weight: 1, arbitrary: fc.subarray([7, 6, 5, 4, 1, 0].map((before) => THIS_QUARTER - before)) },
);
const met = fc
  .record({ facet: fc.constantFrom(...FACETS), met: age.map((ms) => NOW - ms), later })
  .map(({ facet, met, later }): Told => {
    // What was used again was met long before.
    const first = later.length === 0 ? met : met - 600 * DAY;
    const used = [...new Set([quarterOf(first), ...later])].sort((a, b) => a - b);
    return { facet, met: first, used };
  });

const asMet = ({ facet, met, used }: Told): Met => ({
  facet,
  met,
  quarters: used,
});

/** Where use began anew, by the definition: nobody used it in the four quarters before, but earlier. */
const renewalsOf = (used: readonly number[]) =>
  used.filter(
    (quarter) => used.some((one) => one < quarter - 4) && ![1, 2, 3, 4].some((i) => used.includes(quarter - i)),
  );
const lineage = fc.record({
  heir: fc.boolean(),
  values: fc.oneof(
    fc.array(met, { minLength: 1, maxLength: 8 }),
    fc.array(
      fc.constantFrom(NOW, NOW - DAY).map((met): Told => ({ facet: 'endpoint', met, used: [quarterOf(met)] })),
      { minLength: 1, maxLength: 16 },
    ),
  ),
});

test('the function and the query name the same candidates', async () => {
  const fleet = fc.sample(lineage, { numRuns: 400, seed: 7 });
  const tuples = fleet.flatMap(({ values }, i) =>
    values.map(({ facet, met, used }, k) => `('${facet}', 'v${k}', 't${i}', ${met}, [${used.join(', ')}])`),
  );
  await rows(
    store,
    `INSERT INTO rollup_facets (facet, value, owner, lineage, first_seen, quarters)
     SELECT met.1, met.2, 'acme', met.3, fromUnixTimestamp64Milli(met.4), arrayReduce('groupBitOr', arrayMap(q -> bitShiftLeft(toUInt64(1), q), met.5)) FROM (SELECT arrayJoin([${tuples.join(', ')}]) AS met)`,
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
    quarters: [THIS_QUARTER],
  };
  const asked = await store.read(candidates, { ...bounds, from: NOW, to: NOW, receivedAt: [NOW] });
  const said = fleet.flatMap(({ values }, i) =>
    isCandidate({ owner: 'acme', lineage: `t${i}` }, values.map(asMet), bounds) ? [`t${i}`] : [],
  );
  expect(asked.map((row) => row.lineage).sort()).toEqual(said.sort());
  // Also who is one only because something was forgotten, and who is none though it was.
  const forgetful = fleet.map(({ values }) => values.some(({ used }) => renewalsOf(used).includes(THIS_QUARTER)));
  const young = fleet.map(({ values }, i) =>
    isCandidate(
      { owner: 'acme', lineage: `t${i}` },
      values.map((value) => ({ ...value, quarters: [] })),
      bounds,
    ),
  );
  expect(said.filter((name) => !young[Number(name.slice(1))]).length).toBeGreaterThan(10);
  expect(forgetful.filter((one, i) => one && !said.includes(`t${i}`)).length).toBeGreaterThan(3);
  // Neither all nor nobody: the sample tells them apart.
  expect(said.length).toBeGreaterThan(fleet.length * 0.2);
  expect(said.length).toBeLessThan(fleet.length * 0.8);
});
