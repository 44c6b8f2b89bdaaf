import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Client, createClient } from './client.ts';
import { dataFolderOf, peakRssBytes, track } from './processes.ts';

/** The program as users run it, beside this file's folder in the build. */
export const PROGRAM = fileURLToPath(new URL('../cli/main.js', import.meta.url));

/** RunningService is `tokenwatch up` in a process of its own, all roles, on embedded engines. */
export interface RunningService {
  readonly client: Client;
  /** peakRss is the most memory that it has held; null where the system does not tell. */
  peakRss(): number | null;
  /** kill ends it at once, as a power cut would, and resolves when it is gone. */
  kill(): Promise<void>;
  /** stop ends it in order. */
  stop(): Promise<void>;
}

/** environmentOf is this process's environment without what would lead a child to somebody's own engines. */
export function environmentOf(folder: string): NodeJS.ProcessEnv {
  const {
    CLICKHOUSE_URL: _,
    REDIS_URL: __,
    TOKENWATCH_CONFIG: ___,
    TOKENWATCH_ACCESS_KEY: ____,
    ...rest
  } = process.env;
  return {
    ...rest,
    TOKENWATCH_LISTEN: '127.0.0.1:0',
    TOKENWATCH_DATA: dataFolderOf(folder),
    TOKENWATCH_LOG: 'error',
  };
}

/**
 * startService starts the program in a folder and resolves when it listens. `config` is YAML. TOKENWATCH_BENCH_NODE_OPTIONS,
 * e.g. `--cpu-prof --cpu-prof-dir=profiles`, goes to its Node alone.
 */
export async function startService(folder: string, config = ''): Promise<RunningService> {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'tokenwatch.yaml'), config === '' ? '{}\n' : config);
  const nodeOptions = (process.env.TOKENWATCH_BENCH_NODE_OPTIONS ?? '').split(' ').filter((option) => option !== '');
  const child = track(
    spawn(process.execPath, [...nodeOptions, PROGRAM, 'up'], {
      cwd: folder,
      env: environmentOf(folder),
      stdio: ['ignore', 'pipe', 'pipe'],
    }),
  );
  const gone = once(child, 'exit');
  let output = '';
  const url = await new Promise<string>((resolve, reject) => {
    const read = (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-20_000);
      const match = /listens at (\S+)/.exec(output);
      if (match !== null && output.includes('Then, in another terminal')) resolve(match[1] as string);
    };
    child.stdout.on('data', read);
    child.stderr.on('data', read);
    void gone.then(() => reject(new Error(`the service did not start: ${output.slice(-1_000)}`)));
  });
  const key = readFileSync(join(dataFolderOf(folder), 'access-key'), 'utf8').trim();
  const client = createClient({ url, key });
  const end = async (signal: 'SIGKILL' | 'SIGTERM') => {
    client.close();
    if (child.exitCode === null && child.signalCode === null) child.kill(signal);
    await gone;
  };
  return {
    client,
    peakRss: () => peakRssBytes(child.pid as number),
    kill: () => end('SIGKILL'),
    stop: () => end('SIGTERM'),
  };
}

const LOOK_MS = 50;

/** untilJudged waits until no detector runs and none is asked to. */
export async function untilJudged({ client }: RunningService): Promise<void> {
  const jobs = async () => {
    const states = ['active', 'waiting', 'delayed'].map((state) => ['queue="detect"', `state="${state}"`]);
    const counts = await Promise.all(states.map((labels) => client.metric('tokenwatch_queue_jobs', labels)));
    return counts.reduce((sum, count) => sum + count);
  };
  while ((await jobs()) > 0) await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
}
