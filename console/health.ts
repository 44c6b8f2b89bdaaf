import type { FastifyInstance } from 'fastify';
import { collectDefaultMetrics } from 'prom-client';
import { type Clock, Counter, errorText, Gauge, Histogram, type Registry, TokenwatchError } from '../core/index.ts';
import type { Queues } from '../queues/index.ts';
import type { Store } from '../store/index.ts';

/** HealthContext is what liveness, readiness and metrics look at. */
export interface HealthContext {
  readonly store: Pick<Store, 'ping'>;
  readonly queues: Pick<Queues, 'ping' | 'fault' | 'depths' | 'lastActivity'>;
  readonly clock: Clock;
  readonly metrics: Registry;
  readonly version: string;
  /** Jobs waiting and none moved for this long: the process says that it should be restarted. */
  readonly wedgeAfterMs: number;
  /** A store or queue that does not answer a ping within this time counts as down. */
  readonly pingTimeoutMs: number;
}

/** createWedgeAlarm watches the queues that this process works on; the names of those that stand still are returned. */
export function createWedgeAlarm(
  queues: Pick<Queues, 'depths' | 'lastActivity'>,
  wedgeAfterMs: number,
): (now: number) => Promise<string[]> {
  // A queue that has work at the moment of the question is normal; it stands still when it had at every question.
  const waitingSince = new Map<string, number>();
  return async (now) => {
    const depths = await queues.depths();
    const stuck: string[] = [];
    for (const [queue, movedAt] of queues.lastActivity()) {
      const waiting = depths.some((depth) => depth.queue === queue && depth.state === 'waiting' && depth.jobs > 0);
      if (!waiting) waitingSince.delete(queue);
      else if (!waitingSince.has(queue)) waitingSince.set(queue, now);
      if (waiting && now - Math.max(movedAt, waitingSince.get(queue) ?? now) >= wedgeAfterMs) stuck.push(queue);
    }
    return stuck;
  };
}

/** healthRoutes serves `/healthz`, `/readyz` and `/metrics`; none of them needs an access key. */
export function healthRoutes(app: FastifyInstance, context: HealthContext): void {
  const { store, queues, clock, metrics, version, wedgeAfterMs, pingTimeoutMs } = context;
  const wedged = createWedgeAlarm(queues, wedgeAfterMs);

  app.get('/healthz', async (_request, reply) => {
    const fault = queues.fault();
    if (fault !== null) {
      reply.code(503);
      return { status: 'broken', version, code: fault.code, message: fault.message, fix: fault.fix };
    }
    // A queue that cannot be asked is a matter of readiness: a restart would not bring it back.
    const stuck = await wedged(clock.now()).catch(() => []);
    if (stuck.length > 0) reply.code(503);
    return { status: stuck.length > 0 ? 'wedged' : 'ok', version, ...(stuck.length > 0 ? { queues: stuck } : {}) };
  });

  app.get('/readyz', async (_request, reply) => {
    const [storeState, queueState] = await Promise.all([
      stateOf(() => store.ping(), pingTimeoutMs),
      stateOf(() => queues.ping(), pingTimeoutMs),
    ]);
    const ready = storeState.state === 'ok' && queueState.state === 'ok';
    if (!ready) reply.code(503).header('retry-after', '5');
    return { status: ready ? 'ready' : 'not_ready', checks: { store: storeState, queue: queueState } };
  });

  app.get('/metrics', async (_request, reply) =>
    reply.header('content-type', metrics.contentType).send(await metrics.metrics()),
  );
}

interface CheckState {
  readonly state: 'ok' | 'down';
  readonly code?: string;
  readonly message?: string;
  readonly fix?: string;
}

async function stateOf(ping: () => Promise<void>, timeoutMs: number): Promise<CheckState> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<CheckState>((resolve) => {
    const silent: CheckState = { state: 'down', code: 'timeout', message: `no answer within ${timeoutMs} ms` };
    timer = setTimeout(resolve, timeoutMs, silent);
  });
  const asked = ping().then(
    (): CheckState => ({ state: 'ok' }),
    (error: unknown): CheckState =>
      error instanceof TokenwatchError
        ? { state: 'down', code: error.code, message: error.message, fix: error.fix }
        : { state: 'down', code: 'failed', message: errorText(error) },
  );
  return Promise.race([asked, late]).finally(() => clearTimeout(timer));
}

/** registerMetrics adds what the console itself measures: queue depths as they are at the scrape, HTTP answers, the process. */
export function registerMetrics(app: FastifyInstance, { queues, metrics, version }: HealthContext): void {
  const registers = [metrics];
  collectDefaultMetrics({ register: metrics });
  new Gauge({ name: 'tokenwatch_info', help: 'Always 1; the version that runs.', labelNames: ['version'], registers })
    .labels(version)
    .set(1);
  new Gauge({
    name: 'tokenwatch_queue_up',
    help: '1 when the queue answers.',
    registers,
    async collect() {
      this.set(
        await queues.ping().then(
          () => 1,
          () => 0,
        ),
      );
    },
  });
  new Gauge({
    name: 'tokenwatch_queue_jobs',
    help: 'Jobs by queue and state, at the moment of the scrape.',
    labelNames: ['queue', 'state'],
    registers,
    async collect() {
      // Forgotten first: a queue that cannot be asked must not keep the depth it once had.
      this.reset();
      for (const { queue, state, jobs } of await queues.depths().catch(() => [])) this.set({ queue, state }, jobs);
    },
  });
  const requests = new Counter({
    name: 'tokenwatch_http_requests_total',
    help: 'Answers by route, method and status.',
    labelNames: ['route', 'method', 'status'],
    registers,
  });
  const seconds = new Histogram({
    name: 'tokenwatch_http_request_seconds',
    help: 'Time to answer, by route.',
    labelNames: ['route'],
    buckets: [0.005, 0.02, 0.1, 0.5, 2, 10, 60],
    registers,
  });
  app.addHook('onResponse', async (request, reply) => {
    // The route's pattern, never the path: a label per alert would grow for ever.
    const route = request.routeOptions.url ?? 'unknown';
    requests.inc({ route, method: request.method, status: String(reply.statusCode) });
    seconds.observe({ route }, reply.elapsedTime / 1000);
  });
}
