import { DAY_MS, HOUR_MS } from './baseline.ts';
import type { MetValue, NoveltyFacts } from './novelty.ts';

/** The moment that examples end at: any fixed time serves. */
export const EXAMPLE_END = Date.UTC(2026, 10, 16, 12);

/** exampleFacts makes the facts of a token that was active every hour of `historyDays` and then met `fresh` new values, a minute apart. */
export function exampleFacts(shape: {
  readonly known: number;
  readonly fresh: number;
  readonly adopters?: number;
  readonly historyDays?: number;
  readonly values?: readonly string[];
}): NoveltyFacts {
  const days = shape.historyDays ?? 28;
  const start = EXAMPLE_END - days * DAY_MS - HOUR_MS;
  const value = (name: string, met: number, recent: readonly number[]): MetValue => ({
    value: name,
    met,
    calls: 3,
    denied: 0,
    failed: 0,
    peersBefore: 0,
    peersRecent: recent,
    fleetBefore: 2,
  });
  const known = Array.from({ length: shape.known }, (_, i) => value(`GET /v1/known/${i}`, start + i * 60_000, []));
  const fresh = Array.from({ length: shape.fresh }, (_, i) => {
    const met = EXAMPLE_END - (shape.fresh - i) * 60_000;
    return value(
      shape.values?.[i] ?? `GET /v1/fresh/${i}`,
      met,
      Array.from({ length: shape.adopters ?? 0 }, () => met - HOUR_MS),
    );
  });
  return {
    owner: 'acme',
    lineage: 'tok_1',
    token: 'tok_1',
    values: [...known, ...fresh],
    activeHours: Array.from(
      { length: days * 24 + 1 },
      (_, i) => start + i * HOUR_MS - ((start + i * HOUR_MS) % HOUR_MS),
    ),
    calls: 100_000,
    ownerPeers: 5,
    fleetPeers: 50,
    prior: { shape: 0.3, exposure: 100 },
  };
}
