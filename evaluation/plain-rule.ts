import { FOLD_WINDOW_MS } from '../alerts/index.ts';
import type { Page } from './matching.ts';

/** PlainRule is what a simple monitor would do: fixed thresholds, the same for everybody. */
export interface PlainRule {
  /** More endpoints than this, new to a token within an hour, page. */
  readonly endpoints: number;
  /** Whether a country that is new to a token pages. */
  readonly country: boolean;
  /** More tokens than this, issued or revoked by an owner within an hour, page. */
  readonly steps: number;
}

/** PLAIN_RULE is the best rule by F1 on the tuning seeds 1, 3, 4 and 5 (200 tokens); `npm run evaluate -- --tune` tries all of them. */
export const PLAIN_RULE: PlainRule = { endpoints: 7, country: false, steps: 4 };

/** Met is something new about a subject, or a step of an owner, in the live part and after its learning time. */
export interface Met {
  readonly owner: string;
  /** null: about the owner. */
  readonly lineage: string | null;
  /** Epoch milliseconds. */
  readonly at: number;
  /** How many of the kind within the hour that ends here, this one included. */
  readonly inHour: number;
}

/** PlainFacts are all facts that a plain rule can go by. */
export interface PlainFacts {
  readonly endpoints: readonly Met[];
  readonly countries: readonly Met[];
  readonly steps: readonly Met[];
}

/** plainPages is what a rule pages for, folded as alerts are: one page of a subject takes what follows within a day. */
export function plainPages(facts: PlainFacts, rule: PlainRule): Page[] {
  const firing = [
    ...facts.endpoints.filter(({ inHour }) => inHour > rule.endpoints),
    ...(rule.country ? facts.countries : []),
    ...facts.steps.filter(({ inHour }) => inHour > rule.steps),
  ].sort((a, b) => a.at - b.at);
  const pages: (Page & { readonly times: number[] })[] = [];
  const latest = new Map<string, Page & { readonly times: number[] }>();
  for (const { owner, lineage, at } of firing) {
    const key = JSON.stringify([owner, lineage]);
    const open = latest.get(key);
    if (open !== undefined && at - (open.times.at(-1) ?? 0) <= FOLD_WINDOW_MS) {
      open.times.push(at);
      continue;
    }
    const tokens = lineage === null ? [] : [lineage];
    const page = { subject: { token: lineage, lineage, owner }, tokens, times: [at] };
    pages.push(page);
    latest.set(key, page);
  }
  return pages;
}

/** countedInHour adds to each time (sorted) how many of them lie within the hour that ends there. */
export function countedInHour(times: readonly number[]): { readonly at: number; readonly inHour: number }[] {
  let from = 0;
  return times.map((at, index) => {
    while ((times[from] ?? at) <= at - 3_600_000) from++;
    return { at, inHour: index - from + 1 };
  });
}

const ENDPOINTS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 25, 30, 40, 60];
const STEPS = [3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 60];

/** plainRules are all rules that tuning chooses from. */
export function plainRules(): PlainRule[] {
  return [false, true].flatMap((country) =>
    ENDPOINTS.flatMap((endpoints) => STEPS.map((steps) => ({ endpoints, country, steps }))),
  );
}
