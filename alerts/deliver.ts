import type { AlertsConfig } from '../config/index.ts';
import { type Alert, errorText, isTransient, type Logger, TokenwatchError } from '../core/index.ts';
import { NOTIFY_ATTEMPTS, type NotificationJob, RetryLater } from '../queues/index.ts';
import type { Store } from '../store/index.ts';
import type { Channel } from './channels/index.ts';
import { historiesOf, type LogEntry, stateAfter } from './history.ts';
import { findIssued } from './issued.ts';
import { DETECTIONS_LOADED } from './load.ts';
import type { AlertMetrics } from './metrics.ts';
import { planNotifications } from './notify.ts';
import type { Opening, Openings } from './openings.ts';
import { assembleAlert } from './policy.ts';
import { detectionsOf, historyOf, notificationsOf } from './queries.ts';
import { renderAlert } from './render.ts';
import { encodeNotification, type NotificationRecord } from './rows.ts';

/** How long after its finding a message is still tried, whatever a receiver asks for. */
const GIVE_UP_AFTER_MS = 24 * 3_600_000;

/** DeliverContext is what delivering works on. */
export interface DeliverContext {
  readonly store: Store;
  readonly config: AlertsConfig;
  readonly channels: ReadonlyMap<string, Channel>;
  readonly openings: Pick<Openings, 'of'>;
  readonly now: () => number;
  readonly signal: AbortSignal;
  readonly log: Logger;
  readonly metrics: AlertMetrics;
}

/** Deliver sends the message that a job asks for, or records why it cannot be sent. */
export type Deliver = (job: NotificationJob, attempt: number) => Promise<void>;

/**
 * createDeliver makes the sender. A message is recorded after it was sent: a crash in between sends it again, under the
 * same idempotency key. A transient failure is thrown for the queue to retry; one that no retry helps, and the last of the
 * tries, are recorded as failed.
 */
export function createDeliver(context: DeliverContext): Deliver {
  const { store, channels, openings, now, metrics } = context;
  /** Sent, but the store was away when it was to be recorded: the retry records it and does not send again. */
  const unrecorded = new Map<string, NotificationRecord>();

  const record = async (record: NotificationRecord) => {
    unrecorded.set(record.id, record);
    await fromStore(store.insert('notifications', [encodeNotification(record)], record.id));
    unrecorded.delete(record.id);
    metrics.notified(record);
  };

  return async (job, attempt) => {
    const waiting = unrecorded.get(job.id);
    if (waiting !== undefined) return record(waiting);
    const [known, { history, alert }] = await fromStore(
      Promise.all([store.read(notificationsOf, { alerts: [job.alert] }), written(job, attempt)]),
    );
    if (known.some(({ id }) => id === job.id)) return;

    const channel = channels.get(job.channel);
    const since = askedAt(history, job, context.config) ?? now();
    const outcome = (status: 'sent' | 'failed', error: string): NotificationRecord => {
      const at = now();
      return {
        id: job.id,
        alert: job.alert,
        channel: job.channel,
        channelType: channel?.type ?? '',
        reason: job.reason,
        status,
        attempts: attempt,
        target: channel?.target ?? '',
        error,
        at,
        delayMs: Math.max(at - since, 0),
      };
    };

    try {
      const delivery = await send(job, attempt, channel, alert);
      await record(outcome('sent', delivery.note));
    } catch (error) {
      // Sent already: what failed is the recording, and its retry must not end in a second message.
      if (unrecorded.has(job.id)) throw error;
      const mayPass = error instanceof RetryLater || isTransient(error);
      const late = now() - since > GIVE_UP_AFTER_MS;
      if (mayPass && attempt < NOTIFY_ATTEMPTS && !late) {
        metrics.retried(job.channel);
        throw error;
      }
      const why = mayPass ? `${errorText(error)} Given up after ${attempt} tries.` : errorText(error);
      context.log.error(
        { alert: job.alert, channel: job.channel, notification: job.id, fix: fixOf(error) },
        `Not sent: ${why}`,
      );
      await record(outcome('failed', why));
    }
  };

  /** written is an alert and its log, null when the store does not have it. */
  async function written(job: NotificationJob, attempt: number) {
    const { history, detections } = await logOf(job, attempt);
    if (history.length === 0) return { history, alert: null };
    const [alert = null] = await findIssued(store, [assembleAlert(stateAfter(history), detections)]);
    return { history, alert };
  }

  /** logOf is what the store has of an alert. What this process wrote when it opened the alert, and asked for this message, is not read back. */
  async function logOf(job: NotificationJob, attempt: number): Promise<Opening> {
    const opening = openings.of(job.alert);
    if (attempt === 1 && opening !== undefined && askedAt(opening.history, job, context.config) !== null)
      return opening;
    const alerts = [job.alert];
    const [entries, found] = await Promise.all([
      store.read(historyOf, { alerts }),
      store.read(detectionsOf, { alerts, limit: DETECTIONS_LOADED }),
    ]);
    return {
      history: historiesOf(entries).get(job.alert) ?? [],
      detections: found.map(({ detection }) => detection),
    };
  }

  async function send(job: NotificationJob, attempt: number, channel: Channel | undefined, alert: Alert | null) {
    if (channel === undefined) {
      throw new TokenwatchError('channel_unknown', 'config', `Channel ${job.channel} is not in the configuration.`, {
        fix: `Add alerts.channels.${job.channel}, or take it out of alerts.routes.`,
      });
    }
    if (alert === null) {
      // A replica may be behind the one that took the alert.
      throw new TokenwatchError('alert_not_found', 'transient', `Alert ${job.alert} is not in the store.`);
    }
    return channel.send(renderAlert(alert, job.reason), {
      idempotencyKey: job.id,
      signal: context.signal,
      attempt,
    });
  }
}

/** Whatever ails the store, it is not the message's fault: the message waits until an operator has put the store right. */
async function fromStore<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (isTransient(error)) throw error;
    throw new TokenwatchError('notification_store_failed', 'transient', errorText(error), { cause: error });
  }
}

/** askedAt is when the reason for a message arose, wall time; null for one that the configuration no longer asks for. */
function askedAt(history: readonly LogEntry[], job: NotificationJob, config: AlertsConfig): number | null {
  const planned = planNotifications(history, config, { since: 0, maxAgeMs: config.maxAgeMs, wasSent: () => true });
  return planned.find((message) => message.job.id === job.id)?.askedAt ?? null;
}

function fixOf(error: unknown): string {
  return error instanceof TokenwatchError ? error.fix : '';
}
