import type { FastifyInstance, FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { Authenticate } from '../core/index.ts';
import type { Store } from '../store/index.ts';
import { requireScope } from './auth.ts';
import { badRequest } from './errors.ts';
import { bodyText, isJson, readJson } from './input.ts';

/** SqlLimits bound one analyst query. */
export interface SqlLimits {
  readonly maxRows: number;
  readonly timeoutMs: number;
}

/** SQL_LIMITS are the bounds of one query over HTTP: enough to explore, too little to harm. */
export const SQL_LIMITS: SqlLimits = { maxRows: 10_000, timeoutMs: 30_000 };

const FORMAT = z.string().regex(/^\w{1,64}$/, 'the name of a ClickHouse format');
const BODY = z.strictObject({
  query: z.string(),
  format: FORMAT.optional(),
  params: z.record(z.string(), z.union([z.string(), z.number()])).default({}),
});

interface SqlRequest {
  readonly sql: string;
  /** Used when the SQL has no FORMAT of its own. */
  readonly format: string;
  readonly params: Record<string, string>;
}

/** sqlRoutes serves read-only SQL: the body or `?query=`, rows as JSON unless the query or `?format=` names a format. */
export function sqlRoutes(
  app: FastifyInstance,
  store: Pick<Store, 'analyse'>,
  authenticate: Authenticate,
  limits: SqlLimits,
): void {
  app.post('/v1/sql', { onRequest: requireScope(authenticate, 'read') }, async (request, reply) => {
    const { sql, format, params } = readSql(request);
    const result = await store.analyse(sql, { defaultFormat: format, params, ...limits });
    if (result.truncated) reply.header('x-tokenwatch-truncated', 'true');
    return reply.header('content-type', result.contentType).send(result.body);
  });
}

function readSql(request: FastifyRequest): SqlRequest {
  const url = new URLSearchParams(request.url.split('?')[1] ?? '');
  const params: Record<string, string> = {};
  for (const [name, value] of url) {
    if (name.startsWith('param_')) params[name.slice('param_'.length)] = value;
    else if (name !== 'query' && name !== 'format')
      throw badRequest('bad_parameter', `${name}: there is no such parameter`, 'Known: query, format, param_<name>.');
  }
  const format = FORMAT.safeParse(url.get('format') ?? 'JSON');
  if (!format.success)
    throw badRequest('bad_parameter', 'format: the name of a ClickHouse format', 'Such as CSVWithNames.');
  const inUrl = url.get('query') ?? '';
  if (inUrl !== '' && bodyText(request).trim() !== '')
    throw badRequest('bad_parameter', 'There is a query in the URL and one in the body.', 'Send one of them.');
  if (inUrl !== '' || !isJson(request)) return { sql: inUrl || bodyText(request), format: format.data, params };
  const body = readJson(request, BODY);
  const given = Object.entries(body.params).map(([name, value]) => [name, String(value)] as const);
  return { sql: body.query, format: body.format ?? format.data, params: { ...params, ...Object.fromEntries(given) } };
}
