import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { errorText } from '../core/index.ts';
import { type Arguments, HELP, readArguments } from './arguments.ts';
import { docsOf, runText } from './docs.ts';
import { calibrationNotes, delayNotes } from './notes.ts';
import type { ScenarioOutcome } from './outcome.ts';
import { PLAIN_RULE } from './plain-rule.ts';
import { askProcess, eachOf } from './processes.ts';
import type { RealInput } from './real-input.ts';
import type { RealQuestion } from './real-process.ts';
import { missesOf, type Report, realText, ruleText, tablesOf, textTable } from './report.ts';
import type { ScenarioQuestion } from './scenario-process.ts';
import { scenarioName } from './scenarios.ts';
import { bestRule, f1Of, scoresOf } from './scores.ts';

/** Compiled, this file is in dist/evaluation. */
const ROOT = fileURLToPath(new URL(import.meta.url.endsWith('.js') ? '../..' : '..', import.meta.url));
const DOCS = join(ROOT, 'docs', 'evaluation');

const say = (text: string) => process.stderr.write(`${text}\n`);

await main();

async function main(): Promise<void> {
  let asked: Arguments;
  try {
    asked = readArguments(process.argv.slice(2));
  } catch (error) {
    say(`error: ${errorText(error)}\n\n${HELP}`);
    process.exitCode = 2;
    return;
  }
  if (asked.help) {
    process.stdout.write(HELP);
    return;
  }
  const report = asked.from === null ? await run(asked) : readReport(asked.from);
  process.stdout.write(`\n${runText(report)}\n\n${tablesOf(report).map(textTable).join('\n')}\n`);
  const scores = scoresOf(report.outcomes);
  for (const note of [...delayNotes(scores), ...calibrationNotes(scores)]) process.stdout.write(`${note}\n`);
  for (const miss of missesOf(report)) process.stdout.write(`${miss}\n`);
  if (report.real !== null) process.stdout.write(`\nReal input\n${realText(report.real).join('\n')}\n`);
  if (asked.tune && asked.from === null) {
    const { rule, quality } = bestRule(report.outcomes);
    process.stdout.write(`\nThe best plain rule: ${ruleText(rule)}; F1 ${f1Of(quality).toFixed(3)}\n`);
  }
  if (asked.json !== null) write(resolve(asked.json), `${JSON.stringify(report, null, 1)}\n`);
  if (asked.docs)
    for (const [name, text] of Object.entries(docsOf(report, readFileSync(join(DOCS, 'README.md'), 'utf8'))))
      write(join(DOCS, name), text);
}

/** run judges every scenario that is asked for, each in a process of its own: the embedded engine wants one to itself. */
async function run({ scenarios, atOnce, tune, quick, cloudtrail }: Arguments): Promise<Report> {
  let done = 0;
  const outcomes = await eachOf(scenarios, atOnce, async (scenario) => {
    const outcome = await askProcess<ScenarioQuestion, ScenarioOutcome>('scenario-process', { scenario, tune });
    const caught = outcome.attacks.filter(({ delayMs }) => delayMs !== null).length;
    const wrong = outcome.pages.filter(({ trueFor }) => trueFor.length === 0).length;
    say(
      `${++done} of ${scenarios.length}  ${scenarioName(scenario)}: ${outcome.events} events in ${outcome.seconds.toFixed(0)} s, ` +
        `${outcome.attacks.length > 0 ? `${caught} of ${outcome.attacks.length} attacks paged, ` : ''}${wrong} false pages`,
    );
    return outcome;
  });
  const real =
    cloudtrail === null
      ? null
      : await askProcess<RealQuestion, RealInput>('real-process', { file: resolve(cloudtrail) });
  return { quick, outcomes, rule: PLAIN_RULE, real };
}

function readReport(file: string): Report {
  return JSON.parse(readFileSync(file, 'utf8')) as Report;
}

function write(file: string, text: string): void {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
  say(`written to ${file}`);
}
