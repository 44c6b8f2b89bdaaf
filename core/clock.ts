/** Clock is where wall time comes from: taken once per tick at the edge and passed down as `now`. */
export interface Clock {
  /** Epoch milliseconds. */
  now(): number;
}

/** systemClock reads the machine's clock. */
export const systemClock: Clock = { now: () => Date.now() };
