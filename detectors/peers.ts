import { defineQuery, num, ONE_THREAD, text } from '../store/index.ts';
import { DAY_MS, HOUR_MS, OPEN_MS } from './baseline.ts';
import type { Reads } from './contract.ts';
import { type Feedback, valueKey } from './feedback.ts';
import type { Lineage } from './lineage.ts';
import type { MetValue, Newcomer, OwnValue } from './met-facts.ts';
import type { Facet, Fleet } from './prior.ts';

interface PeerParams extends Record<string, unknown> {
  /** Each facet and value once, and the positions of the fresh values that ask about it; the first key is nobody's. */
  keys: string[];
  askers: number[][];
  /** Fresh values and those that gather, in step. */
  facets: Facet[];
  owners: string[];
  lineages: string[];
  values: string[];
  mets: number[];
  /** From and until when each gathers who met its value; until before from where it does not. */
  froms: number[];
  tos: number[];
  /** What people found malicious, by facet, owner, lineage and value: nobody met it. */
  left: string[];
}

/** Peers is what others make of a value that a lineage met. */
export type Peers = Pick<MetValue, 'peersBefore' | 'peersRecent' | 'fleetBefore' | 'peers' | 'newcomers'>;

/** How long a region may take to move: what runs once in hours comes last. */
const MOVE_MS = 6 * HOUR_MS;

/** Newcomers to one country that are looked at most, the first ones: a region that moves is known by far fewer. */
const MAX_NEWCOMERS = 300;

/** Newcomers that are read for all that came to one country within an hour: an owner's own are among them, and count for others only. */
const MAX_GATHERED = 2_000;

/** How peers stand to each fresh value, `of` is its position: one row a fresh value. The arrays run in step. */
function peersQuery(name: string, left: string, end: string) {
  return defineQuery<PeerParams, Peers & { readonly of: number }>(
    name,
    `WITH {owners:Array(String)}[i] AS of, {mets:Array(Int64)}[i] AS at
   SELECT
     i,
     countIf(owner = of AND met < at - ${DAY_MS}) AS peers_before,
     arraySort(groupArrayIf(100)(met, owner = of AND met >= at - ${DAY_MS} AND met <= at + ${HOUR_MS})) AS peers_recent,
     groupArraySortedIf(20)((met, lineage), owner = of AND met <= at + ${HOUR_MS}) AS named,
     countIf(owner != of AND met <= at) AS fleet_before,
     groupArraySortedIf(${MAX_GATHERED})((met, owner, lineage), met >= {froms:Array(Int64)}[i] AND met <= {tos:Array(Int64)}[i]) AS newcomers
   FROM (
     SELECT facet, owner, lineage, value, toUnixTimestamp64Milli(min(first_seen)) AS met
     FROM rollup_facets
     WHERE facet IN {facets:Array(String)} AND value IN {values:Array(String)} ${left}
     GROUP BY facet, owner, lineage, value
   )
   ARRAY JOIN {askers:Array(Array(UInt32))}[transform(concat(facet, '\\n', value), {keys:Array(String)}, arrayEnumerate({keys:Array(String)}), 1)] AS i
   WHERE lineage != {lineages:Array(String)}[i] OR owner != of
   GROUP BY i
   ${end}`,
    (raw) => ({
      of: num(raw.i) - 1,
      peersBefore: num(raw.peers_before),
      peersRecent: (raw.peers_recent as unknown[]).map(num),
      fleetBefore: num(raw.fleet_before),
      peers: (raw.named as [unknown, unknown][]).map(([met, lineage]) => ({ met: num(met), lineage: text(lineage) })),
      newcomers: (raw.newcomers as [unknown, unknown, unknown][]).map(([met, owner, lineage]) => ({
        met: num(met),
        owner: text(owner),
        lineage: text(lineage),
      })),
    }),
  );
}

const peers = peersQuery('novelty_peers', '', ONE_THREAD);

/** The same in threads, for a fleet in which a value may be met by more lineages than one thread should count; and without what was found malicious. */
const peersAtLength = peersQuery(
  'novelty_peers_at_length',
  `AND concat(facet, '\\n', owner, '\\n', lineage, '\\n', value) NOT IN {left:Array(String)}`,
  '',
);
const MANY_LINEAGES = 300_000;

/** Fresh values asked about in one query: an engine takes only so much in one field. */
const SLICE_VALUES = 1_000;

/** FreshValue is a value that a lineage met newly. */
export type FreshValue = Pick<OwnValue, 'facet' | 'value' | 'met'> & Lineage;

/** freshKey names a value that a lineage met at a moment: to whoever takes over from another it may be another moment on another day. */
export function freshKey(value: FreshValue): string {
  return `${value.met} ${valueKey(value)}`;
}

/** An Asker is a fresh value, or nobody's: then it gathers who met its value from a moment until another. Times are epoch milliseconds. */
interface Asker extends FreshValue {
  readonly from: number;
  readonly to: number;
}

/** gatherers asks for each country and hour that somebody came to it in, once for all of them. */
function gatherers(asked: readonly FreshValue[]): Asker[] {
  const found = new Map<string, Asker>();
  for (const { facet, value, met } of asked) {
    if (facet !== 'country') continue;
    const hour = Math.floor(met / HOUR_MS) * HOUR_MS;
    const [from, to] = [hour - MOVE_MS, hour + HOUR_MS + OPEN_MS];
    found.set(arrivalsKey({ value, met }), { facet, value, met, owner: '', lineage: '', from, to });
  }
  return [...found.values()];
}

function arrivalsKey({ value, met }: Pick<FreshValue, 'value' | 'met'>): string {
  return `${Math.floor(met / HOUR_MS)} ${value}`;
}

/** askPeers asks how peers stand to fresh values of a fleet, by freshKey. */
export async function askPeers(
  reads: Reads,
  fresh: readonly FreshValue[],
  feedback: Pick<Feedback, 'words'>,
  fleet: Pick<Fleet, 'lineages'>,
): Promise<ReadonlyMap<string, Peers>> {
  const malicious = feedback.words.filter(({ verdict }) => verdict === 'malicious');
  const found = new Map<string, Peers>();
  for (let i = 0; i < fresh.length; i += SLICE_VALUES) {
    const asked = fresh.slice(i, i + SLICE_VALUES);
    const all = [...asked.map((value): Asker => ({ ...value, from: 1, to: 0 })), ...gatherers(asked)];
    const askers = new Map<string, number[]>([['', []]]);
    for (const [at, { facet, value }] of all.entries()) {
      const key = `${facet}\n${value}`;
      const asking = askers.get(key);
      if (asking === undefined) askers.set(key, [at + 1]);
      else asking.push(at + 1);
    }
    const left = malicious
      .filter(({ facet, value }) => askers.has(`${facet}\n${value}`))
      .map(({ facet, owner, lineage, value }) => [facet, owner, lineage, value].join('\n'));
    const query = left.length === 0 && fleet.lineages < MANY_LINEAGES ? peers : peersAtLength;
    const rows = await reads.read(query, {
      keys: [...askers.keys()],
      askers: [...askers.values()],
      facets: all.map(({ facet }) => facet),
      owners: all.map(({ owner }) => owner),
      lineages: all.map(({ lineage }) => lineage),
      values: all.map(({ value }) => value),
      mets: all.map(({ met }) => met),
      froms: all.map(({ from }) => from),
      tos: all.map(({ to }) => to),
      left,
    });
    const arrivals = new Map(
      rows
        .filter(({ of }) => of >= asked.length)
        .map(({ of, newcomers }) => [arrivalsKey(all[of] as Asker), newcomers]),
    );
    for (const { of, ...row } of rows) {
      const value = asked[of];
      if (value === undefined) continue;
      const came = value.facet === 'country' ? (arrivals.get(arrivalsKey(value)) ?? []) : [];
      found.set(freshKey(value), { ...row, newcomers: newcomersTo(value, came) });
    }
  }
  return found;
}

/** newcomersTo are those of other owners that came about when one did. */
function newcomersTo({ owner, met }: FreshValue, came: readonly Newcomer[]): Newcomer[] {
  return came
    .filter((other) => other.owner !== owner && other.met >= met - MOVE_MS && other.met <= met + OPEN_MS)
    .slice(0, MAX_NEWCOMERS);
}
