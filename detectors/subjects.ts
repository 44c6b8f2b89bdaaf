import { type BatchEntry, HINTS, type Mark, RECENT_MS, type SharedState, type Subject } from '../queues/index.ts';
import { DAY_MS, OPEN_MS } from './baseline.ts';
import { ENDPOINTS_LATELY } from './candidates.ts';
import { DISORDER_MS } from './contract.ts';

/** More subjects than this are no longer cheaper to name than to find by a query over the batches. */
const MAX_SUBJECTS = 1_000;

/** Waiting is a batch taken from the batch log, with its key there. */
export interface Waiting {
  readonly key: string;
  readonly entry: BatchEntry;
}

/**
 * subjectsToJudge are the subjects of `judged` that met something new in it, but for those with fewer new endpoints within a day than
 * make a candidate and nothing else; and those that came to a new place shortly before, because what they do next tells what it was:
 * nobody else's verdict can have changed. Null when the batches do not tell, and the store must be asked. New endpoints are counted for
 * all processes; `waiting` are the batches taken from the batch log, of which `judged` are recent enough to page; `now` is the clock,
 * epoch milliseconds.
 */
export async function subjectsToJudge(
  shared: Pick<SharedState, 'tally' | 'tallyAnew'>,
  waiting: readonly Waiting[],
  judged: readonly BatchEntry[],
  now: number,
): Promise<readonly Subject[] | null> {
  const from = judged.reduce((earliest, entry) => Math.min(earliest, entry.minTime), Number.POSITIVE_INFINITY);
  const hints = await hintsSince(shared, waiting, from - DISORDER_MS - OPEN_MS - DAY_MS, now);
  const subjects = new Map<string, Subject>();
  for (const { news, touched } of judged) {
    if (news === null || touched === null) return null;
    for (const subject of news) {
      const member = JSON.stringify(subject);
      if ((hints?.get(member) ?? ENDPOINTS_LATELY) >= ENDPOINTS_LATELY) subjects.set(member, subject);
    }
    for (const subject of touched) subjects.set(JSON.stringify(subject), subject);
  }
  return subjects.size > MAX_SUBJECTS ? null : [...subjects.values()];
}

/**
 * hintsSince counts for each subject of the news of some batches how much it met since a moment, theirs included: a new endpoint is one
 * hint, anything else is as much as a candidate needs. Null when that is not known: the batches did not say, or not for long enough.
 */
async function hintsSince(
  shared: Pick<SharedState, 'tally' | 'tallyAnew'>,
  waiting: readonly Waiting[],
  since: number,
  now: number,
): Promise<ReadonlyMap<string, number> | null> {
  const marks = new Map<string, Mark[]>();
  // History that somebody imports: nobody asks for so long ago.
  const recent = waiting.filter(({ entry }) => entry.maxTime >= now - RECENT_MS);
  for (const { key, entry } of recent) {
    const single = new Set(entry.single?.map((subject) => JSON.stringify(subject)));
    for (const member of entry.news?.map((subject) => JSON.stringify(subject)) ?? []) {
      const hints = Array.from({ length: single.has(member) ? 1 : ENDPOINTS_LATELY }, (_, nth) => ({
        name: `${key} ${nth}`,
        time: entry.maxTime,
      }));
      marks.set(member, [...(marks.get(member) ?? []), ...hints]);
    }
  }
  if (marks.size > MAX_SUBJECTS || recent.some(({ entry }) => entry.news === null)) {
    await shared.tallyAnew(HINTS, now);
    return null;
  }
  return shared.tally(HINTS, marks, { from: since, now, limit: ENDPOINTS_LATELY });
}

/**
 * refusedToJudge are the subjects with a refused call in some batches; null when these do not tell, or too many to name: then the store must be
 * asked.
 */
export function refusedToJudge(judged: readonly BatchEntry[]): readonly Subject[] | null {
  const subjects = new Map<string, Subject>();
  for (const { refused } of judged) {
    if (refused === null) return null;
    for (const [owner, lineage] of refused) subjects.set(JSON.stringify([owner, lineage]), [owner, lineage]);
  }
  return subjects.size > MAX_SUBJECTS ? null : [...subjects.values()];
}
