import { type Detection, stableId } from '../core/index.ts';
import { defineQuery, num, type Store, text } from '../store/index.ts';
import { DAY_MS, OPEN_MS } from './baseline.ts';
import type { Anchor } from './contract.ts';
import { isSame, type Lineage } from './lineage.ts';
import type { Successions } from './succession.ts';

/** Told is a detection that is stored. */
interface Told extends Pick<Detection, 'id' | 'detector'>, Lineage {
  readonly anchor: string;
  /** When what it tells of began, and the end of its window; epoch milliseconds. */
  readonly began: number;
  readonly to: number;
}

/** Those of some ids, and what ended about some owners in a span of time. */
const told = defineQuery<{ ids: string[]; owners: string[]; from: number; to: number }, Told>(
  'known_detections',
  `SELECT id, detector, owner, ifNull(lineage, '') AS of_lineage, anchor, toUnixTimestamp64Milli(began) AS since, toUnixTimestamp64Milli(window_to) AS ended
   FROM detections
   WHERE id IN {ids:Array(String)}
     OR (owner IN {owners:Array(String)} AND window_to >= fromUnixTimestamp64Milli({from:Int64}) AND window_to <= fromUnixTimestamp64Milli({to:Int64}))`,
  (raw) => ({
    id: text(raw.id),
    detector: text(raw.detector),
    owner: text(raw.owner),
    lineage: text(raw.of_lineage),
    anchor: text(raw.anchor),
    began: num(raw.since),
    to: num(raw.ended),
  }),
);

/**
 * isRetold tells whether what a detection tells of was told before at the same grade: of an episode that only since seems to have begun at
 * another time, because of a late call. In the order of time the beginning of an episode moves once a day at most, when it has lasted
 * longer: then it is told again.
 */
function isRetold(
  detection: Detection,
  { anchor, began }: Anchor,
  { detector, owner, lineage, ...one }: Told,
): boolean {
  const { subject, window } = detection;
  return (
    began !== undefined &&
    detector === detection.detector &&
    isSame({ owner, lineage }, { owner: subject.owner, lineage: subject.lineage ?? '' }) &&
    one.anchor === anchor &&
    one.began !== began &&
    one.to >= began &&
    one.to <= window.to + OPEN_MS &&
    window.to - one.began < DAY_MS
  );
}

/** encodeDetection writes a row of `detections` as one JSONCompactEachRow line. */
export function encodeDetection(
  d: Detection,
  detectedAt: number,
  { anchor, began = 0 }: Anchor = { anchor: '' },
): string {
  return JSON.stringify([
    d.id,
    d.detector,
    d.subject.token,
    d.subject.lineage,
    d.subject.owner,
    d.severity,
    d.title,
    d.summary,
    new Date(d.window.from).toISOString(),
    new Date(d.window.to).toISOString(),
    JSON.stringify(d.observed),
    JSON.stringify(d.expected),
    d.surprise,
    d.state,
    JSON.stringify(d.evidence),
    d.sql,
    new Date(detectedAt).toISOString(),
    anchor,
    new Date(began).toISOString(),
  ]);
}

/**
 * storeSuccessions writes down what was inferred at the start of `day`, for people to see: nothing is judged by it. The row without a
 * lineage says that the day was looked at, so that what is no longer inferred ends.
 */
export async function storeSuccessions(
  store: Pick<Store, 'insert'>,
  day: number,
  successions: Successions,
): Promise<void> {
  const date = new Date(day).toISOString().slice(0, 10);
  const rows = [{ owner: '', lineage: '', predecessor: '', since: day }, ...successions.values()].map((one) =>
    JSON.stringify([date, one.owner, one.lineage, one.predecessor, new Date(one.since).toISOString()]),
  );
  await store.insert('successions', rows, `successions ${stableId(rows)}`);
}

/**
 * storeDetections keeps those that are not there yet: the first finding of an id stands, and the first that told of an episode at this
 * grade. Returns the new ones.
 */
export async function storeDetections(
  store: Pick<Store, 'read' | 'insert'>,
  detections: readonly Detection[],
  now: number,
  anchors: ReadonlyMap<string, Anchor> = new Map(),
): Promise<Detection[]> {
  if (detections.length === 0) return [];
  const anchorOf = ({ id }: Detection): Anchor => anchors.get(id) ?? { anchor: '' };
  const episodes = detections.filter((detection) => anchorOf(detection).began !== undefined);
  const there = await store.read(told, {
    ids: detections.map(({ id }) => id),
    owners: [...new Set(episodes.map(({ subject }) => subject.owner))],
    from: Math.min(now, ...episodes.map((detection) => anchorOf(detection).began ?? 0)),
    to: Math.max(0, ...episodes.map(({ window }) => window.to + OPEN_MS)),
  });
  const known = new Set(there.map(({ id }) => id));
  const fresh = detections.filter(
    (detection) => !known.has(detection.id) && !there.some((one) => isRetold(detection, anchorOf(detection), one)),
  );
  // The token covers two processes that find the same at once.
  await store.insert(
    'detections',
    fresh.map((detection) => encodeDetection(detection, now, anchorOf(detection))),
    fresh.map((detection) => detection.id).join(' '),
  );
  return fresh;
}
