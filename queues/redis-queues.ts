import { setTimeout as delay } from 'node:timers/promises';
import { type Job, Queue, UnrecoverableError, Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import type { Config } from '../config/index.ts';
import { errorText, isTransient, type Logger } from '../core/index.ts';
import { connectFirst, createGuard, openProducer, openWorker, queueError, type Target } from './connection.ts';
import type { NotificationJob, Queues, RunResult, Workers } from './contract.ts';
import { NOTIFY_ATTEMPTS, type QueuesContext, RetryLater } from './contract.ts';
import { startPrivateRedis } from './keeper.ts';
import { createBatchStream, createRequestLog, createSharedState } from './state.ts';

/** Waits between tries of a notification: seconds first, so that a blip costs little, then minutes. */
const NOTIFY_BACKOFF_MS = [1_000, 5_000, 15_000, 60_000, 300_000, 900_000, 1_800_000, 3_600_000, 3_600_000];

/** A run that failed is tried again for ever: what it works on stays where it is. */
const RUN_ATTEMPTS = 1_000_000;

/** A dead process's run is taken over after about this long. */
const LOCK_MS = 10_000;

/** Rest after a run that worked on a flood, at most. */
const LONGEST_REST_MS = 500;

/** Wake-ups that were lost (a crash between writing and waking) are made good by a sweep. */
const SWEEP_MS = 15_000;

/** openRedisQueues connects to Redis (a private one when no URL is set) and opens the queues. Fails when Redis does not answer. */
export async function openRedisQueues(
  config: Pick<Config, 'queue' | 'dataDir'>,
  context: QueuesContext,
): Promise<Queues> {
  const { log, clock } = context;
  const prefix = context.prefix ?? 'tokenwatch';
  const server = config.queue.url === null ? await startPrivateRedis(config.dataDir, log) : null;
  const target: Target = server ? { socket: server.socket } : { url: config.queue.url as string };
  const redis = openProducer(target, log);
  try {
    await connectFirst(redis, target);
    await warnAboutEviction(redis, log);
  } catch (error) {
    redis.disconnect();
    await server?.stop();
    throw queueError(error, 'connecting', server);
  }
  const guarded = createGuard(server);
  let closing = false;
  redis.on('close', () => {
    if (!closing) server?.revive();
  });

  const options = { connection: redis, prefix };
  const detect = new Queue('detect', options);
  const alert = new Queue('alert', options);
  const notify = new Queue<NotificationJob>('notify', options);
  const queues = [detect, alert, notify] as Queue[];
  for (const queue of queues)
    queue.on('error', (error) => log.debug({ queue: queue.name, error: error.message }, 'queue'));

  const wake = (queue: Queue) =>
    guarded(`waking ${queue.name}`, async () => {
      await queue.add(
        'run',
        {},
        {
          deduplication: { id: queue.name, keepLastIfActive: true },
          attempts: RUN_ATTEMPTS,
          backoff: { type: 'run' },
          removeOnComplete: true,
          removeOnFail: 100,
        },
      );
    });

  const workers: Worker[] = [];
  const workerConnections: Redis[] = [];
  const timers: NodeJS.Timeout[] = [];
  const lastActivity = new Map<string, number>();

  const startWorker = (name: string, concurrency: number, run: (job: Job) => Promise<void>) => {
    const connection = openWorker(target, log);
    workerConnections.push(connection);
    const worker = new Worker(name, run, {
      connection,
      prefix,
      concurrency,
      lockDuration: LOCK_MS,
      stalledInterval: LOCK_MS / 2,
      maxStalledCount: RUN_ATTEMPTS,
      settings: {
        backoffStrategy: (attemptsMade, type, error) =>
          error instanceof RetryLater
            ? error.retryAfterMs
            : type === 'run'
              ? Math.min(100 * 2 ** Math.min(attemptsMade, 8), 10_000)
              : (NOTIFY_BACKOFF_MS[Math.min(attemptsMade, NOTIFY_BACKOFF_MS.length) - 1] ?? 1_000),
      },
    });
    const alive = () => lastActivity.set(name, clock.now());
    alive();
    worker.on('active', alive);
    worker.on('completed', alive);
    worker.on('error', (error) => log.debug({ queue: name, error: error.message }, 'worker'));
    worker.on('failed', (job, error) =>
      log.warn({ queue: name, job: job?.id, attempt: job?.attemptsMade, error: errorText(error) }, 'a run failed'),
    );
    workers.push(worker);
  };

  const runUntilDry = (run: () => Promise<RunResult>) => async () => {
    for (;;) {
      const began = performance.now();
      const { more, flood = false } = await run();
      // Under a flood a look at everything follows another: at most half of the time goes to looking, the rest to storing.
      if (flood) await delay(Math.min(performance.now() - began, LONGEST_REST_MS));
      if (!more) return;
    }
  };

  const register: Workers = {
    onDetect: (run) => {
      startWorker('detect', 1, runUntilDry(run));
      timers.push(setInterval(() => void wake(detect).catch(() => {}), SWEEP_MS));
    },
    onAlert: (run) => {
      startWorker('alert', 1, runUntilDry(run));
      timers.push(setInterval(() => void wake(alert).catch(() => {}), SWEEP_MS));
    },
    onNotify: (send) =>
      startWorker('notify', 8, async (job) => {
        try {
          await send(job.data as NotificationJob, job.attemptsMade + 1);
        } catch (error) {
          if (error instanceof RetryLater || isTransient(error)) throw error;
          throw new UnrecoverableError(errorText(error));
        }
      }),
  };

  const batches = createBatchStream(redis, prefix, guarded);
  return {
    batches: {
      ...batches,
      append: async (entries) => {
        await batches.append(entries);
        await wake(detect);
      },
    },
    shared: createSharedState(redis, prefix, guarded),
    requests: createRequestLog(redis, prefix, guarded),
    wakeAlerts: () => wake(alert),
    notify: (jobs) =>
      guarded('queueing notifications', async () => {
        await notify.addBulk(
          jobs.map((job) => ({
            name: 'send',
            data: job,
            opts: {
              jobId: job.id,
              attempts: NOTIFY_ATTEMPTS,
              backoff: { type: 'notify' },
              removeOnComplete: { age: 3_600 },
              // Given up is written down by the sender; a job that is gone can be asked for again.
              removeOnFail: true,
            },
          })),
        );
      }),
    startWorkers: async (registerAll) => {
      registerAll(register);
      await Promise.all(workers.map((worker) => worker.waitUntilReady()));
    },
    ping: () =>
      guarded('checking the queue', async () => {
        // A write: a Redis without memory still answers a ping.
        await redis.set(`${prefix}:asked`, '1', 'PX', 60_000);
      }),
    depths: () =>
      guarded('reading queue depths', async () => {
        const counts = await Promise.all(
          queues.map((queue) => queue.getJobCounts('waiting', 'active', 'delayed', 'failed')),
        );
        return queues.flatMap((queue, i) =>
          Object.entries(counts[i] ?? {}).map(([state, jobs]) => ({ queue: queue.name, state, jobs })),
        );
      }),
    fault: () => server?.fault() ?? null,
    lastActivity: () => lastActivity,
    close: async (deadlineMs) => {
      closing = true;
      for (const timer of timers) clearInterval(timer);
      const steps: (() => Promise<unknown>)[] = [
        // Running jobs are finished first; past the deadline they are left to whoever takes over.
        () => withDeadline(Promise.all(workers.map((worker) => worker.close())), deadlineMs),
        () => withDeadline(Promise.all(workers.map((worker) => worker.close(true))), 1_000),
        () => withDeadline(Promise.all(queues.map((queue) => queue.close())), 1_000),
        async () => {
          for (const connection of workerConnections) connection.disconnect();
          redis.disconnect();
        },
        async () => server?.stop(),
      ];
      for (const step of steps)
        await step().catch((error) => log.warn({ error: errorText(error) }, 'closing the queues'));
    },
  };
}

async function withDeadline(work: Promise<unknown>, deadlineMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, deadlineMs);
  });
  await Promise.race([work, deadline]);
  clearTimeout(timer);
}

/** A Redis that evicts keys would drop queued work silently. */
async function warnAboutEviction(redis: Redis, log: Logger): Promise<void> {
  const policy = /maxmemory_policy:(\S+)/.exec(await redis.info('memory'))?.[1];
  if (policy !== undefined && policy !== 'noeviction')
    log.warn({ policy }, 'Redis may evict queued work: set maxmemory-policy to noeviction');
}
