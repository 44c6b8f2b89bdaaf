import { FORGOTTEN_AFTER, quarterName, quarterOf, quarterStart } from '../store/index.ts';
import { DAY_MS, OPEN_MS } from './baseline.ts';
import { type Day, type Reads, type Stretch, startOf } from './contract.ts';
import {
  firstUsesAfter,
  isExpected,
  type Lapsed,
  type Said,
  type UsedAgain,
  type Valued,
  valueKey,
} from './feedback.ts';
import { grouped, type Lineage } from './lineage.ts';

/** How long before a day what was met again still counts in a window, or begins an episode. */
const REACH_MS = DAY_MS + 2 * OPEN_MS;

/**
 * renewalQuarters are the quarters in which use may have begun anew that a day's findings tell of: the day's own, and at its beginning the
 * one before. They are those of the whole UTC day, whatever part of it is judged.
 */
export function renewalQuarters(day: Pick<Day, 'within'>): number[] {
  return [...new Set([quarterOf(startOf(day) - REACH_MS), quarterOf(day.within.to - 1)])];
}

/** Renewal is the quarter in which use of a value began anew after it was forgotten, and the one in which it was used last before. */
export interface Renewal {
  readonly quarter: number;
  readonly lastUsed: number;
}

/**
 * renewalIn tells whether use of a value began anew in one of some quarters: whether the lineage used other values of the facet
 * (`active`) in FORGOTTEN_AFTER quarters since it had used this one (`used`, sorted). A lineage forgets by what it does: while it sleeps it
 * forgets nothing.
 */
export function renewalIn(
  used: readonly number[],
  active: ReadonlySet<number>,
  quarters: readonly number[],
): Renewal | null {
  for (let i = used.length - 1; i > 0; i--) {
    const quarter = used[i] as number;
    const lastUsed = used[i - 1] as number;
    if (!quarters.includes(quarter)) continue;
    let busy = 0;
    for (let between = lastUsed + 1; between < quarter; between++) if (active.has(between)) busy++;
    if (busy >= FORGOTTEN_AFTER) return { quarter, lastUsed };
  }
  return null;
}

/** Used is in which quarters a lineage used a value, sorted. */
interface Used extends Valued {
  readonly quarters: readonly number[];
}

/** Chain is a lineage and those whose habits count as its own. */
export type Chain = readonly Lineage[];

/** Forgettable is the part of a met value that forgetting changes. */
interface Forgettable extends Valued {
  readonly met: number;
  readonly firstStatus: number;
  readonly said?: Said;
}

/** Memory is what the lineages of a stretch used when. */
export interface Memory {
  /**
   * asRemembered is what a chain met as it counts on a day: what was forgotten and then used again was met when it was used again. By
   * first meeting.
   */
  asRemembered<V extends Forgettable>(
    day: Day,
    chain: Chain,
    values: readonly V[],
  ): readonly (V & { readonly lastUsed?: number })[];
}

/** The memory of lineages that are too young to forget. */
const NOTHING_FORGOTTEN: Memory = { asRemembered: (_day, _chain, values) => values };

/** First uses since a quarter began, by lapsedKey: looked up once, but for calls that come late. */
const lookedUp = new WeakMap<Reads, Map<string, UsedAgain>>();
const MAX_LOOKED_UP = 20_000;

/** memoryOf looks up in the events when use of what some chains had forgotten began anew; `usedOf` is what a lineage used. */
export async function memoryOf(
  reads: Reads,
  stretch: Stretch,
  chains: readonly Chain[],
  usedOf: (one: Lineage) => readonly Used[],
): Promise<Memory> {
  if (chains.length === 0) return NOTHING_FORGOTTEN;
  const usedBy = (chain: Chain) => chain.flatMap(usedOf);
  const quarters = [...new Set(stretch.days.flatMap(renewalQuarters))];
  const lapsed = new Map<string, Lapsed>();
  for (const chain of chains) {
    const values = usedBy(chain);
    for (const { quarter, of } of renewalsAmong(values, activeIn(values), quarters))
      for (const value of of)
        if (value.quarters.includes(quarter))
          lapsed.set(lapsedKey(value, quarter), { ...value, ended: quarterStart(quarter) - 1 });
  }
  const uses = await firstUsesIn(reads, stretch, lapsed);
  return {
    asRemembered: (day, chain, values) => {
      const met = new Set(values.map(keyOf));
      // What was malicious was never met: it is no use either.
      const all = usedBy(chain).filter((value) => met.has(keyOf(value)));
      const again = new Map<string, UsedAgain & { readonly lastUsed: number }>();
      for (const { quarter, lastUsed, of } of renewalsAmong(all, activeIn(all), renewalQuarters(day))) {
        // What a predecessor did later in the day was not known when the day began.
        const until = ({ lineage }: Lineage) => (lineage === chain[0]?.lineage ? day.within.to : startOf(day));
        const [first] = of
          .flatMap((value) => {
            const use = uses.get(lapsedKey(value, quarter));
            return use !== undefined && use.met < until(value) ? [{ met: use.met, firstStatus: use.firstStatus }] : [];
          })
          .sort((a, b) => a.met - b.met);
        const [value] = of;
        if (first !== undefined && value !== undefined) again.set(keyOf(value), { ...first, lastUsed });
      }
      if (again.size === 0) return values;
      return values
        .map((value) => {
          const use = again.get(keyOf(value));
          if (use === undefined || isExpected(value) || value.met >= use.met) return value;
          return { ...value, met: use.met, firstStatus: use.firstStatus, lastUsed: use.lastUsed };
        })
        .sort((a, b) => a.met - b.met || (a.value < b.value ? -1 : 1));
    },
  };
}

/** wasForgotten tells whether a value had been used before, and was forgotten. */
export function wasForgotten({ lastUsed }: { readonly lastUsed?: number }): boolean {
  return lastUsed !== undefined;
}

/** lastUse is when a value that was forgotten had been used last, for `expected` and for evidence; nothing for one that is new. */
export function lastUse({ lastUsed }: { readonly lastUsed?: number }): { readonly last_used?: string } {
  return lastUsed === undefined ? {} : { last_used: quarterName(lastUsed) };
}

/** neverOrNotSince says of some values that the token `never` did something with them, or that it `not` did for over a year where any of them had been forgotten. */
export function neverOrNotSince(values: readonly { readonly lastUsed?: number }[], never: string, not: string): string {
  const forgotten = values.filter(wasForgotten).length;
  return forgotten === 0 ? never : `${not} for over a year${forgotten < values.length ? ', if ever' : ''}`;
}

/** forgottenSentence says in words how many of the values had been forgotten, and when the last of them had been used; '' when none was. */
export function forgottenSentence(values: readonly { readonly lastUsed?: number }[]): string {
  const before = values.flatMap(({ lastUsed }) => lastUsed ?? []);
  if (before.length === 0) return '';
  return ` ${before.length} of ${values.length} it had not used for over a year, last in ${quarterName(Math.max(...before))}.`;
}

/** keyOf names a value of a facet, whichever of a chain met it. */
function keyOf({ facet, value }: Pick<Valued, 'facet' | 'value'>): string {
  return `${facet}\n${value}`;
}

function lapsedKey(value: Valued, quarter: number): string {
  return `${quarter} ${valueKey(value)}`;
}

/** activeIn are the quarters in which anything of a facet was used. */
function activeIn(values: readonly Used[]): ReadonlyMap<string, ReadonlySet<number>> {
  const active = new Map<string, Set<number>>();
  for (const { facet, quarters } of values) {
    const of = active.get(facet) ?? new Set();
    active.set(facet, of);
    for (const quarter of quarters) of.add(quarter);
  }
  return active;
}

/** renewalsAmong are the values that were used again in one of some quarters after they were forgotten, each with how the members of the chain used it. */
function renewalsAmong(
  values: readonly Used[],
  active: ReadonlyMap<string, ReadonlySet<number>>,
  quarters: readonly number[],
): (Renewal & { readonly of: readonly Used[] })[] {
  return [...grouped(values, keyOf).values()].flatMap((of) => {
    const used = [...new Set(of.flatMap((one) => one.quarters))].sort((a, b) => a - b);
    const renewal = renewalIn(used, active.get(of[0]?.facet ?? '') ?? new Set(), quarters);
    return renewal === null ? [] : [{ ...renewal, of }];
  });
}

/** firstUsesIn looks up first uses in the events, by lapsedKey. */
async function firstUsesIn(
  reads: Reads,
  { from, within }: Stretch,
  lapsed: ReadonlyMap<string, Lapsed>,
): Promise<ReadonlyMap<string, UsedAgain>> {
  const known = lookedUp.get(reads) ?? new Map<string, UsedAgain>();
  if (known.size > MAX_LOOKED_UP) known.clear();
  lookedUp.set(reads, known);
  // The calls that are looked at may be earlier than the first one was.
  const waiting = [...lapsed].filter(([key]) => (known.get(key)?.met ?? from) >= from).map(([, one]) => one);
  for (const use of await firstUsesAfter(reads, waiting, within.to))
    known.set(lapsedKey(use, quarterOf(use.ended + 1)), use);
  return known;
}
