import { resolve } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { type Config, type Environment, loadConfig } from '../config/index.ts';
import { TokenwatchError } from '../core/index.ts';

/** Io is everything that a command may touch of the process that it runs in. */
export interface Io {
  readonly env: Environment;
  readonly cwd: string;
  readonly input: Readable;
  /** Results. */
  readonly out: Output;
  /** Everything else: progress, errors, what to do next. */
  readonly err: Output;
  /** Ends on SIGINT and SIGTERM. */
  readonly signal: AbortSignal;
}

/** Output is a stream that may be a terminal. */
export type Output = Writable & { readonly isTTY?: boolean; readonly columns?: number };

/** Invocation is what was typed after the command's name. */
export interface Invocation {
  readonly args: readonly string[];
  readonly options: Readonly<Record<string, unknown>>;
}

/** Option is one flag of a command, as cac writes it: `--format <name>`. */
export interface Option {
  readonly flags: string;
  readonly about: string;
  readonly preset?: string | number | boolean;
}

/**
 * Command is one command of `tokenwatch`: a file of its own in this folder, and one line in COMMANDS (main.ts). `run`
 * returns the exit code; what it throws is printed without a stack.
 */
export interface Command {
  /** Name and arguments as cac writes them: `import <...files>`. */
  readonly usage: string;
  readonly about: string;
  readonly options: readonly Option[];
  readonly examples: readonly string[];
  run(invocation: Invocation, io: Io): Promise<number>;
}

/** CONFIG_OPTION and URL_OPTION are shared by commands. */
export const CONFIG_OPTION: Option = {
  flags: '--config <file>',
  about: 'Configuration file (default: tokenwatch.yaml)',
};

/** URL_OPTION names the instance that a command talks to. */
export const URL_OPTION: Option = {
  flags: '--url <address>',
  about: 'Instance to talk to (default: `listen` of the configuration)',
};

/** configOf loads the configuration that an invocation names. */
export function configOf(
  { options }: Invocation,
  io: Io,
  detectors?: Readonly<Record<string, readonly string[]>>,
): Config {
  const file = textOption(options, 'config');
  return loadConfig({
    ...(file === null ? {} : { file: resolve(io.cwd, file) }),
    env: io.env,
    cwd: io.cwd,
    ...(detectors ? { detectors } : {}),
  });
}

/** textOption is a flag's value as text, null when it was not given; the last one when it was given twice. */
export function textOption(options: Invocation['options'], name: string): string | null {
  const value = listOption(options, name).at(-1);
  return value === undefined ? null : value;
}

/** listOption is every value of a flag that may be repeated, or hold several separated by commas. */
export function listOption(options: Invocation['options'], name: string): string[] {
  const value = options[name];
  if (value === undefined || value === null) return [];
  return (Array.isArray(value) ? value : [value]).map(String);
}

/** usageError is a command that was typed wrongly. */
export function usageError(message: string, fix: string): TokenwatchError {
  return new TokenwatchError('usage', 'config', message, { fix });
}
