import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createLogger, systemClock } from '../../core/index.ts';
import { openQueues, type Queues } from '../../queues/index.ts';

/** openTestQueues starts a private redis-server in a folder of its own; `close` stops it and removes the folder. */
export async function openTestQueues(): Promise<{ queues: Queues; dataDir: string; close(): Promise<void> }> {
  const dataDir = mkdtempSync(join(tmpdir(), 'tokenwatch-redis-'));
  const queues = await openQueues(
    { dataDir, queue: { url: null } },
    { log: createLogger('silent'), clock: systemClock },
  );
  return {
    queues,
    dataDir,
    close: async () => {
      await queues.close(2_000);
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}
