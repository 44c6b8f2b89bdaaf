import { afterAll, beforeAll, expect, test } from 'vitest';
import { encodeUsage, type Store } from '../../store/index.ts';
import { openTestStore, rows } from '../kit/store.ts';

let store: Store;
beforeAll(async () => {
  store = await openTestStore();
});
afterAll(() => store.close());

/** remembered stores what one token met and when that was stored last, in days ago, and says what is left of it. */
async function remembered(token: string, values: Readonly<Record<string, number>>): Promise<string[]> {
  const met = Object.entries(values).map(
    ([value, days]) =>
      `('country', 'acme', '${token}', '${value}', now64(3) - INTERVAL ${days} DAY, today() - ${days})`,
  );
  await rows(
    store,
    `INSERT INTO rollup_facets (facet, owner, lineage, value, first_seen, stored) VALUES ${met.join(', ')}`,
  );
  await rows(store, 'OPTIMIZE TABLE rollup_facets FINAL');
  const left = await rows(store, `SELECT country FROM token_countries WHERE lineage = '${token}' ORDER BY country`);
  return left.map(({ country }) => String(country));
}

test('a habit is forgotten when it was not stored again for a year', async () => {
  expect(await remembered('tok_traveller', { BR: 400, DE: 1, FR: 360 })).toEqual(['DE', 'FR']);
  // By value too: a projection answers who else met it.
  const others = `SELECT lineage FROM rollup_facets WHERE facet = 'country' AND value IN ('BR', 'DE')`;
  expect(await rows(store, others)).toEqual([{ lineage: 'tok_traveller' }]);
});

test('an import of old logs is not forgotten: what counts is when it was stored', async () => {
  const time = Date.UTC(2021, 5, 1);
  const call = encodeUsage({
    ...{ time, receivedAt: time, id: 'e1', token: 'tok_old', lineage: 'tok_old', owner: 'acme', endpoint: 'GET /v1' },
    ...{ method: 'GET', status: 200, ip: '198.51.100.7', country: 'DE', asn: 64500, networkKind: '' as const },
    ...{ latitude: 0, longitude: 0, accuracyKm: 0, userAgent: 'cron/1.0', bytes: 1, durationMs: 1, requestId: '' },
    ...{ attributes: '', source: 'native' },
  });
  await store.insert('events', [call], 'old');
  await rows(store, 'OPTIMIZE TABLE rollup_facets FINAL');
  expect(await rows(store, "SELECT country FROM token_countries WHERE lineage = 'tok_old'")).toEqual([
    { country: 'DE' },
  ]);
});
