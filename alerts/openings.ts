import type { Detection } from '../core/index.ts';
import type { LogEntry } from './history.ts';

/** Opening is an alert as the run that opened it wrote it down. */
export interface Opening {
  readonly history: readonly LogEntry[];
  readonly detections: readonly Detection[];
}

/** Openings are the alerts that this process opened last: their first messages need not read back what was just written. */
export interface Openings {
  remember(alert: string, opening: Opening): void;
  /** of is the opening of an alert, undefined when another process opened it, or this one long ago. */
  of(alert: string): Opening | undefined;
}

/** Openings that are remembered at most. */
const MAX_OPENINGS = 200;

/** createOpenings makes an empty memory. */
export function createOpenings(): Openings {
  const openings = new Map<string, Opening>();
  return {
    remember(alert, opening) {
      openings.set(alert, opening);
      for (const oldest of openings.keys()) {
        if (openings.size <= MAX_OPENINGS) break;
        openings.delete(oldest);
      }
    },
    of: (alert) => openings.get(alert),
  };
}
