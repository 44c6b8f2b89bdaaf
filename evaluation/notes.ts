import { chanceText, durationText, GOALS } from './report.ts';
import { brokenLevels, type KindScores, type Scores, SLOW_KINDS } from './scores.ts';

/** delayNotes say what the pooled times to alert hide: kinds that miss the goal alone, and what lay before judgement began. */
export function delayNotes({ byKind, fast, slow }: Scores): string[] {
  const caught = byKind.filter(({ delays }) => delays.count > 0);
  const isSlow = ({ kind }: KindScores) => SLOW_KINDS.includes(kind);
  return [
    ...pooledNote(
      'fast',
      fast.medianMs,
      GOALS.fastMs,
      caught.filter((one) => !isSlow(one)),
    ),
    ...pooledNote('slow', slow.medianMs, GOALS.slowMs, caught.filter(isSlow)),
    ...caught.filter(({ unjudged }) => unjudged.count > 0).map(unjudgedNote),
  ];
}

function pooledNote(pace: string, medianMs: number | null, goalMs: number, kinds: readonly KindScores[]): string[] {
  const slower = kinds.filter(({ delays }) => (delays.medianMs ?? 0) >= goalMs);
  if (medianMs === null || slower.length === 0) return [];
  const quicker = kinds.filter((kind) => !slower.includes(kind));
  const countOf = (some: readonly KindScores[]) => some.reduce((sum, { delays }) => sum + delays.count, 0);
  const alone = slower.map((kind) => aloneText(kind, goalMs)).join(', ');
  const goal = `The median of all ${pace} attacks, ${durationText(medianMs)}, `;
  if (medianMs >= goalMs)
    return [`${goal}misses the goal of ${durationText(goalMs)}. Not met alone: ${alone} (medians).`];
  const named = quicker.length === 1 ? (quicker[0]?.kind ?? '') : 'of quicker kinds';
  return [
    `${goal}meets the goal of ${durationText(goalMs)} only because ${countOf(quicker)} of the ${countOf(kinds)} caught are ${named}. ` +
      `Not met alone: ${alone} (medians).`,
  ];
}

function aloneText({ kind, delays, telling }: KindScores, goalMs: number): string {
  const hidden =
    (telling.medianMs ?? 0) >= goalMs ? ` (${durationText(telling.medianMs)} until it could be told from luck)` : '';
  return `${kind} ${durationText(delays.medianMs)}${hidden}`;
}

function unjudgedNote({ kind, delays, unjudged, telling, afterTelling }: KindScores): string {
  return (
    `${unjudged.count} of the ${delays.count} attacks of kind ${kind} that were caught began before the live part, by ${durationText(unjudged.medianMs)} in the median. ` +
    'Nothing is judged in that time, so all of it is in their delays, and a service that had been running could have paged sooner. ' +
    `From its first event, such an attack takes ${durationText(telling.medianMs)} (median) until it can be told from ordinary luck. ` +
    `Since both, told and judged, the alert took ${durationText(afterTelling.medianMs)} in the median, nine in ten within ${durationText(afterTelling.p90Ms)}.`
  );
}

/** calibrationNotes say which detectors reach a surprise more often than it promises, and that the others do not. */
export function calibrationNotes({ calibration }: Scores): string[] {
  const looked = calibration.filter(({ looks }) => looks > 0);
  const broken = looked
    .map((row) => ({ detector: row.detector, looks: row.looks, levels: brokenLevels(row) }))
    .filter(({ levels }) => levels.length > 0);
  if (looked.length === 0) return [];
  if (broken.length === 0) return ['Every detector keeps its promise: no count is above what chance explains.'];
  const kept = looked.filter(({ detector }) => broken.every((one) => one.detector !== detector));
  return [
    ...broken.map(
      ({ detector, looks, levels }) =>
        `**${detector} breaks its promise**: of its ${looks.toLocaleString('en-US')} looks at harmless subjects ` +
        `${levels.map(({ level, hits, expected, chance }) => `${hits} reached ${level}, where chance gives ${expected.toFixed(1)} (${chanceText(chance)})`).join('; ')}. ` +
        'So high a surprise of it happens more often than it says.',
    ),
    ...(kept.length === 0 ? [] : [`${kept.map(({ detector }) => detector).join(', ')}: no count above chance.`]),
  ];
}
