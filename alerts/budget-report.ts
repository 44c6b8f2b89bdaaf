import type { AlertBudget } from '../config/index.ts';
import type { Store } from '../store/index.ts';
import { BUDGET_WINDOW_MS, barOf, limitsOf, neededBy, type Past, type Thresholds } from './budget.ts';
import { readPast } from './past.ts';

/** Bar is the surprise that a finding of each detector has to exceed to page; its own `medium` while there is room for all. */
export type Bar = Readonly<Record<string, number>>;

/** barsOf is the bar of a budget at a moment (event time). */
export function barsOf(past: Past, budget: AlertBudget, thresholds: Thresholds, at: number): Bar {
  const bar = barOf(past.scores, limitsOf(budget, at, past.began), at);
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
