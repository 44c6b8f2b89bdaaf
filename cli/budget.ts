import type { ApiBudgetReport } from '../alerts/index.ts';
import { plural } from '../core/index.ts';
import { apiOf } from './api.ts';
import { CONFIG_OPTION, type Command, textOption, URL_OPTION } from './command.ts';
import { plain, table } from './ui/words.ts';

const DAY_MS = 86_400_000;

/** budget shows what would have been paged at other alert budgets. */
export const budget: Command = {
  usage: 'budget',
  about: 'What would have been paged at other alert budgets',
  options: [
    { flags: '--days <n>', about: 'How many days to look back, 1 to 90', preset: 30 },
    { flags: '--json', about: 'Print what the API answered' },
    CONFIG_OPTION,
    URL_OPTION,
  ],
  examples: ['tokenwatch budget', 'tokenwatch budget --days 7 --json'],
  async run(invocation, io) {
    const query = new URLSearchParams({ days: textOption(invocation.options, 'days') ?? '' });
    const report = await apiOf(invocation, io).json<ApiBudgetReport>({ method: 'GET', path: `/v1/budget?${query}` });
    io.out.write(invocation.options.json === true ? `${JSON.stringify(report)}\n` : budgetReport(report));
    return 0;
  },
};

/** budgetReport is a comparison of budgets as a person wants to read it, the one in force marked. */
export function budgetReport({ budget: inForce, from, to, counted_from: countedFrom, rows }: ApiBudgetReport): string {
  const detectors = Object.keys(rows[0]?.pages_above ?? {});
  const head = ['  budget', 'paged', 'a week', 'held back', 'expected', 'malicious', ...detectors];
  const lines = rows.map((row) => [
    `${row.budget === inForce ? '>' : ' '} ${row.budget}`,
    ...[row.paged, row.paged_per_week, row.held_back, row.expected, row.malicious].map(String),
    ...detectors.map((detector) => `${row.by_detector[detector] ?? 0} above ${row.pages_above[detector]}`),
  ]);
  const lost = rows
    .filter((row) => row.lost.length > 0)
    .map(
      (row) =>
        `${row.budget} would have held back ${plural(row.lost.length, 'malicious alert')}: ${row.lost.join(', ')}\n`,
    );
  const minute = (time: string) => time.slice(0, 16).replace('T', ' ');
  const days = (Date.parse(to) - Date.parse(countedFrom)) / DAY_MS;
  const counted = `${days.toFixed(1)} days${countedFrom === from ? '' : ', all that findings cover (one day at least)'}`;
  return plain(
    `alerts that would have paged from ${minute(from)} to ${minute(to)} UTC, and of\n` +
      'each detector how many, and the surprise that a finding has to exceed now; `>` is the budget in force\n' +
      `\`a week\` is the rate of ${counted}\n\n` +
      `${table([head, ...lines])}${lost.length === 0 ? '' : `\n${lost.join('')}`}`,
  );
}
