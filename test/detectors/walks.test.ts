import { describe, expect, it } from 'vitest';
import { endpointSpread } from '../../detectors/endpoint-spread.ts';
import { exampleFacts } from '../../detectors/examples.ts';
import { type GeoFacts, geoNovelty } from '../../detectors/geo-novelty.ts';
import type { NoveltyFacts } from '../../detectors/novelty.ts';

const HOUR = 3_600_000;

const defaults = (detector: typeof endpointSpread) =>
  Object.fromEntries(Object.entries(detector.params).map(([name, param]) => [name, param.default]));

/** paging is what of a judgement pages. */
const paging = (detector: typeof endpointSpread, facts: NoveltyFacts) =>
  detector.judge(facts, defaults(detector), 0).filter(({ severity }) => severity !== 'low');

/** newToken is a token in use for an hour that meets `fresh` more endpoints, a minute apart. */
function newToken(fresh: number, status: number): NoveltyFacts {
  const made = exampleFacts({ endpoint: { known: 5, fresh }, historyDays: 0 });
  const endpoint = made.values.endpoint.map((value, i) => (i < 5 ? value : { ...value, firstStatus: status }));
  // What fleets of the simulator teach about first days.
  const priors = { ...made.priors, endpoint: { ...made.priors.endpoint, young: { shape: 2, exposure: 2.2 } } };
  return { ...made, priors, values: { ...made.values, endpoint } };
}

describe('a token without a baseline', () => {
  it('is reported when it is refused on one endpoint after another', () => {
    const [finding] = paging(endpointSpread, newToken(25, 403));
    expect(finding).toMatchObject({ severity: 'high', state: 'learning' });
    expect(finding?.surprise).toBeGreaterThanOrEqual(6);
  });

  it('is not reported for meeting as many that work from where it always was: it is being set up', () => {
    expect(paging(endpointSpread, newToken(25, 200))).toEqual([]);
  });

  it('is not looked at for a handful', () => {
    expect(paging(endpointSpread, newToken(8, 403))).toEqual([]);
  });
});

describe('a region that moves', () => {
  /** A token without peers that is heard from Brazil, where `moved` lineages of other owners from the same home came just before. */
  function abroad(moved: number, newClient: boolean): GeoFacts {
    const made = geoNovelty.examples[0]?.facts as GeoFacts;
    const met = made.values.country.at(-1)?.met ?? 0;
    const others = Array.from({ length: moved }, (_, i) => met - (i * HOUR) / moved);
    const curl = exampleFacts({ client: { known: 1, fresh: 1, names: ['curl'] } }).values.client;
    return {
      ...made,
      peersSince: [],
      values: { ...made.values, client: newClient ? curl : made.values.client },
      sightings: made.sightings.map((sighting) => ({ ...sighting, moved: others })),
    };
  }

  it('takes tokens of many owners along and pages for none of them, however many they are', () => {
    expect(paging(geoNovelty, abroad(0, false)).length).toBeGreaterThan(0);
    for (const moved of [3, 10, 100, 1000]) expect(paging(geoNovelty, abroad(moved, false))).toEqual([]);
  });

  it('does not excuse whoever brings a client of their own', () => {
    expect(paging(geoNovelty, abroad(10, true)).length).toBeGreaterThan(0);
  });
});

describe('a new kind of network', () => {
  /** A token that is heard through a VPN for the first time, in a country that came with it: a new one, or one that it had forgotten and its peers use. */
  function throughVpn(country: { readonly lastUsed?: number } | null): NoveltyFacts {
    const made = geoNovelty.examples[2]?.facts as GeoFacts;
    const kind = made.values.kind.at(-1);
    if (country === null || kind === undefined) return made;
    const there = { ...kind, value: 'DE', peersBefore: 8, ...country };
    return { ...made, values: { ...made.values, country: [...made.values.country, there] } };
  }

  it('tells by itself in a country that was only forgotten, as in one that is known', () => {
    const known = paging(geoNovelty, throughVpn(null));
    expect(known.map(({ anchor }) => anchor)).toEqual([expect.stringContaining('kind vpn')]);
    const forgotten = paging(geoNovelty, throughVpn({ lastUsed: 22 }));
    expect(forgotten.map(({ anchor }) => anchor)).toEqual(known.map(({ anchor }) => anchor));
  });
});
