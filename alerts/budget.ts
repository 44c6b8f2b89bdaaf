import type { AlertBudget } from '../config/index.ts';
import type { Verdict } from '../core/index.ts';
import { type Finding, PAGING_SEVERITIES } from './policy.ts';

const DAY_MS = 24 * 3_600_000;

/** BUDGET_WINDOW_MS is how far back in event time findings say what is usual. */
export const BUDGET_WINDOW_MS = 30 * DAY_MS;

/** Thresholds are the surprises from which each detector's findings are medium, and critical. */
export type Thresholds = Readonly<Record<string, { readonly medium: number; readonly critical: number }>>;

/** Score is a finding that would page if there were no budget, on a scale on which all detectors compare. */
export interface Score {
  readonly alert: string;
  readonly detector: string;
  /** Event time, epoch milliseconds. */
  readonly time: number;
  /** Surprise above its detector's `medium`; Infinity for a certain fact, which pages whatever the budget. */
  readonly margin: number;
  /** What a person resolved its alert as; one that was malicious is no false page, and takes no room. */
  readonly resolvedAs: Verdict | null;
}

/** Past is what the store knows of earlier findings: their scores, and the event time of the first finding there is. */
export interface Past {
  readonly scores: readonly Score[];
  readonly began: number;
}

/**
 * marginOf is a finding's surprise above its detector's `medium`, null below it. Infinity for a certain fact: a critical
 * finding, and one of a rule that has no chance to compare, as long as it is medium or above.
 */
export function marginOf(
  { detector, severity, surprise }: Pick<Finding, 'detector' | 'severity' | 'surprise'>,
  thresholds: Thresholds,
): number | null {
  const at = thresholds[detector];
  if (at === undefined || surprise <= 0) return PAGING_SEVERITIES.includes(severity) ? Number.POSITIVE_INFINITY : null;
  if (severity === 'critical' || surprise >= at.critical) return Number.POSITIVE_INFINITY;
  return surprise >= at.medium ? surprise - at.medium : null;
}

/**
 * Limit is a stretch of time and how many alerts of it may page. A budget sets two: its share of the last 30 days, which
 * follows the system's own level, and one period's share of the last period, so that a noisy day does not use up a month.
 */
export interface Limit {
  readonly windowMs: number;
  readonly alerts: number;
}

/** limitsOf is the limits of a budget at a moment; what began less than 30 days ago is counted from then, but at least a period. */
export function limitsOf({ count, periodMs }: AlertBudget, at: number, began: number): Limit[] {
  const known = Math.min(BUDGET_WINDOW_MS, Math.max(periodMs, at - began));
  return [
    { windowMs: BUDGET_WINDOW_MS, alerts: Math.floor((count * known) / periodMs) },
    { windowMs: periodMs, alerts: count },
  ];
}

/** rankOf is how many other alerts of the window had a finding at least as strong; it stops counting at `most`. */
export function rankOf(score: Score, scores: readonly Score[], windowMs: number, most: number): number {
  const others = new Set<string>();
  for (const other of scores) {
    if (other.margin < score.margin || other.time <= score.time - windowMs) continue;
    if (other.alert === score.alert || other.resolvedAs === 'malicious') continue;
    others.add(other.alert);
    if (others.size >= most) break;
  }
  return others.size;
}

/** isWithin tells whether a finding pages: it is certain, or among the strongest alerts that each limit has room for. */
export function isWithin(score: Score, scores: readonly Score[], limits: readonly Limit[]): boolean {
  if (score.margin === Number.POSITIVE_INFINITY) return true;
  return limits.every(({ windowMs, alerts }) => rankOf(score, scores, windowMs, alerts) < alerts);
}

/** barOf is the margin that another alert's finding has to exceed at a moment to page: -Infinity while there is room for all. */
export function barOf(scores: readonly Score[], limits: readonly Limit[], at: number): number {
  let bar = Number.NEGATIVE_INFINITY;
  for (const { windowMs, alerts } of limits) {
    const strongest = new Map<string, number>();
    for (const { alert, time, margin, resolvedAs } of scores)
      if (time > at - windowMs && resolvedAs !== 'malicious')
        strongest.set(alert, Math.max(margin, strongest.get(alert) ?? margin));
    const margins = [...strongest.values()].sort((a, b) => b - a);
    bar = Math.max(bar, margins[alerts - 1] ?? Number.NEGATIVE_INFINITY);
  }
  return bar;
}

/** neededBy is the surprise that a detector's finding has to exceed to page over a bar: its `critical` at most, to three digits. */
export function neededBy(detector: string, bar: number, thresholds: Thresholds): number {
  const { medium, critical } = thresholds[detector] ?? { medium: 0, critical: 0 };
  return Number(Math.min(medium + Math.max(bar, 0), critical).toFixed(3));
}

/** Judged is a new finding and the alert that it went into. */
export interface Judged {
  readonly alert: string;
  readonly finding: Finding;
}

/**
 * heldBack judges new findings in the given order, each by what is known before it, and returns for each that the budget
 * keeps from paging the surprise that it had to exceed, by finding id. What would not page anyway is not judged.
 */
export function heldBack(
  judged: readonly Judged[],
  past: Past,
  budget: AlertBudget,
  thresholds: Thresholds,
): Map<string, number> {
  const held = new Map<string, number>();
  const scores = [...past.scores];
  for (const { alert, finding } of judged) {
    if (!PAGING_SEVERITIES.includes(finding.severity)) continue;
    const { id, detector, time } = finding;
    const score: Score = { alert, detector, time, margin: marginOf(finding, thresholds) ?? 0, resolvedAs: null };
    const limits = limitsOf(budget, time, past.began);
    if (!isWithin(score, scores, limits)) {
      const others = scores.filter((other) => other.alert !== alert);
      held.set(id, neededBy(detector, barOf(others, limits, time), thresholds));
    }
    scores.push(score);
  }
  return held;
}
