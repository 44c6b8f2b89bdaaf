// `npm test [-- VITEST ARGUMENTS]`: all set-up that is missing, then lint, format and types, then the tests.
// The last line is always `N passed, N failed` (`, N skipped`); lint and types count as one test each.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { prepare, ROOT, run } from './setup.mjs';

const args = process.argv.slice(2);
const bin = (...path) => join(ROOT, 'node_modules', ...path);

/** Lint and types; quiet when they are fine. */
async function check() {
  const checks = [
    [
      'lint and format',
      [bin('@biomejs', 'biome', 'bin', 'biome'), 'ci', '--colors=off', '--diagnostic-level=error', '.'],
    ],
    ['types', [bin('typescript', 'bin', 'tsc'), '--noEmit', '--pretty', 'false', '-p', 'tsconfig.json']],
  ];
  let failed = 0;
  for (const [name, command] of checks) {
    const { code, output } = await run(process.execPath, command);
    process.stdout.write(code === 0 ? `✓ ${name}\n` : `✗ ${name}\n${output}\n`);
    if (code !== 0) failed++;
  }
  return { passed: checks.length - failed, failed };
}

/** The tests; their own report goes straight to the terminal. */
async function vitest() {
  const folder = mkdtempSync(join(tmpdir(), 'tokenwatch-test-'));
  const file = join(folder, 'tally.json');
  try {
    const command = [
      bin('vitest', 'vitest.mjs'),
      'run',
      '--reporter=default',
      '--reporter=./scripts/tally.mjs',
      ...args,
    ];
    const child = spawn(process.execPath, command, {
      cwd: ROOT,
      stdio: 'inherit',
      // What tests leave goes with the folder: their processes are killed when they are done, and clear nothing themselves.
      env: { ...process.env, TOKENWATCH_TALLY: file, TMPDIR: folder },
    });
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
    const code = await new Promise((resolve) => child.on('close', (status) => resolve(status ?? 1)));
    return { code, ...JSON.parse(readFileSync(file, 'utf8')) };
  } catch {
    // vitest ended before it could report: that is a failure, whatever it was.
    return { code: 1, passed: 0, failed: 1, skipped: 0 };
  } finally {
    rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }
}

try {
  await prepare({ redis: () => true });
  const checks = args.length === 0 ? await check() : { passed: 0, failed: 0 };
  const tests = await vitest();
  const passed = checks.passed + tests.passed;
  const failed = checks.failed + tests.failed;
  const nothingRan = tests.passed + tests.failed === 0;
  if (nothingRan) process.stdout.write('no test ran\n');
  const skipped = tests.skipped > 0 ? `, ${tests.skipped} skipped` : '';
  process.stdout.write(`\n${passed} passed, ${failed} failed${skipped}\n`);
  process.exitCode = failed > 0 || nothingRan ? 1 : tests.code;
} catch (error) {
  process.stderr.write(`error: ${error.message}\n`);
  process.stdout.write('\n0 passed, 1 failed\n');
  process.exitCode = 1;
}
