import { defineQuery, num, text } from '../store/index.ts';
import { DAY_MS, HOUR_MS, KNOWN_AFTER_MS, OPEN_MS } from './baseline.ts';
import type { Reads, Scope } from './contract.ts';
import {
  activityAsSaid,
  type Feedback,
  feedbackFor,
  type Said,
  type UsedAgain,
  usedAgain,
  valueKey,
  valuesAsSaid,
} from './feedback.ts';
import { FACETS, type Facet, fleetAt, type Prior } from './prior.ts';
import { inheritActivity, inheritValues, predecessorsOf } from './succession.ts';

/** MetValue is one value that a lineage met. `met` is its first meeting, epoch milliseconds. */
export interface MetValue {
  readonly value: string;
  readonly met: number;
  /** Calls so far, and those of them with a status of 400 or more. */
  readonly calls: number;
  readonly failed: number;
  /** Status of the very first call, 0 when unknown. */
  readonly firstStatus: number;
  /** Other lineages of the owner that met it more than a day before, */
  readonly peersBefore: number;
  /** and when those of the last day met it, sorted: a release or a failover shows here. */
  readonly peersRecent: readonly number[];
  /** Lineages of other owners that met it before. */
  readonly fleetBefore: number;
  /** What a person said of it, if anything. */
  readonly said?: Said;
  /** The first of the owner's other lineages that met it, with when, to name them. */
  readonly peers: readonly { readonly lineage: string; readonly met: number }[];
}

/** NoveltyFacts is what one lineage has met of every facet, with what its peers make of the new part. */
export interface NoveltyFacts {
  readonly owner: string;
  readonly lineage: string;
  /** Its tokens by first use: the newest is the one in use. */
  readonly tokens: readonly { readonly token: string; readonly since: number }[];
  /** All values met, by first meeting. Peer counts are filled for the fresh ones only. */
  readonly values: Readonly<Record<Facet, readonly MetValue[]>>;
  /** Start of every active hour, epoch milliseconds, sorted, and the calls made in each. */
  readonly activeHours: readonly number[];
  readonly hourlyCalls: readonly number[];
  /** When each other lineage of the owner was first used, sorted. */
  readonly peersSince: readonly number[];
  /** Lineages in use when the day began. */
  readonly fleetPeers: number;
  /** What the fleet's own history says about meeting new values. */
  readonly priors: Readonly<Record<Facet, Prior>>;
  /** Lineages whose habits count as its own, the nearest first: it took over from them undeclared, as was inferred when the day began. */
  readonly inheritedFrom: readonly string[];
  /** People said something of what it met: what it met first is not all that is new. */
  readonly spoken?: boolean;
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

/** The subjects of a scope that names them. */
const NAMED = 'SELECT arrayJoin(arrayZip({owners:Array(String)}, {lineages:Array(String)}))';

interface CandidateParams extends Record<string, unknown> {
  fresh: number;
  knownBefore: number;
  /** Lineages that are younger, but took over from one that is known. */
  heirs: string[];
  rush: number;
}

/** What could be told at all: a new country, kind of network or client, or new endpoints with a new network or in number; one alone of the rest never pages. */
const candidatesAmong = (subjects: string) =>
  `SELECT owner, lineage
   FROM (
     SELECT facet, owner, lineage, value, min(first_seen) AS met
     FROM rollup_facets
     WHERE (owner, lineage) IN (${subjects})
     GROUP BY facet, owner, lineage, value
   )
   GROUP BY owner, lineage
   HAVING
     ((min(met) < fromUnixTimestamp64Milli({knownBefore:Int64}) OR has({heirs:Array(String)}, lineage)) AND (
       countIf(facet IN ('country', 'kind', 'client') AND met >= fromUnixTimestamp64Milli({fresh:Int64})) > 0
       OR (countIf(facet = 'endpoint' AND met >= fromUnixTimestamp64Milli({fresh:Int64})) > 0 AND (
         countIf(facet = 'network' AND met >= fromUnixTimestamp64Milli({fresh:Int64})) > 0
         OR countIf(facet = 'endpoint' AND met >= fromUnixTimestamp64Milli({fresh:Int64}) - toIntervalDay(1)) >= 3))))
     OR countIf(facet = 'endpoint' AND met >= fromUnixTimestamp64Milli({fresh:Int64})) >= {rush:UInt32}`;

const candidate = (raw: Record<string, unknown>): Candidate => ({ owner: text(raw.owner), lineage: text(raw.lineage) });

const candidatesOfBatches = defineQuery<
  CandidateParams & { from: number; to: number; receivedAt: number[] },
  Candidate
>('novelty_candidates', candidatesAmong(TOUCHED), candidate);

const candidatesNamed = defineQuery<CandidateParams & { owners: string[]; lineages: string[] }, Candidate>(
  'novelty_candidates_named',
  candidatesAmong(NAMED),
  candidate,
);

interface LineageParams extends Record<string, unknown> {
  owners: string[];
  lineages: string[];
}

const metValues = defineQuery<
  LineageParams,
  Omit<MetValue, 'peersBefore' | 'peersRecent' | 'fleetBefore' | 'peers'> & { facet: Facet; lineage: string }
>(
  'novelty_met_values',
  `SELECT facet, lineage, value, toUnixTimestamp64Milli(min(first_seen)) AS met, sum(calls) AS calls, sum(failed) AS failed,
     argMinMerge(first_status) AS first_status
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
    failed: num(raw.failed),
    firstStatus: num(raw.first_status),
  }),
);

const activity = defineQuery<LineageParams, { lineage: string; hours: number[]; calls: number[] }>(
  'novelty_activity',
  `SELECT lineage, arraySort(groupArray((at, made))) AS hours
   FROM (
     SELECT lineage, toUnixTimestamp(hour) AS at, sum(calls) AS made
     FROM rollup_hours
     WHERE owner IN {owners:Array(String)} AND lineage IN {lineages:Array(String)}
     GROUP BY lineage, hour
   )
   GROUP BY lineage`,
  (raw) => {
    const hours = raw.hours as [unknown, unknown][];
    return {
      lineage: text(raw.lineage),
      hours: hours.map(([hour]) => num(hour) * 1000),
      calls: hours.map(([, calls]) => num(calls)),
    };
  },
);

/** Lineages of one owner that are counted as peers at most. */
const MAX_PEERS = 2_000;

/** The lineages of the owners, each with the first use of its tokens. */
const ownerLineages = defineQuery<
  { owners: string[] },
  { owner: string; lineage: string; tokens: { token: string; since: number }[] }
>(
  'novelty_owner_lineages',
  `SELECT owner, lineage, arraySort(t -> t.2, groupArray((token, since))) AS tokens
   FROM (
     SELECT owner, lineage, token, toUnixTimestamp64Milli(min(first_seen)) AS since
     FROM rollup_tokens
     WHERE owner IN {owners:Array(String)}
     GROUP BY owner, lineage, token
   )
   GROUP BY owner, lineage
   ORDER BY owner, min(since)
   LIMIT ${MAX_PEERS} BY owner`,
  (raw) => ({
    owner: text(raw.owner),
    lineage: text(raw.lineage),
    tokens: (raw.tokens as [unknown, unknown][]).map(([token, since]) => ({ token: text(token), since: num(since) })),
  }),
);

interface PeerParams extends Record<string, unknown> {
  facets: Facet[];
  owners: string[];
  lineages: string[];
  values: string[];
  mets: number[];
  /** What people found malicious, facet, lineage and value in step: nobody met it. */
  leftFacets: string[];
  leftLineages: string[];
  leftValues: string[];
}

/** How peers stand to each fresh value: one row a fresh value. The arrays run in step. */
const peers = defineQuery<
  PeerParams,
  Pick<MetValue, 'value' | 'peersBefore' | 'peersRecent' | 'fleetBefore' | 'peers'> & { facet: Facet; lineage: string }
>(
  'novelty_peers',
  `SELECT
     fresh.facet AS facet,
     fresh.lineage AS lineage,
     fresh.value AS value,
     countIf(known.owner = fresh.owner AND known.met < fresh.met - ${DAY_MS}) AS peers_before,
     arraySort(groupArrayIf(100)(known.met, known.owner = fresh.owner AND known.met >= fresh.met - ${DAY_MS} AND known.met <= fresh.met + ${HOUR_MS})) AS peers_recent,
     groupArraySortedIf(20)((known.met, known.lineage), known.owner = fresh.owner AND known.met <= fresh.met + ${HOUR_MS}) AS named,
     countIf(known.owner != fresh.owner AND known.met <= fresh.met) AS fleet_before
   FROM (
     SELECT pair.1 AS facet, pair.2 AS owner, pair.3 AS lineage, pair.4 AS value, pair.5 AS met
     FROM (SELECT arrayJoin(arrayZip({facets:Array(String)}, {owners:Array(String)}, {lineages:Array(String)}, {values:Array(String)}, {mets:Array(Int64)})) AS pair)
   ) AS fresh
   INNER JOIN (
     SELECT facet, owner, lineage, value, toUnixTimestamp64Milli(min(first_seen)) AS met
     FROM rollup_facets
     WHERE facet IN {facets:Array(String)} AND value IN {values:Array(String)}
       AND NOT has(arrayZip({leftFacets:Array(String)}, {leftLineages:Array(String)}, {leftValues:Array(String)}), (toString(facet), lineage, toString(value)))
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
    peers: (raw.named as [unknown, unknown][]).map(([met, lineage]) => ({ met: num(met), lineage: text(lineage) })),
  }),
);

/** Peers are asked about at most this many fresh values of one lineage: a walk past them changes no verdict. */
const MAX_FRESH_VALUES = 200;
/** Lineages asked about in one query: a release touches thousands, and an engine takes only so much in one field. */
const SLICE_LINEAGES = 250;
/** Fresh values asked about in one query, for the same reason. */
const SLICE_VALUES = 1_000;

/** So few subjects are asked about at once. */
const FEW = 100;

/** RUSH_ENDPOINTS met within an hour are why a token without a baseline is looked at. */
export const RUSH_ENDPOINTS = 12;

/** Spoken is what people said, and what was used again after it. */
interface Spoken {
  readonly feedback: Feedback;
  readonly again: ReadonlyMap<string, UsedAgain>;
}

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
  const { subjects } = scope;
  if (scope.usage === 0) return [];
  const fresh = scope.within.from - OPEN_MS;
  const feedback = await feedbackFor(reads, scope);
  const again = await usedAgain(reads, feedback, scope);
  // To the batches it is nothing new, so that these are found by what people said alone.
  const recalled = feedback.words.filter((word) => (again.get(valueKey(word))?.met ?? 0) >= fresh);
  if (subjects?.length === 0 && recalled.length === 0) return [];
  const knownBefore = scope.within.to - KNOWN_AFTER_MS;
  const { successions } = await fleetAt(reads, scope.within.from, scope.now);
  const heirs = [...successions.values()].filter(({ since }) => since >= knownBefore).map(({ lineage }) => lineage);
  const params = { fresh, knownBefore, heirs, rush: RUSH_ENDPOINTS };
  const candidates =
    subjects === null
      ? reads.read(candidatesOfBatches, {
          ...params,
          from: scope.from,
          to: scope.to,
          receivedAt: [...scope.receivedAt],
        })
      : reads.read(candidatesNamed, {
          ...params,
          owners: subjects.map(([owner]) => owner),
          lineages: subjects.map(([, lineage]) => lineage),
        });
  const withRecalled = (found: readonly Candidate[]): Candidate[] => {
    const known = new Set(found.map(({ lineage }) => lineage));
    return [...found, ...recalled.filter(({ lineage }) => !known.has(lineage) && known.add(lineage))];
  };
  const gatherAll = async (found: readonly Candidate[]): Promise<NoveltyFacts[]> => {
    const facts: NoveltyFacts[] = [];
    for (let i = 0; i < found.length; i += SLICE_LINEAGES)
      facts.push(...(await gatherSlice(reads, scope, fresh, found.slice(i, i + SLICE_LINEAGES), { feedback, again })));
    return facts;
  };
  if (subjects === null || subjects.length > FEW) return gatherAll(withRecalled(await candidates));
  // Of a few, who is a candidate is asked beside their facts: most of those who met something new are, and a page waits for this.
  const [found, facts] = await Promise.all([
    candidates,
    gatherAll(withRecalled(subjects.map(([owner, lineage]) => ({ owner, lineage })))),
  ]);
  const wanted = new Set(withRecalled(found).map(({ lineage }) => lineage));
  return facts.filter(({ lineage }) => wanted.has(lineage));
}

async function gatherSlice(
  reads: Reads,
  scope: Scope,
  fresh: number,
  found: readonly Candidate[],
  { feedback, again }: Spoken,
): Promise<NoveltyFacts[]> {
  const fleet = await fleetAt(reads, scope.within.from, scope.now);
  const inherits = new Map(found.map(({ lineage }) => [lineage, predecessorsOf(fleet.successions, lineage)]));
  const params = {
    owners: [...new Set(found.map((row) => row.owner))],
    lineages: [...new Set([...inherits].flatMap(([lineage, predecessors]) => [lineage, ...predecessors]))],
  };
  const [values, active, lineages] = await Promise.all([
    reads.read(metValues, params),
    reads.read(activity, params),
    reads.read(ownerLineages, { owners: params.owners }),
  ]);
  const ownerOf = new Map(found.map((row) => [row.lineage, row.owner]));
  const wordsOf = (lineage: string) => feedback.ofLineage.get(lineage) ?? [];
  // What a predecessor did later in the day was not known when the day began.
  const day = Math.floor(scope.within.from / DAY_MS) * DAY_MS;
  const ownValues = new Map(
    [...grouped(values, (value) => value.lineage)].map(([lineage, list]) => [
      lineage,
      valuesAsSaid(list, wordsOf(lineage), again),
    ]),
  );
  const valuesOf = new Map(
    found.map(({ lineage }) => {
      const inherited = (inherits.get(lineage) ?? []).flatMap((one) => ownValues.get(one) ?? []);
      return [lineage, inheritValues(ownValues.get(lineage) ?? [], inherited, day)];
    }),
  );
  // The day before is asked about too: a walk is judged by all that it met.
  const asked = [...valuesOf.values()].flatMap((list) =>
    list.filter((value) => value.met >= fresh - DAY_MS).slice(-MAX_FRESH_VALUES),
  );
  const peerRows: Awaited<ReturnType<typeof askPeers>> = [];
  for (let i = 0; i < asked.length; i += SLICE_VALUES)
    peerRows.push(...(await askPeers(reads, asked.slice(i, i + SLICE_VALUES), ownerOf, feedback)));
  const peersOf = new Map(peerRows.map((row) => [`${row.facet}\n${row.lineage}\n${row.value}`, row]));
  const activeOf = new Map(active.map((row) => [row.lineage, activityAsSaid(row, wordsOf(row.lineage))]));
  const lineagesOf = grouped(lineages, (row) => row.owner);
  const idle = { hours: [], calls: [] };
  return found.map(({ owner, lineage }) => {
    const inheritedFrom = inherits.get(lineage) ?? [];
    const used = inheritActivity(
      activeOf.get(lineage) ?? idle,
      inheritedFrom.map((one) => activeOf.get(one) ?? idle),
      day,
    );
    const met = grouped(
      (valuesOf.get(lineage) ?? []).map((value) => {
        const known = peersOf.get(`${value.facet}\n${lineage}\n${value.value}`);
        return {
          ...value,
          peersBefore: known?.peersBefore ?? 0,
          peersRecent: known?.peersRecent ?? [],
          fleetBefore: known?.fleetBefore ?? 0,
          peers: known?.peers ?? [],
        };
      }),
      (value) => value.facet,
    );
    const family = lineagesOf.get(owner) ?? [];
    const own = new Set([lineage, ...inheritedFrom]);
    return {
      owner,
      lineage,
      tokens: family.find((row) => row.lineage === lineage)?.tokens ?? [],
      values: Object.fromEntries(
        FACETS.map((facet) => [facet, withoutEgress(met.get(facet) ?? [])]),
      ) as unknown as Record<Facet, MetValue[]>,
      activeHours: used.hours,
      hourlyCalls: used.calls,
      peersSince: family.filter((row) => !own.has(row.lineage)).map((row) => row.tokens[0]?.since ?? 0),
      fleetPeers: fleet.lineages,
      priors: fleet.priors,
      inheritedFrom,
      spoken: [lineage, ...inheritedFrom].some((one) => wordsOf(one).length > 0),
    };
  });
}

/** Stands for the organisation's own way out, in every facet of place. */
const EGRESS = 'egress';

/** The own way out is never news; where a lineage began it is its home. */
function withoutEgress<T extends { readonly facet: Facet; readonly value: string }>(values: readonly T[]): T[] {
  return values.filter(({ facet, value }, index) => index === 0 || value !== EGRESS || !PLACE_FACETS.has(facet));
}

const PLACE_FACETS: ReadonlySet<Facet> = new Set(['country', 'network', 'kind']);

function askPeers(
  reads: Reads,
  asked: readonly { readonly facet: Facet; readonly lineage: string; readonly value: string; readonly met: number }[],
  ownerOf: ReadonlyMap<string, string>,
  feedback: Feedback,
) {
  const facets = new Set(asked.map((value) => `${value.facet}\n${value.value}`));
  const left = feedback.words.filter(
    (word) => word.verdict === 'malicious' && facets.has(`${word.facet}\n${word.value}`),
  );
  return reads.read(peers, {
    facets: asked.map((value) => value.facet),
    owners: asked.map((value) => ownerOf.get(value.lineage) ?? ''),
    lineages: asked.map((value) => value.lineage),
    values: asked.map((value) => value.value),
    mets: asked.map((value) => value.met),
    leftFacets: left.map((word) => word.facet),
    leftLineages: left.map((word) => word.lineage),
    leftValues: left.map((word) => word.value),
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

/** tokenAt is the lineage's newest token at a moment. */
export function tokenAt(facts: Pick<NoveltyFacts, 'tokens' | 'lineage'>, at: number): string {
  return facts.tokens.findLast(({ since }) => since <= at)?.token ?? facts.lineage;
}

/** peersAt is how many other lineages of the owner had been used by a moment. */
export function peersAt(facts: Pick<NoveltyFacts, 'peersSince'>, at: number): number {
  let peers = 0;
  for (const since of facts.peersSince) if (since <= at) peers++;
  return peers;
}

/** callsBefore is how many calls the lineage made in the hours that ended by a moment, and in how many of them. */
export function callsBefore(
  facts: Pick<NoveltyFacts, 'activeHours' | 'hourlyCalls'>,
  at: number,
): { readonly calls: number; readonly hours: number } {
  let [calls, hours] = [0, 0];
  for (const [i, hour] of facts.activeHours.entries()) {
    if (hour + HOUR_MS > at) break;
    calls += facts.hourlyCalls[i] ?? 0;
    hours++;
  }
  return { calls, hours };
}
