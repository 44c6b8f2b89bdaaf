import { DETECTORS } from '../detectors/index.ts';

/** DETECTOR_PARAMS names every detector's parameters: what the configuration may say under `detectors`. */
export const DETECTOR_PARAMS: Readonly<Record<string, readonly string[]>> = Object.fromEntries(
  DETECTORS.map((detector) => [detector.id, Object.keys(detector.params)]),
);
