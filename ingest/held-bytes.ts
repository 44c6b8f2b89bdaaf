import { TokenwatchError } from '../core/index.ts';

/** HeldBytes counts the bytes that are held and not stored yet, over all requests. */
export interface HeldBytes {
  readonly bytes: number;
  /** take counts bytes in, or throws `ingest_busy` (transient) when there would be too many. */
  take(bytes: number): void;
  /** hold counts bytes in that are there already, whatever the limit. */
  hold(bytes: number): void;
  /** give counts them out again. */
  give(bytes: number): void;
}

/** createHeldBytes bounds what is held to `limitBytes`. */
export function createHeldBytes(limitBytes: number): HeldBytes {
  let held = 0;
  return {
    get bytes() {
      return held;
    },
    take(bytes) {
      if (held + bytes > limitBytes) {
        throw new TokenwatchError(
          'ingest_busy',
          'transient',
          'The receiver holds as much as it may until the store has taken it.',
          { fix: 'Send the same request again a little later.' },
        );
      }
      held += bytes;
    },
    hold(bytes) {
      held += bytes;
    },
    give(bytes) {
      held -= bytes;
    },
  };
}
