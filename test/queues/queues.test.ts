import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { createLogger, systemClock, TokenwatchError } from '../../core/index.ts';
import { RECENT_MS } from '../../queues/contract.ts';
import {
  type BatchEntry,
  createMemoryState,
  type NotificationJob,
  openQueues,
  type Queues,
  RetryLater,
  stopPrivateRedis,
  UNSAID,
} from '../../queues/index.ts';
import { restartWaitMs, startPrivateRedis } from '../../queues/keeper.ts';
import { openTestQueues } from '../kit/redis.ts';

let queues: Queues;
let close: () => Promise<void>;

beforeAll(async () => {
  ({ queues, close } = await openTestQueues());
});
afterAll(() => close());

describe('the server', () => {
  it('that is not there is named with what the system says, and without its password', async () => {
    const opened = openQueues(
      { dataDir: tmpdir(), queue: { url: 'redis://user:hunter2@127.0.0.1:1/3?password=hunter3' } },
      { log: createLogger('silent'), clock: systemClock },
    );
    await expect(opened).rejects.toMatchObject({
      code: 'queue_unreachable',
      message: 'Redis did not answer while connecting to redis://127.0.0.1:1/3: connect ECONNREFUSED 127.0.0.1:1',
    });
  });

  it('of our own that a killed process left can be ended by its folder alone', async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'tokenwatch-left-'));
    const { socket } = await startPrivateRedis(dataDir, createLogger('silent'));
    expect(existsSync(socket)).toBe(true);
    await stopPrivateRedis(dataDir);
    await vi.waitFor(() => expect(existsSync(socket)).toBe(false));
    await stopPrivateRedis(dataDir);
    rmSync(dataDir, { recursive: true, force: true });
  });
});

/** Ends the private Redis of a data directory as the system's memory killer would; returns its process number. */
async function killRedis(dataDir: string): Promise<number> {
  const redis = new Redis({ path: join(dataDir, 'redis', 'redis.sock'), retryStrategy: () => null });
  const pid = Number(/process_id:(\d+)/.exec(await redis.info('server'))?.[1]);
  const gone = new Promise((resolve) => redis.once('close', resolve));
  process.kill(pid, 'SIGKILL');
  await gone;
  return pid;
}

const PATIENT = { timeout: 20_000 };
const WAITING: BatchEntry = {
  receivedAt: 1,
  minTime: 1,
  maxTime: 2,
  usage: 3,
  lifecycle: 0,
  touched: [],
  single: [],
  refused: [],
  placed: null,
  unfamiliar: null,
  news: null,
  owners: null,
};

describe('a server without memory', () => {
  it('says so at every write and at a ping, with what to do', async () => {
    const own = await openTestQueues();
    const redis = new Redis({ path: join(own.dataDir, 'redis', 'redis.sock') });
    await redis.config('SET', 'maxmemory', '1');
    const full = { code: 'queue_full', kind: 'transient', fix: expect.stringContaining('maxmemory') };
    await expect(own.queues.ping()).rejects.toMatchObject(full);
    await expect(own.queues.batches.append([WAITING])).rejects.toMatchObject(full);
    await expect(own.queues.requests.reserve('b', ['r'], 'rows', 'o')).rejects.toMatchObject(full);
    await expect(own.queues.wakeAlerts()).rejects.toMatchObject(full);
    await redis.config('SET', 'maxmemory', '0');
    await own.queues.ping();
    redis.disconnect();
    await own.close();
  });
});

describe('a server of our own that dies', () => {
  it('is started again with what was in it, and its workers go on', async () => {
    const own = await openTestQueues();
    let runs = 0;
    await own.queues.startWorkers((workers) =>
      workers.onAlert(async () => {
        runs++;
        return { more: false };
      }),
    );
    await own.queues.batches.append([WAITING]);
    await own.queues.shared.count('imports', 7);
    await killRedis(own.dataDir);
    await vi.waitFor(() => own.queues.ping(), PATIENT);
    expect((await own.queues.batches.peek(10)).map(({ entry }) => entry)).toEqual([WAITING]);
    expect(await own.queues.shared.count('imports', 0)).toBe(7);
    expect(own.queues.fault()).toBeNull();
    await own.queues.wakeAlerts();
    await vi.waitFor(() => expect(runs).toBe(1), PATIENT);
    await own.close();
  });

  it('is said to be broken when it cannot be started, in words about itself, until it can', async () => {
    const own = await openTestQueues();
    const files = join(own.dataDir, 'redis', 'appendonlydir');
    const manifest = join(files, readdirSync(files).find((name) => name.endsWith('.manifest')) as string);
    const kept = readFileSync(manifest, 'utf8');
    writeFileSync(manifest, 'no manifest\n');
    await killRedis(own.dataDir);
    await vi.waitFor(() => expect(own.queues.fault()).toMatchObject({ code: 'queue_server_failed' }), PATIENT);
    await expect(own.queues.ping()).rejects.toMatchObject({
      code: 'queue_unreachable',
      kind: 'transient',
      message: expect.stringContaining('The private Redis did not answer while checking the queue'),
      fix: `Look at the files in ${join(own.dataDir, 'redis')}, or set REDIS_URL.`,
    });
    writeFileSync(manifest, kept);
    await vi.waitFor(() => own.queues.ping(), PATIENT);
    await vi.waitFor(() => expect(own.queues.fault()).toBeNull(), PATIENT);
    await own.close();
  });

  it('is one server again for all processes that share it, also when one of them stops it', async () => {
    const own = await openTestQueues();
    const open = () =>
      openQueues({ dataDir: own.dataDir, queue: { url: null } }, { log: createLogger('silent'), clock: systemClock });
    const [second, third] = await Promise.all([open(), open()]);
    await own.queues.shared.count('imports', 7);
    await own.queues.close(2_000);
    await vi.waitFor(() => Promise.all([second.ping(), third.ping()]), PATIENT);
    expect(await second.shared.count('imports', 1)).toBe(8);
    expect(await third.shared.count('imports', 1)).toBe(9);
    await Promise.all([second.close(2_000), third.close(2_000)]);
    expect(existsSync(join(own.dataDir, 'redis', 'redis.sock'))).toBe(false);
    rmSync(own.dataDir, { recursive: true, force: true });
  });

  it('has its first start at once, and one that does not last ever later ones', () => {
    expect([0, 1, 2, 3, 6, 7, 100].map(restartWaitMs)).toEqual([0, 500, 1_000, 2_000, 16_000, 30_000, 30_000]);
  });
});

describe('batch log', () => {
  it('hands out the oldest batches again and again until they are removed', async () => {
    const entry = (receivedAt: number) => ({
      receivedAt,
      minTime: 1,
      maxTime: 2,
      usage: 3,
      lifecycle: 0,
      touched: [],
      single: [],
      refused: [],
      placed: null,
      unfamiliar: null,
      news: null,
      owners: null,
    });
    await queues.batches.append([entry(1), entry(2), entry(3)]);
    const first = await queues.batches.peek(2);
    expect(first.map((found) => found.entry.receivedAt)).toEqual([1, 2]);
    expect(await queues.batches.peek(2)).toEqual(first);
    await queues.batches.remove(first.map((found) => found.key));
    expect((await queues.batches.peek(10)).map((found) => found.entry.receivedAt)).toEqual([3]);
    expect(await queues.batches.size()).toBe(1);
  });
});

describe('a batch that a receiver of an older version entered', () => {
  it('says nothing of who met something new, so that the store is asked', async () => {
    const old = { receivedAt: 9, minTime: 1, maxTime: 2, usage: 3, lifecycle: 0 };
    await queues.batches.append([old as BatchEntry]);
    const found = (await queues.batches.peek(10)).find(({ entry }) => entry.receivedAt === 9);
    expect(found?.entry).toEqual({ ...old, ...UNSAID });
    await queues.batches.remove([found?.key ?? '']);
  });
});

describe('shared state', () => {
  it('keeps the first value that any process sets', async () => {
    expect(await queues.shared.setOnce('key', 'a')).toBe('a');
    expect(await queues.shared.setOnce('key', 'b')).toBe('a');
  });

  it('tells who was marked lately, each with its latest mark, and forgets marks of days before', async () => {
    for (const shared of [queues.shared, createMemoryState()]) {
      const kept = RECENT_MS;
      expect(
        await shared.recent(
          'seen',
          new Map([
            ['old', kept],
            ['a', 2 * kept - 5],
          ]),
          0,
          10,
        ),
      ).toEqual(['old', 'a']);
      expect(await shared.recent('seen', new Map([['a', 2 * kept - 9]]), 2 * kept - 5, 10)).toEqual(['a']);
      expect(await shared.recent('seen', new Map(), 2 * kept - 4, 10)).toEqual([]);
      const marks = new Map([
        ['b', 2 * kept + 1],
        ['c', 2 * kept + 1],
      ]);
      expect((await shared.recent('seen', marks, 0, 10)).toSorted()).toEqual(['a', 'b', 'c']);
      expect(await shared.recent('seen', new Map(), 2 * kept, 1)).toHaveLength(1);
    }
  });

  it('tallies what was marked of each member lately, a name once, and only once it has for long enough', async () => {
    const day = RECENT_MS / 3;
    const began = 100 * day;
    for (const shared of [queues.shared, createMemoryState()]) {
      const at = (time: number, ...names: string[]) => names.map((name) => ({ name, time }));
      const tally = (marks: Record<string, ReturnType<typeof at>>, from: number, now: number) =>
        shared.tally('met', new Map(Object.entries(marks)), { from, now, limit: 3 });
      expect(await tally({ a: at(began, '1') }, began, began)).toBeNull();
      const now = began + 2 * day;
      const from = began + day;
      expect(await tally({ a: at(now - 5, '2', '3') }, from - 1, now)).toBeNull();
      expect(await tally({ a: at(now - 4, '3', '4'), b: at(now, '1') }, from, now)).toEqual(
        new Map([
          ['a', 3],
          ['b', 1],
        ]),
      );
      // The newest three are kept: late ones push nobody out.
      expect(await tally({ a: at(now - 9, '5'), b: at(now - 3, '2') }, now - 4, now)).toEqual(
        new Map([
          ['a', 2],
          ['b', 2],
        ]),
      );
      // Marks are kept for so long after they came.
      expect(await tally({ a: at(now, '6') }, now, now + 2 * day)).toEqual(new Map([['a', 1]]));
      expect(await tally({ a: at(now, '6') }, now, now + 2 * day + 1)).toBeNull();
      await shared.tallyAnew('met', now);
      expect(await tally({ a: at(now + day, '7') }, now + day - 1, now + day)).toBeNull();
    }
  });

  it('counts for all processes', async () => {
    for (const shared of [queues.shared, createMemoryState()]) {
      expect(await shared.count('imports', 0)).toBe(0);
      expect(await shared.count('imports', 2)).toBe(2);
      expect(await shared.count('imports', 1)).toBe(3);
    }
  });

  it('tells what was added since a version, each member once', async () => {
    const version = await queues.shared.setAdd('s', ['x', 'y']);
    expect(await queues.shared.setAdd('s', ['y'])).toBe(version);
    await queues.shared.setAdd('s', ['z']);
    expect((await queues.shared.setSince('s', 0)).members).toEqual(['x', 'y', 'z']);
    expect((await queues.shared.setSince('s', version)).members).toEqual(['z']);
  });

  it('counts distinct members of a group up to the limit and stays there', async () => {
    const count = async (members: string[]) =>
      (await queues.shared.countDistinct('c', new Map([['/v1', members]]), 3)).get('/v1');
    expect(await count(['a'])).toBe(1);
    expect(await count(['a', 'b'])).toBe(2);
    expect(await count(['c', 'd'])).toBe(3);
    expect(await count(['e'])).toBe(3);
  });
});

describe('request log', () => {
  it('hands a batch of a dead process to one taker, and leaves a living one alone', async () => {
    await queues.requests.lease('alive', 60_000);
    await queues.requests.reserve('b1', ['r1', 'r2'], 'rows', 'alive');
    await queues.requests.reserve('b2', ['r3'], 'other rows', 'dead');
    expect(await queues.requests.pending(['r1', 'r3', 'r9'])).toEqual(['b1', 'b2', null]);
    await queues.requests.lease('taker', 60_000);
    expect(await queues.requests.orphans('taker')).toEqual([{ batch: 'b2', requests: ['r3'], payload: 'other rows' }]);
    expect(await queues.requests.orphans('second')).toEqual([]);
    await queues.requests.release('b2');
    expect(await queues.requests.pending(['r3'])).toEqual([null]);
  });

  it('lets a request wait in one batch only, and in none once it was stored', async () => {
    expect(await queues.requests.reserve('b3', ['r4', 'r5'], 'rows', 'alive')).toBe(true);
    expect(await queues.requests.reserve('b3', ['r4', 'r5'], 'rows', 'alive')).toBe(true);
    expect(await queues.requests.reserve('b4', ['r5', 'r6'], 'rows', 'alive')).toBe(false);
    expect(await queues.requests.pending(['r5', 'r6'])).toEqual(['b3', null]);
    await queues.requests.record(new Map([['r7', '{}']]), 60_000);
    expect(await queues.requests.reserve('b5', ['r7'], 'rows', 'alive')).toBe(false);
    await queues.requests.release('b3');
  });

  it('remembers what was answered', async () => {
    await queues.requests.record(new Map([['r1', '{"accepted":1}']]), 60_000);
    expect(await queues.requests.done(['r1', 'r2'])).toEqual(['{"accepted":1}', null]);
  });
});

describe('workers', () => {
  it('run once more for wake-ups that come while running, retry what failed, and honour when to come back', async () => {
    let runs = 0;
    let release = () => {};
    const sends: { id: string; attempt: number }[] = [];
    const later = new Set<string>();
    await queues.startWorkers((workers) => {
      workers.onAlert(async () => {
        runs++;
        if (runs === 1) await new Promise<void>((resolve) => (release = resolve));
        if (runs === 2) throw new TokenwatchError('away', 'transient', 'try again');
        return { more: false };
      });
      workers.onNotify(async (job, attempt) => {
        sends.push({ id: job.id, attempt });
        if (job.id === 'ntf_later' && !later.has(job.id)) {
          later.add(job.id);
          throw new RetryLater('not now', 20);
        }
        if (job.id === 'ntf_bad') throw new TokenwatchError('refused', 'config', 'no');
      });
    });
    await queues.wakeAlerts();
    await vi.waitFor(() => expect(runs).toBe(1), 5_000);
    await Promise.all([queues.wakeAlerts(), queues.wakeAlerts(), queues.wakeAlerts()]);
    release();
    await vi.waitFor(() => expect(runs).toBe(3), 10_000);

    const job = (id: string): NotificationJob => ({ id, alert: 'al_1', channel: 'soc', reason: 'first' });
    await queues.notify([job('ntf_later'), job('ntf_bad'), job('ntf_once')]);
    await queues.notify([job('ntf_once')]);
    await vi.waitFor(
      () => expect(sends.filter((send) => send.id === 'ntf_later').map((send) => send.attempt)).toEqual([1, 2]),
      5_000,
    );
    expect(sends.filter((send) => send.id === 'ntf_once')).toHaveLength(1);
    expect(sends.filter((send) => send.id === 'ntf_bad')).toHaveLength(1);
    // A job that was given up leaves its id free, so that recovery can ask again.
    await queues.notify([job('ntf_bad')]);
    await vi.waitFor(() => expect(sends.filter((send) => send.id === 'ntf_bad')).toHaveLength(2), 5_000);
  });
});
