import { alerts } from './alerts.ts';
import { check } from './check.ts';
import type { Command } from './command.ts';
import { importCommand } from './import.ts';
import { key } from './key.ts';
import { sql } from './sql.ts';
import { up } from './up.ts';

/** COMMANDS is every command there is: a new one is one file and one line here. */
export const COMMANDS: readonly Command[] = [up, importCommand, sql, alerts, key, check];
