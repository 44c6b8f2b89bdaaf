import { defineQuery, num, text } from '../store/index.ts';
import { DAY_MS, HOUR_MS, KNOWN_AFTER_MS } from './baseline.ts';
import type { Reads, Scope } from './contract.ts';
import { fitGamma, type Gamma } from './statistics.ts';

/** Facet is a property of calls whose values a token meets over time. */
export type Facet = 'endpoint' | 'country' | 'asn';

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

/** NoveltyFacts is what one lineage has met of one facet, with what its peers make of the new part. */
export interface NoveltyFacts {
  readonly owner: string;
  readonly lineage: string;
  /** The token of the lineage that was used last. */
  readonly token: string;
  /** All values met, by first meeting. Peer counts are filled for the fresh ones only. */
  readonly values: readonly MetValue[];
  /** Start of every active hour, epoch milliseconds, sorted. */
  readonly activeHours: readonly number[];
  readonly calls: number;
  /** Other lineages of the owner, and lineages of other owners, that have been used. */
  readonly ownerPeers: number;
  readonly fleetPeers: number;
  readonly prior: Gamma;
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
  { facet: Facet; from: number; to: number; receivedAt: number[]; fresh: number; knownBefore: number; rush: number },
  Candidate
>(
  'novelty_candidates',
  `SELECT owner, lineage
   FROM (
     SELECT owner, lineage, value, min(first_seen) AS met
     FROM rollup_facets
     WHERE facet = {facet:String} AND (owner, lineage) IN (${TOUCHED})
     GROUP BY owner, lineage, value
   )
   GROUP BY owner, lineage
   HAVING countIf(met >= fromUnixTimestamp64Milli({fresh:Int64})) > 0
     AND (min(met) < fromUnixTimestamp64Milli({knownBefore:Int64})
       OR countIf(met >= fromUnixTimestamp64Milli({fresh:Int64})) >= {rush:UInt32})`,
  (raw) => ({ owner: text(raw.owner), lineage: text(raw.lineage) }),
);

interface LineageParams extends Record<string, unknown> {
  facet: Facet;
  owners: string[];
  lineages: string[];
}

const metValues = defineQuery<
  LineageParams,
  Omit<MetValue, 'peersBefore' | 'peersRecent' | 'fleetBefore'> & { lineage: string }
>(
  'novelty_met_values',
  `SELECT lineage, value, toUnixTimestamp64Milli(min(first_seen)) AS met, sum(calls) AS calls, sum(denied) AS denied, sum(failed) AS failed
   FROM rollup_facets
   WHERE facet = {facet:String} AND owner IN {owners:Array(String)} AND lineage IN {lineages:Array(String)}
   GROUP BY lineage, value
   ORDER BY lineage, min(first_seen), value`,
  (raw) => ({
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

const identities = defineQuery<
  LineageParams,
  { lineage: string; token: string; ownerPeers: number; fleetPeers: number }
>(
  'novelty_identities',
  `WITH
     (SELECT uniq(lineage) FROM rollup_tokens) AS fleet,
     sizes AS (SELECT owner, uniqExact(lineage) AS lineages FROM rollup_tokens WHERE owner IN {owners:Array(String)} GROUP BY owner)
   SELECT used.lineage AS lineage, used.token AS token, sizes.lineages - 1 AS owner_peers, fleet - sizes.lineages AS fleet_peers
   FROM (
     SELECT lineage, any(owner) AS owner, argMax(token, last_seen) AS token
     FROM rollup_tokens WHERE lineage IN {lineages:Array(String)} GROUP BY lineage
   ) AS used
   INNER JOIN sizes ON used.owner = sizes.owner`,
  (raw) => ({
    lineage: text(raw.lineage),
    token: text(raw.token),
    ownerPeers: num(raw.owner_peers),
    fleetPeers: Math.max(0, num(raw.fleet_peers)),
  }),
);

interface PeerParams extends Record<string, unknown> {
  facet: Facet;
  owners: string[];
  lineages: string[];
  values: string[];
  mets: number[];
}

/** How peers stand to each fresh value: one row a fresh value. The arrays run in step. */
const peers = defineQuery<
  PeerParams,
  { lineage: string; value: string; peersBefore: number; peersRecent: number[]; fleetBefore: number }
>(
  'novelty_peers',
  `SELECT
     fresh.lineage AS lineage,
     fresh.value AS value,
     countIf(known.owner = fresh.owner AND known.met < fresh.met - ${DAY_MS}) AS peers_before,
     arraySort(groupArrayIf(100)(known.met, known.owner = fresh.owner AND known.met >= fresh.met - ${DAY_MS} AND known.met <= fresh.met + ${HOUR_MS})) AS peers_recent,
     countIf(known.owner != fresh.owner AND known.met <= fresh.met) AS fleet_before
   FROM (
     SELECT pair.1 AS owner, pair.2 AS lineage, pair.3 AS value, pair.4 AS met
     FROM (SELECT arrayJoin(arrayZip({owners:Array(String)}, {lineages:Array(String)}, {values:Array(String)}, {mets:Array(Int64)})) AS pair)
   ) AS fresh
   INNER JOIN (
     SELECT owner, lineage, value, toUnixTimestamp64Milli(min(first_seen)) AS met
     FROM rollup_facets
     WHERE facet = {facet:String} AND value IN {values:Array(String)}
     GROUP BY owner, lineage, value
   ) AS known ON known.value = fresh.value
   WHERE known.lineage != fresh.lineage
   GROUP BY fresh.lineage, fresh.value`,
  (raw) => ({
    lineage: text(raw.lineage),
    value: text(raw.value),
    peersBefore: num(raw.peers_before),
    peersRecent: (raw.peers_recent as unknown[]).map(num),
    fleetBefore: num(raw.fleet_before),
  }),
);

const fleetSize = defineQuery<Record<string, never>, number>(
  'fleet_size',
  'SELECT uniq(lineage) AS lineages FROM rollup_tokens',
  (raw) => num(raw.lineages),
);

/** How many new values each known lineage of a sample met, in how many active hours, after its first day and before `before`. */
const fleetNovelty = defineQuery<
  { facet: Facet; before: number; knownBefore: number; every: number },
  { count: number; exposure: number }
>(
  'fleet_novelty',
  `SELECT greatest(meetings.after_first_day, 0) AS count, activity.hours AS exposure
   FROM (
     SELECT lineage, min(met) AS first_met, countIf(met > first_met_of + toIntervalDay(1)) AS after_first_day
     FROM (
       SELECT lineage, value, min(first_seen) AS met, min(met) OVER (PARTITION BY lineage) AS first_met_of
       FROM rollup_facets
       WHERE facet = {facet:String} AND cityHash64(lineage) % {every:UInt32} = 0
       GROUP BY lineage, value
     )
     WHERE met < fromUnixTimestamp64Milli({before:Int64})
     GROUP BY lineage
     HAVING first_met < fromUnixTimestamp64Milli({knownBefore:Int64})
   ) AS meetings
   INNER JOIN (
     SELECT lineage, toFloat64(uniqExact(hour)) AS hours
     FROM rollup_hours
     WHERE cityHash64(lineage) % {every:UInt32} = 0 AND hour < fromUnixTimestamp64Milli({before:Int64})
     GROUP BY lineage
   ) AS activity ON activity.lineage = meetings.lineage
   LIMIT 5000`,
  (raw) => ({ count: num(raw.count), exposure: num(raw.exposure) }),
);

/** Lineages that a prior is fitted on at most. */
const PRIOR_SAMPLE = 2_000;
/** Below this many known lineages a fleet says nothing yet and the default stands. */
const PRIOR_MIN_LINEAGES = 8;

/** What a fleet is taken for before it is known: a new value per some fifty, some hundred active hours. */
const DEFAULT_PRIOR: Record<Facet, Gamma> = {
  endpoint: { shape: 0.5, exposure: 50 },
  country: { shape: 0.2, exposure: 100 },
  asn: { shape: 0.3, exposure: 50 },
};

const priors = new WeakMap<Reads, Map<string, Promise<Gamma>>>();

/** fleetPrior is what the fleet's own history up to the start of `at`'s day says about meeting new values; one look a day and facet. */
export function fleetPrior(reads: Reads, facet: Facet, at: number): Promise<Gamma> {
  const day = Math.floor(at / DAY_MS) * DAY_MS;
  const cache = priors.get(reads) ?? new Map<string, Promise<Gamma>>();
  priors.set(reads, cache);
  const key = `${facet} ${day}`;
  let prior = cache.get(key);
  if (prior === undefined) {
    prior = fitFleetPrior(reads, facet, day);
    prior.catch(() => cache.delete(key));
    cache.set(key, prior);
    for (const old of cache.keys()) if (cache.size > 16) cache.delete(old);
  }
  return prior;
}

async function fitFleetPrior(reads: Reads, facet: Facet, day: number): Promise<Gamma> {
  const [size = 0] = await reads.read(fleetSize, {});
  const members = await reads.read(fleetNovelty, {
    facet,
    before: day,
    knownBefore: day - KNOWN_AFTER_MS,
    every: Math.max(1, Math.ceil(size / PRIOR_SAMPLE)),
  });
  if (members.length < PRIOR_MIN_LINEAGES) return DEFAULT_PRIOR[facet];
  return fitGamma(members, { shape: [0.02, 2], exposure: [10, 20_000] });
}

/** Peers are asked about at most this many fresh values of one lineage: a walk past them changes no verdict. */
const MAX_FRESH_VALUES = 200;

/**
 * noveltyFacts gathers the facts of every lineage of the scope that met a new value of `facet` within `openMs` before the
 * scope's events or in them: a few rows in steady state, however long the history. Lineages without a baseline yet are left
 * out unless they met at least `rush` values.
 */
export async function noveltyFacts(
  reads: Reads,
  scope: Scope,
  facet: Facet,
  openMs: number,
  rush: number,
): Promise<NoveltyFacts[]> {
  const fresh = Math.max(scope.from, scope.since) - openMs;
  const found = await reads.read(candidates, {
    facet,
    from: scope.from,
    to: scope.to,
    receivedAt: [...scope.receivedAt],
    fresh,
    knownBefore: scope.from - KNOWN_AFTER_MS,
    rush,
  });
  if (found.length === 0) return [];
  const params = {
    facet,
    owners: [...new Set(found.map((row) => row.owner))],
    lineages: [...new Set(found.map((row) => row.lineage))],
  };
  const [values, active, identity, prior] = await Promise.all([
    reads.read(metValues, params),
    reads.read(activity, params),
    reads.read(identities, params),
    fleetPrior(reads, facet, scope.from),
  ]);
  const ownerOf = new Map(found.map((row) => [row.lineage, row.owner]));
  const valuesOf = new Map<string, typeof values>();
  for (const value of values) {
    const list = valuesOf.get(value.lineage);
    if (list) list.push(value);
    else valuesOf.set(value.lineage, [value]);
  }
  // The day before is asked about too: a walk is judged by all that it met.
  const asked = [...valuesOf.values()].flatMap((list) =>
    list.filter((value) => value.met >= fresh - DAY_MS).slice(-MAX_FRESH_VALUES),
  );
  const peerRows =
    asked.length === 0
      ? []
      : await reads.read(peers, {
          facet,
          owners: asked.map((value) => ownerOf.get(value.lineage) ?? ''),
          lineages: asked.map((value) => value.lineage),
          values: asked.map((value) => value.value),
          mets: asked.map((value) => value.met),
        });
  const peersOf = new Map(peerRows.map((row) => [`${row.lineage}\n${row.value}`, row]));
  const activeOf = new Map(active.map((row) => [row.lineage, row]));
  const identityOf = new Map(identity.map((row) => [row.lineage, row]));
  return found.map(({ owner, lineage }) => ({
    owner,
    lineage,
    token: identityOf.get(lineage)?.token ?? lineage,
    values: (valuesOf.get(lineage) ?? []).map((value) => {
      const known = peersOf.get(`${lineage}\n${value.value}`);
      return {
        ...value,
        peersBefore: known?.peersBefore ?? 0,
        peersRecent: known?.peersRecent ?? [],
        fleetBefore: known?.fleetBefore ?? 0,
      };
    }),
    activeHours: activeOf.get(lineage)?.hours ?? [],
    calls: activeOf.get(lineage)?.calls ?? 0,
    ownerPeers: identityOf.get(lineage)?.ownerPeers ?? 0,
    fleetPeers: identityOf.get(lineage)?.fleetPeers ?? 0,
    prior,
  }));
}
