import { defineQuery, text } from '../store/index.ts';
import { DAY_MS } from './baseline.ts';
import { type Lineage, lineageKey } from './lineage.ts';
import type { Facet } from './prior.ts';

/** RUSH_ENDPOINTS met within an hour are why a token without a baseline is looked at. */
export const RUSH_ENDPOINTS = 12;

/** The subjects of a scope; the condition on time finds the minutes, the one on received_at the batches. */
const TOUCHED = `
  SELECT owner, lineage FROM events
  WHERE time >= fromUnixTimestamp64Milli({from:Int64}) AND time <= fromUnixTimestamp64Milli({to:Int64})
    AND has({receivedAt:Array(Int64)}, toUnixTimestamp64Milli(received_at))`;

/** Bounds are what makes a lineage a candidate; times are epoch milliseconds. */
export interface Bounds {
  readonly fresh: number;
  readonly knownBefore: number;
  /** Lineages that are younger, but took over from one that is known, by lineageKey. */
  readonly heirs: readonly string[];
  readonly rush: number;
}

/**
 * candidates reads who could be told of at all: with a new country, kind of network or client, or new endpoints with a new
 * network or in number; one alone of the rest never pages. `isCandidate` says the same.
 */
export const candidates = defineQuery<
  Bounds & Record<string, unknown> & { from: number; to: number; receivedAt: number[] },
  Lineage
>(
  'novelty_candidates',
  `SELECT owner, lineage
   FROM (
     SELECT facet, owner, lineage, value, min(first_seen) AS met
     FROM rollup_facets
     WHERE (owner, lineage) IN (${TOUCHED})
     GROUP BY facet, owner, lineage, value
   )
   GROUP BY owner, lineage
   HAVING
     ((min(met) < fromUnixTimestamp64Milli({knownBefore:Int64}) OR has({heirs:Array(String)}, concat(owner, '\\n', lineage))) AND (
       countIf(facet IN ('country', 'kind', 'client') AND met >= fromUnixTimestamp64Milli({fresh:Int64})) > 0
       OR (countIf(facet = 'endpoint' AND met >= fromUnixTimestamp64Milli({fresh:Int64})) > 0 AND (
         countIf(facet = 'network' AND met >= fromUnixTimestamp64Milli({fresh:Int64})) > 0
         OR countIf(facet = 'endpoint' AND met >= fromUnixTimestamp64Milli({fresh:Int64}) - toIntervalDay(1)) >= 3))))
     OR countIf(facet = 'endpoint' AND met >= fromUnixTimestamp64Milli({fresh:Int64})) >= {rush:UInt32}`,
  (raw) => ({ owner: text(raw.owner), lineage: text(raw.lineage) }),
);

/** Met is when a lineage met a value first, epoch milliseconds. */
export interface Met {
  readonly facet: Facet;
  readonly met: number;
}

/** isCandidate says of one lineage, by what it met, whether the query of the candidates would name it. */
export function isCandidate(
  lineage: Lineage,
  values: readonly Met[],
  { fresh, knownBefore, heirs, rush }: Bounds,
): boolean {
  let [places, networks, endpoints, lately, known] = [0, 0, 0, 0, false];
  for (const { facet, met } of values) {
    if (met < knownBefore) known = true;
    if (facet === 'endpoint' && met >= fresh - DAY_MS) lately++;
    if (met < fresh) continue;
    if (facet === 'endpoint') endpoints++;
    else if (facet === 'network') networks++;
    else places++;
  }
  if (endpoints >= rush) return true;
  if (!known && !heirs.includes(lineageKey(lineage))) return false;
  return places > 0 || (endpoints > 0 && (networks > 0 || lately >= 3));
}

/** widest are the bounds of several days together: who is a candidate on any of them is one by these. */
export function widest(days: readonly Bounds[]): Bounds {
  return {
    fresh: Math.min(...days.map(({ fresh }) => fresh)),
    knownBefore: Math.max(...days.map(({ knownBefore }) => knownBefore)),
    heirs: [...new Set(days.flatMap(({ heirs }) => heirs))],
    rush: Math.min(...days.map(({ rush }) => rush)),
  };
}
