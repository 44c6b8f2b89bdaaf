import { parseArgs } from 'node:util';
import { FLEETS, LARGE_FLEET, LARGE_FLEET_SEEDS, REPORTED_SEEDS, type Scenario, TUNING_SEEDS } from './scenarios.ts';

/** Arguments are what the command line asks for. */
export interface Arguments {
  readonly scenarios: readonly Scenario[];
  /** Compare every plain rule instead of reporting. */
  readonly tune: boolean;
  readonly quick: boolean;
  /** Scenarios at once. */
  readonly atOnce: number;
  /** Where the figures go as JSON; null: nowhere. */
  readonly json: string | null;
  /** A file of figures to report again instead of running anything; null: run. */
  readonly from: string | null;
  /** Write docs/evaluation/. */
  readonly docs: boolean;
  /** A CloudTrail log to judge as well; null: none. */
  readonly cloudtrail: string | null;
  readonly help: boolean;
}

/** HELP says how the command is used. */
export const HELP = `npm run evaluate -- [options]

  --seeds 101,102       seeds of the scenarios with attacks; default ${REPORTED_SEEDS[0]} to ${REPORTED_SEEDS.at(-1)},
                        of fleets from ${LARGE_FLEET} tokens on the first ${LARGE_FLEET_SEEDS}
  --calm-seeds 101,102  seeds of the scenarios without; default: the same
  --tokens 200,2000     sizes of the fleets; default ${FLEETS.join(',')}
  --at-once 2           scenarios at once, each in a process of its own: 1 or 2
  --quick               one tuning seed, 200 tokens, short: shows that the command works, the figures mean little
  --tune                run the tuning seeds (${TUNING_SEEDS[0]} to ${TUNING_SEEDS.at(-1)}) and find the best plain rule
  --cloudtrail FILE     judge a real CloudTrail log (NDJSON, also .gz) as well
  --json FILE           write the figures there
  --from FILE           report the figures of such a file again, run nothing
  --docs                write the tables, plots and figures of docs/evaluation/
`;

/** readArguments reads a command line; throws with what is wrong about it. */
export function readArguments(args: readonly string[]): Arguments {
  const { values } = parseArgs({
    args: [...args],
    options: {
      seeds: { type: 'string' },
      'calm-seeds': { type: 'string' },
      tokens: { type: 'string' },
      'at-once': { type: 'string', default: '2' },
      quick: { type: 'boolean', default: false },
      tune: { type: 'boolean', default: false },
      cloudtrail: { type: 'string' },
      json: { type: 'string' },
      from: { type: 'string' },
      docs: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  const { quick, tune } = values;
  const usual = tune ? TUNING_SEEDS : quick ? TUNING_SEEDS.slice(0, 1) : REPORTED_SEEDS;
  const given = numbers('seeds', values.seeds);
  const calmGiven = numbers('calm-seeds', values['calm-seeds']);
  const seedsOf = (tokens: number): readonly number[] =>
    given ?? (tokens >= LARGE_FLEET ? usual.slice(0, LARGE_FLEET_SEEDS) : usual);
  const fleets = numbers('tokens', values.tokens) ?? (quick || tune ? FLEETS.slice(0, 1) : FLEETS);
  const atOnce = Number(values['at-once']);
  if (![1, 2].includes(atOnce)) throw new Error('--at-once is 1 or 2');
  const scenarios = fleets.flatMap((tokens) => [
    ...seedsOf(tokens).map((seed): Scenario => ({ kind: 'attacks', seed, tokens, quick })),
    ...(calmGiven ?? seedsOf(tokens)).map((seed): Scenario => ({ kind: 'calm', seed, tokens, quick })),
  ]);
  return {
    scenarios,
    tune,
    quick,
    atOnce,
    json: values.json ?? null,
    from: values.from ?? null,
    docs: values.docs,
    cloudtrail: values.cloudtrail ?? null,
    help: values.help,
  };
}

/** numbers reads `1,2,3`; `none` is an empty list, nothing given is null. */
function numbers(option: string, text: string | undefined): number[] | null {
  if (text === undefined) return null;
  if (text === 'none') return [];
  const list = text.split(',').map(Number);
  if (!list.every((n) => Number.isSafeInteger(n) && n > 0))
    throw new Error(`--${option} takes whole numbers with commas between them, or none`);
  return list;
}
