import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Arguments, readArguments } from './arguments.ts';
import { CASES } from './cases/index.ts';
import type { BenchCase } from './contract.ts';
import type { EngineAnswer, EngineQuestion } from './engine-process.ts';
import { describeMachine } from './machine.ts';
import { makeFolder, removeFolder, startHelper } from './processes.ts';
import { type CaseReport, failed, markdownReport, type Report, textReport } from './report.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

const HELP = `npm run bench -- [case...] [--quick] [--markdown] [--json FILE]

Cases, all of them when none is named:
${CASES.map(({ id, title }) => `  ${id.padEnd(10)}${title}`).join('\n')}

  --quick      small sizes: shows that the benchmarks work, the figures mean little
  --markdown   print the table of docs/benchmarks.md
  --json FILE  write the figures there instead of bench/results/<date>.json
`;

const say = (text: string) => process.stderr.write(`${text}\n`);

await main();

async function main(): Promise<void> {
  let asked: Arguments;
  try {
    asked = readArguments(
      process.argv.slice(2),
      CASES.map(({ id }) => id),
    );
  } catch (error) {
    say(`error: ${error instanceof Error ? error.message : String(error)}\n\n${HELP}`);
    process.exitCode = 2;
    return;
  }
  if (asked.help) {
    process.stdout.write(HELP);
    return;
  }
  const machine = describeMachine(await engineVersion());
  const cases: CaseReport[] = [];
  for (const one of CASES)
    if (asked.cases.length === 0 || asked.cases.includes(one.id)) cases.push(await runCase(one, asked.quick));
  const report: Report = { at: new Date().toISOString(), quick: asked.quick, machine, cases };
  process.stdout.write(asked.markdown ? markdownReport(report) : textReport(report));
  const file = resolve(
    asked.json ?? join(ROOT, 'bench', 'results', `${report.at.slice(0, 19).replaceAll(':', '-')}.json`),
  );
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify(report, null, 2)}\n`);
  say(`\nwritten to ${file}`);
  // Not awaited away: a helper that hangs must not keep a finished run from ending.
  process.exit(failed(report) ? 1 : 0);
}

async function runCase({ id, title, run }: BenchCase, quick: boolean): Promise<CaseReport> {
  const folder = makeFolder();
  const began = performance.now();
  say(`\n${id}: ${title}`);
  try {
    const result = await run({ quick, folder, say: (text) => say(`  ${text}`) });
    return { id, title, seconds: (performance.now() - began) / 1000, result, error: null };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    say(`  broke: ${error instanceof Error ? error.stack : why}`);
    return { id, title, seconds: (performance.now() - began) / 1000, result: null, error: why };
  } finally {
    removeFolder(folder);
  }
}

async function engineVersion(): Promise<string> {
  const folder = makeFolder();
  const engine = startHelper<EngineQuestion, EngineAnswer>('engine-process');
  try {
    return String(await engine.ask({ ask: 'version', dataDir: folder }));
  } finally {
    await engine.end();
    removeFolder(folder);
  }
}
