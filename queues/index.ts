import type { Config } from '../config/index.ts';
import type { Queues, QueuesContext } from './contract.ts';

export type {
  BatchEntry,
  BatchLog,
  Mark,
  NotificationJob,
  Queues,
  QueuesContext,
  RequestLog,
  RunResult,
  SharedState,
  Subject,
  Workers,
} from './contract.ts';
export { HINTS, NOTIFY_ATTEMPTS, RECENT_MS, RetryLater, UNSAID } from './contract.ts';
export { createMemoryQueues, createMemoryState } from './memory.ts';
export { findRedisServer, stopPrivateRedis } from './server.ts';

/**
 * openQueues connects to Redis (a private one when no URL is set) and opens the queues. Fails when Redis does not answer. Its
 * libraries are loaded only now: who works in memory, as a backtest does, need not wait a quarter of a second for them.
 */
export async function openQueues(config: Pick<Config, 'queue' | 'dataDir'>, context: QueuesContext): Promise<Queues> {
  const { openRedisQueues } = await import('./redis-queues.ts');
  return openRedisQueues(config, context);
}
