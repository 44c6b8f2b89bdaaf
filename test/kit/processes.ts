import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const LOCK = join(ROOT, 'node_modules', '.tokenwatch-build.lock');

/** MAIN is the built program. */
export const MAIN = join(ROOT, 'dist', 'cli', 'main.js');

/** distUrl is a built module's address, for scripts that run in a process of their own. */
export function distUrl(path: string): string {
  return new URL(`../../dist/${path}`, import.meta.url).href;
}

/** built builds the program unless it is as new as its sources. One test file at a time: a build replaces what others run. */
export async function built(): Promise<void> {
  while (!takeLock()) await sleep(100);
  try {
    execFileSync(process.execPath, [join(ROOT, 'scripts', 'build.mjs'), '--if-needed'], { stdio: 'inherit' });
  } finally {
    rmSync(LOCK, { force: true });
  }
}

function takeLock(): boolean {
  try {
    const file = openSync(LOCK, 'wx');
    writeSync(file, String(process.pid));
    closeSync(file);
    return true;
  } catch {
    if (!isAlive(LOCK)) rmSync(LOCK, { force: true });
    return false;
  }
}

/** A lock without a number in it is just being written. */
function isAlive(lock: string): boolean {
  try {
    const pid = Number(readFileSync(lock, 'utf8'));
    return pid === 0 || process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT';
  }
}

const children = new Set<ChildProcess>();
afterAll(() => {
  for (const child of children) child.kill('SIGKILL');
});

/** Ended is how a process ended, and all that it printed. */
export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly out: string;
  readonly err: string;
}

/** Program is a child process; those that still run at the end of a test file are killed. */
export interface Program {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  /** printed waits for a text on standard output; rejects with all output when the process ends before. */
  printed(pattern: RegExp): Promise<RegExpExecArray>;
  /** kill ends it at once and waits until it is gone. */
  kill(): Promise<Ended>;
  /** stop asks it to end in order. */
  stop(): Promise<Ended>;
}

/** ProcessOptions are where a process runs, and what it finds in its environment besides PATH. */
export interface ProcessOptions {
  readonly cwd: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string;
}

/** run starts a program. */
export function run(command: string, args: readonly string[], { cwd, env, input }: ProcessOptions): Program {
  const child = spawn(command, [...args], { cwd, env: { PATH: process.env.PATH, ...env }, stdio: 'pipe' });
  children.add(child);
  let [out, err] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text;
  });
  // A program that does not read its input may end before it is written.
  child.stdin.on('error', () => {});
  child.stdin.end(input ?? '');
  const ended = once(child, 'close').then(([code, signal]): Ended => {
    children.delete(child);
    return { code, signal, out, err };
  });
  const end = (signal: NodeJS.Signals) => {
    child.kill(signal);
    return ended;
  };
  return {
    child,
    ended,
    printed: (pattern) =>
      new Promise((resolve, reject) => {
        const look = () => {
          const match = pattern.exec(out);
          if (match !== null) resolve(match);
        };
        child.stdout.on('data', look);
        look();
        void ended.then(() => reject(new Error(`it ended without printing ${pattern}:\n${out}${err}`)));
      }),
    kill: () => end('SIGKILL'),
    stop: () => end('SIGTERM'),
  };
}

/** tokenwatch runs the built program. */
export function tokenwatch(args: readonly string[], options: ProcessOptions): Program {
  return run(process.execPath, [MAIN, ...args], options);
}

/** until waits for a condition. */
export async function until(condition: () => Promise<boolean> | boolean): Promise<void> {
  while (!(await condition())) await sleep(20);
}
