import { cac } from 'cac';
import { nearest } from '../config/index.ts';
import { type Io, usageError } from './command.ts';
import { COMMANDS } from './commands.ts';
import { reportError } from './ui/report-error.ts';
import { version } from './version.ts';

/** Stands for a lone `-`, which means standard input: the parser would take it for a flag without a name. */
const DASH = '\u0000-';

/** runCommand runs the command that `argv` (as in process.argv) names and returns the exit code; it prints errors itself. */
export async function runCommand(argv: readonly string[], io: Io): Promise<number> {
  try {
    return await dispatch(argv, io);
  } catch (error) {
    if (io.signal.aborted) return 130;
    io.err.write(reportError(error, io.env.TOKENWATCH_LOG === 'debug'));
    return 1;
  }
}

async function dispatch(argv: readonly string[], io: Io): Promise<number> {
  const cli = cac('tokenwatch');
  const asked = argv[2] ?? '';
  const needsNone = asked === '--version' || asked === '-v';
  const load = Object.hasOwn(COMMANDS, asked) ? [COMMANDS[asked]!] : needsNone ? [] : Object.values(COMMANDS);
  for (const command of await Promise.all(load.map((one) => one()))) {
    const added = cli.command(command.usage, command.about);
    for (const { flags, about, preset } of command.options) {
      added.option(flags, about, preset === undefined ? undefined : { default: preset });
    }
    for (const example of command.examples) added.example(example);
    added.action((...values: unknown[]) => {
      const options = values.pop() as Record<string, unknown>;
      const args = values.flat().filter((value) => value !== undefined);
      return command.run({ args: args.map((arg) => (arg === DASH ? '-' : String(arg))), options }, io);
    });
  }
  cli.help();
  cli.version(version());
  try {
    cli.parse(
      argv.map((arg) => (arg === '-' ? DASH : arg)),
      { run: false },
    );
  } catch (error) {
    throw wrongUse(error);
  }
  if (cli.matchedCommand !== undefined) {
    const command = cli.matchedCommand;
    try {
      command.checkUnknownOptions();
      command.checkOptionValue();
      command.checkRequiredArgs();
      command.checkUnusedArgs();
    } catch (error) {
      throw wrongUse(error, command.name);
    }
    return (await cli.runMatchedCommand()) as number;
  }
  if (cli.options.help === true || cli.options.version === true) return 0;
  const [name] = cli.args;
  if (name === undefined) {
    cli.outputHelp();
    return 0;
  }
  const names = Object.keys(COMMANDS);
  const meant = nearest(name, names);
  throw usageError(
    `there is no command "${name}"${meant === null ? '' : `; did you mean ${meant}?`}`,
    `The commands are: ${names.join(', ')}. \`tokenwatch --help\` explains them.`,
  );
}

function wrongUse(error: unknown, command?: string) {
  const message = error instanceof Error ? error.message : String(error);
  return usageError(message, `See: tokenwatch ${command === undefined ? '' : `${command} `}--help`);
}
