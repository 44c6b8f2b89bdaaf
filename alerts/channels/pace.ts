/** Slots that nobody came back for are forgotten beyond this number. */
const SLOTS_KEPT = 1_000;

/**
 * Pace spreads the messages of one process to one receiver: each message gets the next free slot and keeps it until it
 * comes back. Several processes do not share it; the receiver's own 429 and Retry-After settle the rest.
 */
export class Pace {
  private readonly intervalMs: number;
  private readonly slots = new Map<string, number>();
  private nextSlot = Number.NEGATIVE_INFINITY;

  constructor(intervalMs: number) {
    this.intervalMs = intervalMs;
  }

  /** waitFor is how long the message `key` has to wait at `now` (epoch milliseconds), 0 to go at once. */
  waitFor(key: string, now: number): number {
    const held = this.slots.get(key);
    const slot = held ?? Math.max(now, this.nextSlot);
    if (held === undefined) this.nextSlot = slot + this.intervalMs;
    if (slot <= now) {
      this.slots.delete(key);
      return 0;
    }
    this.slots.set(key, slot);
    if (this.slots.size > SLOTS_KEPT) this.slots.delete(this.slots.keys().next().value as string);
    return slot - now;
  }

  /** release gives up the slot of a message that has waited for it. */
  release(key: string): void {
    this.slots.delete(key);
  }
}
