import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { type Alerts, toApiBudgetReport } from '../alerts/index.ts';
import type { Authenticate } from '../core/index.ts';
import { requireScope } from './auth.ts';
import { readQuery } from './input.ts';

const DAYS = 'a whole number from 1 to 90';
const QUERY = z.strictObject({ days: z.coerce.number(DAYS).int(DAYS).min(1, DAYS).max(90, DAYS).default(30) });

/** budgetRoutes serves what would have been paged at other alert budgets. */
export function budgetRoutes(
  app: FastifyInstance,
  alerts: Pick<Alerts, 'reportBudgets'>,
  authenticate: Authenticate,
): void {
  app.get('/v1/budget', { onRequest: requireScope(authenticate, 'read') }, async (request) => {
    const { days } = readQuery(request, QUERY);
    return toApiBudgetReport(await alerts.reportBudgets(days));
  });
}
