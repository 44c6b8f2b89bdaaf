import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Thresholds } from '../../alerts/budget.ts';
import { type Alerts, openAlerts } from '../../alerts/index.ts';
import { foldNew } from '../../alerts/run.ts';
import type { AlertsConfig, ChannelConfig } from '../../config/index.ts';
import { type Clock, createLogger, createMetrics, type Detection, TokenwatchError } from '../../core/index.ts';
import { encodeDetection } from '../../detectors/findings.ts';
import { NOTIFY_ATTEMPTS, type Queues, RetryLater } from '../../queues/index.ts';
import type { Store } from '../../store/index.ts';
import { openTestQueues } from '../kit/redis.ts';
import { emptyStore, openTestStore, rows } from '../kit/store.ts';
import { startWebhookReceiver, type WebhookReceiver } from '../kit/webhook.ts';
import { detection, geoDetection, HOUR, MINUTE, ownerDetection, T0 } from './samples.ts';

let redis: Awaited<ReturnType<typeof openTestQueues>>;
let receiver: WebhookReceiver;
let shared: Store;
beforeAll(async () => {
  [redis, receiver, shared] = await Promise.all([openTestQueues(), startWebhookReceiver(), openTestStore()]);
});
afterAll(() => Promise.all([redis.close(), receiver.close(), shared.close()]));

const webhook = (): ChannelConfig => ({
  type: 'webhook',
  url: receiver.url,
  secrets: [],
  allowPrivateNetwork: true,
});

/** As the detectors have them. */
const THRESHOLDS: Thresholds = {
  'endpoint-spread': { medium: 4, critical: 15 },
  'geo-novelty': { medium: 3.9, critical: 8 },
};

/** Bench is one deployment, one at a time: an empty store, the shared Redis, a clock that the test moves. */
interface Bench {
  readonly store: Store;
  readonly alerts: Alerts;
  readonly clock: { at: number } & Clock;
  /** another opens alerting as a second process over the same store would. */
  another(store?: Store, queues?: Queues): Alerts;
  found(...detections: Detection[]): Promise<void>;
  /** sent runs the worker's part by hand: every enqueued message is delivered. */
  run(): Promise<string[]>;
}

async function openBench(config: Partial<AlertsConfig> = {}): Promise<Bench> {
  await emptyStore(shared);
  const store = { ...shared };
  const clock = { at: T0 + 1_000, now: () => clock.at };
  const alertsConfig: AlertsConfig = {
    maxAgeMs: null,
    budget: null,
    channels: { soc: webhook() },
    routes: [],
    ...config,
  };
  const another = (over: Store = store, queues: Queues = redis.queues) =>
    openAlerts({
      config: { alerts: alertsConfig },
      thresholds: THRESHOLDS,
      store: over,
      queues,
      clock,
      log: createLogger('silent'),
      metrics: createMetrics(),
    });
  const alerts = another();
  return {
    store,
    alerts,
    clock,
    another,
    found: async (...detections) => {
      await store.insert(
        'detections',
        detections.map((d) => encodeDetection(d, clock.at)),
        '',
      );
    },
    run: async () => {
      const { enqueued } = await alerts.runOnce();
      for (const job of enqueued) await alerts.deliver(job, 1);
      return enqueued.map((job) => `${job.channel} ${job.reason}`);
    },
  };
}

const page = { limit: 50 };
const only = async (alerts: Alerts) => {
  const { alerts: all } = await alerts.list(page);
  expect(all).toHaveLength(1);
  return all[0]!;
};

describe('from detections to messages', () => {
  it('raises one alert of several findings, sends it once, and says what it sent', async () => {
    const bench = await openBench();
    await bench.found(detection(), geoDetection());
    const before = receiver.requests.length;
    expect(await bench.run()).toEqual(['soc first']);
    expect(await bench.run()).toEqual([]);
    expect(receiver.requests.length - before).toBe(1);

    const alert = await only(bench.alerts);
    expect(alert).toMatchObject({ severity: 'critical', detectors: ['endpoint-spread', 'geo-novelty'], openedAt: T0 });
    expect(alert.detections).toEqual([detection(), geoDetection()]);
    expect(await bench.alerts.get(alert.id)).toEqual(alert);
    expect(await bench.alerts.notificationsOf(alert.id)).toMatchObject([
      { channel: 'soc', channelType: 'webhook', reason: 'first', status: 'sent', attempts: 1, error: '', delayMs: 0 },
    ]);
    expect(receiver.requests[before]?.headers['webhook-id']).toMatch(/^ntf_[0-9a-f]{20}$/);
  });

  it('says it again when it grows and when it gets worse, not for more of the same', async () => {
    const bench = await openBench();
    await bench.found(detection({ severity: 'medium' }));
    expect(await bench.run()).toEqual(['soc first']);
    bench.clock.at += 1_000;
    await bench.found(detection({ id: 'det_same', severity: 'medium', at: T0 + 1_000 }));
    expect(await bench.run()).toEqual([]);
    bench.clock.at += 1_000;
    await bench.found(geoDetection({ severity: 'low' }));
    expect(await bench.run()).toEqual(['soc grew']);
    bench.clock.at += 1_000;
    await bench.found(geoDetection({ id: 'det_worse', severity: 'critical' }));
    expect(await bench.run()).toEqual(['soc worse']);
    expect((await only(bench.alerts)).detections).toHaveLength(4);
  });

  it('records what is low without sending it', async () => {
    const bench = await openBench();
    await bench.found(detection({ severity: 'low' }));
    expect(await bench.run()).toEqual([]);
    expect(await only(bench.alerts)).toMatchObject({ severity: 'low', status: 'open' });
  });

  it('records findings about old events without paging for them', async () => {
    const bench = await openBench({ maxAgeMs: HOUR });
    bench.clock.at = T0 + 2 * HOUR;
    await bench.found(detection());
    expect(await bench.run()).toEqual([]);
    await only(bench.alerts);
  });

  it('keeps a page for what was fresh when it was found, however late the alert worker is', async () => {
    const bench = await openBench({ maxAgeMs: HOUR });
    await bench.found(detection());
    bench.clock.at += 5 * HOUR;
    expect(await bench.run()).toEqual(['soc first']);
  });

  it('works through the real queues, woken by the detector', async () => {
    const bench = await openBench();
    const own = await openTestQueues();
    try {
      const alerts = bench.another(bench.store, own.queues);
      const before = receiver.requests.length;
      await own.queues.startWorkers((workers) => alerts.register(workers));
      await bench.found(detection({ id: 'det_queue', subject: { token: 'q', lineage: 'q', owner: 'acme' } }));
      await own.queues.wakeAlerts();
      await receiver.until(before + 1);
      await expect.poll(async () => (await rows(bench.store, 'SELECT status FROM notifications')).length).toBe(1);
      await own.queues.wakeAlerts();
      expect((await alerts.runOnce()).enqueued).toEqual([]);
      expect(receiver.requests.length).toBe(before + 1);
    } finally {
      await own.close();
    }
  });
});

describe('an alert budget', () => {
  const WEEK = 7 * 24 * HOUR;
  const about = (n: number, fields: Partial<Detection> & { at?: number } = {}) =>
    detection({
      id: `det_${n}`,
      subject: { token: `tok_${n}`, lineage: `tok_${n}`, owner: 'acme' },
      severity: 'medium',
      at: T0 + n * 1_000,
      ...fields,
    });
  const budget = { count: 2, periodMs: WEEK };

  it('holds the weakest back, shows them with the reason, and pages when one grows over the bar', async () => {
    const bench = await openBench({ budget });
    await bench.found(about(1, { surprise: 4.9 }), about(2, { surprise: 4.6 }), about(3, { surprise: 4.4 }));
    expect(await bench.run()).toEqual(['soc first', 'soc first']);
    const { alerts } = await bench.alerts.list(page);
    expect(alerts.map((alert) => [alert.subject.token, alert.status, alert.heldBack])).toEqual([
      ['tok_3', 'open', { detector: 'endpoint-spread', needed: 4.6 }],
      ['tok_2', 'open', null],
      ['tok_1', 'open', null],
    ]);
    expect(await bench.alerts.notificationsOf(alerts[0]!.id)).toEqual([]);

    bench.clock.at += 1_000;
    await bench.found(about(4, { subject: about(3).subject, detector: 'geo-novelty', surprise: 4.55 }));
    expect(await bench.run()).toEqual(['soc first']);
    expect(await bench.alerts.get(alerts[0]!.id)).toMatchObject({ heldBack: null, severity: 'medium' });
  });

  it('never holds back what is critical, or what a rule found', async () => {
    const bench = await openBench({ budget: { count: 1, periodMs: WEEK } });
    await bench.found(
      about(1, { surprise: 6 }),
      about(2, { severity: 'critical', surprise: 15.1 }),
      about(3, { severity: 'high', surprise: 0, state: 'learning' }),
      about(4, { surprise: 5.9 }),
    );
    expect(await bench.run()).toEqual(['soc first', 'soc first', 'soc first']);
  });

  it('is decided once: whoever derives the messages again, later or elsewhere, asks for the same', async () => {
    const bench = await openBench({ budget: { count: 1, periodMs: WEEK } });
    await bench.found(about(1, { surprise: 5 }), about(2, { surprise: 4.5 }));
    expect(await bench.run()).toEqual(['soc first']);
    bench.clock.at += 1_000;
    const generous = openAlerts({
      config: { alerts: { maxAgeMs: null, budget: null, channels: { soc: webhook() }, routes: [] } },
      ...{ thresholds: THRESHOLDS, store: bench.store, queues: redis.queues, clock: bench.clock },
      log: createLogger('silent'),
      metrics: createMetrics(),
    });
    expect((await generous.runOnce()).enqueued).toEqual([]);
  });

  it('makes room again with time', async () => {
    const bench = await openBench({ budget: { count: 1, periodMs: WEEK } });
    await bench.found(about(1, { surprise: 5 }), about(2, { surprise: 4.5 }));
    expect(await bench.run()).toEqual(['soc first']);
    bench.clock.at += 5 * WEEK;
    await bench.found(about(3, { surprise: 4.1, at: T0 + 5 * WEEK }));
    expect(await bench.run()).toEqual(['soc first']);
  });

  it('leaves its room to others once an alert is resolved as malicious, and shows what other budgets would have paged', async () => {
    const bench = await openBench({ budget: { count: 1, periodMs: WEEK } });
    await bench.found(about(1, { surprise: 5 }), about(2, { surprise: 4.5 }));
    expect(await bench.run()).toEqual(['soc first']);
    const [weaker, stronger] = (await bench.alerts.list(page)).alerts;
    bench.clock.at += 10_000;
    await bench.alerts.resolve(stronger!.id, '', '', { verdict: 'malicious', until: null, since: null });
    await bench.alerts.resolve(weaker!.id, '', '', { verdict: 'expected', until: null, since: null });
    await bench.run();
    bench.clock.at += 10_000;
    await bench.found(about(30, { surprise: 4.6 }));
    expect(await bench.run()).toEqual(['soc first']);

    bench.clock.at += HOUR;
    const { budget: inForce, rows } = await bench.alerts.reportBudgets(30);
    expect(inForce).toBe('1 per week');
    expect(rows.map((row) => [row.budget, row.paged, row.heldBack, row.expected, row.malicious])).toEqual([
      ['1 per week', 3, 0, 1, 1],
      ['2 per week', 3, 0, 1, 1],
      ['5 per week', 3, 0, 1, 1],
      ['10 per week', 3, 0, 1, 1],
      ['20 per week', 3, 0, 1, 1],
      ['50 per week', 3, 0, 1, 1],
      ['none', 3, 0, 1, 1],
    ]);
    expect(rows[0]?.pagesAbove).toEqual({ 'endpoint-spread': 4.6, 'geo-novelty': 4.5 });
    expect(rows[1]?.pagesAbove).toEqual({ 'endpoint-spread': 4.5, 'geo-novelty': 4.4 });
  });

  it('says in the metrics what a finding has to exceed to page', async () => {
    const bench = await openBench({ budget: { count: 1, periodMs: WEEK } });
    const metrics = createMetrics();
    const alerts = openAlerts({
      config: { alerts: { maxAgeMs: null, budget: { count: 1, periodMs: WEEK }, channels: {}, routes: [] } },
      ...{ thresholds: THRESHOLDS, store: bench.store, queues: redis.queues, clock: bench.clock, metrics },
      log: createLogger('silent'),
    });
    const bars = async () =>
      [...(await metrics.metrics()).matchAll(/^tokenwatch_alert_bar\{detector="([^"]+)"\} (\S+)$/gm)].map(
        ([, detector, bar]) => `${detector} ${bar}`,
      );
    await alerts.runOnce();
    expect(await bars()).toEqual(['endpoint-spread 4', 'geo-novelty 3.9']);
    await bench.found(about(1, { surprise: 5.5 }), about(2, { surprise: 4.5 }));
    await alerts.runOnce();
    expect(await bars()).toEqual(['endpoint-spread 5.5', 'geo-novelty 5.4']);
    expect(await metrics.metrics()).toContain('tokenwatch_findings_held_back_total 1');
  });
});

describe('a crash anywhere', () => {
  it('between the alert log and the queue loses nothing: the next run finds the message again', async () => {
    const bench = await openBench();
    await bench.found(detection());
    const config = { maxAgeMs: null, budget: null, channels: {}, routes: [] };
    await foldNew({ store: bench.store, queues: redis.queues, config, thresholds: {} }, bench.clock.now(), HOUR);
    // Another process, later: it has nothing to fold, and still knows what to send.
    bench.clock.at += MINUTE;
    const { enqueued, opened } = await bench.another().runOnce();
    expect(opened).toBe(0);
    expect(enqueued.map((job) => job.reason)).toEqual(['first']);
    expect((await bench.another().runOnce()).enqueued).toEqual(enqueued);
  });

  it('before the alert run loses nothing: a detection waits for days', async () => {
    const bench = await openBench();
    await bench.found(detection());
    bench.clock.at += 13 * 24 * HOUR;
    expect(await bench.run()).toEqual(['soc first']);
  });

  it('of Redis while messages are queued loses nothing', async () => {
    const bench = await openBench();
    await bench.found(detection());
    const away = new TokenwatchError('queue_unavailable', 'transient', 'Redis is away.');
    const alerts = bench.another(bench.store, { ...redis.queues, notify: () => Promise.reject(away) });
    await expect(alerts.runOnce()).rejects.toBe(away);
    expect(await bench.run()).toEqual(['soc first']);
  });

  it('of the store after the send records it later and does not send again', async () => {
    const bench = await openBench();
    await bench.found(detection());
    let failures = 2;
    const shaky: Store = {
      ...bench.store,
      insert: (table, lines, token) => {
        if (table !== 'notifications' || failures-- <= 0) return bench.store.insert(table, lines, token);
        return Promise.reject(new TokenwatchError('store_unavailable', 'transient', 'The store is away.'));
      },
    };
    const alerts = bench.another(shaky);
    const { enqueued } = await alerts.runOnce();
    const before = receiver.requests.length;
    await expect(alerts.deliver(enqueued[0]!, 1)).rejects.toMatchObject({ kind: 'transient' });
    await expect(alerts.deliver(enqueued[0]!, 2)).rejects.toMatchObject({ kind: 'transient' });
    await alerts.deliver(enqueued[0]!, 3);
    expect(receiver.requests.length - before).toBe(1);
    expect(await alerts.notificationsOf(enqueued[0]!.alert)).toMatchObject([{ status: 'sent', attempts: 1 }]);
  });

  it('of the process after the send repeats the message under the same id', async () => {
    const bench = await openBench();
    await bench.found(detection());
    const { enqueued } = await bench.alerts.runOnce();
    const dying: Store = {
      ...bench.store,
      insert: () => Promise.reject(new TokenwatchError('store_unavailable', 'transient', 'The process is gone.')),
    };
    const before = receiver.requests.length;
    await expect(bench.another(dying).deliver(enqueued[0]!, 1)).rejects.toThrow();
    await bench.another().deliver(enqueued[0]!, 2);
    await bench.another().deliver(enqueued[0]!, 3);
    const ids = receiver.requests.slice(before).map((request) => request.headers['webhook-id']);
    expect(ids).toEqual([enqueued[0]!.id, enqueued[0]!.id]);
  });

  it('that lets two alert runs happen at once gives one alert and one message', async () => {
    const bench = await openBench();
    await bench.found(detection(), geoDetection(), ownerDetection());
    const runs = await Promise.all([bench.another().runOnce(), bench.another().runOnce()]);
    const ids = runs.flatMap(({ enqueued }) => enqueued.map((job) => job.id));
    expect(new Set(ids).size).toBe(2);
    const { alerts } = await bench.alerts.list(page);
    expect(alerts.map((alert) => alert.detections.length).sort()).toEqual([1, 2]);
    expect((await bench.alerts.runOnce()).opened).toBe(0);
  });
});

describe('delivery', () => {
  it('says the same, whether the process that opened the alert sends it or another that has to read it', async () => {
    const messages: unknown[] = [];
    for (const sender of ['opener', 'other']) {
      const bench = await openBench();
      await bench.found(detection(), geoDetection());
      const { enqueued } = await bench.alerts.runOnce();
      expect(enqueued).toHaveLength(1);
      await (sender === 'opener' ? bench.alerts : bench.another()).deliver(enqueued[0] as never, 1);
      messages.push(JSON.parse(receiver.requests.at(-1)?.body ?? ''));
    }
    expect(messages[0]).toEqual(messages[1]);
    expect(messages[0]).toMatchObject({
      data: { severity: 'critical', detections: [{ id: 'det_1' }, { id: 'det_2' }] },
    });
  });

  const enqueuedOf = async (bench: Bench) => {
    await bench.found(detection());
    const { enqueued } = await bench.alerts.runOnce();
    return enqueued[0]!;
  };

  it('hands a failure that may pass back to the queue, and records nothing yet', async () => {
    const bench = await openBench();
    const job = await enqueuedOf(bench);
    receiver.answer({ status: 503 }, { status: 429, headers: { 'retry-after': '9' } });
    await expect(bench.alerts.deliver(job, 1)).rejects.toMatchObject({ kind: 'transient' });
    await expect(bench.alerts.deliver(job, 2)).rejects.toEqual(expect.any(RetryLater));
    expect(await bench.alerts.notificationsOf(job.alert)).toEqual([]);
    bench.clock.at += MINUTE;
    await bench.alerts.deliver(job, 3);
    expect(await bench.alerts.notificationsOf(job.alert)).toMatchObject([
      { status: 'sent', attempts: 3, delayMs: MINUTE },
    ]);
  });

  it('records a refusal at once, and does not ask for that message again', async () => {
    const bench = await openBench();
    const job = await enqueuedOf(bench);
    receiver.answer({ status: 401 });
    await bench.alerts.deliver(job, 1);
    const [record] = await bench.alerts.notificationsOf(job.alert);
    expect(record).toMatchObject({ status: 'failed', attempts: 1, error: expect.stringContaining('answered 401') });
    expect(`${record?.error} ${record?.target}`).not.toContain('secret');
    expect((await bench.alerts.runOnce()).enqueued).toEqual([]);
  });

  it('gives up after the last try, or a day, and says so', async () => {
    const bench = await openBench();
    const job = await enqueuedOf(bench);
    receiver.answer({ status: 500 });
    await bench.alerts.deliver(job, NOTIFY_ATTEMPTS);
    expect(await bench.alerts.notificationsOf(job.alert)).toMatchObject([
      { status: 'failed', attempts: NOTIFY_ATTEMPTS, error: expect.stringContaining('Given up after 10 tries') },
    ]);

    const late = await openBench();
    const lateJob = await enqueuedOf(late);
    late.clock.at += 25 * HOUR;
    receiver.answer({ status: 429, headers: { 'retry-after': '60' } });
    await late.alerts.deliver(lateJob, 2);
    expect(await late.alerts.notificationsOf(lateJob.alert)).toMatchObject([{ status: 'failed' }]);
  });

  it('counts the delay from the finding that asked for the message, not from the alert’s beginning', async () => {
    const bench = await openBench();
    await bench.found(detection({ severity: 'low' }));
    await bench.run();
    bench.clock.at += 20 * HOUR;
    await bench.found(geoDetection({ at: T0 + 20 * HOUR }));
    bench.clock.at += 700;
    expect(await bench.run()).toEqual(['soc first']);
    const { id } = await only(bench.alerts);
    expect(await bench.alerts.notificationsOf(id)).toMatchObject([{ reason: 'first', delayMs: 700 }]);
  });

  it('records a channel that is not configured any more', async () => {
    const bench = await openBench({ routes: [{ match: {}, channels: ['gone'] }] });
    const job = await enqueuedOf(bench);
    await bench.alerts.deliver(job, 1);
    expect(await bench.alerts.notificationsOf(job.alert)).toMatchObject([
      { channel: 'gone', status: 'failed', error: 'Channel gone is not in the configuration.' },
    ]);
  });
});

describe('what people say about an alert', () => {
  it('acknowledged stays acknowledged, quiet until it is worse, and is told when it is resolved', async () => {
    const bench = await openBench();
    await bench.found(detection());
    await bench.run();
    const { id } = await only(bench.alerts);

    bench.clock.at += 1_000;
    expect((await bench.alerts.acknowledge(id, 'on it', 'key_1')).status).toBe('acknowledged');
    expect((await bench.alerts.acknowledge(id, 'again', 'key_2')).status).toBe('acknowledged');
    bench.clock.at += 1_000;
    await bench.found(detection({ id: 'det_b', detector: 'other', at: T0 + 1_000 }));
    expect(await bench.run()).toEqual([]);
    expect((await only(bench.alerts)).status).toBe('acknowledged');
    bench.clock.at += 1_000;
    await bench.found(geoDetection());
    expect(await bench.run()).toEqual(['soc worse']);

    bench.clock.at += 1_000;
    expect((await bench.alerts.resolve(id, 'rotated', 'key_1')).status).toBe('resolved');
    expect(await bench.run()).toEqual(['soc resolved']);
    expect(await bench.run()).toEqual([]);
    const last = JSON.parse(receiver.requests.at(-1)!.body) as { type: string; data: { status: string } };
    expect(last).toMatchObject({ type: 'alert.resolved', data: { status: 'resolved' } });
    const said = await rows(
      bench.store,
      "SELECT kind, note, by FROM alert_log WHERE status IN ('acknowledged', 'resolved') ORDER BY recorded_at",
    );
    expect(said).toEqual([
      { kind: 'acknowledged', note: 'on it', by: 'key_1' },
      { kind: 'resolved', note: 'rotated', by: 'key_1' },
    ]);
  });

  it('a new finding after it was resolved opens a new alert and pages again', async () => {
    const bench = await openBench();
    await bench.found(detection());
    await bench.run();
    const old = await only(bench.alerts);
    bench.clock.at += 1_000;
    await bench.alerts.resolve(old.id, '', '');
    await bench.run();
    bench.clock.at += 1_000;
    await bench.found(detection({ id: 'det_again', at: T0 + MINUTE }));
    expect(await bench.run()).toEqual(['soc first']);
    const { alerts } = await bench.alerts.list(page);
    expect(alerts.map((alert) => alert.status)).toEqual(['open', 'resolved']);
    expect(alerts[1]?.id).toBe(old.id);
  });

  it('nothing that was never sent is said to be resolved', async () => {
    const bench = await openBench();
    await bench.found(detection({ severity: 'info' }));
    await bench.run();
    const { id } = await only(bench.alerts);
    bench.clock.at += 1_000;
    await bench.alerts.resolve(id, '', '');
    expect(await bench.run()).toEqual([]);
  });

  it('says so when there is no such alert, or it is too late to acknowledge', async () => {
    const bench = await openBench();
    expect(await bench.alerts.get('al_none')).toBeNull();
    await expect(bench.alerts.resolve('al_none', '', '')).rejects.toMatchObject({ code: 'alert_not_found' });
    await bench.found(detection());
    await bench.run();
    const { id } = await only(bench.alerts);
    bench.clock.at += 1_000;
    await bench.alerts.resolve(id, '', '');
    await expect(bench.alerts.acknowledge(id, '', '')).rejects.toMatchObject({ code: 'alert_resolved' });
  });
});

describe('the list of alerts', () => {
  it('filters by state, severity, token or lineage, owner and time, and pages without gap or repeat', async () => {
    const bench = await openBench({ channels: {} });
    const subjects = Array.from({ length: 7 }, (_, i) => ({
      token: `tok_${i}b`,
      lineage: `tok_${i}`,
      owner: `o${i % 2}`,
    }));
    await bench.found(
      ...subjects.map((subject, i) =>
        detection({
          id: `det_${i}`,
          subject,
          severity: i === 3 ? 'critical' : 'medium',
          at: T0 + Math.floor(i / 2) * MINUTE,
        }),
      ),
    );
    await bench.alerts.runOnce();
    const all = (await bench.alerts.list(page)).alerts;
    expect(all).toHaveLength(7);
    expect(all.map((alert) => alert.lastSeen)).toEqual(all.map((alert) => alert.lastSeen).sort((a, b) => b - a));

    const paged: string[] = [];
    let cursor: string | undefined;
    do {
      const next = await bench.alerts.list({ limit: 2, cursor });
      paged.push(...next.alerts.map((alert) => alert.id));
      cursor = next.next ?? undefined;
    } while (cursor !== undefined);
    expect(paged).toEqual(all.map((alert) => alert.id));

    const count = async (filter: object) => (await bench.alerts.list({ ...page, ...filter })).alerts.length;
    expect(await count({ severity: ['critical'] })).toBe(1);
    expect(await count({ severity: ['critical', 'medium'] })).toBe(7);
    expect(await count({ token: 'tok_2' })).toBe(1);
    expect(await count({ token: 'tok_2b' })).toBe(1);
    expect(await count({ token: "' OR 1 --" })).toBe(0);
    expect(await count({ owner: 'o1' })).toBe(3);
    expect(await count({ since: T0 + 2 * MINUTE })).toBe(3);
    bench.clock.at += 1_000;
    await bench.alerts.acknowledge(all[0]!.id, '', '');
    expect(await count({ status: ['acknowledged'] })).toBe(1);
    expect(await count({ status: ['open'] })).toBe(6);
    expect(await count({ status: ['open', 'acknowledged'], owner: 'o0' })).toBe(4);
    await expect(bench.alerts.list({ ...page, cursor: 'nonsense' })).rejects.toMatchObject({ code: 'bad_cursor' });
  });
});
