import { defineQuery, num, text } from '../store/index.ts';
import { countUntil, DAY_MS, HOUR_MS, OPEN_MS } from './baseline.ts';
import type { Reads } from './contract.ts';
import { type Feedback, valueKey } from './feedback.ts';
import { grouped, type Lineage } from './lineage.ts';
import type { MetValue, Newcomer, OwnValue } from './met-facts.ts';
import type { Facet } from './prior.ts';

interface MetByParams extends Record<string, unknown> {
  facets: Facet[];
  values: string[];
  /** Whose lineages are named, whenever they met a value. */
  owners: string[];
  /** Of a country, whoever came to it between these is named too. */
  from: number;
  to: number;
  /** Moments until which the others are counted, sorted; the first is before all. */
  moments: number[];
  /** What people found malicious, by facet, owner, lineage and value: nobody met it. */
  left: string[];
}

/** MetBy is a lineage that met a value and when, or how many others met it after `met`, and not after the next of the moments. */
interface MetBy extends Newcomer, Pick<OwnValue, 'facet' | 'value'> {
  readonly named: boolean;
  readonly lineages: number;
}

/** Peers is what others make of a value that a lineage met. */
export type Peers = Pick<MetValue, 'peersBefore' | 'peersRecent' | 'fleetBefore' | 'peers' | 'newcomers'>;

/** How long a region may take to move: what runs once in hours comes last. */
const MOVE_MS = 6 * HOUR_MS;

/** Newcomers to one country that are looked at most, the first ones: a region that moves is known by far fewer. */
const MAX_NEWCOMERS = 300;

/** Peers that met a value lately, and those that are named, at most: the first ones. */
const MAX_RECENT = 100;
const MAX_NAMED = 20;

/** Who met some values, by time. What each asker makes of them is told below: in SQL it would be planned for longer than it runs. */
const metBy = defineQuery<MetByParams, MetBy>(
  'novelty_peers',
  `SELECT facet, value, named, if(named, owner, '') AS by_owner, if(named, lineage, '') AS by_lineage,
     if(named, met, roundDown(met - 1, {moments:Array(Int64)})) AS at, count() AS lineages
   FROM (
     SELECT facet, owner, lineage, value, toUnixTimestamp64Milli(min(first_seen)) AS met,
       owner IN {owners:Array(String)} OR (facet = 'country' AND met >= {from:Int64} AND met <= {to:Int64}) AS named
     FROM rollup_facets
     WHERE facet IN {facets:Array(String)} AND value IN {values:Array(String)}
       AND concat(facet, '\\n', owner, '\\n', lineage, '\\n', value) NOT IN {left:Array(String)}
     GROUP BY facet, owner, lineage, value
   )
   GROUP BY facet, value, named, by_owner, by_lineage, at
   ORDER BY at, by_owner, by_lineage`,
  (raw) => ({
    facet: text(raw.facet) as Facet,
    value: text(raw.value),
    named: num(raw.named) === 1,
    owner: text(raw.by_owner),
    lineage: text(raw.by_lineage),
    met: num(raw.at),
    lineages: num(raw.lineages),
  }),
);

/** Known is who met one value, by time. */
interface Known {
  readonly named: readonly MetBy[];
  readonly mets: readonly number[];
  readonly ofOwner: ReadonlyMap<string, readonly MetBy[]>;
  readonly others: readonly MetBy[];
}

function knownOf(rows: readonly MetBy[]): Known {
  const named = rows.filter((row) => row.named);
  const others = rows.filter((row) => !row.named);
  return { named, mets: named.map(({ met }) => met), ofOwner: grouped(named, ({ owner }) => owner), others };
}

/** standing is how peers stand to a fresh value. */
function standing({ facet, owner, lineage, met: at }: FreshValue, { named, mets, ofOwner, others }: Known): Peers {
  const family = ofOwner.get(owner) ?? [];
  const peers = family.filter((row) => row.lineage !== lineage && row.met <= at + HOUR_MS);
  const before = peers.filter(({ met }) => met < at - DAY_MS).length;
  const strangers = countUntil(mets, at) - family.filter(({ met }) => met <= at).length;
  const uncounted = others.reduce((sum, { met, lineages }) => sum + (met < at ? lineages : 0), 0);
  const newcomers: Newcomer[] = [];
  for (let i = countUntil(mets, at - MOVE_MS - 1); facet === 'country' && i < named.length; i++) {
    const one = named[i] as MetBy;
    if (one.met > at + OPEN_MS || newcomers.length === MAX_NEWCOMERS) break;
    if (one.owner !== owner) newcomers.push({ owner: one.owner, lineage: one.lineage, met: one.met });
  }
  return {
    peersBefore: before,
    peersRecent: peers.slice(before, before + MAX_RECENT).map(({ met }) => met),
    fleetBefore: strangers + uncounted,
    peers: peers.slice(0, MAX_NAMED).map(({ lineage, met }) => ({ lineage, met })),
    newcomers,
  };
}

/** Fresh values asked about in one query, for the same reason. */
const SLICE_VALUES = 1_000;

/** FreshValue is a value that a lineage met newly. */
export type FreshValue = Pick<OwnValue, 'facet' | 'value' | 'met'> & Lineage;

/** freshKey names a value that a lineage met at a moment: to whoever takes over from another it may be another moment on another day. */
export function freshKey(value: FreshValue): string {
  return `${value.met} ${valueKey(value)}`;
}

/** askPeers asks how peers stand to fresh values, by freshKey. */
export async function askPeers(
  reads: Reads,
  fresh: readonly FreshValue[],
  feedback: Feedback,
): Promise<ReadonlyMap<string, Peers>> {
  const keyOf = ({ facet, value }: { readonly facet: string; readonly value: string }) => `${facet}\n${value}`;
  const malicious = feedback.words.filter(({ verdict }) => verdict === 'malicious');
  const found = new Map<string, Peers>();
  for (let i = 0; i < fresh.length; i += SLICE_VALUES) {
    const asked = fresh.slice(i, i + SLICE_VALUES);
    const keys = new Set(asked.map(keyOf));
    const moments = [...new Set(asked.map(({ met }) => met))].sort((a, b) => a - b);
    const rows = await reads.read(metBy, {
      facets: [...new Set(asked.map(({ facet }) => facet))],
      values: [...new Set(asked.map(({ value }) => value))],
      owners: [...new Set(asked.map(({ owner }) => owner))],
      from: (moments[0] ?? 0) - MOVE_MS,
      to: (moments.at(-1) ?? 0) + OPEN_MS,
      moments: [0, ...moments],
      left: malicious
        .filter((word) => keys.has(keyOf(word)))
        .map(({ facet, owner, lineage, value }) => [facet, owner, lineage, value].join('\n')),
    });
    const known = new Map([...grouped(rows, keyOf)].map(([key, of]) => [key, knownOf(of)]));
    for (const value of asked) {
      const of = known.get(keyOf(value));
      if (of !== undefined) found.set(freshKey(value), standing(value, of));
    }
  }
  return found;
}
