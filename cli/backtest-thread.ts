import { existsSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { type ErrorKind, TokenwatchError } from '../core/index.ts';
import { type Block, type ReadFiles, type ReadResult, type ReadTask, readFiles } from './backtest-read.ts';

/** ThreadTask is what the reading thread is started with. */
export interface ThreadTask extends ReadTask {
  readonly logLevel: string;
}

/** FromThread is what the reading thread says. After a block it waits for an answer, any, before it gives the next. */
export type FromThread =
  | { readonly kind: 'progress'; readonly bytesRead: number; readonly events: number }
  | { readonly kind: 'block'; readonly block: Block }
  | { readonly kind: 'done'; readonly result: ReadResult }
  | { readonly kind: 'failed'; readonly error: ThreadError };

/** ThreadError is an error as plain data; one that is not the product's own has no code. */
export interface ThreadError {
  readonly code: string;
  readonly errorKind: ErrorKind;
  readonly message: string;
  readonly fix: string;
}

/** The garbage of reading dies young, if it is given the time. */
const YOUNG_MB = 64;

/** How long the end of the thread is waited for. */
const END_MS = 1_000;

const PROGRAM = new URL('./backtest-worker.js', import.meta.url);

/**
 * readInThread makes what reads in a thread of its own, so that files are read while the store and the detectors work on what
 * was read before. Standard input stays with this thread, and so does everything where the program was not compiled.
 */
export function readInThread(logLevel: string): ReadFiles {
  return async (task, context, listener) => {
    if (task.files.includes('-') || !existsSync(fileURLToPath(PROGRAM))) return readFiles(task, context, listener);
    const thread = new Worker(PROGRAM, {
      workerData: { ...task, logLevel } satisfies ThreadTask,
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_MB },
    });
    try {
      return await new Promise<ReadResult>((resolve, reject) => {
        const hear = async (said: FromThread): Promise<void> => {
          if (said.kind === 'progress') listener.onProgress(said.bytesRead, said.events);
          else if (said.kind === 'done') resolve(said.result);
          else if (said.kind === 'failed') reject(errorOf(said.error));
          else {
            await listener.onBlock(said.block);
            thread.postMessage('next');
          }
        };
        thread.on('message', (said: FromThread) => hear(said).catch(reject));
        thread.on('error', reject);
        thread.on('exit', () => reject(new Error('The thread that reads the files ended.')));
        context.signal.addEventListener('abort', () => reject(context.signal.reason), { once: true });
        context.signal.throwIfAborted();
      });
    } finally {
      // A read from a pipe that nobody writes to cannot be ended: the program's end does that.
      await Promise.race([thread.terminate(), delay(END_MS, undefined, { ref: false })]);
    }
  };
}

function errorOf({ code, errorKind, message, fix }: ThreadError): Error {
  return code === '' ? new Error(message) : new TokenwatchError(code, errorKind, message, { fix });
}
