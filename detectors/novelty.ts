import { defineQuery, num, text } from '../store/index.ts';
import { DAY_MS, HOUR_MS, KNOWN_AFTER_MS, OPEN_MS } from './baseline.ts';
import type { Reads, Scope } from './contract.ts';
import { FACETS, type Facet, fleetAt, type Prior } from './prior.ts';

/** MetValue is one value that a lineage met. `met` is its first meeting, epoch milliseconds. */
export interface MetValue {
  readonly value: string;
  readonly met: number;
  readonly calls: number;
  /** Calls refused with 401 or 403, and all with 400 or more. */
  readonly denied: number;
  readonly failed: number;
  /** Other lineages of the owner that met it more than a day before, */
  readonly peersBefore: number;
  /** and when those of the last day met it, sorted: a release or a failover shows here. */
  readonly peersRecent: readonly number[];
  /** Lineages of other owners that met it before. */
  readonly fleetBefore: number;
}

/** NoveltyFacts is what one lineage has met of every facet, with what its peers make of the new part. */
export interface NoveltyFacts {
  readonly owner: string;
  readonly lineage: string;
  /** The token of the lineage that was used last. */
  readonly token: string;
  /** All values met, by first meeting. Peer counts are filled for the fresh ones only. */
  readonly values: Readonly<Record<Facet, readonly MetValue[]>>;
  /** Start of every active hour, epoch milliseconds, sorted. */
  readonly activeHours: readonly number[];
  readonly calls: number;
  /** Other lineages of the owner that have been used. */
  readonly ownerPeers: number;
  /** Lineages in use when the day began. */
  readonly fleetPeers: number;
  /** What the fleet's own history says about meeting new values. */
  readonly priors: Readonly<Record<Facet, Prior>>;
}

interface Candidate {
  readonly owner: string;
  readonly lineage: string;
}

/** The subjects of a scope; the condition on time finds the minutes, the one on received_at the batches. */
const TOUCHED = `
  SELECT owner, lineage FROM events
  WHERE time >= fromUnixTimestamp64Milli({from:Int64}) AND time <= fromUnixTimestamp64Milli({to:Int64})
    AND has({receivedAt:Array(Int64)}, toUnixTimestamp64Milli(received_at))`;

const candidates = defineQuery<
  { from: number; to: number; receivedAt: number[]; fresh: number; knownBefore: number; rush: number },
  Candidate
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
   HAVING countIf(met >= fromUnixTimestamp64Milli({fresh:Int64})) > 0
     AND (min(met) < fromUnixTimestamp64Milli({knownBefore:Int64})
       OR countIf(facet = 'endpoint' AND met >= fromUnixTimestamp64Milli({fresh:Int64})) >= {rush:UInt32})`,
  (raw) => ({ owner: text(raw.owner), lineage: text(raw.lineage) }),
);

interface LineageParams extends Record<string, unknown> {
  owners: string[];
  lineages: string[];
}

const metValues = defineQuery<
  LineageParams,
  Omit<MetValue, 'peersBefore' | 'peersRecent' | 'fleetBefore'> & { facet: Facet; lineage: string }
>(
  'novelty_met_values',
  `SELECT facet, lineage, value, toUnixTimestamp64Milli(min(first_seen)) AS met, sum(calls) AS calls, sum(denied) AS denied, sum(failed) AS failed
   FROM rollup_facets
   WHERE owner IN {owners:Array(String)} AND lineage IN {lineages:Array(String)}
   GROUP BY facet, lineage, value
   ORDER BY lineage, met, value`,
  (raw) => ({
    facet: text(raw.facet) as Facet,
    lineage: text(raw.lineage),
    value: text(raw.value),
    met: num(raw.met),
    calls: num(raw.calls),
    denied: num(raw.denied),
    failed: num(raw.failed),
  }),
);

const activity = defineQuery<LineageParams, { lineage: string; hours: number[]; calls: number }>(
  'novelty_activity',
  `SELECT lineage, arraySort(groupArray(at)) AS hours, sum(made) AS calls
   FROM (
     SELECT lineage, toUnixTimestamp(hour) AS at, sum(calls) AS made
     FROM rollup_hours
     WHERE owner IN {owners:Array(String)} AND lineage IN {lineages:Array(String)}
     GROUP BY lineage, hour
   )
   GROUP BY lineage`,
  (raw) => ({
    lineage: text(raw.lineage),
    hours: (raw.hours as unknown[]).map((hour) => num(hour) * 1000),
    calls: num(raw.calls),
  }),
);

const identities = defineQuery<LineageParams, { lineage: string; token: string; ownerLineages: number }>(
  'novelty_identities',
  `SELECT used.lineage AS lineage, used.token AS token, sizes.lineages AS owner_lineages
   FROM (
     SELECT lineage, any(owner) AS owner, argMax(token, last_seen) AS token
     FROM rollup_tokens WHERE lineage IN {lineages:Array(String)} GROUP BY lineage
   ) AS used
   INNER JOIN (
     SELECT owner, uniqExact(lineage) AS lineages
     FROM rollup_facets WHERE facet = 'client' AND owner IN {owners:Array(String)} GROUP BY owner
   ) AS sizes ON used.owner = sizes.owner`,
  (raw) => ({ lineage: text(raw.lineage), token: text(raw.token), ownerLineages: num(raw.owner_lineages) }),
);

interface PeerParams extends Record<string, unknown> {
  facets: Facet[];
  owners: string[];
  lineages: string[];
  values: string[];
  mets: number[];
}

/** How peers stand to each fresh value: one row a fresh value. The arrays run in step. */
const peers = defineQuery<
  PeerParams,
  { facet: Facet; lineage: string; value: string; peersBefore: number; peersRecent: number[]; fleetBefore: number }
>(
  'novelty_peers',
  `SELECT
     fresh.facet AS facet,
     fresh.lineage AS lineage,
     fresh.value AS value,
     countIf(known.owner = fresh.owner AND known.met < fresh.met - ${DAY_MS}) AS peers_before,
     arraySort(groupArrayIf(100)(known.met, known.owner = fresh.owner AND known.met >= fresh.met - ${DAY_MS} AND known.met <= fresh.met + ${HOUR_MS})) AS peers_recent,
     countIf(known.owner != fresh.owner AND known.met <= fresh.met) AS fleet_before
   FROM (
     SELECT pair.1 AS facet, pair.2 AS owner, pair.3 AS lineage, pair.4 AS value, pair.5 AS met
     FROM (SELECT arrayJoin(arrayZip({facets:Array(String)}, {owners:Array(String)}, {lineages:Array(String)}, {values:Array(String)}, {mets:Array(Int64)})) AS pair)
   ) AS fresh
   INNER JOIN (
     SELECT facet, owner, lineage, value, toUnixTimestamp64Milli(min(first_seen)) AS met
     FROM rollup_facets
     WHERE facet IN {facets:Array(String)} AND value IN {values:Array(String)}
     GROUP BY facet, owner, lineage, value
   ) AS known ON known.facet = fresh.facet AND known.value = fresh.value
   WHERE known.lineage != fresh.lineage
   GROUP BY fresh.facet, fresh.lineage, fresh.value`,
  (raw) => ({
    facet: text(raw.facet) as Facet,
    lineage: text(raw.lineage),
    value: text(raw.value),
    peersBefore: num(raw.peers_before),
    peersRecent: (raw.peers_recent as unknown[]).map(num),
    fleetBefore: num(raw.fleet_before),
  }),
);

/** Peers are asked about at most this many fresh values of one lineage: a walk past them changes no verdict. */
const MAX_FRESH_VALUES = 200;

/** A token without a baseline is looked at when it meets this many endpoints at once. */
const RUSH_ENDPOINTS = 12;

const gathered = new WeakMap<Scope, Promise<NoveltyFacts[]>>();

/**
 * noveltyFacts gathers the facts of every lineage of the scope that met a new value of any facet within an hour before the
 * scope's events or in them: a few rows in steady state, however long the history. Lineages without a baseline yet are left
 * out unless they are in a rush. Asked for several times with one scope, it looks once.
 */
export function noveltyFacts(reads: Reads, scope: Scope): Promise<NoveltyFacts[]> {
  let facts = gathered.get(scope);
  if (facts === undefined) {
    facts = gather(reads, scope);
    gathered.set(scope, facts);
  }
  return facts;
}

async function gather(reads: Reads, scope: Scope): Promise<NoveltyFacts[]> {
  if (scope.usage === 0) return [];
  const fresh = Math.max(scope.from, scope.since) - OPEN_MS;
  const found = await reads.read(candidates, {
    from: scope.from,
    to: scope.to,
    receivedAt: [...scope.receivedAt],
    fresh,
    knownBefore: scope.from - KNOWN_AFTER_MS,
    rush: RUSH_ENDPOINTS,
  });
  if (found.length === 0) return [];
  const params = {
    owners: [...new Set(found.map((row) => row.owner))],
    lineages: [...new Set(found.map((row) => row.lineage))],
  };
  const [values, active, identity, fleet] = await Promise.all([
    reads.read(metValues, params),
    reads.read(activity, params),
    reads.read(identities, params),
    fleetAt(reads, scope.from),
  ]);
  const ownerOf = new Map(found.map((row) => [row.lineage, row.owner]));
  const valuesOf = grouped(values, (value) => value.lineage);
  // The day before is asked about too: a walk is judged by all that it met.
  const asked = [...valuesOf.values()].flatMap((list) =>
    list.filter((value) => value.met >= fresh - DAY_MS).slice(-MAX_FRESH_VALUES),
  );
  const peerRows =
    asked.length === 0
      ? []
      : await reads.read(peers, {
          facets: asked.map((value) => value.facet),
          owners: asked.map((value) => ownerOf.get(value.lineage) ?? ''),
          lineages: asked.map((value) => value.lineage),
          values: asked.map((value) => value.value),
          mets: asked.map((value) => value.met),
        });
  const peersOf = new Map(peerRows.map((row) => [`${row.facet}\n${row.lineage}\n${row.value}`, row]));
  const activeOf = new Map(active.map((row) => [row.lineage, row]));
  const identityOf = new Map(identity.map((row) => [row.lineage, row]));
  return found.map(({ owner, lineage }) => {
    const met = grouped(
      (valuesOf.get(lineage) ?? []).map((value) => {
        const known = peersOf.get(`${value.facet}\n${lineage}\n${value.value}`);
        return {
          ...value,
          peersBefore: known?.peersBefore ?? 0,
          peersRecent: known?.peersRecent ?? [],
          fleetBefore: known?.fleetBefore ?? 0,
        };
      }),
      (value) => value.facet,
    );
    return {
      owner,
      lineage,
      token: identityOf.get(lineage)?.token ?? lineage,
      values: Object.fromEntries(FACETS.map((facet) => [facet, met.get(facet) ?? []])) as unknown as Record<
        Facet,
        MetValue[]
      >,
      activeHours: activeOf.get(lineage)?.hours ?? [],
      calls: activeOf.get(lineage)?.calls ?? 0,
      ownerPeers: Math.max(0, (identityOf.get(lineage)?.ownerLineages ?? 1) - 1),
      fleetPeers: fleet.lineages,
      priors: fleet.priors,
    };
  });
}

function grouped<T, K>(rows: readonly T[], keyOf: (row: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  for (const row of rows) {
    const group = groups.get(keyOf(row));
    if (group) group.push(row);
    else groups.set(keyOf(row), [row]);
  }
  return groups;
}
