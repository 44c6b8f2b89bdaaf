import type { Subject } from '../queues/index.ts';
import type { LineCounts } from './result.ts';

/** Part is what one chunk of one request puts into a batch: encoded rows, and the answer when they are stored. Plain data, so that it can be written ahead. */
export interface Part {
  /** Id of the chunk: the same for a retry of the same request. */
  readonly id: string;
  /** The access key's id, or the imported file's name. */
  readonly sender: string;
  /** The log format asked for. */
  readonly source: string;
  /** JSONCompactEachRow lines, and the request's line that each came from. */
  readonly events: readonly string[];
  readonly eventLines: readonly number[];
  readonly lifecycle: readonly string[];
  readonly lifecycleLines: readonly number[];
  readonly rejected: readonly string[];
  /** Earliest and latest event time; null without events. */
  readonly times: readonly [from: number, to: number] | null;
  /** Subjects whose calls may tell more of an arrival in a new place; null when nobody took note of them. */
  readonly touched: readonly Subject[] | null;
  /** Those of the news that came to a new place; null when they are too many to name. */
  readonly arrived: readonly Subject[] | null;
  /** As in the batch log. */
  readonly news: readonly Subject[] | null;
  readonly single: readonly Subject[] | null;
  readonly refused: readonly Subject[] | null;
  readonly placed: number;
  readonly owners: readonly string[] | null;
  readonly unfamiliar: readonly string[] | null;
  readonly counts: LineCounts;
}

/** Batch is what is inserted at once. */
export interface Batch {
  /** Deduplication token, the same for every retry of the batch. */
  readonly token: string;
  /** `received_at` of all its rows, epoch milliseconds. */
  readonly receivedAt: number;
  readonly parts: readonly Part[];
}

/** isUrgent says that a page may follow from a part: it holds steps in a token's life, or its calls are news of somebody. */
export function isUrgent({ lifecycle, news }: Part): boolean {
  return lifecycle.length > 0 || news === null || news.length > 0;
}

/** placedIn is how many calls of all parts have coordinates; null when one was written ahead by a version that does not say. */
export function placedIn(parts: readonly Partial<Pick<Part, 'placed'>>[]): number | null {
  const sum = parts.reduce((all, { placed = Number.NaN }) => all + placed, 0);
  return Number.isNaN(sum) ? null : sum;
}

/** singleIn are the subjects of all parts that met one new endpoint and nothing else; null when one part does not say. */
export function singleIn(parts: readonly Part[]): readonly Subject[] | null {
  if (parts.some(({ news, single }) => news === null || single === null)) return null;
  const said = new Map<string, number>();
  for (const subject of parts.flatMap(({ news }) => news ?? [])) {
    const key = JSON.stringify(subject);
    said.set(key, (said.get(key) ?? 0) + 1);
  }
  // One endpoint in each of two requests is two endpoints.
  return parts.flatMap(({ single }) => single ?? []).filter((subject) => said.get(JSON.stringify(subject)) === 1);
}
