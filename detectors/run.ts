import { type Detection, errorText, isTransient, type Logger, stableId } from '../core/index.ts';
import {
  type Anchor,
  type Detector,
  episodeOf,
  type Finding,
  type Reads,
  type Scope,
  stretchesOf,
} from './contract.ts';
import { DETECTORS } from './registry.ts';

/** Enabled is a detector that is switched on, with its parameters resolved. */
export interface Enabled {
  readonly detector: Detector;
  readonly params: Readonly<Record<string, number>>;
}

/** enabledDetectors applies the configuration to the registry: on unless switched off, each parameter at its default unless set. */
export function enabledDetectors(
  config: Readonly<Record<string, { readonly enabled: boolean; readonly params: Readonly<Record<string, number>> }>>,
): Enabled[] {
  return DETECTORS.filter((detector) => config[detector.id]?.enabled !== false).map((detector) => ({
    detector,
    params: {
      ...Object.fromEntries(Object.entries(detector.params).map(([name, param]) => [name, param.default])),
      ...config[detector.id]?.params,
    },
  }));
}

/** thresholdsOf is the surprises from which each detector's findings are medium and critical, whether or not it is switched on. */
export function thresholdsOf(
  config: Parameters<typeof enabledDetectors>[0],
): Record<string, { medium: number; critical: number }> {
  const all = Object.entries(config).map(([id, { params }]) => [id, { enabled: true, params }] as const);
  return Object.fromEntries(
    enabledDetectors(Object.fromEntries(all)).flatMap(({ detector: { id }, params: { medium, critical } }) =>
      medium === undefined || critical === undefined ? [] : [[id, { medium, critical }]],
    ),
  );
}

/** toDetection gives a finding its identity: detector, subject and anchor, so that the same finding is the same row. */
export function toDetection(detector: string, finding: Finding): Detection {
  const { anchor, began, ...rest } = finding;
  const { owner, lineage } = finding.subject;
  return {
    id: `det_${stableId([detector, owner, lineage ?? '', episodeOf({ anchor, began })])}`,
    detector,
    ...rest,
  };
}

/** Broken says that a detector failed for a reason that a retry does not cure. */
export interface Broken {
  readonly detector: string;
  readonly error: string;
}

/**
 * judgeScope asks every detector for its facts and judges them. A store that is away fails the run, to be tried again; a
 * detector that breaks is reported and holds up nobody.
 */
export async function judgeScope(
  reads: Reads,
  enabled: readonly Enabled[],
  scope: Scope,
  log: Logger,
): Promise<{ detections: Detection[]; anchors: ReadonlyMap<string, Anchor>; broken: Broken[] }> {
  const found = new Map<string, Detection>();
  const anchors = new Map<string, Anchor>();
  const broken = new Map<string, Broken>();
  for (const day of stretchesOf(scope).flatMap(({ days }) => days)) {
    const detections = await Promise.all(
      enabled.map(async ({ detector, params }) => {
        try {
          const facts = await detector.facts(reads, day);
          return facts
            .flatMap((each) => detector.judge(each, params, day.within.from, day.within.to))
            .filter((finding) => finding.window.to >= day.within.from && finding.window.to < day.within.to)
            .map((finding) => {
              const detection = toDetection(detector.id, finding);
              anchors.set(detection.id, finding);
              return detection;
            });
        } catch (error) {
          if (isTransient(error)) throw error;
          broken.set(detector.id, { detector: detector.id, error: errorText(error) });
          log.error({ detector: detector.id, error: errorText(error) }, 'a detector broke; the others go on');
          return [];
        }
      }),
    );
    // The first finding of an id stands.
    for (const detection of detections.flat()) if (!found.has(detection.id)) found.set(detection.id, detection);
  }
  return {
    detections: [...found.values()].sort((a, b) => a.window.to - b.window.to || (a.id < b.id ? -1 : 1)),
    anchors,
    broken: [...broken.values()],
  };
}
