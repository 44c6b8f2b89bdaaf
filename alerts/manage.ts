import { type Alert, errorText, type Logger, oneLine, TokenwatchError } from '../core/index.ts';
import type { Queues } from '../queues/index.ts';
import type { Store } from '../store/index.ts';
import { type Lesson, teach } from './feedback.ts';
import type { LogEntry } from './history.ts';
import { findAlert } from './load.ts';
import { subjectKey } from './policy.ts';
import { encodeLogEntry } from './rows.ts';
import { insertToken } from './run.ts';

/** ManageContext is what a person's word on an alert works on. */
export interface ManageContext {
  readonly store: Store;
  readonly queues: Pick<Queues, 'wakeAlerts'>;
  readonly log: Logger;
}

/** Word is what a person says about an alert: who, what, when (epoch milliseconds). */
export interface Word {
  readonly kind: 'acknowledged' | 'resolved';
  readonly note: string;
  readonly by: string;
  readonly now: number;
  /** What detectors are to learn from it; only for `resolved`. */
  readonly lesson?: Lesson;
}

const NOTE_LIMIT = 2_000;

/**
 * changeState records a person's word and returns the alert as it is then. Saying it again changes nothing, but for a lesson:
 * of a resolved alert's lessons the last one counts. Throws `alert_not_found`, and `alert_resolved` for an acknowledgement
 * that comes too late (both poison).
 */
export async function changeState(context: ManageContext, id: string, word: Word): Promise<Alert> {
  const alert = await findAlert(context.store, id);
  if (alert === null) {
    throw new TokenwatchError('alert_not_found', 'poison', `There is no alert ${oneLine(id, 80)}.`, {
      fix: 'List the alerts to find its id.',
    });
  }
  if (alert.status === word.kind && word.lesson === undefined) return alert;
  if (alert.status === 'resolved' && word.kind !== 'resolved') {
    throw new TokenwatchError('alert_resolved', 'poison', `Alert ${id} is resolved already.`, {
      fix: 'A new finding about it opens a new alert.',
    });
  }
  const note = word.note.slice(0, NOTE_LIMIT);
  // The lesson first: when the alert says that it was learnt from, it was.
  if (word.lesson !== undefined) await teach(context.store, id, word.lesson, { ...word, note });
  const resolvedAs = word.lesson?.verdict ?? null;
  if (alert.status === word.kind && alert.resolvedAs === resolvedAs) return alert;
  const entry: LogEntry = {
    recordedAt: word.now,
    alert: id,
    kind: word.kind,
    subjectKey: subjectKey(alert.subject),
    subject: alert.subject,
    detection: '',
    detectionTime: alert.lastSeen,
    severity: alert.severity,
    status: word.kind,
    note,
    by: word.by,
    resolvedAs,
    needed: 0,
    detector: '',
    detectedAt: 0,
  };
  await context.store.insert('alert_log', [encodeLogEntry(entry)], insertToken([entry]));
  // The word is stored: that the channels hear of it at the next sweep only is no reason to fail.
  await context.queues
    .wakeAlerts()
    .catch((error) => context.log.warn({ alert: id, error: errorText(error) }, 'the alert worker was not woken'));
  return { ...alert, status: word.kind, resolvedAs };
}
