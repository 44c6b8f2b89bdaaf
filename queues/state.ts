import type { Redis } from 'ioredis';
import { stableId } from '../core/index.ts';
import type { Guard } from './connection.ts';
import { type BatchEntry, isTallied, RECENT_MS, type RequestLog, type SharedState, UNSAID } from './contract.ts';

/** Adds members that are not there yet, each under the next version, in one step. */
const ADD_SCRIPT = `
local version = tonumber(redis.call('GET', KEYS[2]) or '0')
for i = 1, #ARGV do
  if not redis.call('ZSCORE', KEYS[1], ARGV[i]) then
    version = version + 1
    redis.call('ZADD', KEYS[1], version, ARGV[i])
  end
end
redis.call('SET', KEYS[2], version)
return version`;

/** Counts distinct members of one group up to a limit; a full group keeps a mark instead of its members. */
const COUNT_SCRIPT = `
local limit = tonumber(ARGV[1])
if redis.call('SISMEMBER', KEYS[2], ARGV[2]) == 1 then return limit end
for i = 3, #ARGV do redis.call('SADD', KEYS[1], ARGV[i]) end
local size = redis.call('SCARD', KEYS[1])
if size >= limit then
  redis.call('DEL', KEYS[1])
  redis.call('SADD', KEYS[2], ARGV[2])
  return limit
end
return size`;

/** Takes over a reserved batch when its owner's lease is gone, for one caller only. */
const CLAIM_SCRIPT = `
local owner = redis.call('HGET', KEYS[1], 'owner')
if not owner then return false end
if redis.call('EXISTS', ARGV[2] .. owner) == 1 then return false end
redis.call('HSET', KEYS[1], 'owner', ARGV[1])
return redis.call('HMGET', KEYS[1], 'requests', 'payload')`;

/** Writes a batch ahead with its requests, all or none: a request waits in one batch at a time. */
const RESERVE_SCRIPT = `
local batch, owner, ttl = ARGV[1], ARGV[2], ARGV[3]
for i = 3, #KEYS, 2 do
  local waits = redis.call('GET', KEYS[i])
  if (waits and waits ~= batch) or redis.call('EXISTS', KEYS[i + 1]) == 1 then return 0 end
end
redis.call('HSET', KEYS[1], 'owner', owner, 'requests', ARGV[4], 'payload', ARGV[5])
redis.call('PEXPIRE', KEYS[1], ttl)
redis.call('SADD', KEYS[2], batch)
for i = 3, #KEYS, 2 do redis.call('SET', KEYS[i], batch, 'PX', ttl) end
return 1`;

/** Marks written in one command. */
const MARKS_AT_ONCE = 1_000;

/** createSharedState keeps what all processes agree on under `prefix`. */
export function createSharedState(redis: Redis, prefix: string, guarded: Guard): SharedState {
  const key = (...parts: string[]) => [prefix, ...parts].join(':');
  return {
    setOnce: (name, value) =>
      guarded('reading shared state', async () => {
        await redis.set(key('once', name), value, 'NX');
        return (await redis.get(key('once', name))) ?? value;
      }),
    setAdd: (name, members) =>
      guarded('adding shared state', async () =>
        Number(await redis.eval(ADD_SCRIPT, 2, key('set', name), key('version', name), ...members)),
      ),
    setSince: (name, version) =>
      guarded('reading shared state', async () => {
        const now = Number((await redis.get(key('version', name))) ?? 0);
        const members = now > version ? await redis.zrangebyscore(key('set', name), `(${version}`, now) : [];
        return { version: now, members };
      }),
    countDistinct: (name, groups, limit) =>
      guarded('counting shared state', async () => {
        const names = [...groups.keys()];
        const pipeline = redis.pipeline();
        for (const group of names)
          pipeline.eval(
            COUNT_SCRIPT,
            2,
            key('group', name, stableId([group])),
            key('full', name),
            limit,
            group,
            ...(groups.get(group) ?? []),
          );
        const results = (await pipeline.exec()) ?? [];
        return new Map(
          names.map((group, i) => {
            const [error, size] = results[i] ?? [new Error('no answer'), null];
            if (error) throw error;
            return [group, Number(size)];
          }),
        );
      }),
    recent: (name, marks, from, limit) =>
      guarded('marking shared state', async () => {
        const where = key('recent', name);
        const steps = redis.multi();
        const pairs = [...marks];
        for (let i = 0; i < pairs.length; i += MARKS_AT_ONCE)
          steps.zadd(where, 'GT', ...pairs.slice(i, i + MARKS_AT_ONCE).flatMap(([member, time]) => [time, member]));
        const newest = pairs.reduce((latest, [, time]) => Math.max(latest, time), Number.NEGATIVE_INFINITY);
        if (pairs.length > 0) steps.zremrangebyscore(where, '-inf', `(${newest - RECENT_MS}`);
        steps.zrangebyscore(where, from, '+inf', 'LIMIT', 0, limit);
        const [error, members] = (await steps.exec())?.at(-1) ?? [new Error('no answer'), []];
        if (error) throw error;
        return members as string[];
      }),
    tally: (name, marks, { from, now, limit }) =>
      guarded('counting shared state', async () => {
        const began = key('began', name);
        const members = [...marks.keys()];
        const steps = redis.pipeline().set(began, now, 'NX').get(began);
        for (const member of members) {
          const where = key('tally', name, stableId([member]));
          steps.zadd(where, ...(marks.get(member) ?? []).flatMap(({ name: mark, time }) => [time, mark]));
          // The newest are enough to count up to the limit.
          steps.zremrangebyrank(where, 0, -limit - 1);
          steps.pexpire(where, RECENT_MS);
          steps.zcount(where, from, '+inf');
        }
        const results = (await steps.exec()) ?? [];
        const answers = results.map(([error, answer]) => {
          if (error) throw error;
          return Number(answer);
        });
        if (!isTallied(answers[1] ?? now, from, now)) return null;
        return new Map(members.map((member, i) => [member, answers[2 + i * 4 + 3] ?? 0]));
      }),
    tallyAnew: (name, now) =>
      guarded('counting shared state', async () => {
        await redis.set(key('began', name), now);
      }),
    count: (name, by) => guarded('counting shared state', () => redis.incrby(key('count', name), by)),
  };
}

/** Reservations outlive any sensible retry, and end by themselves. */
const RESERVATION_TTL_MS = 24 * 3_600_000;

/** createRequestLog keeps what was stored for which request, and the batches written ahead, under `prefix`. */
export function createRequestLog(redis: Redis, prefix: string, guarded: Guard): RequestLog {
  const done = (id: string) => `${prefix}:done:${id}`;
  const pending = (id: string) => `${prefix}:pending:${id}`;
  const batchKey = (id: string) => `${prefix}:ahead:${id}`;
  const index = `${prefix}:ahead`;
  const leases = `${prefix}:lease:`;
  return {
    done: (ids) => guarded('reading the request log', async () => (ids.length === 0 ? [] : redis.mget(ids.map(done)))),
    record: (results, ttlMs) =>
      guarded('writing the request log', async () => {
        const pipeline = redis.multi();
        for (const [id, result] of results) pipeline.set(done(id), result, 'PX', ttlMs);
        await pipeline.exec();
      }),
    reserve: (batch, requests, payload, owner) =>
      guarded('writing a batch ahead', async () => {
        const keys = [batchKey(batch), index, ...requests.flatMap((request) => [pending(request), done(request)])];
        const values = [batch, owner, RESERVATION_TTL_MS, JSON.stringify(requests), payload];
        return Number(await redis.eval(RESERVE_SCRIPT, keys.length, ...keys, ...values)) === 1;
      }),
    pending: (requests) =>
      guarded('reading reserved batches', async () => (requests.length === 0 ? [] : redis.mget(requests.map(pending)))),
    release: (batch) =>
      guarded('releasing a batch', async () => {
        const requests = JSON.parse((await redis.hget(batchKey(batch), 'requests')) ?? '[]') as string[];
        const pipeline = redis.multi();
        pipeline.del(batchKey(batch), ...requests.map(pending));
        pipeline.srem(index, batch);
        await pipeline.exec();
      }),
    orphans: (owner) =>
      guarded('looking for left batches', async () => {
        const found: { batch: string; requests: string[]; payload: string }[] = [];
        for (const batch of await redis.smembers(index)) {
          const claimed = (await redis.eval(CLAIM_SCRIPT, 1, batchKey(batch), owner, leases)) as
            | [string, string]
            | null;
          if (claimed) found.push({ batch, requests: JSON.parse(claimed[0]) as string[], payload: claimed[1] });
          else if ((await redis.exists(batchKey(batch))) === 0) await redis.srem(index, batch);
        }
        return found;
      }),
    lease: (owner, ttlMs) =>
      guarded('renewing the lease', async () => {
        await redis.set(leases + owner, '1', 'PX', ttlMs);
      }),
  };
}

/** createBatchStream keeps the batches that wait to be judged, oldest first. */
export function createBatchStream(redis: Redis, prefix: string, guarded: Guard) {
  const key = `${prefix}:batches`;
  return {
    append: (entries: readonly BatchEntry[]) =>
      guarded('writing the batch log', async () => {
        const pipeline = redis.multi();
        for (const entry of entries) pipeline.xadd(key, '*', 'batch', JSON.stringify(entry));
        await pipeline.exec();
      }),
    peek: (limit: number) =>
      guarded('reading the batch log', async () =>
        (await redis.xrange(key, '-', '+', 'COUNT', limit)).map(([id, fields]) => ({
          key: id,
          entry: { ...UNSAID, ...(JSON.parse(fields[1] ?? '{}') as BatchEntry) },
        })),
      ),
    remove: (keys: readonly string[]) =>
      guarded('trimming the batch log', async () => {
        if (keys.length > 0) await redis.xdel(key, ...keys);
      }),
    size: () => guarded('reading the batch log', () => redis.xlen(key)),
  };
}
