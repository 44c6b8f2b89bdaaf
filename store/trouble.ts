import { type Clock, errorText, type Logger, TokenwatchError } from '../core/index.ts';

/** What keeps failing is logged this often, and told for this long after it failed last: then a write has to show it again. */
const MINUTE_MS = 60_000;

/** Trouble remembers what writes came up against. */
export interface Trouble {
  /** failed takes note of an error of a write; it is logged once a minute for every code. */
  failed(error: unknown): void;
  /** stored takes note of a write that worked. */
  stored(): void;
  /** full is the error of a disk that had no room for a write of the last minute, null when none since worked or failed so. */
  full(): TokenwatchError | null;
}

/** createTrouble starts with none. */
export function createTrouble(log: Logger, clock: Clock): Trouble {
  const loggedAt = new Map<string, number>();
  let full: { readonly error: TokenwatchError; readonly at: number } | null = null;
  return {
    failed: (error) => {
      const now = clock.now();
      const code = error instanceof TokenwatchError ? error.code : 'unknown';
      if (error instanceof TokenwatchError && code === 'store_full') full = { error, at: now };
      if (now - (loggedAt.get(code) ?? Number.NEGATIVE_INFINITY) < MINUTE_MS) return;
      loggedAt.set(code, now);
      const fix = error instanceof TokenwatchError ? error.fix : '';
      log.warn({ code, error: errorText(error), fix }, 'Rows could not be stored; said once a minute.');
    },
    stored: () => {
      full = null;
    },
    full: () => (full !== null && clock.now() - full.at < MINUTE_MS ? full.error : null),
  };
}
