import { defineQuery, FORGOTTEN_AFTER, sqlRenewals, text } from '../store/index.ts';
import { DAY_MS } from './baseline.ts';
import { type Lineage, lineageKey } from './lineage.ts';
import type { Facet } from './prior.ts';

/** RUSH_ENDPOINTS met within an hour are why a token without a baseline is looked at. */
export const RUSH_ENDPOINTS = 12;

/** ENDPOINTS_LATELY met within a day are why a token with a baseline is looked at: fewer, and nothing else new, never page. */
export const ENDPOINTS_LATELY = 3;

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
  /** Quarters in which use of a value may have begun anew so lately that it is news: when, the rollup of all that a lineage met does not tell. */
  readonly quarters: readonly number[];
}

/**
 * candidates reads who could be told of at all: with a new country, kind of network or client, or new endpoints with a new
 * network or in number; one alone of the rest never pages. `isCandidate` says the same.
 */
export const candidates = defineQuery<
  Omit<Bounds, 'quarters'> &
    Record<string, unknown> & { quarters: number[]; from: number; to: number; receivedAt: number[] },
  Lineage
>(
  'novelty_candidates',
  `WITH arrayReduce('groupBitOr', arrayMap(quarter -> bitShiftLeft(toUInt64(1), quarter), {quarters:Array(UInt8)})) AS lately
   SELECT owner, lineage
   FROM (
     SELECT facet, owner, lineage, value, min(first_seen) AS first, groupBitOr(quarters) AS used, ${sqlRenewals('used')} AS renewals,
       -- The lowest is the very first use.
       if(bitAnd(bitAnd(renewals, toUInt64(renewals - 1)), lately) != 0, fromUnixTimestamp64Milli({fresh:Int64}), first) AS met
     FROM rollup_facets
     WHERE (owner, lineage) IN (${TOUCHED})
     GROUP BY facet, owner, lineage, value
   )
   GROUP BY owner, lineage
   HAVING
     ((min(first) < fromUnixTimestamp64Milli({knownBefore:Int64}) OR has({heirs:Array(String)}, concat(owner, '\\n', lineage))) AND (
       countIf(facet IN ('country', 'kind', 'client') AND met >= fromUnixTimestamp64Milli({fresh:Int64})) > 0
       OR (countIf(facet = 'endpoint' AND met >= fromUnixTimestamp64Milli({fresh:Int64})) > 0 AND (
         countIf(facet = 'network' AND met >= fromUnixTimestamp64Milli({fresh:Int64})) > 0
         OR countIf(facet = 'endpoint' AND met >= fromUnixTimestamp64Milli({fresh:Int64}) - toIntervalDay(1)) >= ${ENDPOINTS_LATELY}))))
     OR countIf(facet = 'endpoint' AND met >= fromUnixTimestamp64Milli({fresh:Int64})) >= {rush:UInt32}`,
  (raw) => ({ owner: text(raw.owner), lineage: text(raw.lineage) }),
);

/** Met is when a lineage met a value first, epoch milliseconds, and the quarters in which it used it, sorted. */
export interface Met {
  readonly facet: Facet;
  readonly met: number;
  readonly quarters: readonly number[];
}

/** mayBeRenewed tells whether use of a value may have begun anew in one of some quarters: it was not used for FORGOTTEN_AFTER before. */
export function mayBeRenewed({ quarters: used }: Pick<Met, 'quarters'>, quarters: readonly number[]): boolean {
  for (let i = 1; i < used.length; i++) {
    const quarter = used[i] as number;
    if (quarter - (used[i - 1] as number) > FORGOTTEN_AFTER && quarters.includes(quarter)) return true;
  }
  return false;
}

/** isCandidate says of one lineage, by what it met, whether the query of the candidates would name it. */
export function isCandidate(
  lineage: Lineage,
  values: readonly Met[],
  { fresh, knownBefore, heirs, rush, quarters }: Bounds,
): boolean {
  let [places, networks, endpoints, lately, known] = [0, 0, 0, 0, false];
  for (const value of values) {
    const { facet } = value;
    if (value.met < knownBefore) known = true;
    const met = mayBeRenewed(value, quarters) ? Math.max(fresh, value.met) : value.met;
    if (facet === 'endpoint' && met >= fresh - DAY_MS) lately++;
    if (met < fresh) continue;
    if (facet === 'endpoint') endpoints++;
    else if (facet === 'network') networks++;
    else places++;
  }
  if (endpoints >= rush) return true;
  if (!known && !heirs.includes(lineageKey(lineage))) return false;
  return places > 0 || (endpoints > 0 && (networks > 0 || lately >= ENDPOINTS_LATELY));
}

/** widest are the bounds of several days together: who is a candidate on any of them is one by these. */
export function widest(days: readonly Bounds[]): Bounds {
  return {
    fresh: Math.min(...days.map(({ fresh }) => fresh)),
    knownBefore: Math.max(...days.map(({ knownBefore }) => knownBefore)),
    heirs: [...new Set(days.flatMap(({ heirs }) => heirs))],
    rush: Math.min(...days.map(({ rush }) => rush)),
    quarters: [...new Set(days.flatMap(({ quarters }) => quarters))],
  };
}
