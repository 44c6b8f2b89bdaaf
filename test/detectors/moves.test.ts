import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Reads } from '../../detectors/contract.ts';
import type { Feedback } from '../../detectors/feedback.ts';
import { moves, rememberHome } from '../../detectors/moves.ts';
import { askPeers, type FreshValue, freshKey } from '../../detectors/peers.ts';
import type { Fleet } from '../../detectors/prior.ts';
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

const call = (owner: string, time: number, country: string) =>
  encodeUsage(usageRow({ time, id: `${owner} ${time} ${country}`, owner, country }));

const NOTHING_SAID: Feedback = {
  words: [],
  ofLineage: new Map(),
  trips: new Map(),
  refusals: new Map(),
  again: new Map(),
};

const SMALL = { lineages: 7 };

/** A fleet is remembered by what it is, not by what is in it. */
const fleet = () => ({ lineages: 0, priors: {}, successions: new Map() }) as unknown as Fleet;

test('who comes to a country in one hour with others has them for company, each without itself and its own owner', async () => {
  const at = NOON + 1_000 * HOUR;
  const came = ['jam', 'kiln', 'loom'].map((owner, i) => call(owner, at + i * 60_000, 'PE'));
  const early = call('mill', at - 6 * HOUR + 30_000, 'PE');
  await store.insert('events', [...came, early], 'company');
  const fresh = ['jam', 'kiln', 'loom'].map((owner, i) => {
    const met = at + i * 60_000;
    return { owner, lineage: 'tok', facet: 'country', value: 'PE', met } as const;
  });
  const kind = { ...fresh[0], facet: 'endpoint', value: 'GET /v1', met: at } as FreshValue;
  const peers = await askPeers(store, [...fresh, kind], NOTHING_SAID, SMALL);
  const companyOf = (value: FreshValue) =>
    peers.get(freshKey(value))?.newcomers.map(({ owner, met }) => [owner, met - at]);
  expect(fresh.map(companyOf)).toEqual([
    [
      ['mill', -6 * HOUR + 30_000],
      ['kiln', 60_000],
      ['loom', 120_000],
    ],
    // To the others the mill came too long before.
    [
      ['jam', 0],
      ['loom', 120_000],
    ],
    [
      ['jam', 0],
      ['kiln', 60_000],
    ],
  ]);
  expect(companyOf(kind)).toEqual([]);
  // In threads and in one, the same.
  expect(await askPeers(store, [...fresh, kind], NOTHING_SAID, { lineages: 1_000_000 })).toEqual(peers);
  // What people found malicious nobody met.
  const word = { owner: 'kiln', lineage: 'tok', facet: 'country', value: 'PE', verdict: 'malicious' };
  const said = { ...NOTHING_SAID, words: [word] } as unknown as Feedback;
  const without = (await askPeers(store, fresh, said, SMALL)).get(freshKey(fresh[2] as FreshValue));
  expect(without?.newcomers.map(({ owner }) => owner)).toEqual(['jam']);
});

test('lineages of other owners that came along from the same home are found, and where each is at home is asked once a fleet', async () => {
  const homes = { acme: 'DE', bakery: 'DE', cinema: 'DE', dairy: 'FR' };
  const began = Object.entries(homes).map(([owner, home]) => call(owner, NOON - 100 * HOUR, home));
  const moved = ['acme', 'bakery', 'cinema', 'dairy'].map((owner, i) => call(owner, NOON + i, 'BR'));
  await store.insert('events', [...began, ...moved], 'first');

  const asked: string[][] = [];
  const reads: Reads = {
    read: (query, params) => {
      if (query.name === 'geo_homes') asked.push([...(params.owners as string[])].sort());
      return store.read(query, params);
    },
  };
  const look = async (today: Fleet) => {
    const fresh = { owner: 'acme', lineage: 'tok', facet: 'country', value: 'BR', met: NOON } as const;
    const newcomers = [...(await askPeers(reads, [fresh], NOTHING_SAID, SMALL)).values()].flatMap(
      (row) => row.newcomers,
    );
    return (await moves(reads, today, [{ home: 'DE', until: NOON + HOUR, newcomers }])).map(({ along }) => along);
  };

  const today = fleet();
  // The dairy came too, from elsewhere.
  expect(await look(today)).toEqual([[NOON + 1, NOON + 2]]);
  await store.insert('events', [call('estate', NOON - 50 * HOUR, 'DE'), call('estate', NOON + 9, 'BR')], 'second');
  expect(await look(today)).toEqual([[NOON + 1, NOON + 2, NOON + 9]]);
  expect(asked).toEqual([['bakery', 'cinema', 'dairy'], ['estate']]);
  expect(await look(today)).toEqual([[NOON + 1, NOON + 2, NOON + 9]]);
  expect(asked).toHaveLength(2);
  // Whoever was judged when it came need not be asked for.
  rememberHome(today, { owner: 'forge', lineage: 'tok' }, 'DE');
  await store.insert('events', [call('forge', NOON - 50 * HOUR, 'FR'), call('forge', NOON + 10, 'BR')], 'judged');
  expect(await look(today)).toEqual([[NOON + 1, NOON + 2, NOON + 9, NOON + 10]]);
  expect(asked).toHaveLength(2);
  // History was imported, or a day is over: the fleet is another one.
  await store.insert('events', [call('dairy', NOON - 200 * HOUR, 'DE')], 'third');
  expect(await look(fleet())).toEqual([[NOON + 1, NOON + 2, NOON + 3, NOON + 9]]);
  // Nobody else's business: too long before, too long after, and tokens of its own owner.
  const others = [
    call('gym', NOON - 7 * HOUR, 'BR'),
    call('hotel', NOON + 2 * HOUR, 'BR'),
    call('acme', NOON + 5, 'BR'),
  ];
  await store.insert(
    'events',
    [call('gym', NOON - 99 * HOUR, 'DE'), call('hotel', NOON - 99 * HOUR, 'DE'), ...others],
    'fourth',
  );
  expect(await look(fleet())).toEqual([[NOON + 1, NOON + 2, NOON + 3, NOON + 9]]);
});
