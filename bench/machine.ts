import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, cpus, loadavg, totalmem } from 'node:os';
import { findRedisServer } from '../queues/index.ts';

/** Machine says where figures come from. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  /** Load average of the last minute before the run: other work on the machine spoils the figures. */
  readonly loadBefore: number;
  readonly platform: string;
  readonly node: string;
  /** The npm package, and the ClickHouse in it. */
  readonly chdb: string;
  readonly engine: string;
  readonly redis: string;
}

/** describeMachine looks at this machine; `engine` is what `SELECT version()` said. */
export function describeMachine(engine: string): Machine {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    loadBefore: loadavg()[0] ?? 0,
    platform: `${process.platform} ${process.arch}`,
    node: process.versions.node,
    chdb: chdbVersion(),
    engine,
    redis: redisVersion(),
  };
}

function chdbVersion(): string {
  // The package does not export its package.json: the door's path leads to it.
  const door = createRequire(import.meta.url).resolve('chdb');
  const folder = door.slice(0, door.lastIndexOf(`node_modules`) + 'node_modules'.length);
  return (JSON.parse(readFileSync(`${folder}/chdb/package.json`, 'utf8')) as { version: string }).version;
}

function redisVersion(): string {
  const server = findRedisServer();
  if (server === null) return 'none';
  const text = execFileSync(server, ['--version'], { encoding: 'utf8' });
  return /v=(\S+)/.exec(text)?.[1] ?? text.trim();
}
