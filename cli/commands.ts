import type { Command } from './command.ts';

/**
 * COMMANDS is every command there is, by name: a new one is one file and one line here. Each is loaded when it is asked
 * for only, so that `tokenwatch sql` does not wait for the detectors.
 */
export const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  up: async () => (await import('./up.ts')).up,
  import: async () => (await import('./import.ts')).importCommand,
  backtest: async () => (await import('./backtest.ts')).backtest,
  demo: async () => (await import('./demo.ts')).demo,
  sql: async () => (await import('./sql.ts')).sql,
  alerts: async () => (await import('./alerts.ts')).alerts,
  budget: async () => (await import('./budget.ts')).budget,
  key: async () => (await import('./key.ts')).key,
  check: async () => (await import('./check.ts')).check,
};
