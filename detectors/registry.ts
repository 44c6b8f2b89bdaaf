import { churnRateDetector } from './churn-rate.ts';
import { combinedSignals } from './combined-signals.ts';
import type { Detector } from './contract.ts';
import { endpointSpread } from './endpoint-spread.ts';
import { geoNovelty } from './geo-novelty.ts';
import { impossibleTravel } from './impossible-travel.ts';
import { lifecycleNovelty } from './lifecycle-novelty.ts';
import { refusedCallsDetector } from './refused-calls.ts';

/** DETECTORS is every detector there is: a new one is one file and one line here. */
export const DETECTORS: readonly Detector[] = [
  endpointSpread,
  geoNovelty,
  impossibleTravel,
  combinedSignals,
  refusedCallsDetector,
  churnRateDetector,
  lifecycleNovelty,
];
