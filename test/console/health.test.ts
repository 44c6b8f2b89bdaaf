import Fastify from 'fastify';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { openConsole } from '../../console/index.ts';
import { createLogger, createMetrics, TokenwatchError } from '../../core/index.ts';
import type { Queues } from '../../queues/index.ts';
import { HOUR, MINUTE, T0 } from '../alerts/samples.ts';
import { openService, type Service } from './service.ts';

let service: Service;
beforeAll(async () => {
  service = await openService(T0 + HOUR);
});
afterAll(() => service.close());

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

/** A console whose store and queues are in the state that a test needs, which real ones take minutes or an outage to reach. */
function openHealth(parts: { queues?: Partial<Queues>; ping?: () => Promise<void> } = {}) {
  const clock = { at: T0, now: () => clock.at };
  const app = Fastify();
  closing.push(() => app.close());
  openConsole({
    store: { analyse: service.store.analyse, ping: parts.ping ?? service.store.ping },
    queues: {
      ping: async () => {},
      fault: () => null,
      depths: async () => [],
      lastActivity: () => new Map(),
      ...parts.queues,
    },
    alerts: service.alerts,
    keys: service.keys,
    clock,
    log: createLogger('silent'),
    metrics: createMetrics(),
    version: '1.2.3',
    wedgeAfterMs: 10 * MINUTE,
    pingTimeoutMs: 50,
  }).health(app);
  const get = async (url: string) => {
    const response = await app.inject({ method: 'GET', url });
    return { status: response.statusCode, text: response.body, json: () => JSON.parse(response.body) };
  };
  return { clock, get };
}

describe('with everything up', () => {
  test('live and ready, without an access key', async () => {
    const live = await service.call('GET', '/healthz', { scopes: [] });
    expect([live.status, live.json]).toEqual([200, { status: 'ok', version: '1.2.3' }]);
    const ready = await service.call('GET', '/readyz', { scopes: [] });
    expect([ready.status, ready.json]).toEqual([
      200,
      { status: 'ready', checks: { store: { state: 'ok' }, queue: { state: 'ok' } } },
    ]);
  });

  test('metrics tell queue depths, answers and the process, and never a path with an id', async () => {
    await service.call('GET', '/v1/alerts/al_0123');
    const { status, text, headers } = await service.call('GET', '/metrics', { scopes: [] });
    expect(status).toBe(200);
    expect(headers['content-type']).toContain('text/plain');
    expect(text).toContain('tokenwatch_queue_up 1');
    expect(text).toMatch(/tokenwatch_queue_jobs\{queue="notify",state="failed"\} 0/);
    expect(text).toContain('tokenwatch_http_requests_total{route="/v1/alerts/:id",method="GET",status="404"}');
    expect(text).toContain('tokenwatch_info{version="1.2.3"} 1');
    expect(text).toContain('process_resident_memory_bytes');
    expect(text).not.toContain('al_0123');
  });
});

describe('liveness', () => {
  const waiting = [{ queue: 'detect', state: 'waiting', jobs: 3 }];

  test('fails when work waited and nothing moved for the whole time', async () => {
    const { clock, get } = openHealth({
      queues: { depths: async () => waiting, lastActivity: () => new Map([['detect', T0]]) },
    });
    expect((await get('/healthz')).status).toBe(200);
    clock.at += 9 * MINUTE;
    expect((await get('/healthz')).status).toBe(200);
    clock.at += MINUTE;
    const wedged = await get('/healthz');
    expect([wedged.status, wedged.json()]).toEqual([503, { status: 'wedged', version: '1.2.3', queues: ['detect'] }]);
  });

  test('holds while jobs move, while nothing waits, and for queues that others work on', async () => {
    const state = { depths: waiting, movedAt: new Map([['detect', T0]]) };
    const { clock, get } = openHealth({
      queues: { depths: async () => state.depths, lastActivity: () => state.movedAt },
    });
    const statusAfter = async (minutes: number) => {
      clock.at += minutes * MINUTE;
      return (await get('/healthz')).status;
    };
    await statusAfter(0);
    state.movedAt = new Map([['detect', T0 + 9 * MINUTE]]);
    expect(await statusAfter(11)).toBe(200);
    state.depths = [];
    expect(await statusAfter(60)).toBe(200);
    // An idle hour is no standstill: what waits now has only just come.
    state.depths = waiting;
    expect(await statusAfter(60)).toBe(200);
    state.movedAt = new Map();
    expect(await statusAfter(60)).toBe(200);
  });

  test('fails when a Redis of our own has ended and cannot be started again', async () => {
    const fault = new TokenwatchError('queue_server_failed', 'config', 'It did not start.', { fix: 'Look at it.' });
    const { get } = openHealth({ queues: { fault: () => fault } });
    const answer = await get('/healthz');
    expect([answer.status, answer.json()]).toEqual([
      503,
      {
        status: 'broken',
        version: '1.2.3',
        code: 'queue_server_failed',
        message: 'It did not start.',
        fix: 'Look at it.',
      },
    ]);
  });

  test('holds when the queue cannot be asked: a restart would not bring it back', async () => {
    const { get } = openHealth({ queues: { depths: () => Promise.reject(new Error('away')) } });
    expect((await get('/healthz')).status).toBe(200);
  });
});

describe('readiness', () => {
  test('names what is down, with what to do', async () => {
    const down = new TokenwatchError('store_unreachable', 'transient', 'ClickHouse did not answer.', {
      fix: 'Start it.',
    });
    const { get } = openHealth({ ping: () => Promise.reject(down) });
    const answer = await get('/readyz');
    expect([answer.status, answer.json()]).toEqual([
      503,
      {
        status: 'not_ready',
        checks: {
          store: {
            state: 'down',
            code: 'store_unreachable',
            message: 'ClickHouse did not answer.',
            fix: 'Start it.',
          },
          queue: { state: 'ok' },
        },
      },
    ]);
  });

  test('does not wait for what never answers', async () => {
    const { get } = openHealth({ queues: { ping: () => new Promise(() => {}) } });
    const answer = await get('/readyz');
    expect([answer.status, answer.json().checks.queue.code]).toEqual([503, 'timeout']);
  });
});

test('a queue depth is forgotten when the queue cannot be asked any more', async () => {
  const gone = () => Promise.reject(new Error('away'));
  const queues: Partial<Queues> = { depths: async () => [{ queue: 'notify', state: 'waiting', jobs: 7 }] };
  const { get } = openHealth({
    queues: { ping: () => (queues.ping ?? (async () => {}))(), depths: () => (queues.depths ?? gone)() },
  });
  const up = (await get('/metrics')).text;
  expect(up).toContain('tokenwatch_queue_up 1');
  expect(up).toContain('tokenwatch_queue_jobs{queue="notify",state="waiting"} 7');
  Object.assign(queues, { ping: gone, depths: gone });
  const { status, text } = await get('/metrics');
  expect(status).toBe(200);
  expect(text).toContain('tokenwatch_queue_up 0');
  expect(text).not.toContain('tokenwatch_queue_jobs{');
});

test('our own faults tell the caller nothing but where to look', async () => {
  const broken = await openService(T0, {
    store: {
      ping: async () => {},
      analyse: () => Promise.reject(new Error('password=hunter2 at /srv/secret.ts:1')),
    },
  });
  closing.push(broken.close);
  const { status, json, text } = await broken.call('POST', '/v1/sql', { body: 'SELECT 1' });
  expect([status, json.error.code]).toEqual([500, 'internal']);
  expect(text).not.toMatch(/hunter2|secret|at /);
});

test('a store that is away is a 503 that says when to come back', async () => {
  const down = new TokenwatchError('store_unreachable', 'transient', 'ClickHouse did not answer.', {
    fix: 'Start it.',
  });
  const broken = await openService(T0, {
    store: { ping: async () => {}, analyse: () => Promise.reject(down) },
  });
  closing.push(broken.close);
  const { status, json, headers } = await broken.call('POST', '/v1/sql', { body: 'SELECT 1' });
  expect([status, json.error.code, headers['retry-after']]).toEqual([503, 'store_unreachable', '5']);
});
