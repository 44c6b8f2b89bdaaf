import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

// Tests bring their own engines: where the operator's shell points must never matter to them, and never be written to.
for (const name of [
  'CLICKHOUSE_URL',
  'REDIS_URL',
  'TOKENWATCH_LISTEN',
  'TOKENWATCH_DATA',
  'TOKENWATCH_CONFIG',
  'TOKENWATCH_ACCESS_KEY',
  'TOKENWATCH_LOG',
]) {
  delete process.env[name];
}

/** They start programs or open stores in folders of their own, and so have a process each. */
const APART = ['system', 'cli', 'store', 'scripts', 'bench', 'kit'].map((folder) => `test/${folder}/**/*.test.ts`);

export default defineConfig({
  test: {
    projects: [
      // A room's tests share their processes: loading the libraries costs more than most files' tests.
      { extends: true, test: { name: 'rooms', include: ['test/**/*.test.ts'], exclude: APART, isolate: false } },
      { extends: true, test: { name: 'programs', include: APART } },
      // The same tests again with the store behind ClickHouse's HTTP interface: one switch, see test/kit/store.ts.
      {
        extends: true,
        test: {
          name: 'http',
          // Alerting over HTTP is what test/system/processes runs.
          include: ['test/store/store.test.ts', 'test/ingest/pipeline.test.ts'],
          env: { TOKENWATCH_TEST_STORE: 'http' },
        },
      },
    ],
    // Processes, not threads: the embedded engine allows one data directory per process.
    pool: 'forks',
    // One more than there are processors: a third of the time the system tests wait for processes of their own.
    maxWorkers: Math.min(4, availableParallelism() + 1),
    globalSetup: ['scripts/vitest-setup.mjs'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    teardownTimeout: 15_000,
  },
});
