import type { SharedState, Subject } from '../queues/index.ts';
import type { Part } from './part.ts';

/** ARRIVAL_MS is how long after an arrival, by event time, calls may tell more of it: longer than any detector looks back. */
export const ARRIVAL_MS = 2 * 3_600_000;

/** Under this name the receivers share who came to a new place lately, by event time. */
const ARRIVED = 'arrived';

/** Stands for everybody: a batch cannot say who came to a new place in it. */
const ANYBODY = '*';

/** Subjects that came to a new place lately at most: of more, the store is asked who called. */
const MAX_ARRIVED = 1_000;

/**
 * followedUp marks who came to a new place in a batch, for all receivers, and tells which of its callers came to one shortly before:
 * their calls may tell more of it. Null when that is not known. `from` and `to` are its earliest and latest event time. To be asked
 * once the batch is stored and before it is in the batch log: of two receivers, either the later one sees the other's mark, or whoever
 * judges its arrival finds the calls of both in the store.
 */
export async function followedUp(
  shared: Pick<SharedState, 'recent'>,
  parts: readonly Pick<Part, 'touched' | 'arrived'>[],
  { from, to }: { readonly from: number; readonly to: number },
): Promise<readonly Subject[] | null> {
  const marks = new Map<string, number>();
  for (const { arrived } of parts) {
    if (arrived === null) marks.set(ANYBODY, to);
    else for (const subject of arrived) marks.set(JSON.stringify(subject), to);
  }
  const recent = await shared.recent(ARRIVED, marks, from - ARRIVAL_MS, MAX_ARRIVED + 1);
  if (recent.length > MAX_ARRIVED || recent.includes(ANYBODY)) return null;
  if (recent.length > 0 && parts.some(({ touched }) => touched === null)) return null;
  const came = new Map<string, Set<string>>();
  for (const member of recent) {
    const [owner, lineage] = JSON.parse(member) as Subject;
    const lineages = came.get(owner) ?? new Set();
    came.set(owner, lineages.add(lineage));
  }
  const found = new Map<string, Subject>();
  for (const { touched } of parts)
    for (const subject of touched ?? [])
      if (came.get(subject[0])?.has(subject[1])) found.set(JSON.stringify(subject), subject);
  return [...found.values()];
}
