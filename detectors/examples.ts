import { DAY_MS, HOUR_MS } from './baseline.ts';
import type { MetValue } from './met-facts.ts';
import type { NoveltyFacts } from './novelty.ts';
import { FACETS, type Facet } from './prior.ts';

/** The moment that examples end at: any fixed time serves. */
export const EXAMPLE_END = Date.UTC(2026, 10, 16, 12);

/** FacetShape is how many values of a facet an example token knows, and how many it just met, a minute apart. */
export interface FacetShape {
  readonly known: number;
  readonly fresh: number;
  /** Peers of the owner that met each fresh value an hour before. */
  readonly adopters?: number;
  /** Names of the fresh values, and of the known ones. */
  readonly names?: readonly string[];
  readonly knownNames?: readonly string[];
}

/** exampleFacts makes the facts of a token that was active every hour of `historyDays` and then met something new. */
export function exampleFacts(
  shape: Partial<Record<Facet, FacetShape>> & { readonly historyDays?: number },
): NoveltyFacts {
  const days = shape.historyDays ?? 28;
  const start = EXAMPLE_END - days * DAY_MS - HOUR_MS;
  const value = (name: string, met: number, recent: readonly number[]): MetValue => ({
    value: name,
    met,
    calls: 3,
    failed: 0,
    firstStatus: 200,
    peersBefore: 0,
    peersRecent: recent,
    fleetBefore: 2,
    peers: recent.map((at, i) => ({ lineage: `tok_peer_${i}`, met: at })),
    newcomers: [],
  });
  const valuesOf = (facet: Facet): MetValue[] => {
    const { known, fresh, adopters = 0, names = [], knownNames = [] } = shape[facet] ?? { known: 1, fresh: 0 };
    return [
      ...Array.from({ length: known }, (_, i) => value(knownNames[i] ?? `${facet} ${i}`, start + i * 60_000, [])),
      ...Array.from({ length: fresh }, (_, i) => {
        const met = EXAMPLE_END - (fresh - i) * 60_000;
        return value(
          names[i] ?? `new ${facet} ${i}`,
          met,
          Array.from({ length: adopters }, () => met - HOUR_MS),
        );
      }),
    ];
  };
  const hours = Array.from(
    { length: days * 24 + 1 },
    (_, i) => start + i * HOUR_MS - ((start + i * HOUR_MS) % HOUR_MS),
  );
  return {
    owner: 'acme',
    lineage: 'tok_1',
    tokens: [{ token: 'tok_1', since: start }],
    values: Object.fromEntries(FACETS.map((facet) => [facet, valuesOf(facet)])) as unknown as Record<Facet, MetValue[]>,
    activeHours: hours,
    hourlyCalls: hours.map(() => 150),
    peersSince: [1, 2, 3, 4, 5].map(() => start),
    fleetPeers: 50,
    inheritedFrom: [],
    priors: {
      endpoint: { settled: { shape: 0.3, exposure: 100 }, young: { shape: 1, exposure: 0.1 } },
      country: { settled: { shape: 0.1, exposure: 300 }, young: { shape: 0.1, exposure: 30 } },
      network: { settled: { shape: 0.2, exposure: 100 }, young: { shape: 0.2, exposure: 10 } },
      kind: { settled: { shape: 0.1, exposure: 300 }, young: { shape: 0.1, exposure: 30 } },
      client: { settled: { shape: 0.1, exposure: 200 }, young: { shape: 0.1, exposure: 30 } },
    },
  };
}
