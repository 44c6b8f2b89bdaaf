import { type EvidenceRow, type LearningState, plural } from '../core/index.ts';
import { DAY_MS, KNOWN_ACTIVE_DAYS, KNOWN_AFTER_MS, learningState } from './baseline.ts';
import type { Lineage } from './lineage.ts';
import type { MetValue } from './met-facts.ts';
import { type NoveltyFacts, peersAt } from './novelty.ts';
import { countInterval, type Gamma } from './statistics.ts';
import { rounded, sqlText } from './words.ts';

/** A lineage that was not used for this long is dormant. The view `tokens` says the same. */
const DORMANT_AFTER_MS = 30 * DAY_MS;

/** The share of counts that an interval of an explanation holds. */
const INTERVAL_PROBABILITY = 0.9;

/** Learning says how far a baseline is: its state, since when it learns, what it has, and what is still missing, in words. */
export interface Learning {
  readonly state: LearningState;
  readonly since: string | null;
  readonly history_days: number;
  readonly active_days: number;
  /** Empty once nothing is missing. */
  readonly missing: string;
}

/** learningAt says how far the baseline is that ends before `at`; a lineage that woke up within the last day is dormant. */
export function learningAt(activeHours: readonly number[], at: number): Learning {
  const days = new Set<number>();
  let before = activeHours[0] ?? at;
  let woke = false;
  for (const hour of activeHours) {
    if (hour >= at) break;
    days.add(Math.floor(hour / DAY_MS));
    if (hour > at - DAY_MS && hour - before >= DORMANT_AFTER_MS) woke = true;
    before = hour;
  }
  const first = activeHours[0];
  const history = first === undefined ? 0 : Math.max(0, at - first);
  const state = learningState(activeHours, at);
  return {
    state: state === 'known' && woke ? 'dormant' : state,
    since: first === undefined ? null : new Date(first).toISOString(),
    history_days: rounded(history / DAY_MS),
    active_days: days.size,
    missing: missingWords(Math.ceil((KNOWN_AFTER_MS - history) / DAY_MS), KNOWN_ACTIVE_DAYS - days.size),
  };
}

/** missingWords says what a baseline lacks: days until its history is long enough, and days of use. The view `tokens` says the same. */
function missingWords(historyDays: number, activeDays: number): string {
  return [
    historyDays > 0 ? `${plural(historyDays, 'more day')} of history` : '',
    activeDays > 0 ? `use on ${plural(activeDays, 'more day')}` : '',
  ]
    .filter((part) => part !== '')
    .join(' and ');
}

/** baselineSentences tell a reader of a message that a baseline was inherited, is not worth much yet, or was asleep; empty for one's own, known one. */
export function baselineSentences(facts: Pick<NoveltyFacts, 'inheritedFrom'>, learning: Learning): string {
  const [from] = facts.inheritedFrom;
  const heir = ` Its habits are those of ${from}, which fell silent when it began: it was taken for the successor (inferred).`;
  return `${from === undefined ? '' : heir}${learningSentence(learning)}`;
}

function learningSentence(learning: Learning): string {
  if (learning.state === 'dormant') return ' It had not been used for 30 days before.';
  if (learning.state === 'known') return '';
  return ` It is still being learnt${learning.since === null ? '' : ` since ${learning.since.slice(0, 10)}`}: ${learning.missing} to go.`;
}

/** intervalOf is the interval that holds 90 % of the counts in `window` units at a rate, as it stands in `expected`. */
export function intervalOf(window: number, rate: Gamma): { from: number; to: number; probability: number } {
  return { ...countInterval(window, rate, INTERVAL_PROBABILITY), probability: INTERVAL_PROBABILITY };
}

/** Peers that are named at most. */
const NAMED_PEERS = 5;

/** baselineOf is the part of `expected` that every finding about a lineage carries: how much is known, and who shares what was met. */
export function baselineOf(facts: NoveltyFacts, at: number, values: readonly MetValue[]) {
  const learning = learningAt(facts.activeHours, at);
  const sharing = new Set<string>();
  for (const { peers } of values) for (const { lineage, met } of peers) if (met <= at) sharing.add(lineage);
  return {
    history_days: learning.history_days,
    learning,
    owner_tokens: peersAt(facts, at) + 1,
    shared_by: [...sharing].slice(0, NAMED_PEERS),
    ...(facts.inheritedFrom.length === 0 ? {} : { inherited_from: facts.inheritedFrom }),
  };
}

/** bothEnds keeps at most `most` rows of evidence: the first and the last are always among them. */
export function bothEnds(rows: readonly EvidenceRow[], most: number): EvidenceRow[] {
  if (rows.length <= most) return [...rows];
  const half = Math.ceil(most / 2);
  return [...rows.slice(0, half), ...rows.slice(half - most)];
}

/** sqlLineage is the SQL condition that finds one lineage. */
export function sqlLineage({ owner, lineage }: Lineage): string {
  return `owner = ${sqlText(owner)} AND lineage = ${sqlText(lineage)}`;
}

/** sqlLineages is the SQL condition that finds what a lineage has met, and what those whose habits it has met before it. */
export function sqlLineages(facts: Pick<NoveltyFacts, 'owner' | 'lineage' | 'inheritedFrom'>): string {
  if (facts.inheritedFrom.length === 0) return sqlLineage(facts);
  const lineages = [facts.lineage, ...facts.inheritedFrom].map(sqlText).join(', ');
  return `owner = ${sqlText(facts.owner)} AND lineage IN (${lineages})`;
}
