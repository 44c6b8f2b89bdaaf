import type { Output } from '../command.ts';
import { duration, thousands } from './words.ts';

/** Work is how far something is; `done` and `total` in any one unit, `total` null when nobody knows. */
export interface Work {
  readonly done: number;
  readonly total: number | null;
  /** What is counted for the reader, e.g. lines, and how many so far. */
  readonly count: number;
  readonly unit: string;
  /** Said behind the numbers, e.g. "3 rejected"; '' for nothing. */
  readonly note: string;
}

/** Progress shows work: a bar on a terminal, a line now and then elsewhere. */
export interface Progress {
  update(work: Work): void;
  /** finish leaves the last state standing. */
  finish(): void;
}

const BAR_WIDTH = 24;
const REDRAW_MS = 100;
const PLAIN_LINE_MS = 5_000;

/** createProgress draws on `out`; `now` is a monotonic clock in milliseconds. */
export function createProgress(title: string, out: Output, now: () => number): Progress {
  const began = now();
  const every = out.isTTY ? REDRAW_MS : PLAIN_LINE_MS;
  let drawnAt = out.isTTY ? Number.NEGATIVE_INFINITY : began;
  let last: Work | null = null;
  const draw = (work: Work, ended: boolean) => {
    const line = progressLine(title, work, now() - began, { bar: out.isTTY === true, ended });
    out.write(out.isTTY ? `\r\x1b[2K${line.slice(0, (out.columns ?? 80) - 1)}` : `${line}\n`);
    drawnAt = now();
  };
  return {
    update(work) {
      last = work;
      if (now() - drawnAt >= every) draw(work, false);
    },
    finish() {
      if (last !== null) draw(last, true);
      if (out.isTTY && last !== null) out.write('\n');
    },
  };
}

/** progressLine is one state of the work in words: share, count, rate, what is left. */
export function progressLine(
  title: string,
  work: Work,
  elapsedMs: number,
  show: { bar: boolean; ended: boolean },
): string {
  const share = work.total === null || work.total === 0 ? null : Math.min(1, work.done / work.total);
  const rate = elapsedMs > 0 ? (work.count / elapsedMs) * 1000 : 0;
  const parts = [`${thousands(work.count)} ${work.unit}`, `${thousands(Math.round(rate))}/s`];
  if (work.note !== '') parts.push(work.note);
  if (show.ended) parts.push(`in ${duration(elapsedMs)}`);
  else if (share !== null && share > 0) parts.push(`${duration((elapsedMs / share) * (1 - share))} left`);
  const percent = share === null || show.ended ? '' : ` ${String(Math.floor(share * 100)).padStart(3)} %`;
  return `${title}${show.bar && !show.ended && share !== null ? ` ${bar(share)}` : ''}${percent}  ${parts.join(', ')}`;
}

function bar(share: number): string {
  const full = Math.round(share * BAR_WIDTH);
  return `${'█'.repeat(full)}${'░'.repeat(BAR_WIDTH - full)}`;
}
