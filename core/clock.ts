/** Clock is where wall time comes from: taken once per tick at the edge and passed down as `now`. */
export interface Clock {
  /** Epoch milliseconds. */
  now(): number;
}

/** systemClock reads the machine's clock. */
export const systemClock: Clock = { now: () => Date.now() };

/** AHEAD_MS is how far a sender's clock may be ahead: an event of later is refused. */
export const AHEAD_MS = 24 * 3_600_000;
