import { type ChildProcess, fork, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const children = new Set<ChildProcess>();
const folders = new Set<string>();

process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
  for (const folder of folders) removeFolder(folder);
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(130));

/** track has a child process killed when this process ends. */
export function track<C extends ChildProcess>(child: C): C {
  children.add(child);
  child.once('exit', () => children.delete(child));
  return child;
}

/** makeFolder makes a folder that is removed by removeFolder, at the latest when this process ends. */
export function makeFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'tw-bench-'));
  folders.add(folder);
  return folder;
}

/** dataFolderOf is where a service of that folder keeps its data. */
export function dataFolderOf(folder: string): string {
  return join(folder, 'data');
}

/** removeFolder ends what a killed service may have left running in the folder, and removes it. */
export function removeFolder(folder: string): void {
  folders.delete(folder);
  const socket = join(dataFolderOf(folder), 'redis', 'redis.sock');
  if (existsSync(socket)) {
    // Also called while this process ends, where nothing may be waited for: another process talks to Redis.
    const program = `require('node:net').connect(process.argv[1]).on('error', () => {}).end('SHUTDOWN NOSAVE\\r\\n')`;
    spawnSync(process.execPath, ['-e', program, socket], { timeout: 5_000 });
  }
  rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
}

/** peakRssBytes is the most memory that a running process has held at once; null where the system does not tell. */
export function peakRssBytes(pid: number): number | null {
  try {
    const kib = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    return kib === undefined ? null : Number(kib) * 1024;
  } catch {
    return null;
  }
}

/** Helper is a program of the benchmarks in a process of its own: one question at a time, one answer each. */
export interface Helper<Q, A> {
  ask(question: Q): Promise<A>;
  end(): Promise<void>;
}

/** startHelper starts a module of this folder that calls `serve`. */
export function startHelper<Q, A>(module: string): Helper<Q, A> {
  const file = fileURLToPath(new URL(import.meta.url.replace(/[^/]+(\.[jt]s)$/, `${module}$1`)));
  const child = track(fork(file, [], { serialization: 'advanced' }));
  return {
    ask: (question) =>
      new Promise<A>((resolve, reject) => {
        const ended = (code: number | null) => reject(new Error(`${module} ended with ${code}`));
        child.once('exit', ended);
        child.once('message', (message) => {
          child.off('exit', ended);
          const { answer, error } = message as { answer?: A; error?: string };
          if (error === undefined) resolve(answer as A);
          else reject(new Error(error));
        });
        child.send(question as object);
      }),
    end: async () => {
      if (child.exitCode !== null) return;
      const gone = new Promise((resolve) => child.once('exit', resolve));
      child.disconnect();
      await gone;
    },
  };
}

/** serve answers the questions of the process that started this one, until that one is done. */
export function serve<Q, A>(handle: (question: Q) => Promise<A>, end: () => Promise<void>): void {
  process.on('message', (question) => {
    handle(question as Q).then(
      (answer) => process.send?.({ answer }),
      (error: unknown) =>
        process.send?.({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
    );
  });
  process.on('disconnect', () => {
    void end().finally(() => process.exit(0));
  });
}
