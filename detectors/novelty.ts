import { defineQuery, num, text } from '../store/index.ts';
import { countUntil, DAY_MS, HOUR_MS, KNOWN_AFTER_MS, OPEN_MS } from './baseline.ts';
import { type Bounds, candidates, isCandidate, RUSH_ENDPOINTS, widest } from './candidates.ts';
import { type Day, once, type Reads, remembered, type Scope, type Stretch, together } from './contract.ts';
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
import { type Lineage, lineageKey } from './lineage.ts';
import { FACETS, type Facet, fleetOf, type Prior } from './prior.ts';
import { type Activity, inheritActivity, inheritValues, predecessorsOf, type Successions } from './succession.ts';

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

/** OwnValue is one value that a lineage met; nobody was asked yet who else did. */
export type OwnValue = MetValue & { readonly facet: Facet };

/** What others make of a value that is no news, or that nobody else met. */
const NOBODY = { peersBefore: 0, peersRecent: [], fleetBefore: 0, peers: [] };

/** MetFacts is what one lineage has met of every facet. */
export interface MetFacts {
  readonly owner: string;
  readonly lineage: string;
  /** As in NoveltyFacts. */
  readonly inheritedFrom: readonly string[];
  /** All values met, by first meeting. */
  readonly values: Readonly<Record<Facet, readonly OwnValue[]>>;
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

interface LineageParams extends Record<string, unknown> {
  owners: string[];
  lineages: string[];
}

const metValues = defineQuery<LineageParams, OwnValue & Lineage>(
  'novelty_met_values',
  `SELECT facet, owner, lineage, value, toUnixTimestamp64Milli(min(first_seen)) AS met, sum(calls) AS calls, sum(failed) AS failed,
     min(first_call) % 65536 AS first_status
   FROM rollup_facets
   WHERE owner IN {owners:Array(String)} AND lineage IN {lineages:Array(String)}
   GROUP BY facet, owner, lineage, value
   ORDER BY owner, lineage, met, value`,
  (raw) => ({
    facet: text(raw.facet) as Facet,
    owner: text(raw.owner),
    lineage: text(raw.lineage),
    value: text(raw.value),
    met: num(raw.met),
    calls: num(raw.calls),
    failed: num(raw.failed),
    firstStatus: num(raw.first_status),
    ...NOBODY,
  }),
);

const activityOf = defineQuery<LineageParams, Lineage & { hours: number[]; calls: number[] }>(
  'novelty_activity',
  `SELECT owner, lineage, arraySort(groupArray((at, made))) AS hours
   FROM (
     SELECT owner, lineage, toUnixTimestamp(hour) AS at, sum(calls) AS made
     FROM rollup_hours
     WHERE owner IN {owners:Array(String)} AND lineage IN {lineages:Array(String)}
     GROUP BY owner, lineage, hour
   )
   GROUP BY owner, lineage`,
  (raw) => {
    const hours = raw.hours as [unknown, unknown][];
    return {
      owner: text(raw.owner),
      lineage: text(raw.lineage),
      hours: hours.map(([hour]) => num(hour) * 1000),
      calls: hours.map(([, calls]) => num(calls)),
    };
  },
);

/** Lineages of one owner that are counted as peers at most. */
const MAX_PEERS = 2_000;

/** The lineages of the owners, each with the first use of its tokens. */
const ownerLineages = defineQuery<{ owners: string[] }, Lineage & { tokens: { token: string; since: number }[] }>(
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
  /** Each facet and value once, and the positions of the fresh values that ask about it; the first key is nobody's. */
  keys: string[];
  askers: number[][];
  /** Fresh values, in step. */
  facets: Facet[];
  owners: string[];
  lineages: string[];
  values: string[];
  mets: number[];
  /** What people found malicious, facet, owner, lineage and value in step: nobody met it. */
  leftFacets: string[];
  leftOwners: string[];
  leftLineages: string[];
  leftValues: string[];
}

type Peers = Pick<MetValue, 'peersBefore' | 'peersRecent' | 'fleetBefore' | 'peers'>;

/** How peers stand to each fresh value, `of` is its position: one row a fresh value. The arrays run in step. */
const peers = defineQuery<PeerParams, Peers & { readonly of: number }>(
  'novelty_peers',
  `WITH {owners:Array(String)}[i] AS of, {mets:Array(Int64)}[i] AS at
   SELECT
     i,
     countIf(owner = of AND met < at - ${DAY_MS}) AS peers_before,
     arraySort(groupArrayIf(100)(met, owner = of AND met >= at - ${DAY_MS} AND met <= at + ${HOUR_MS})) AS peers_recent,
     groupArraySortedIf(20)((met, lineage), owner = of AND met <= at + ${HOUR_MS}) AS named,
     countIf(owner != of AND met <= at) AS fleet_before
   FROM (
     SELECT facet, owner, lineage, value, toUnixTimestamp64Milli(min(first_seen)) AS met
     FROM rollup_facets
     WHERE facet IN {facets:Array(String)} AND value IN {values:Array(String)}
       AND NOT has(arrayZip({leftFacets:Array(String)}, {leftOwners:Array(String)}, {leftLineages:Array(String)}, {leftValues:Array(String)}), (toString(facet), toString(owner), lineage, toString(value)))
     GROUP BY facet, owner, lineage, value
   )
   ARRAY JOIN {askers:Array(Array(UInt32))}[transform(concat(facet, '\\n', value), {keys:Array(String)}, arrayEnumerate({keys:Array(String)}), 1)] AS i
   WHERE lineage != {lineages:Array(String)}[i] OR owner != of
   GROUP BY i`,
  (raw) => ({
    of: num(raw.i) - 1,
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

/**
 * metFacts gathers what every lineage of the scope has met that met a new value of any facet within an hour before the day's
 * events or in them: a few rows in steady state, however long the history. Lineages without a baseline yet are left out
 * unless they are in a rush.
 */
export const metFacts = together(async (reads, stretch): Promise<MetFacts[][]> => {
  if (stretch.usage === 0) return stretch.days.map(() => []);
  const days = await Promise.all(
    stretch.days.map(async (day) => {
      const { successions } = await fleetOf(reads, day);
      return { day, successions, bounds: boundsOf(day, successions) };
    }),
  );
  const pastsOf = (one: Lineage) => days.flatMap(({ successions }) => pastOf(successions, one));
  const lookUp = (of: readonly Lineage[]) => readMet(reads, unique(of.flatMap((one) => [one, ...pastsOf(one)])));
  const [feedback, [touched, met]] = await Promise.all([
    feedbackFor(reads, stretch),
    touchedBy(reads, stretch, widest(days.map(({ bounds }) => bounds))).then(
      async (of) => [of, await lookUp(of)] as const,
    ),
  ]);
  const spoken: { readonly again: ReadonlyMap<string, UsedAgain>; readonly recalled: readonly Lineage[] }[] = [];
  for (const { day, bounds } of days) {
    const again = await usedAgain(reads, feedback, day);
    // To the batches it is nothing new, so that these are found by what people said alone.
    const recalled = feedback.words.filter((word) => (again.get(valueKey(word))?.met ?? 0) >= bounds.fresh);
    spoken.push({ again, recalled });
  }
  const known = new Set(touched.map(lineageKey));
  const more = unique(spoken.flatMap(({ recalled }) => recalled)).filter((one) => !known.has(lineageKey(one)));
  for (const [key, values] of await lookUp(more)) met.set(key, values);
  const byFacet = remembered(facetsOf);
  return days.map(({ day, successions, bounds }, i) => {
    const { again, recalled } = spoken[i] as (typeof spoken)[number];
    const spokenOf = new Set(recalled.map(lineageKey));
    const storedOf = (one: Lineage) => met.get(lineageKey(one)) ?? [];
    const asSaid = (one: Lineage) => valuesAsSaid(storedOf(one), feedback.ofLineage.get(lineageKey(one)) ?? [], again);
    // Those that are named met something new: most are candidates, and what they met tells without another question.
    const isWanted = (one: Lineage) =>
      spokenOf.has(lineageKey(one)) || (known.has(lineageKey(one)) && isCandidate(one, storedOf(one), bounds));
    return [...touched, ...more].filter(isWanted).map(({ owner, lineage }) => {
      const past = pastOf(successions, { owner, lineage });
      // What a predecessor did later in the day was not known when the day began.
      const values = inheritValues(asSaid({ owner, lineage }), past.flatMap(asSaid), startOf(day));
      return { owner, lineage, inheritedFrom: past.map((one) => one.lineage), values: byFacet(values) };
    });
  });
});

/** startOf is when the UTC day began. */
function startOf(day: Day): number {
  return Math.floor(day.within.from / DAY_MS) * DAY_MS;
}

function boundsOf({ within }: Day, successions: Successions): Bounds {
  const knownBefore = within.to - KNOWN_AFTER_MS;
  const heirs = [...successions.values()].filter(({ since }) => since >= knownBefore).map(lineageKey);
  return { fresh: within.from - OPEN_MS, knownBefore, heirs, rush: RUSH_ENDPOINTS };
}

/** touchedBy are the lineages that the batches name, or those that the store knows to be candidates. */
async function touchedBy(reads: Reads, scope: Scope, bounds: Bounds): Promise<Lineage[]> {
  const { subjects, from, to, receivedAt } = scope;
  if (subjects !== null) return subjects.map(([owner, lineage]) => ({ owner, lineage }));
  return reads.read(candidates, { ...bounds, from, to, receivedAt: [...receivedAt] });
}

/** pastOf are the lineages that one took over from, the nearest first. */
function pastOf(successions: Successions, one: Lineage): Lineage[] {
  return predecessorsOf(successions, one).map((lineage) => ({ owner: one.owner, lineage }));
}

function unique<L extends Lineage>(lineages: readonly L[]): L[] {
  return [...new Map(lineages.map((one) => [lineageKey(one), one])).values()];
}

type StoredValue = OwnValue & Lineage;

/** readMet reads what lineages met, by lineageKey. */
async function readMet(reads: Reads, of: readonly Lineage[]): Promise<Map<string, StoredValue[]>> {
  const met = new Map<string, StoredValue[]>();
  for (let i = 0; i < of.length; i += SLICE_LINEAGES) {
    const asked = of.slice(i, i + SLICE_LINEAGES);
    const found = grouped(await reads.read(metValues, lineageParams(asked)), lineageKey);
    for (const one of asked) met.set(lineageKey(one), found.get(lineageKey(one)) ?? []);
  }
  return met;
}

function lineageParams(of: readonly Lineage[]): LineageParams {
  return {
    owners: [...new Set(of.map(({ owner }) => owner))],
    lineages: [...new Set(of.map(({ lineage }) => lineage))],
  };
}

function facetsOf(values: readonly OwnValue[]): MetFacts['values'] {
  const of = grouped(values, ({ facet }) => facet);
  return Object.fromEntries(
    FACETS.map((facet) => [facet, withoutEgress(of.get(facet) ?? [])]),
  ) as unknown as MetFacts['values'];
}

/** Company is what the lineages of all days of a stretch did, and what others make of what they met newly. */
interface Company {
  /** By freshKey. */
  readonly peers: ReadonlyMap<string, Peers>;
  /** By lineageKey, what was malicious taken out. */
  readonly activity: ReadonlyMap<string, Activity>;
  /** By owner. */
  readonly families: ReadonlyMap<string, readonly (Lineage & Pick<NoveltyFacts, 'tokens'>)[]>;
  readonly feedback: Feedback;
}

const companyOf = once(async (reads: Reads, stretch: Stretch): Promise<Company> => {
  const { days } = stretch;
  const feedback = await feedbackFor(reads, stretch);
  const met = await Promise.all(days.map((day) => metFacts(reads, day)));
  const of = unique(
    met
      .flat()
      .flatMap(({ owner, lineage, inheritedFrom }) =>
        [lineage, ...inheritedFrom].map((one) => ({ owner, lineage: one })),
      ),
  );
  const fresh = days.flatMap((day, i) => (met[i] ?? []).flatMap((facts) => freshIn(facts, day)));
  const asked = [...new Map(fresh.map((value) => [freshKey(value), value])).values()];
  const [peers, activity, families] = await Promise.all([
    askPeers(reads, asked, feedback),
    sliced(of, (slice) => reads.read(activityOf, lineageParams(slice))),
    sliced(of, (slice) => reads.read(ownerLineages, { owners: lineageParams(slice).owners })),
  ]);
  const wordsOf = (key: string) => [...(feedback.ofLineage.get(key) ?? []), ...(feedback.trips.get(key) ?? [])];
  return {
    peers,
    activity: new Map(activity.map((row) => [lineageKey(row), activityAsSaid(row, wordsOf(lineageKey(row)))])),
    families: grouped(unique(families), ({ owner }) => owner),
    feedback,
  };
});

async function sliced<R>(of: readonly Lineage[], ask: (slice: readonly Lineage[]) => Promise<R[]>): Promise<R[]> {
  const rows: R[] = [];
  for (let i = 0; i < of.length; i += SLICE_LINEAGES) rows.push(...(await ask(of.slice(i, i + SLICE_LINEAGES))));
  return rows;
}

/** From then on what was met is asked about: the day before too, for a walk is judged by all that it met. */
function freshSince({ within }: Day): number {
  return within.from - OPEN_MS - DAY_MS;
}

function freshIn({ owner, lineage, values }: MetFacts, day: Day): FreshValue[] {
  const since = freshSince(day);
  return FACETS.flatMap((facet) => values[facet].filter(({ met }) => met >= since))
    .sort((a, b) => a.met - b.met)
    .slice(-MAX_FRESH_VALUES)
    .map(({ facet, value, met }) => ({ owner, lineage, facet, value, met }));
}

const IDLE: Activity = { hours: [], calls: [] };

/** noveltyFacts adds to what the lineages met their activity, and what their peers make of the new part. */
export const noveltyFacts = once(async (reads: Reads, day: Day): Promise<NoveltyFacts[]> => {
  const met = await metFacts(reads, day);
  if (met.length === 0) return [];
  const fleet = await fleetOf(reads, day);
  const { peers, activity, families, feedback } = await companyOf(reads, day.stretch);
  const since = freshSince(day);
  return met.map(({ owner, lineage, inheritedFrom, values }) => {
    const [own, ...past] = [lineage, ...inheritedFrom].map(
      (one) => activity.get(lineageKey({ owner, lineage: one })) ?? IDLE,
    );
    const used = inheritActivity(own ?? IDLE, past, startOf(day));
    const withPeers = (value: OwnValue): MetValue => {
      if (value.met < since) return value;
      const known = peers.get(freshKey({ ...value, owner, lineage }));
      return known === undefined ? value : { ...value, ...known };
    };
    const family = families.get(owner) ?? [];
    const itself = new Set([lineage, ...inheritedFrom]);
    return {
      owner,
      lineage,
      tokens: family.find((row) => row.lineage === lineage)?.tokens ?? [],
      values: Object.fromEntries(FACETS.map((facet) => [facet, values[facet].map(withPeers)])) as unknown as Record<
        Facet,
        MetValue[]
      >,
      activeHours: used.hours,
      hourlyCalls: used.calls,
      peersSince: family.filter((row) => !itself.has(row.lineage)).map((row) => row.tokens[0]?.since ?? 0),
      fleetPeers: fleet.lineages,
      priors: fleet.priors,
      inheritedFrom,
      spoken: [...itself].some((one) => feedback.ofLineage.has(lineageKey({ owner, lineage: one }))),
    };
  });
});

/** Stands for the organisation's own way out, in every facet of place. */
const EGRESS = 'egress';

/** The own way out is never news; where a lineage began it is its home. */
function withoutEgress<T extends { readonly facet: Facet; readonly value: string }>(values: readonly T[]): T[] {
  return values.filter(({ facet, value }, index) => index === 0 || value !== EGRESS || !PLACE_FACETS.has(facet));
}

const PLACE_FACETS: ReadonlySet<Facet> = new Set(['country', 'network', 'kind']);

type FreshValue = Pick<OwnValue, 'facet' | 'value' | 'met'> & Lineage;

/** freshKey names a value that a lineage met at a moment: to whoever takes over from another it may be another moment on another day. */
function freshKey(value: FreshValue): string {
  return `${value.met} ${valueKey(value)}`;
}

/** askPeers asks how peers stand to fresh values, by freshKey. */
async function askPeers(
  reads: Reads,
  fresh: readonly FreshValue[],
  feedback: Feedback,
): Promise<ReadonlyMap<string, Peers>> {
  const malicious = feedback.words.filter(({ verdict }) => verdict === 'malicious');
  const found = new Map<string, Peers>();
  for (let i = 0; i < fresh.length; i += SLICE_VALUES) {
    const asked = fresh.slice(i, i + SLICE_VALUES);
    const askers = new Map<string, number[]>([['', []]]);
    for (const [at, { facet, value }] of asked.entries()) {
      const key = `${facet}\n${value}`;
      askers.set(key, [...(askers.get(key) ?? []), at + 1]);
    }
    const left = malicious.filter(({ facet, value }) => askers.has(`${facet}\n${value}`));
    const rows = await reads.read(peers, {
      keys: [...askers.keys()],
      askers: [...askers.values()],
      facets: asked.map(({ facet }) => facet),
      owners: asked.map(({ owner }) => owner),
      lineages: asked.map(({ lineage }) => lineage),
      values: asked.map(({ value }) => value),
      mets: asked.map(({ met }) => met),
      leftFacets: left.map(({ facet }) => facet),
      leftOwners: left.map(({ owner }) => owner),
      leftLineages: left.map(({ lineage }) => lineage),
      leftValues: left.map(({ value }) => value),
    });
    for (const { of, ...row } of rows) found.set(freshKey(asked[of] as FreshValue), row);
  }
  return found;
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
  return countUntil(facts.peersSince, at);
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
