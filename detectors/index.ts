import type { Config } from '../config/index.ts';
import { type Clock, Counter, type Detection, Gauge, Histogram, type Logger, type Registry } from '../core/index.ts';
import type { BatchEntry, Queues, RunResult, Workers } from '../queues/index.ts';
import type { Store } from '../store/index.ts';
import { DAY_MS } from './baseline.ts';
import { type Scope, scopeOf } from './contract.ts';
import { storeDetections, storeSuccessions } from './findings.ts';
import { lineageKey } from './lineage.ts';
import { fleetAt, renewFleets } from './prior.ts';
import { enabledDetectors, judgeScope } from './run.ts';
import { refusedToJudge, subjectsToJudge } from './subjects.ts';

export { type Detector, type Example, type Param, type Scope, scopeOf } from './contract.ts';
export { DETECTORS } from './registry.ts';
export { thresholdsOf } from './run.ts';
export { refusedToJudge, subjectsToJudge } from './subjects.ts';

/** Batches judged together at most: a backlog is caught up in few, large looks. */
const MAX_BATCHES = 500;

/** Events in one look from which on it is a flood: an import, or a sender that catches up. */
const FLOOD_EVENTS = 5_000;

/** Under this name the detect workers count the batches of history that came in: what the fleet looked like was learnt without them. */
const HISTORY = 'history';

/** A batch with calls this much older than the day is history, and no sender that is a little late at midnight. */
const HISTORY_AGE_MS = 3_600_000;

/** Detections that are remembered as told at most. */
const MAX_TOLD = 50_000;

/** DetectorsContext is what the detector worker works with. */
export interface DetectorsContext {
  readonly config: Pick<Config, 'detectors' | 'alerts'>;
  readonly store: Store;
  readonly queues: Queues;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Registry;
}

/** Detectors judge the batches of the batch log. */
export interface Detectors {
  register(workers: Workers): void;
  /** runOnce judges what waits in the batch log and stores what it finds. */
  runOnce(): Promise<RunResult>;
}

/** JudgeContext is what a judgement without a queue works with. */
export interface JudgeContext extends Pick<DetectorsContext, 'store' | 'log'> {
  readonly config: Pick<Config, 'detectors'>;
}

/** openJudge is the detectors without a queue: what `backtest` runs over a file. */
export function openJudge(context: JudgeContext): (scope: Scope) => Promise<Detection[]> {
  const enabled = enabledDetectors(context.config.detectors);
  return async (scope) => (await judgeScope(context.store, enabled, scope, context.log)).detections;
}

/** openDetectors prepares the detector worker. */
export function openDetectors(context: DetectorsContext): Detectors {
  const { config, store, queues, clock, log, metrics } = context;
  const enabled = enabledDetectors(config.detectors);
  const found = new Counter({
    name: 'tokenwatch_detections_total',
    help: 'Detections stored, by detector and severity',
    labelNames: ['detector', 'severity'],
    registers: [metrics],
  });
  const seconds = new Histogram({
    name: 'tokenwatch_detect_seconds',
    help: 'Time of one detector run over the waiting batches',
    buckets: [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers: [metrics],
  });
  const broken = new Gauge({
    name: 'tokenwatch_detector_broken',
    help: '1 while a detector fails, 0 otherwise',
    labelNames: ['detector'],
    registers: [metrics],
  });
  for (const { detector } of enabled) broken.set({ detector: detector.id }, 0);

  let recorded = { day: Number.NEGATIVE_INFINITY, pairs: '' };
  const record = async (at: number, now: number): Promise<void> => {
    const day = Math.floor(at / DAY_MS) * DAY_MS;
    if (day < recorded.day) return;
    const { successions } = await fleetAt(store, at, now);
    const pairs = [...successions.values()].map((one) => `${lineageKey(one)} ${one.predecessor}`).join('\n');
    if (day === recorded.day && pairs === recorded.pairs) return;
    await storeSuccessions(store, day, successions);
    recorded = { day, pairs };
  };

  /** Batches of history that the fleet was looked at with; none yet. */
  let history = Number.NaN;
  const renew = async (waiting: readonly BatchEntry[], now: number): Promise<void> => {
    const before = Math.floor(now / DAY_MS) * DAY_MS - HISTORY_AGE_MS;
    const came = waiting.filter(({ minTime }) => minTime < before).length;
    const seen = await queues.shared.count(HISTORY, came);
    if (seen !== history && renewFleets(store, now)) history = seen;
  };

  /** Detections that this process has stored and woken the alerts for: they are found again while their window is open. */
  const told = new Set<string>();

  // A look that failed may have been too large: fewer batches are tried next, and more again once that went well.
  let limit = MAX_BATCHES;
  const runOnce = async (): Promise<RunResult> => {
    const asked = limit;
    limit = Math.max(1, limit >> 1);
    const result = await look(asked);
    limit = Math.min(MAX_BATCHES, asked * 2);
    return result;
  };

  const look = async (most: number): Promise<RunResult> => {
    const now = clock.now();
    const waiting = await queues.batches.peek(most);
    const entries = waiting.map(({ entry }) => entry);
    const since = config.alerts.maxAgeMs === null ? 0 : now - config.alerts.maxAgeMs;
    await renew(entries, now);
    const current = entries.filter((entry) => entry.maxTime >= since);
    if (current.length > 0) {
      const stop = seconds.startTimer();
      const subjects = await subjectsToJudge(queues.shared, waiting, current, now);
      const scope = scopeOf(current, since, subjects, now, refusedToJudge(current));
      const result = await judgeScope(store, enabled, scope, log);
      for (const { detector } of enabled)
        broken.set({ detector: detector.id }, result.broken.some((one) => one.detector === detector.id) ? 1 : 0);
      const untold = result.detections.filter(({ id }) => !told.has(id));
      for (const detection of await storeDetections(store, untold, now, result.anchors))
        found.inc({ detector: detection.detector, severity: detection.severity });
      // A day is written down once it has begun: a sender's clock may be ahead.
      await record(Math.min(scope.to, now), now);
      // Also when the store had them: the run before may have died between storing and waking.
      if (untold.length > 0) await queues.wakeAlerts();
      if (told.size > MAX_TOLD) told.clear();
      for (const { id } of untold) told.add(id);
      stop();
    }
    await queues.batches.remove(waiting.map((batch) => batch.key));
    const events = current.reduce((sum, entry) => sum + entry.usage + entry.lifecycle, 0);
    return { more: waiting.length === most, flood: events >= FLOOD_EVENTS };
  };

  return {
    register: (workers) => {
      // Looked at before the first page needs it; when the store is away the first run looks itself.
      const now = clock.now();
      renew([], now)
        .then(() => fleetAt(store, now, now))
        .catch(() => {});
      workers.onDetect(runOnce);
    },
    runOnce,
  };
}
