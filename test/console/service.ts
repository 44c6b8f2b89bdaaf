import Fastify, { type FastifyInstance } from 'fastify';
import { type Alerts, openAlerts } from '../../alerts/index.ts';
import { type ConsoleContext, frameworkErrors, openConsole } from '../../console/index.ts';
import { type Clock, createLogger, createMetrics, type Detection, type Scope } from '../../core/index.ts';
import { storeDetections } from '../../detectors/findings.ts';
import { createKeys, type Keys } from '../../ingest/keys.ts';
import type { Store } from '../../store/index.ts';
import { openTestQueues } from '../kit/redis.ts';
import { openTestStore } from '../kit/store.ts';

/** Answer is what a call got back. */
export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: whatever the body is; the tests say what they expect of it.
  readonly json: any;
}

/** Service is the console over real parts, called without a socket. */
export interface Service {
  readonly app: FastifyInstance;
  readonly store: Store;
  readonly alerts: Alerts;
  readonly keys: Keys;
  readonly clock: Clock & { at: number };
  /** found stores detections and folds them into alerts. */
  found(...detections: Detection[]): Promise<void>;
  /** call sends a request with a key that has `scopes`; none: without a key. */
  call(method: 'GET' | 'POST' | 'DELETE', url: string, options?: CallOptions): Promise<Answer>;
  close(): Promise<void>;
}

export interface CallOptions {
  readonly scopes?: readonly Scope[];
  readonly body?: string;
  readonly type?: string;
}

const ALL: readonly Scope[] = ['read', 'manage'];

/** openService starts the console over an embedded store and a private Redis, at `now`. */
export async function openService(now: number, overrides: Partial<ConsoleContext> = {}): Promise<Service> {
  const [store, redis] = await Promise.all([openTestStore(), openTestQueues()]);
  const clock = { at: now, now: () => clock.at };
  const log = createLogger('silent');
  const metrics = createMetrics();
  const config = { alerts: { maxAgeMs: null, budget: null, channels: {}, routes: [] } };
  const alerts = openAlerts({ config, thresholds: {}, store, queues: redis.queues, clock, log, metrics });
  const keys = createKeys(store, clock);
  const app = Fastify({ frameworkErrors: frameworkErrors(log) });
  const context = { store, queues: redis.queues, alerts, keys, clock, log, metrics, version: '1.2.3', ...overrides };
  openConsole(context).routes(app, keys.authenticate);
  await app.ready();
  const issued = new Map<string, Promise<string>>();
  const keyWith = (scopes: readonly Scope[]): Promise<string> => {
    const name = scopes.join(' ');
    const key = issued.get(name) ?? keys.issue(name, scopes).then((made) => made.key);
    issued.set(name, key);
    return key;
  };
  return {
    ...{ app, store, alerts, keys, clock },
    found: async (...detections) => {
      await storeDetections(store, detections, clock.at);
      await alerts.runOnce();
    },
    call: async (method, url, { scopes = ALL, body, type } = {}) => {
      const headers: Record<string, string> = {};
      if (scopes.length > 0) headers.authorization = `Bearer ${await keyWith(scopes)}`;
      if (type !== undefined) headers['content-type'] = type;
      const response = await app.inject({ method, url, headers, ...(body === undefined ? {} : { payload: body }) });
      const json = String(response.headers['content-type']).includes('json') ? jsonOf(response.body) : null;
      return { status: response.statusCode, headers: response.headers, text: response.body, json };
    },
    close: async () => {
      await app.close();
      alerts.stop();
      await redis.close();
      await store.close();
    },
  };
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
