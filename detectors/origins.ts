import { ACTS, defineQuery, num, ONE_THREAD, ORIGINS_OF_STEPS, text } from '../store/index.ts';
import { DAY_MS, OPEN_MS, SLOW_FORGETTING_MS } from './baseline.ts';
import { type Reads, together } from './contract.ts';
import {
  activityAsSaid,
  BURST_WINDOWS,
  feedbackFor,
  isExpected,
  type UsedAgain,
  valueKey,
  valuesAsSaid,
  type Word,
  wordEnd,
} from './feedback.ts';
import { grouped, type Lineage, lineageKey, sliced } from './lineage.ts';
import { byFacet, NOBODY, type OwnValue } from './met-facts.ts';
import { type NoveltyFacts, ownerLineages } from './novelty.ts';
import { ownersIn } from './owners.ts';
import { askPeers, freshKey } from './peers.ts';
import { FACETS, type Facet, type Fleet, fleetOf } from './prior.ts';

/** OriginStep is one step in the life of an owner's tokens: which, and from where it was taken. `time` in epoch milliseconds. */
export interface OriginStep {
  readonly time: number;
  readonly action: string;
  readonly token: string;
  readonly ip: string;
  /** By facet; '' where the source does not say. */
  readonly origin: Readonly<Partial<Record<Facet, string>>>;
}

/**
 * OriginFacts is from where, and with what, an owner's tokens were issued, rotated, revoked or changed, as if that were one more lineage of
 * the owner: its active hours are those with such steps, its peers are the owner's tokens. It has no id, and meets no endpoints.
 */
export interface OriginFacts extends NoveltyFacts {
  readonly lineage: '';
  /** The steps of the last day and of the judged time that are from what was new then, by time. */
  readonly steps: readonly OriginStep[];
}

/** Steps of one owner and day from what is new that are read at most, the first ones: more tell nothing more of who takes them. */
const MAX_STEPS = 2_000;
/** Hours with steps count from so long ago on: by then they weigh next to nothing. */
const ACTIVITY_MS = 4 * SLOW_FORGETTING_MS;
/** An episode lasts so long at most: what it began with is looked at for as long. */
const EPISODE_MS = DAY_MS;

const originValues = defineQuery<{ owners: string[] }, OwnValue & Lineage & { last: number }>(
  'lifecycle_origin_values',
  `SELECT facet, owner, value, toUnixTimestamp64Milli(min(first_seen)) AS met,
     toUnixTimestamp64Milli(max(last_seen)) AS last, sum(steps) AS made
   FROM rollup_origins
   WHERE owner IN {owners:Array(String)}
   GROUP BY facet, owner, value
   ORDER BY owner, met, value
   ${ONE_THREAD}`,
  (raw) => ({
    ...{ facet: text(raw.facet) as Facet, owner: text(raw.owner), lineage: '', value: text(raw.value) },
    ...{ met: num(raw.met), last: num(raw.last), calls: num(raw.made), failed: 0, firstStatus: 0 },
    ...NOBODY,
  }),
);

const originHours = defineQuery<
  { owners: string[]; from: number },
  { owner: string; hours: number[]; calls: number[] }
>(
  'lifecycle_origin_hours',
  `SELECT owner, arraySort(groupArray((at, made))) AS hours
   FROM (
     SELECT owner, toUnixTimestamp(hour) AS at, sum(placed) AS made
     FROM rollup_churn
     WHERE owner IN {owners:Array(String)} AND hour >= toDateTime(intDiv({from:Int64}, 1000), 'UTC')
     GROUP BY owner, hour
     HAVING made > 0
   )
   GROUP BY owner
   ${ONE_THREAD}`,
  (raw) => {
    const hours = raw.hours as [unknown, unknown][];
    return {
      owner: text(raw.owner),
      hours: hours.map(([hour]) => num(hour) * 1000),
      calls: hours.map(([, made]) => num(made)),
    };
  },
);

const originSteps = defineQuery<
  { owners: string[]; keys: string[]; from: number; to: number },
  OriginStep & { owner: string }
>(
  'lifecycle_origin_steps',
  `SELECT owner, toUnixTimestamp64Milli(time) AS at, action, token, ip, origin
   FROM (
     SELECT owner, time, id, action, token, ip, ${ORIGINS_OF_STEPS} AS origin
     FROM lifecycle
     WHERE owner IN {owners:Array(String)} AND action IN ${ACTS}
       AND time >= fromUnixTimestamp64Milli({from:Int64}) AND time < fromUnixTimestamp64Milli({to:Int64})
       AND hasAny(arrayMap(one -> concat(one.1, '\\n', owner, '\\n\\n', one.2), origin), {keys:Array(String)})
     ORDER BY time
     LIMIT 1 BY owner, id
   )
   ORDER BY owner, time, id
   LIMIT ${MAX_STEPS} BY owner, toDate(time)
   ${ONE_THREAD}`,
  (raw) => ({
    ...{ owner: text(raw.owner), time: num(raw.at), action: text(raw.action) },
    ...{ token: text(raw.token), ip: text(raw.ip) },
    origin: Object.fromEntries(raw.origin as [Facet, string][]),
  }),
);

/** First steps from some origins after moments of their own; the arrays run in step. */
const usedSince = defineQuery<
  { owners: string[]; keys: string[]; ends: number[]; from: number; to: number },
  { key: string; met: number }
>(
  'lifecycle_origins_again',
  `SELECT key, toUnixTimestamp64Milli(min(time)) AS met
   FROM (
     SELECT time, concat(origin.1, '\\n', owner, '\\n\\n', origin.2) AS key, indexOf({keys:Array(String)}, key) AS nth
     FROM lifecycle
     ARRAY JOIN ${ORIGINS_OF_STEPS} AS origin
     WHERE owner IN {owners:Array(String)} AND action IN ${ACTS}
       AND time > fromUnixTimestamp64Milli({from:Int64}) AND time < fromUnixTimestamp64Milli({to:Int64})
   )
   WHERE nth > 0 AND toUnixTimestamp64Milli(time) > {ends:Array(Int64)}[nth]
   GROUP BY key`,
  (raw) => ({ key: text(raw.key), met: num(raw.met) }),
);

/** originsAgain is what was used again before `to` (epoch milliseconds) after the words about it had ended, by valueKey. */
async function originsAgain(reads: Reads, words: readonly Word[], to: number): Promise<Map<string, UsedAgain>> {
  const over = words.filter((word) => (wordEnd(word) ?? to) < to);
  if (over.length === 0) return new Map();
  const ends = over.map((word) => wordEnd(word) as number);
  const rows = await reads.read(usedSince, {
    owners: [...new Set(over.map(({ owner }) => owner))],
    keys: over.map(valueKey),
    ends,
    from: Math.min(...ends),
    to,
  });
  return new Map(rows.map(({ key, met }) => [key, { met, firstStatus: 0 }]));
}

/** newsOf are the origins that are no beginning: of each facet all but the first, and what was met again after people's word about it had ended. */
export function newsOf<V extends OwnValue | NoveltyFacts['values'][Facet][number]>(
  values: Readonly<Record<Facet, readonly V[]>>,
): { readonly facet: Facet; readonly value: V }[] {
  return FACETS.flatMap((facet) =>
    values[facet]
      .filter((value, i) => (i > 0 || value.said?.again) && !isExpected(value))
      .map((value) => ({ facet, value })),
  ).sort((a, b) => a.value.met - b.value.met);
}

/** originFacts gathers from where the tokens of each owner are administered that a new origin was met of lately: mostly nobody. */
export const originFacts = together(async (reads, stretch): Promise<OriginFacts[][]> => {
  const { days, within, unfamiliar } = stretch;
  const [all, feedback] = await Promise.all([ownersIn(reads, stretch), feedbackFor(reads, stretch)]);
  const subjectOf = (owner: string) => lineageKey({ owner, lineage: '' });
  const wordsOf = (owner: string) =>
    (feedback.ofLineage.get(subjectOf(owner)) ?? []).filter(({ facet }) => !(facet in BURST_WINDOWS));
  // To the receivers it is nothing new when what somebody spoke of is used again.
  const named = unfamiliar === null ? null : new Set(unfamiliar);
  const owners = all.filter((owner) => named === null || named.has(owner) || wordsOf(owner).length > 0);
  if (owners.length === 0) return days.map(() => []);
  const stored = await sliced(owners, (slice) => reads.read(originValues, { owners: [...slice] }));
  const lastOf = new Map(stored.map((value) => [valueKey(value), value.last]));
  // Mostly what was spoken of is not used again: then its steps need not be looked through.
  const used = owners
    .flatMap(wordsOf)
    .filter((word) => (lastOf.get(valueKey(word)) ?? 0) > (wordEnd(word) ?? within.to));
  const again = await originsAgain(reads, used, within.to);
  const since = within.from - EPISODE_MS - OPEN_MS;
  const met = [...grouped(stored, ({ owner }) => owner)].flatMap(([owner, all]) => {
    const values = byFacet(valuesAsSaid(all, wordsOf(owner), again));
    return newsOf(values).some(({ value }) => value.met >= since) ? [{ owner, values }] : [];
  });
  if (met.length === 0) return days.map(() => []);
  const concerned = met.map(({ owner }) => owner);
  const fresh = met.flatMap(({ owner, values }) =>
    newsOf(values)
      .filter(({ value }) => value.met >= since)
      .map(({ facet, value }) => ({ owner, lineage: '', facet, value: value.value, met: value.met })),
  );
  const keys = fresh.map(valueKey);
  const fleets = await Promise.all(days.map((day) => fleetOf(reads, day)));
  const [peers, hours, families, steps] = await Promise.all([
    // The clients of an owner's tokens say nothing of what issues them.
    askPeers(
      reads,
      fresh.filter(({ facet }) => facet !== 'client'),
      feedback,
      fleets.at(-1) as Fleet,
    ),
    sliced(concerned, (slice) => reads.read(originHours, { owners: [...slice], from: within.from - ACTIVITY_MS })),
    sliced(concerned, (slice) => reads.read(ownerLineages, { owners: [...slice] })),
    sliced(concerned, (slice) => reads.read(originSteps, { owners: [...slice], keys, from: since, to: within.to })),
  ]);
  const [hoursOf, familyOf, stepsOf] = [
    new Map(hours.map((row) => [row.owner, row])),
    grouped(families, ({ owner }) => owner),
    grouped(steps, ({ owner }) => owner),
  ];
  return fleets.map((fleet) =>
    met.map(({ owner, values }) => {
      const active = activityAsSaid(hoursOf.get(owner) ?? { hours: [], calls: [] }, wordsOf(owner));
      const withPeers = (value: OwnValue) => ({ ...value, ...peers.get(freshKey({ ...value, owner, lineage: '' })) });
      return {
        owner,
        lineage: '' as const,
        tokens: [],
        values: Object.fromEntries(
          FACETS.map((facet) => [facet, values[facet].map(withPeers)]),
        ) as unknown as NoveltyFacts['values'],
        activeHours: active.hours,
        hourlyCalls: active.calls,
        fadesMs: SLOW_FORGETTING_MS,
        peersSince: (familyOf.get(owner) ?? []).map(({ tokens }) => tokens[0]?.since ?? 0),
        fleetPeers: fleet.lineages,
        priors: fleet.ownerPriors,
        inheritedFrom: [],
        steps: stepsOf.get(owner) ?? [],
      };
    }),
  );
});
