// The thread that reads the files of a backtest: see backtest-thread.ts.
import { once } from 'node:events';
import { Readable } from 'node:stream';
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { createLogger, errorText, systemClock, TokenwatchError } from '../core/index.ts';
import { readFiles } from './backtest-read.ts';
import type { FromThread, ThreadTask } from './backtest-thread.ts';

const { logLevel, ...task } = workerData as ThreadTask;
const port = parentPort as MessagePort;
const say = (said: FromThread, give: readonly ArrayBuffer[] = []): void => port.postMessage(said, give);

try {
  const result = await readFiles(
    task,
    {
      clock: systemClock,
      log: createLogger(logLevel),
      stdin: Readable.from([]),
      // Whoever started the thread ends it.
      signal: new AbortController().signal,
    },
    {
      onProgress: (bytesRead, events) => say({ kind: 'progress', bytesRead, events }),
      onBlock: async (block) => {
        const answered = once(port, 'message');
        say(
          { kind: 'block', block },
          [...block.tables.values()].map(({ buffer }) => buffer),
        );
        await answered;
      },
    },
  );
  say({ kind: 'done', result });
} catch (error) {
  const known = error instanceof TokenwatchError;
  say({
    kind: 'failed',
    error: {
      code: known ? error.code : '',
      errorKind: known ? error.kind : 'bug',
      message: errorText(error),
      fix: known ? error.fix : '',
    },
  });
}
// Listening for answers would keep it alive.
port.close();
