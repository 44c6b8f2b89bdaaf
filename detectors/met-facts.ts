import { defineQuery, FORGOTTEN_AFTER, num, ONE_THREAD, quarterOf, text } from '../store/index.ts';
import { KNOWN_AFTER_MS, OPEN_MS } from './baseline.ts';
import { type Bounds, candidates, isCandidate, type Met, mayBeRenewed, RUSH_ENDPOINTS, widest } from './candidates.ts';
import { type Day, type Reads, remembered, type Scope, startOf, together } from './contract.ts';
import { feedbackFor, type Said, type UsedAgain, usedAgain, valueKey, valuesAsSaid } from './feedback.ts';
import { type Chain, memoryOf, renewalQuarters } from './forgetting.ts';
import { askedOf, grouped, type Lineage, type LineageNames, lineageKey, unique } from './lineage.ts';
import { FACETS, type Facet, fleetOf } from './prior.ts';
import { inheritValues, predecessorsOf, type Successions } from './succession.ts';

/** MetValue is one value that a lineage met. `met` is its first meeting, epoch milliseconds; of what was forgotten the first since. */
export interface MetValue {
  readonly value: string;
  readonly met: number;
  /** Calls so far, and those of them with a status of 400 or more. */
  readonly calls: number;
  readonly failed: number;
  /** Status of the very first call, 0 when unknown. */
  readonly firstStatus: number;
  /** The quarter, as `quarterOf` counts them, in which it was used last before it was forgotten; absent: it was not. */
  readonly lastUsed?: number;
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
  /** Of a country: the lineages of other owners that came to it within six hours before or an hour after, by time, the first ones. */
  readonly newcomers: readonly Newcomer[];
}

/** Newcomer is a lineage that met a value, and when, epoch milliseconds. */
export interface Newcomer extends Lineage {
  readonly met: number;
}

/** OwnValue is one value that a lineage met; nobody was asked yet who else did. */
export type OwnValue = MetValue & { readonly facet: Facet };

/** NOBODY is what others make of a value that is no news, or that nobody else met. */
export const NOBODY = { peersBefore: 0, peersRecent: [], fleetBefore: 0, peers: [], newcomers: [] };

/** MetFacts is what one lineage has met of every facet. */
export interface MetFacts {
  readonly owner: string;
  readonly lineage: string;
  /** As in NoveltyFacts. */
  readonly inheritedFrom: readonly string[];
  /** All values met, by first meeting. */
  readonly values: Readonly<Record<Facet, readonly OwnValue[]>>;
}

const metValues = defineQuery<LineageNames, StoredValue>(
  'novelty_met_values',
  `SELECT facet, owner, lineage, value, toUnixTimestamp64Milli(min(first_seen)) AS met, sum(calls) AS calls, sum(failed) AS failed,
     min(first_call) % 65536 AS first_status, bitPositionsToArray(groupBitOr(quarters)) AS used
   FROM rollup_facets
   WHERE owner IN {owners:Array(String)} AND lineage IN {lineages:Array(String)}
   GROUP BY facet, owner, lineage, value
   ORDER BY owner, lineage, met, value
   ${ONE_THREAD}`,
  (raw) => ({
    facet: text(raw.facet) as Facet,
    owner: text(raw.owner),
    lineage: text(raw.lineage),
    value: text(raw.value),
    met: num(raw.met),
    calls: num(raw.calls),
    failed: num(raw.failed),
    firstStatus: num(raw.first_status),
    quarters: (raw.used as unknown[]).map(num),
    ...NOBODY,
  }),
);

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
  const lookUp = (of: readonly Lineage[]) =>
    readMet(
      reads,
      of.flatMap((one) => [one, ...pastsOf(one)]),
    );
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
  const storedOf = (one: Lineage) => met.get(lineageKey(one)) ?? [];
  const wanted = days.map(({ successions, bounds }, i) => {
    const spokenOf = new Set(spoken[i]?.recalled.map(lineageKey));
    // Those that are named met something new: most are candidates, and what they met tells without another question.
    const isWanted = (one: Lineage) =>
      spokenOf.has(lineageKey(one)) || (known.has(lineageKey(one)) && isCandidate(one, storedOf(one), bounds));
    return [...touched, ...more].filter(isWanted).map((one) => {
      const chain: Chain = [one, ...pastOf(successions, one)];
      const renewed = storedOf(one).some((value) => mayBeRenewed(value, bounds.quarters));
      return { one, chain, renewed, isNews: !renewed || spokenOf.has(lineageKey(one)) };
    });
  });
  const forgetful = wanted.flatMap((ofDay, i) => {
    const { quarters } = (days[i] as (typeof days)[number]).bounds;
    return ofDay
      .filter(({ chain, renewed }) => renewed || (chain.length > 1 && isOld(chain.flatMap(storedOf), quarters)))
      .map(({ chain }) => chain);
  });
  const memory = await memoryOf(reads, stretch, forgetful, storedOf);
  const facetsOf = remembered(byFacet);
  return days.map(({ day, bounds }, i) => {
    const again = spoken[i]?.again ?? new Map<string, UsedAgain>();
    const asSaid = (one: Lineage) => valuesAsSaid(storedOf(one), feedback.ofLineage.get(lineageKey(one)) ?? [], again);
    return (wanted[i] ?? []).flatMap(({ one, chain, isNews }) => {
      const past = chain.slice(1);
      // What a predecessor did later in the day was not known when the day began.
      const stored = inheritValues(asSaid(one), past.flatMap(asSaid), startOf(day));
      const values = memory.asRemembered(day, chain, stored);
      // Now it is known when use began anew.
      if (!isNews && !isCandidate(one, values.map(asRemembered), bounds)) return [];
      const inheritedFrom = past.map(({ lineage }) => lineage);
      return { owner: one.owner, lineage: one.lineage, inheritedFrom, values: facetsOf(values) };
    });
  });
});

/** isOld tells whether anything was met so long before some quarters that it may be forgotten in them. */
function isOld(values: readonly StoredValue[], quarters: readonly number[]): boolean {
  const first = values.reduce((earliest, { met }) => Math.min(earliest, met), Number.POSITIVE_INFINITY);
  return Number.isFinite(first) && quarterOf(first) + FORGOTTEN_AFTER < Math.max(...quarters);
}

/** asRemembered is a value of which it is known when its use began anew. */
function asRemembered({ facet, met }: OwnValue): Met {
  return { facet, met, quarters: [] };
}

function boundsOf(day: Day, successions: Successions): Bounds {
  const { within } = day;
  const knownBefore = within.to - KNOWN_AFTER_MS;
  const heirs = [...successions.values()].filter(({ since }) => since >= knownBefore).map(lineageKey);
  return { fresh: within.from - OPEN_MS, knownBefore, heirs, rush: RUSH_ENDPOINTS, quarters: renewalQuarters(day) };
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

type StoredValue = OwnValue & Lineage & Pick<Met, 'quarters'>;

/** readMet reads what lineages met, by lineageKey. */
async function readMet(reads: Reads, of: readonly Lineage[]): Promise<Map<string, StoredValue[]>> {
  return grouped(await askedOf(of, (names) => reads.read(metValues, names)), lineageKey);
}

/** byFacet is values by their facet, the organisation's own way out left out where it is no beginning. */
export function byFacet(values: readonly OwnValue[]): MetFacts['values'] {
  const of = grouped(values, ({ facet }) => facet);
  return Object.fromEntries(
    FACETS.map((facet) => [facet, withoutEgress(of.get(facet) ?? [])]),
  ) as unknown as MetFacts['values'];
}

/** Stands for the organisation's own way out, in every facet of place. */
const EGRESS = 'egress';

/** The own way out is never news; where a lineage began it is its home. */
function withoutEgress<T extends { readonly facet: Facet; readonly value: string }>(values: readonly T[]): T[] {
  return values.filter(({ facet, value }, index) => index === 0 || value !== EGRESS || !PLACE_FACETS.has(facet));
}

const PLACE_FACETS: ReadonlySet<Facet> = new Set(['country', 'network', 'kind']);
