import type { BatchEntry, SharedState, Subject } from '../queues/index.ts';
import { OPEN_MS } from './baseline.ts';
import { DISORDER_MS } from './contract.ts';

/** Under this name the detect workers share who met something new lately, by event time. */
const NEWS = 'news';

/** Stands for everybody: a batch did not say who met something new in it. */
const ANYBODY = '*';

/** More subjects than this are no longer cheaper to name than to find by a query over the batches. */
const MAX_SUBJECTS = 1_000;

/**
 * subjectsToJudge are the subjects of `judged` that met something new in it, or shortly before by event time: nobody else's
 * verdict can have changed. Null when the batches do not tell, and the store must be asked. Batches that came before are
 * remembered for all processes; `waiting` are those taken from the batch log, of which `judged` are recent enough to page.
 */
export async function subjectsToJudge(
  shared: Pick<SharedState, 'recent'>,
  waiting: readonly BatchEntry[],
  judged: readonly BatchEntry[],
): Promise<readonly Subject[] | null> {
  const marks = new Map<string, number>();
  const mark = (member: string, time: number) => marks.set(member, Math.max(time, marks.get(member) ?? time));
  for (const { news, maxTime } of waiting) {
    if (news === null) mark(ANYBODY, maxTime);
    else for (const subject of news) mark(JSON.stringify(subject), maxTime);
  }
  const from = judged.reduce((earliest, entry) => Math.min(earliest, entry.minTime), Number.POSITIVE_INFINITY);
  const recent = await shared.recent(NEWS, marks, from - OPEN_MS - DISORDER_MS, MAX_SUBJECTS + 1);
  if (recent.length > MAX_SUBJECTS || recent.includes(ANYBODY)) return null;
  const touched = new Set<string>();
  for (const entry of judged) {
    if (entry.touched === null) return null;
    for (const subject of entry.touched) touched.add(JSON.stringify(subject));
  }
  return recent.filter((member) => touched.has(member)).map((member) => JSON.parse(member) as Subject);
}
