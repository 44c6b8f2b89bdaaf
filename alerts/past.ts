import type { Store } from '../store/index.ts';
import { marginOf, type Past, type Score, type Thresholds } from './budget.ts';
import { pastFindings } from './queries.ts';

/** PAST_FINDINGS bounds the findings that a budget looks back at: the newest. */
export const PAST_FINDINGS = 5_000;

/** readPast reads what pages, or would, after `from` (event time); `now` is when all began as long as nothing was found. */
export async function readPast(
  store: Pick<Store, 'read'>,
  from: number,
  now: number,
  thresholds: Thresholds,
): Promise<Past> {
  const found = await store.read(pastFindings, {
    from,
    least: Math.min(Number.MAX_VALUE, ...Object.values(thresholds).map(({ medium }) => medium)),
    limit: PAST_FINDINGS,
  });
  const scores = found.flatMap(({ alert, resolvedAs, detector, severity, surprise, time }): Score[] => {
    const margin = marginOf({ detector, severity, surprise }, thresholds);
    return margin === null ? [] : [{ alert, detector, time, margin, resolvedAs }];
  });
  return { scores, began: found[0]?.began ?? now };
}
