import { defineQuery, num, ONE_THREAD, text } from '../store/index.ts';
import { countUntil, DAY_MS, HOUR_MS, OPEN_MS } from './baseline.ts';
import { type Day, once, type Reads, type Stretch, startOf } from './contract.ts';
import { activityAsSaid, type Feedback, feedbackFor } from './feedback.ts';
import { wasForgotten } from './forgetting.ts';
import { askedOf, grouped, type Lineage, type LineageNames, lineageKey, sliced } from './lineage.ts';
import { type MetFacts, type MetValue, metFacts, type OwnValue } from './met-facts.ts';
import { askPeers, type FreshValue, freshKey, type Peers } from './peers.ts';
import { FACETS, type Facet, fleetOf, type Prior } from './prior.ts';
import { type Activity, inheritActivity } from './succession.ts';

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
  /** At this age a habit weighs 1/e; FORGETTING_MS where it is not said. */
  readonly fadesMs?: number;
  /** When each other lineage of the owner was first used, sorted. */
  readonly peersSince: readonly number[];
  /** Lineages in use when the day began. */
  readonly fleetPeers: number;
  /** What the fleet's own history says about meeting new values. */
  readonly priors: Readonly<Record<Facet, Prior>>;
  /** Lineages whose habits count as its own, the nearest first: it took over from them undeclared, as was inferred when the day began. */
  readonly inheritedFrom: readonly string[];
  /** People said something of what it met, or it was forgotten and met again: what it met first is not all that is new. */
  readonly spoken?: boolean;
}

const activityOf = defineQuery<LineageNames, Lineage & { hours: number[]; calls: number[] }>(
  'novelty_activity',
  `SELECT owner, lineage, arraySort(groupArray((at, made))) AS hours
   FROM (
     SELECT owner, lineage, toUnixTimestamp(hour) AS at, sum(calls) AS made
     FROM rollup_hours
     WHERE owner IN {owners:Array(String)} AND lineage IN {lineages:Array(String)}
     GROUP BY owner, lineage, hour
   )
   GROUP BY owner, lineage
   ${ONE_THREAD}`,
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

/** ownerLineages reads the lineages of some owners, each with the first use of its tokens. */
export const ownerLineages = defineQuery<
  { owners: string[] },
  Lineage & { tokens: { token: string; since: number }[] }
>(
  'novelty_owner_lineages',
  `SELECT owner, lineage, minMap([token], [toUnixTimestamp64Milli(first_seen)]) AS tokens
   FROM rollup_tokens
   WHERE owner IN {owners:Array(String)}
   GROUP BY owner, lineage
   ORDER BY owner, min(first_seen)
   LIMIT ${MAX_PEERS} BY owner
   ${ONE_THREAD}`,
  (raw) => {
    const [names, firsts] = raw.tokens as [unknown[], unknown[]];
    const tokens = names.map((token, i) => ({ token: text(token), since: num(firsts[i]) }));
    return { owner: text(raw.owner), lineage: text(raw.lineage), tokens: tokens.sort((a, b) => a.since - b.since) };
  },
);

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
  const of = met
    .flat()
    .flatMap(({ owner, lineage, inheritedFrom }) =>
      [lineage, ...inheritedFrom].map((one) => ({ owner, lineage: one })),
    );
  const fresh = days.flatMap((day, i) => (met[i] ?? []).flatMap((facts) => freshIn(facts, day)));
  const asked = [...new Map(fresh.map((value) => [freshKey(value), value])).values()];
  const fleet = await fleetOf(reads, days.at(-1) as Day);
  const [peers, activity, families] = await Promise.all([
    askPeers(reads, asked, feedback, fleet),
    askedOf(of, (names) => reads.read(activityOf, names)),
    sliced([...new Set(of.map(({ owner }) => owner))], (owners) => reads.read(ownerLineages, { owners: [...owners] })),
  ]);
  const wordsOf = (key: string) => [...(feedback.ofLineage.get(key) ?? []), ...(feedback.trips.get(key) ?? [])];
  return {
    peers,
    activity: new Map(activity.map((row) => [lineageKey(row), activityAsSaid(row, wordsOf(lineageKey(row)))])),
    families: grouped(families, ({ owner }) => owner),
    feedback,
  };
});

/** Peers are asked about at most this many fresh values of one facet of a lineage: a walk past them changes no verdict. */
const MAX_FRESH_VALUES = 200;
/** From then on what was met is asked about: the day before too, for a walk is judged by all that it met. */
function freshSince({ within }: Day): number {
  return within.from - OPEN_MS - DAY_MS;
}

function freshIn({ owner, lineage, values }: MetFacts, day: Day): FreshValue[] {
  const since = freshSince(day);
  return FACETS.flatMap((facet) => values[facet].filter(({ met }) => met >= since).slice(-MAX_FRESH_VALUES)).map(
    ({ facet, value, met }) => ({ owner, lineage, facet, value, met }),
  );
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
      spoken:
        [...itself].some((one) => feedback.ofLineage.has(lineageKey({ owner, lineage: one }))) ||
        FACETS.some((facet) => values[facet].some(wasForgotten)),
    };
  });
});

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
