import type { Clock } from '../../core/index.ts';
import type { RenderedAlert } from '../render.ts';

/** SendContext comes with every try of one message. */
export interface SendContext {
  /** The same on every try, so that a receiver can tell a repeat. */
  readonly idempotencyKey: string;
  /** Ends the try when the process stops. */
  readonly signal: AbortSignal;
  /** Counts from 1. */
  readonly attempt: number;
}

/** Delivery is what a channel knows after the receiver took a message. */
export interface Delivery {
  /** What the receiver did not take, e.g. one of several addresses; '' when it took all. */
  readonly note: string;
}

/**
 * Channel takes a message to one place. `send` resolves once the receiver has it; it throws RetryLater when told when to
 * come back, a `transient` TokenwatchError when a later try may do, any other TokenwatchError when none will. No text that
 * it throws holds more of the address than its host.
 */
export interface Channel {
  /** As in the configuration. */
  readonly name: string;
  readonly type: string;
  /** Where messages go, in words that may be logged and stored. */
  readonly target: string;
  send(message: RenderedAlert, context: SendContext): Promise<Delivery>;
}

/** ChannelDeps is what channels share. */
export interface ChannelDeps {
  readonly clock: Clock;
}

/** TAKEN is the delivery of a receiver that took everything. */
export const TAKEN: Delivery = { note: '' };

/** SEND_TIMEOUT_MS is how long one try may take, connecting included. */
export const SEND_TIMEOUT_MS = 15_000;
