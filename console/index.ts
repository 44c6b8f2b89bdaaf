import type { FastifyInstance, FastifyServerOptions } from 'fastify';
import { type Authenticate, type Clock, type Logger, type Registry, TokenwatchError } from '../core/index.ts';
import type { Queues } from '../queues/index.ts';
import type { Store } from '../store/index.ts';
import { type AlertDesk, alertRoutes } from './alerts.ts';
import { budgetRoutes } from './budget.ts';
import { brokenRequest, sendError } from './errors.ts';
import { type HealthContext, healthRoutes, registerMetrics } from './health.ts';
import { type KeyDesk, keyRoutes } from './keys.ts';
import { SQL_LIMITS, type SqlLimits, sqlRoutes } from './sql.ts';

export type { AlertDesk } from './alerts.ts';
export type { KeyDesk, KeyView } from './keys.ts';
export type { SqlLimits } from './sql.ts';

/** ConsoleContext is what the HTTP API for people works on. */
export interface ConsoleContext {
  readonly store: Pick<Store, 'analyse' | 'ping'>;
  readonly queues: Pick<Queues, 'ping' | 'fault' | 'depths' | 'lastActivity'>;
  readonly alerts: AlertDesk;
  readonly keys: KeyDesk;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Registry;
  readonly version: string;
  readonly sqlLimits?: SqlLimits;
  /** See HealthContext; ten minutes when not given. */
  readonly wedgeAfterMs?: number;
  /** See HealthContext; three seconds when not given. */
  readonly pingTimeoutMs?: number;
}

/** Console serves people. */
export interface Console {
  /** routes adds the whole API, with health and metrics, to an HTTP server that has nothing for unknown paths yet. */
  routes(app: FastifyInstance, authenticate: Authenticate): void;
  /** health adds health and metrics only, for a process without the console role. */
  health(app: FastifyInstance): void;
}

/** frameworkErrors is for the HTTP server's option of that name: what it refuses before it looks for a call is answered like all else. */
export function frameworkErrors(log: Logger): NonNullable<FastifyServerOptions['frameworkErrors']> {
  return (error, request, reply) => void sendError(log, error, request, reply);
}

/** clientErrorHandler is for the HTTP server's option of that name: what is no HTTP gets an answer of the documented shape, too. */
export const clientErrorHandler: NonNullable<FastifyServerOptions['clientErrorHandler']> = (error, socket) => {
  if (error.code === 'ECONNRESET' || !socket.writable) return;
  // Destroyed afterwards, so that whoever still reads the request's body learns that no more comes.
  socket.end(brokenRequest(error.code ?? ''), () => socket.destroy(error));
};

/** Bodies here are notes and SQL. */
const BODY_LIMIT_BYTES = 256 * 1024;

/** openConsole builds the HTTP API for people over what it is given; it owns nothing that would need closing. */
export function openConsole(context: ConsoleContext): Console {
  const { store, queues, alerts, keys, clock, log, metrics, version } = context;
  const healthContext: HealthContext = {
    ...{ store, queues, clock, metrics, version },
    wedgeAfterMs: context.wedgeAfterMs ?? 600_000,
    pingTimeoutMs: context.pingTimeoutMs ?? 3_000,
  };

  const health = (app: FastifyInstance): void => {
    app.addHook('onRequest', async (request, reply) => {
      reply.header('x-request-id', request.id);
    });
    app.setNotFoundHandler((request, reply) =>
      sendError(log, unknownRoute(request.method, request.url), request, reply),
    );
    registerMetrics(app, healthContext);
    app.register(async (scope) => {
      harden(scope, log);
      healthRoutes(scope, healthContext);
    });
  };

  return {
    health,
    routes: (app, authenticate) => {
      health(app);
      app.register(async (scope) => {
        harden(scope, log);
        alertRoutes(scope, alerts, authenticate);
        budgetRoutes(scope, alerts, authenticate);
        sqlRoutes(scope, store, authenticate, context.sqlLimits ?? SQL_LIMITS);
        keyRoutes(scope, keys, clock, authenticate);
      });
    },
  };
}

/** harden gives a scope our errors, our way of reading bodies, and headers that keep answers where they belong. */
function harden(scope: FastifyInstance, log: Logger): void {
  scope.setErrorHandler((error, request, reply) => sendError(log, error, request, reply));
  scope.removeAllContentTypeParsers();
  // As text whatever the caller calls it: curl says that SQL is a form, and a JSON body may be empty.
  scope.addContentTypeParser('*', { parseAs: 'string', bodyLimit: BODY_LIMIT_BYTES }, (_request, body, done) => {
    done(null, body);
  });
  scope.addHook('onSend', async (_request, reply) => {
    reply.header('cache-control', 'no-store');
    reply.header('x-content-type-options', 'nosniff');
  });
}

function unknownRoute(method: string, url: string): TokenwatchError {
  const path = (url.split('?')[0] ?? '').slice(0, 200);
  return new TokenwatchError('not_found', 'poison', `There is no ${method} ${path}.`, {
    fix: 'docs/api.md lists the calls.',
  });
}
