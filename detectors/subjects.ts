import type { BatchEntry, SharedState, Subject } from '../queues/index.ts';
import { OPEN_MS } from './baseline.ts';
import { DISORDER_MS } from './contract.ts';

/** Under this name the detect workers share who came to a new place lately, by event time. */
const ARRIVED = 'arrived';

/** Stands for everybody: a batch did not say who came to a new place in it. */
const ANYBODY = '*';

/** More subjects than this are no longer cheaper to name than to find by a query over the batches. */
const MAX_SUBJECTS = 1_000;

/**
 * subjectsToJudge are the subjects of `judged` that met something new in it, and those that came to a new place shortly before
 * by event time, because what they do next tells what it was: nobody else's verdict can have changed. Null when the batches do
 * not tell, and the store must be asked. Arrivals are remembered for all processes; `waiting` are the batches taken from the
 * batch log, of which `judged` are recent enough to page.
 */
export async function subjectsToJudge(
  shared: Pick<SharedState, 'recent'>,
  waiting: readonly BatchEntry[],
  judged: readonly BatchEntry[],
): Promise<readonly Subject[] | null> {
  const marks = new Map<string, number>();
  const mark = (member: string, time: number) => marks.set(member, Math.max(time, marks.get(member) ?? time));
  for (const { arrived, maxTime } of waiting) {
    if (arrived === null) mark(ANYBODY, maxTime);
    else for (const subject of arrived) mark(JSON.stringify(subject), maxTime);
  }
  const from = judged.reduce((earliest, entry) => Math.min(earliest, entry.minTime), Number.POSITIVE_INFINITY);
  const recent = await shared.recent(ARRIVED, marks, from - OPEN_MS - DISORDER_MS, MAX_SUBJECTS + 1);
  if (recent.length > MAX_SUBJECTS || recent.includes(ANYBODY)) return null;
  const subjects = new Map<string, Subject>();
  // A batch that is too large to name its subjects may have touched any of them.
  const touched = judged.some((entry) => entry.touched === null) ? null : new Set<string>();
  for (const entry of judged) {
    if (entry.news === null) return null;
    for (const subject of entry.news) subjects.set(JSON.stringify(subject), subject);
    for (const subject of entry.touched ?? []) touched?.add(JSON.stringify(subject));
  }
  for (const member of recent) if (touched?.has(member) ?? true) subjects.set(member, JSON.parse(member) as Subject);
  return subjects.size > MAX_SUBJECTS ? null : [...subjects.values()];
}
