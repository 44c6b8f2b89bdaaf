import { defineQuery, num, type Store, text } from '../store/index.ts';
import { countedInHour, type Met, type PlainFacts } from './plain-rule.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** The same learning time as the detectors have. */
const KNOWN_AFTER_MS = 5 * DAY_MS;
const KNOWN_ACTIVE_DAYS = 3;
const OWNER_KNOWN_AFTER_MS = 7 * DAY_MS;

const activity = defineQuery<Record<string, never>, { owner: string; lineage: string; hours: number[] }>(
  'evaluation_activity',
  `SELECT owner, lineage, arraySort(groupUniqArray(toUnixTimestamp(hour))) AS hours
   FROM rollup_hours GROUP BY owner, lineage ORDER BY owner, lineage`,
  (raw) => ({
    owner: text(raw.owner),
    lineage: text(raw.lineage),
    hours: (raw.hours as unknown[]).map((hour) => num(hour) * 1000),
  }),
);

const met = defineQuery<{ since: number }, { facet: string; owner: string; lineage: string; times: number[] }>(
  'evaluation_met',
  `SELECT facet, owner, lineage, arraySort(groupArray(toUnixTimestamp64Milli(first))) AS times
   FROM (
     SELECT facet, owner, lineage, value, min(first_seen) AS first FROM rollup_facets
     WHERE facet IN ('endpoint', 'country') GROUP BY facet, owner, lineage, value
   )
   WHERE first >= fromUnixTimestamp64Milli({since:Int64})
   GROUP BY facet, owner, lineage ORDER BY facet, owner, lineage`,
  (raw) => ({
    facet: text(raw.facet),
    owner: text(raw.owner),
    lineage: text(raw.lineage),
    times: (raw.times as unknown[]).map(num),
  }),
);

const steps = defineQuery<Record<string, never>, { owner: string; step: string; times: number[] }>(
  'evaluation_steps',
  `SELECT owner, step, arraySort(groupArray(toUnixTimestamp64Milli(time))) AS times
   FROM (SELECT DISTINCT owner, time, token, if(action = 'issued' AND replaces != '', 'rotated', action) AS step FROM lifecycle)
   GROUP BY owner, step ORDER BY owner, step`,
  (raw) => ({ owner: text(raw.owner), step: text(raw.step), times: (raw.times as unknown[]).map(num) }),
);

/** learntAt is from when on a lineage counts as known, by its active hours (sorted); Infinity when never. */
export function learntAt(hours: readonly number[]): number {
  const days = new Map<number, number>();
  for (const hour of hours) if (!days.has(Math.floor(hour / DAY_MS))) days.set(Math.floor(hour / DAY_MS), hour);
  const third = [...days.values()][KNOWN_ACTIVE_DAYS - 1];
  const first = hours[0];
  return third === undefined || first === undefined
    ? Number.POSITIVE_INFINITY
    : Math.max(first + KNOWN_AFTER_MS, third + 1);
}

/** Looks are how often each kind of subject was looked at: known lineages by active hour, known owners by hour with a step. */
export interface Looks {
  readonly lineageHours: number;
  readonly ownerHours: number;
}

/** plainFacts reads, from the same rollups that the detectors use, what the plain rule goes by, and counts the looks. */
export async function plainFacts(store: Store, liveMs: number): Promise<{ facts: PlainFacts; looks: Looks }> {
  const [lineages, values, owners] = await Promise.all([
    store.read(activity, {}),
    store.read(met, { since: liveMs }),
    store.read(steps, {}),
  ]);
  const learnt = new Map(
    lineages.map(({ owner, lineage, hours }) => [JSON.stringify([owner, lineage]), learntAt(hours)]),
  );
  const metOf = (facet: string): Met[] =>
    values
      .filter((row) => row.facet === facet)
      .flatMap(({ owner, lineage, times }) => {
        const known = learnt.get(JSON.stringify([owner, lineage])) ?? Number.POSITIVE_INFINITY;
        return countedInHour(times)
          .filter(({ at }) => at >= known)
          .map((one) => ({ owner, lineage, ...one }));
      });
  const ownerKnown = new Map<string, number>();
  for (const { owner, times } of owners)
    ownerKnown.set(
      owner,
      Math.min(ownerKnown.get(owner) ?? Number.POSITIVE_INFINITY, (times[0] ?? 0) + OWNER_KNOWN_AFTER_MS),
    );
  const stepsMet = owners.flatMap(({ owner, times }) => {
    const from = Math.max(liveMs, ownerKnown.get(owner) ?? 0);
    return countedInHour(times)
      .filter(({ at }) => at >= from)
      .map((one) => ({ owner, lineage: null, ...one }));
  });
  let lineageHours = 0;
  for (const { hours } of lineages) {
    const from = Math.max(liveMs, learntAt(hours));
    for (const hour of hours) if (hour >= from) lineageHours++;
  }
  return {
    facts: { endpoints: metOf('endpoint'), countries: metOf('country'), steps: stepsMet },
    looks: {
      lineageHours,
      ownerHours: new Set(stepsMet.map(({ owner, at }) => `${owner} ${Math.floor(at / HOUR_MS)}`)).size,
    },
  };
}
