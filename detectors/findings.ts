import type { Detection } from '../core/index.ts';
import { defineQuery, type Store, text } from '../store/index.ts';

const known = defineQuery<{ ids: string[] }, string>(
  'known_detections',
  'SELECT id FROM detections WHERE id IN {ids:Array(String)}',
  (raw) => text(raw.id),
);

/** encodeDetection writes a row of `detections` as one JSONCompactEachRow line. */
function encodeDetection(d: Detection, detectedAt: number): string {
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
