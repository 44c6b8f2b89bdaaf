import { defineQuery, ONE_THREAD, text } from '../store/index.ts';
import { type Reads, remembered } from './contract.ts';
import { askedOf, type Lineage, type LineageNames, lineageKey } from './lineage.ts';
import type { Newcomer } from './met-facts.ts';
import type { Fleet } from './prior.ts';

/** Others that are counted as moving along at most. */
const MAX_MOVED = 100;

const firstCountries = defineQuery<LineageNames, Lineage & { home: string }>(
  'geo_homes',
  `SELECT owner, lineage, argMin(value, first_seen) AS home
   FROM rollup_facets
   WHERE owner IN {owners:Array(String)} AND lineage IN {lineages:Array(String)} AND facet = 'country'
   GROUP BY owner, lineage
   ${ONE_THREAD}`,
  (raw) => ({ owner: text(raw.owner), lineage: text(raw.lineage), home: text(raw.home) }),
);

/** By lineageKey, of whoever was asked for: where a lineage began does not change until history is imported, and then the fleet is looked at anew. */
const knownHomes = remembered((_: Fleet) => new Map<string, string>());

/** rememberHome keeps the country that a lineage was first seen in, so that nobody has to ask when others come after it. */
export function rememberHome(fleet: Fleet, of: Lineage, home: string): void {
  knownHomes(fleet).set(lineageKey(of), home);
}

/** homesOf is the country that each of some lineages was first seen in, by lineageKey; each is looked up once a fleet. */
async function homesOf(reads: Reads, fleet: Fleet, of: readonly Lineage[]): Promise<ReadonlyMap<string, string>> {
  const known = knownHomes(fleet);
  const unknown = of.filter((one) => !known.has(lineageKey(one)));
  for (const row of await askedOf(unknown, (names) => reads.read(firstCountries, names)))
    known.set(lineageKey(row), row.home);
  return known;
}

/** Arrival is a lineage's first call from a country: `home` is where it began, `until` (epoch milliseconds) when it is judged at the latest. */
export interface Arrival {
  readonly home: string;
  readonly until: number;
  /** Who came to the country about when it did. */
  readonly newcomers: readonly Newcomer[];
}

/** moves adds to each arrival when others came `along`: from the same home, and not after `until`, sorted. */
export async function moves<A extends Arrival>(
  reads: Reads,
  fleet: Fleet,
  arrivals: readonly A[],
): Promise<(A & { readonly along: number[] })[]> {
  const others = arrivals.map(({ newcomers, until }) => newcomers.filter(({ met }) => met <= until));
  const homes = await homesOf(reads, fleet, others.flat());
  return arrivals.map((arrival, i) => ({
    ...arrival,
    along: (others[i] ?? [])
      .filter((other) => homes.get(lineageKey(other)) === arrival.home)
      .map(({ met }) => met)
      .slice(0, MAX_MOVED),
  }));
}
