#!/usr/bin/env node
import type { Io } from './command.ts';
import { runCommand } from './dispatch.ts';

/** Signals closer together than this are one wish to end: a terminal, npm and a shell each pass a Ctrl-C on. */
const ONE_GESTURE_MS = 1_000;

/** What still runs after a command has returned has lost its purpose; this long it may end by itself. */
const EXIT_GRACE_MS = 2_000;

// Ctrl-C also ends what reads our output, such as tee: that must not keep a command from ending in order.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
}

process.exitCode = await runCommand(process.argv, processIo());
setTimeout(() => process.exit(), EXIT_GRACE_MS).unref();

/** processIo is this process. The first signal asks it to end in order, a later one ends it at once. */
function processIo(): Io {
  const ending = new AbortController();
  let askedAt = Number.POSITIVE_INFINITY;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      const now = performance.now();
      if (now - askedAt > ONE_GESTURE_MS) process.exit(130);
      askedAt = Math.min(askedAt, now);
      ending.abort();
    });
  }
  return {
    env: process.env,
    cwd: process.cwd(),
    input: process.stdin,
    out: process.stdout,
    err: process.stderr,
    signal: ending.signal,
  };
}
