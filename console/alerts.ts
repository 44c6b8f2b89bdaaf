import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { type Alerts, type Lesson, toApiNotification } from '../alerts/index.ts';
import {
  type AlertStatus,
  type Authenticate,
  SEVERITIES,
  TokenwatchError,
  toApiAlert,
  VERDICTS,
} from '../core/index.ts';
import { callerOf, requireScope } from './auth.ts';
import { badRequest } from './errors.ts';
import { oneOf, readJson, readQuery, TIME } from './input.ts';

/** AlertDesk is what people may do with alerts. */
export type AlertDesk = Pick<Alerts, 'list' | 'get' | 'notificationsOf' | 'acknowledge' | 'resolve' | 'reportBudgets'>;

const STATUSES: readonly AlertStatus[] = ['open', 'acknowledged', 'resolved'];
const MAX_LIMIT = 200;
const DEFAULT_LIMIT = 50;
const LIMIT = `a whole number from 1 to ${MAX_LIMIT}`;

const FILTER = z.strictObject({
  status: oneOf(STATUSES).optional(),
  severity: oneOf(SEVERITIES).optional(),
  token: z.string().min(1).optional(),
  owner: z.string().min(1).optional(),
  since: TIME.optional(),
  limit: z.coerce.number(LIMIT).int(LIMIT).min(1, LIMIT).max(MAX_LIMIT, LIMIT).default(DEFAULT_LIMIT),
  cursor: z.string().min(1).optional(),
});

const WORD = z.strictObject({ note: z.string().default('') });
const RESOLUTION = z.strictObject({
  note: z.string().default(''),
  as: z.enum(VERDICTS, { error: `one of ${VERDICTS.join(', ')}` }).optional(),
  until: TIME.optional(),
  since: TIME.optional(),
});

interface ById {
  Params: { id: string };
}

/** alertRoutes serves the list of alerts, one alert, and a person's word on it. */
export function alertRoutes(app: FastifyInstance, alerts: AlertDesk, authenticate: Authenticate): void {
  const read = { onRequest: requireScope(authenticate, 'read') };
  const manage = { onRequest: requireScope(authenticate, 'manage') };

  app.get('/v1/alerts', read, async (request) => {
    const page = await alerts.list(readQuery(request, FILTER));
    return { alerts: page.alerts.map(toApiAlert), next: page.next };
  });

  app.get<ById>('/v1/alerts/:id', read, async (request) => {
    const alert = await alerts.get(request.params.id);
    if (alert === null)
      throw new TokenwatchError('alert_not_found', 'poison', `There is no alert ${request.params.id.slice(0, 80)}.`, {
        fix: 'GET /v1/alerts lists them.',
      });
    const notifications = await alerts.notificationsOf(alert.id);
    return { ...toApiAlert(alert), notifications: notifications.map(toApiNotification) };
  });

  app.post<ById>('/v1/alerts/:id/acknowledge', manage, async (request) => {
    const { note } = readJson(request, WORD);
    return toApiAlert(await alerts.acknowledge(request.params.id, note, callerOf(request)));
  });

  app.post<ById>('/v1/alerts/:id/resolve', manage, async (request) => {
    const resolution = readJson(request, RESOLUTION);
    return toApiAlert(
      await alerts.resolve(request.params.id, resolution.note, callerOf(request), lessonOf(resolution)),
    );
  });
}

/** lessonOf is what a resolution teaches, if anything. Throws `bad_body` for a time that its verdict has no use for. */
function lessonOf({ as, until, since }: z.infer<typeof RESOLUTION>): Lesson | undefined {
  if (until !== undefined && as !== 'expected')
    throw badRequest('bad_body', 'until: only what is expected has an end', 'Say "as": "expected", or leave it out.');
  if (since !== undefined && as !== 'malicious')
    throw badRequest('bad_body', 'since: only for what is malicious', 'Say "as": "malicious", or leave it out.');
  return as === undefined ? undefined : { verdict: as, until: until ?? null, since: since ?? null };
}
