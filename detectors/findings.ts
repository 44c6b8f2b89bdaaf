import { type Detection, stableId } from '../core/index.ts';
import { defineQuery, type Store, text } from '../store/index.ts';
import type { Successions } from './succession.ts';

const known = defineQuery<{ ids: string[] }, string>(
  'known_detections',
  'SELECT id FROM detections WHERE id IN {ids:Array(String)}',
  (raw) => text(raw.id),
);

/** encodeDetection writes a row of `detections` as one JSONCompactEachRow line. */
export function encodeDetection(d: Detection, detectedAt: number): string {
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

/** storeDetections keeps those that are not there yet: the first finding of an id stands. Returns the new ones. */
export async function storeDetections(
  store: Pick<Store, 'read' | 'insert'>,
  detections: readonly Detection[],
  now: number,
): Promise<Detection[]> {
  if (detections.length === 0) return [];
  const there = new Set(await store.read(known, { ids: detections.map((detection) => detection.id) }));
  const fresh = detections.filter((detection) => !there.has(detection.id));
  // The token covers two processes that find the same at once.
  await store.insert(
    'detections',
    fresh.map((detection) => encodeDetection(detection, now)),
    fresh.map((detection) => detection.id).join(' '),
  );
  return fresh;
}
