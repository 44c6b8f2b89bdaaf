import { type AlertBudget, formatBudget } from '../config/index.ts';
import type { Store } from '../store/index.ts';
import {
  BUDGET_WINDOW_MS,
  barOf,
  limitsOf,
  neededBy,
  type Past,
  rankOf,
  type Score,
  type Thresholds,
} from './budget.ts';
import { readPast } from './past.ts';

const DAY_MS = 24 * 3_600_000;
const WEEK_MS = 7 * DAY_MS;

/** COMPARED_PER_WEEK are the budgets that a report compares with the one in force. */
const COMPARED_PER_WEEK = [1, 2, 5, 10, 20, 50];

/** LEAST_COUNTED_MS is the shortest stretch that a rate is made of: a week is not told from an hour. */
const LEAST_COUNTED_MS = DAY_MS;

/** MOST_LOST bounds the alerts that a report names. */
const MOST_LOST = 50;

/** Bar is the surprise that a finding of each detector has to exceed to page; its own `medium` while there is room for all. */
export type Bar = Readonly<Record<string, number>>;

/** BudgetRow is what one budget would have paged. */
export interface BudgetRow {
  /** As in the configuration: `5 per week`, `none`. */
  readonly budget: string;
  /** Alerts that would have paged, and as a rate over what the report counts from. */
  readonly paged: number;
  readonly pagedPerWeek: number;
  readonly heldBack: number;
  /** Of those paged, how many a person resolved as what. */
  readonly expected: number;
  readonly malicious: number;
  /** By the detector of each alert's strongest finding. */
  readonly byDetector: Readonly<Record<string, number>>;
  readonly pagesAbove: Bar;
  /** Alerts resolved as malicious that it would have held back, the newest. */
  readonly lost: readonly string[];
}

/** BudgetReport compares budgets over a stretch of event time. */
export interface BudgetReport {
  /** The budget in force. */
  readonly budget: string;
  readonly from: number;
  readonly to: number;
  /** Where the stretch begins that rates are made of. */
  readonly countedFrom: number;
  readonly rows: readonly BudgetRow[];
}

/** countedFromOf is where rates begin: the first finding there ever was, within the stretch, and a day before its end at the latest. */
export function countedFromOf({ began }: Past, from: number, to: number): number {
  return Math.max(from, Math.min(began, to - LEAST_COUNTED_MS));
}

/** barsOf is the bar of a budget at a moment (event time); null is no budget. */
export function barsOf(past: Past, budget: AlertBudget | null, thresholds: Thresholds, at: number): Bar {
  const bar = budget === null ? 0 : barOf(past.scores, limitsOf(budget, at, past.began), at);
  return Object.fromEntries(Object.keys(thresholds).map((detector) => [detector, neededBy(detector, bar, thresholds)]));
}

/** currentBar is what the store's findings make the bar of a budget now. */
export async function currentBar(
  store: Pick<Store, 'read'>,
  budget: AlertBudget,
  thresholds: Thresholds,
  now: number,
): Promise<Bar> {
  return barsOf(await readPast(store, now - BUDGET_WINDOW_MS, now, thresholds), budget, thresholds, now);
}

/** reportBudgets replays the last `days` days at the budget in force, at others, and without one. */
export async function reportBudgets(
  store: Pick<Store, 'read'>,
  inForce: AlertBudget | null,
  thresholds: Thresholds,
  { days, now }: { readonly days: number; readonly now: number },
): Promise<BudgetReport> {
  const from = now - days * DAY_MS;
  // What was usual before the first day is known too.
  const past = await readPast(store, from - BUDGET_WINDOW_MS, now, thresholds);
  const compared = COMPARED_PER_WEEK.map((count) => ({ count, periodMs: WEEK_MS }));
  const known = new Set(compared.map(formatBudget));
  const budgets = inForce === null || known.has(formatBudget(inForce)) ? compared : [inForce, ...compared];
  budgets.sort((a, b) => a.count / a.periodMs - b.count / b.periodMs);
  return {
    budget: formatBudget(inForce),
    from,
    to: now,
    countedFrom: countedFromOf(past, from, now),
    rows: replay(past, [...budgets, null], thresholds, from, now),
  };
}

/** replay judges what was found between two moments of event time as each budget would have; null is no budget. */
export function replay(
  past: Past,
  budgets: readonly (AlertBudget | null)[],
  thresholds: Thresholds,
  from: number,
  to: number,
): BudgetRow[] {
  const scores = past.scores.filter(({ time }) => time <= to).sort((a, b) => a.time - b.time);
  const first = scores.findIndex(({ time }) => time > from);
  const judged = first === -1 ? [] : scores.slice(first);
  const strongest = new Map<string, Score>();
  for (const score of judged)
    if (score.margin >= (strongest.get(score.alert)?.margin ?? 0)) strongest.set(score.alert, score);

  const paged = budgets.map(() => new Set<string>());
  let oldest = 0;
  for (const [index, score] of judged.entries()) {
    while ((scores[oldest]?.time ?? to) <= score.time - BUDGET_WINDOW_MS) oldest++;
    const before = scores.slice(oldest, first + index);
    const ranks = new Map<number, number>();
    const rankWithin = (windowMs: number): number => {
      const rank = ranks.get(windowMs) ?? rankOf(score, before, windowMs, Number.POSITIVE_INFINITY);
      ranks.set(windowMs, rank);
      return rank;
    };
    budgets.forEach((budget, i) => {
      const within =
        budget === null ||
        score.margin === Number.POSITIVE_INFINITY ||
        limitsOf(budget, score.time, past.began).every(({ windowMs, alerts }) => rankWithin(windowMs) < alerts);
      if (within) paged[i]?.add(score.alert);
    });
  }
  const countedMs = to - countedFromOf(past, from, to);
  return budgets.map((budget, i) => {
    const all = [...strongest.values()];
    const sent = all.filter(({ alert }) => paged[i]?.has(alert));
    const lost = all.filter(({ alert, resolvedAs }) => resolvedAs === 'malicious' && !paged[i]?.has(alert));
    return {
      budget: formatBudget(budget),
      paged: sent.length,
      pagedPerWeek: Number(((sent.length * WEEK_MS) / countedMs).toFixed(2)),
      heldBack: all.length - sent.length,
      expected: sent.filter(({ resolvedAs }) => resolvedAs === 'expected').length,
      malicious: sent.filter(({ resolvedAs }) => resolvedAs === 'malicious').length,
      byDetector: tally(sent),
      pagesAbove: barsOf(past, budget, thresholds, to),
      lost: lost.map(({ alert }) => alert).slice(-MOST_LOST),
    };
  });
}

function tally(scores: readonly Score[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { detector } of scores) counts[detector] = (counts[detector] ?? 0) + 1;
  return counts;
}

/** toApiBudgetReport is the wire shape of a report: snake_case, ISO times. */
export function toApiBudgetReport({ budget, from, to, countedFrom, rows }: BudgetReport) {
  return {
    budget,
    from: new Date(from).toISOString(),
    to: new Date(to).toISOString(),
    counted_from: new Date(countedFrom).toISOString(),
    rows: rows.map((row) => ({
      budget: row.budget,
      paged: row.paged,
      paged_per_week: row.pagedPerWeek,
      held_back: row.heldBack,
      expected: row.expected,
      malicious: row.malicious,
      by_detector: row.byDetector,
      pages_above: row.pagesAbove,
      lost: row.lost,
    })),
  };
}

/** ApiBudgetReport is a report on the wire. */
export type ApiBudgetReport = ReturnType<typeof toApiBudgetReport>;
