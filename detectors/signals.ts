import { activeHoursWithin, countUntil, type History, HOUR_MS, historyOf, noveltyRate } from './baseline.ts';
import { remembered } from './contract.ts';
import { isExpected } from './feedback.ts';
import type { MetValue } from './met-facts.ts';
import { type NoveltyFacts, peersAt } from './novelty.ts';
import { FACETS, type Facet } from './prior.ts';
import { type Gamma, surpriseOfCount } from './statistics.ts';

/** Look is one window of one facet, judged at one moment. */
export interface Look {
  readonly facet: Facet;
  readonly windowMs: number;
  /** Values first met within the window, by time. */
  readonly values: readonly MetValue[];
  /** Their weights added up: what nothing else explains. */
  readonly unexplained: number;
  /** The window in active hours. */
  readonly hours: number;
  readonly rate: Gamma;
  readonly surprise: number;
}

/** Weigh says how much of a first meeting is left to explain at a moment: 1 is all of it. */
export type Weigh = (value: MetValue, at: number) => number;

/** Each peer of the owner that met the same value the same day leaves this much of the surprise: two tokens are chance, five a release. */
const PEER_DISCOUNT = 0.35;

/** adoption is what the owner's other tokens leave of a first meeting: little where many did the same the same day. */
export function adoption(value: Pick<MetValue, 'peersRecent'>, at: number): number {
  return shared(value.peersRecent, at);
}

/** shared is what is left of a first meeting that others had too, at these moments, by `at`. */
export function shared(others: readonly number[], at: number): number {
  let adopters = 0;
  for (const met of others) if (met <= at) adopters++;
  return PEER_DISCOUNT ** adopters;
}

const historiesOf = remembered((facts: NoveltyFacts): Readonly<Record<Facet, History>> => {
  const of = (facet: Facet) =>
    historyOf(
      facts.values[facet].map(({ met }) => met),
      facts.activeHours,
      facts.fadesMs,
    );
  return Object.fromEntries(FACETS.map((facet) => [facet, of(facet)])) as Record<Facet, History>;
});

/** lookAt judges the values of a facet that were first met in the `windowMs` up to `at`. */
export function lookAt(facts: NoveltyFacts, facet: Facet, at: number, windowMs: number, weigh: Weigh): Look {
  const history = historiesOf(facts)[facet];
  const from = countUntil(history.met, at - windowMs);
  const met = facts.values[facet].slice(from, countUntil(history.met, at));
  // The very first value of a lineage is where it began, not news.
  const values = met.filter((value, i) => (from + i > 0 || value.said?.again) && !isExpected(value));
  const unexplained = values.reduce((sum, value) => sum + weighSaid(value, weigh(value, at)), 0);
  const rate = noveltyRate(history, at - windowMs, facts.priors[facet]);
  const hours = activeHoursWithin(facts.activeHours, at, windowMs);
  return { facet, windowMs, values, unexplained, hours, rate, surprise: surpriseOfCount(unexplained, hours, rate) };
}

/** weighSaid is a value's weight when nothing explains away what was found malicious before. */
function weighSaid(value: MetValue, weight: number): number {
  return value.said?.verdict === 'malicious' ? Math.max(1, weight) : weight;
}

/** weighPlace weighs a country, network or client: less the more of the owner's other tokens are at home with it, little when they came the same day. */
export function weighPlace(facts: Pick<NoveltyFacts, 'peersSince'>): Weigh {
  return (value, at) => {
    const peers = peersAt(facts, value.met);
    const known = peers > 0 ? Math.min(1, value.peersBefore / peers) : 0;
    return (1 - 0.8 * known) * adoption(value, at);
  };
}

/** What kinds of networks have in common: machines, people, or somebody who may be anywhere. */
const CLASS_OF_KIND: Readonly<Record<string, string>> = { hosting: 'machines', vpn: 'hidden', relay: 'hidden' };
const classOf = (kind: string): string => CLASS_OF_KIND[kind] ?? 'people';
/** A person who leaves the office network for a mobile one is still a person. */
const WEIGHT_SAME_CLASS = 0.35;

/** bringsNetwork tells whether a value came with a network that was new itself: lists and databases rename kinds overnight, and that is no news. */
export function bringsNetwork(
  { values }: { readonly values: { readonly network: readonly Pick<MetValue, 'met'>[] } },
  value: Pick<MetValue, 'met'>,
): boolean {
  return values.network.some((network, i) => i > 0 && network.met === value.met);
}

/** weighKind weighs a kind of network as a place, less where the lineage knows its class, not at all without a new network. */
export function weighKind(facts: NoveltyFacts): Weigh {
  const place = weighPlace(facts);
  return (value, at) => {
    if (!bringsNetwork(facts, value)) return 0;
    const known = facts.values.kind.some(
      (kind) => kind.met < value.met && classOf(kind.value) === classOf(value.value),
    );
    return (known ? WEIGHT_SAME_CLASS : 1) * place(value, at);
  };
}

/** placeLook is the most surprising of country, network and its kind: one brings the others, so they count once. */
export function placeLook(facts: NoveltyFacts, at: number, windowMs = HOUR_MS): Look {
  const looks = [
    lookAt(facts, 'country', at, windowMs, weighPlace(facts)),
    lookAt(facts, 'kind', at, windowMs, weighKind(facts)),
    lookAt(facts, 'network', at, windowMs, weighPlace(facts)),
  ];
  return looks.reduce((strangest, look) => (look.surprise > strangest.surprise ? look : strangest));
}

/** clientLook is the surprise of a client program that the lineage never used. */
export function clientLook(facts: NoveltyFacts, at: number, windowMs = HOUR_MS): Look {
  return lookAt(facts, 'client', at, windowMs, weighPlace(facts));
}

/** From this surprise on a place or a client counts as foreign to the lineage. */
const FOREIGN_SURPRISE = 1.5;
/** How long before a walk its stranger may have arrived. */
const FOREIGN_WINDOW_MS = 2 * HOUR_MS;

const strangersOf = remembered((_: NoveltyFacts) => new Map<number, boolean>());

/** isForeign tells whether the lineage was just met by a stranger: a place or a client that surprises. A deploy comes from home. */
export function isForeign(facts: NoveltyFacts, at: number): boolean {
  const strangers = strangersOf(facts);
  const known = strangers.get(at);
  if (known !== undefined) return known;
  const foreign =
    placeLook(facts, at, FOREIGN_WINDOW_MS).surprise >= FOREIGN_SURPRISE ||
    clientLook(facts, at, FOREIGN_WINDOW_MS).surprise >= FOREIGN_SURPRISE;
  strangers.set(at, foreign);
  return foreign;
}

/** Weights of one new endpoint: what else could explain it. */
const WEIGHT_OWNER_KNOWS = 0.6;
const WEIGHT_NEW_TO_ALL = 0.25;
const WEIGHT_REFUSED = 1.25;
const WEIGHT_FROM_HOME = 0.25;
/** A fleet smaller than this cannot tell what is new to all. */
const MIN_FLEET = 5;

/**
 * weighEndpoint weighs a new endpoint: little when peers of the owner met it the same day (a release), less when the owner's
 * other tokens know it, little when nobody ever called it and it works (a release whose first user this is), less when
 * nothing foreign came with it (the program itself changed), more when it was refused or does not exist (somebody is guessing). `fromHome` is the weight
 * when nothing foreign came.
 */
export function weighEndpoint(facts: NoveltyFacts, fromHome = WEIGHT_FROM_HOME): Weigh {
  const newToAllCounts = facts.fleetPeers < MIN_FLEET;
  return (value, at) => {
    const alone = adoption(value, at);
    if (value.firstStatus >= 400) return WEIGHT_REFUSED * alone;
    const home = isForeign(facts, value.met) ? 1 : fromHome;
    if (value.peersBefore > 0) return WEIGHT_OWNER_KNOWS * alone * home;
    return (value.fleetBefore > 0 || newToAllCounts ? 1 : WEIGHT_NEW_TO_ALL) * alone * home;
  };
}

/**
 * combinedSurprise is the surprise of several independent signals together: Fisher's method over the `count` strongest of
 * `surprises`, less what choosing them costs. -2 ln of a product of n uniform chances is chi-square with 2n degrees of
 * freedom, whose tail for even degrees is e^(-x/2) * sum (x/2)^i / i!.
 */
export function combinedSurprise(surprises: readonly number[], count: number): number {
  const strongest = [...surprises].sort((a, b) => b - a).slice(0, count);
  const total = strongest.reduce((sum, surprise) => sum + surprise, 0);
  const half = total * Math.LN10;
  let series = 0;
  let term = 1;
  for (let i = 0; i < count; i++) {
    series += term;
    term *= half / (i + 1);
  }
  return Math.max(0, total - Math.log10(series) - Math.log10(choose(surprises.length, count)));
}

function choose(n: number, k: number): number {
  let result = 1;
  for (let i = 1; i <= k; i++) result *= (n - k + i) / i;
  return result;
}
