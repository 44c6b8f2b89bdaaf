import { type Alert, type AlertStatus, type Detection, type Severity, TokenwatchError } from '../core/index.ts';
import type { Store } from '../store/index.ts';
import { historiesOf, stateAfter } from './history.ts';
import { findIssued } from './issued.ts';
import { type AlertState, assembleAlert } from './policy.ts';
import { type AlertKey, alertKeys, detectionsOf, historyOf } from './queries.ts';
import type { AlertPage } from './rows.ts';

/** DETECTIONS_LOADED bounds the detections that one alert is shown with: the most severe and surprising ones. */
export const DETECTIONS_LOADED = 200;

/** The most alerts on one page. */
const PAGE_LIMIT = 200;

/** AlertFilter says which alerts are asked for; what is left out takes all. */
export interface AlertFilter {
  readonly status?: readonly AlertStatus[];
  readonly severity?: readonly Severity[];
  /** A token or a lineage. */
  readonly token?: string;
  readonly owner?: string;
  /** Last seen at or after, epoch milliseconds of event time. */
  readonly since?: number;
  readonly limit: number;
  /** `next` of the page before. */
  readonly cursor?: string;
}

/** loadAlerts completes alerts with their detections and what their tokens issued, in the given order. */
export async function loadAlerts(store: Store, states: readonly AlertState[]): Promise<Alert[]> {
  if (states.length === 0) return [];
  const found = await store.read(detectionsOf, { alerts: states.map((state) => state.id), limit: DETECTIONS_LOADED });
  const byAlert = new Map<string, Detection[]>(states.map((state) => [state.id, []]));
  for (const { alert, detection } of found) byAlert.get(alert)?.push(detection);
  return findIssued(
    store,
    states.map((state) => assembleAlert(state, byAlert.get(state.id) ?? [])),
  );
}

/** findAlert reads one alert, null when there is none. */
export async function findAlert(store: Store, id: string): Promise<Alert | null> {
  const history = await store.read(historyOf, { alerts: [id] });
  if (history.length === 0) return null;
  return (await loadAlerts(store, [stateAfter(history)]))[0] ?? null;
}

/** listAlerts reads one page of alerts, last seen first. Throws `bad_cursor` (poison) for a cursor that is not from here. */
export async function listAlerts(store: Store, filter: AlertFilter): Promise<AlertPage> {
  const limit = Math.min(Math.max(Math.trunc(filter.limit), 1), PAGE_LIMIT);
  const after = filter.cursor === undefined ? { alert: '', lastSeen: 0 } : decodeCursor(filter.cursor);
  const keys = await store.read(alertKeys, {
    statuses: [...(filter.status ?? [])],
    severities: [...(filter.severity ?? [])],
    token: filter.token ?? '',
    owner: filter.owner ?? '',
    since: filter.since ?? 0,
    afterTime: after.lastSeen,
    afterAlert: after.alert,
    limit: limit + 1,
  });
  const page = keys.slice(0, limit);
  const last = page[page.length - 1];
  if (last === undefined) return { alerts: [], next: null };
  const histories = historiesOf(await store.read(historyOf, { alerts: page.map((key) => key.alert) }));
  const states = page.flatMap(({ alert }) => {
    const history = histories.get(alert);
    return history === undefined ? [] : [stateAfter(history)];
  });
  return { alerts: await loadAlerts(store, states), next: keys.length > limit ? encodeCursor(last) : null };
}

function encodeCursor({ alert, lastSeen }: AlertKey): string {
  return Buffer.from(`${lastSeen} ${alert}`).toString('base64url');
}

function decodeCursor(cursor: string): AlertKey {
  const match = /^(-?\d{1,15}) (al_[0-9a-f]+)$/.exec(Buffer.from(cursor, 'base64url').toString('utf8'));
  if (match === null) {
    throw new TokenwatchError('bad_cursor', 'poison', 'The cursor is not one that a list of alerts gave.', {
      fix: 'Start without a cursor, and pass on "next" as it is.',
    });
  }
  return { lastSeen: Number(match[1]), alert: match[2] as string };
}
