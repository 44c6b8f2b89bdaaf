import { parseArgs } from 'node:util';

/** Arguments are what the command line asks for. */
export interface Arguments {
  /** Case ids; empty: all. */
  readonly cases: readonly string[];
  readonly quick: boolean;
  /** Print the table of docs/benchmarks.md instead of the one for a terminal. */
  readonly markdown: boolean;
  /** Where the JSON goes; null: bench/results/<date>.json. */
  readonly json: string | null;
  readonly help: boolean;
}

/** readArguments reads a command line; throws with what is wrong about it. */
export function readArguments(args: readonly string[], known: readonly string[]): Arguments {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      quick: { type: 'boolean', default: false },
      markdown: { type: 'boolean', default: false },
      json: { type: 'string' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  for (const name of positionals)
    if (!known.includes(name)) throw new Error(`there is no case ${name}; the cases are: ${known.join(', ')}`);
  return { ...values, cases: positionals, json: values.json ?? null };
}
