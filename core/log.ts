import { pino } from 'pino';

/** Logger writes one JSON line per message; fields first, then a sentence. */
export type Logger = Pick<import('pino').Logger, 'debug' | 'info' | 'warn' | 'error'> & {
  child(fields: Record<string, unknown>): Logger;
};

/** createLogger makes the root logger; `level` as in pino, `silent` for none. Goes to stderr: stdout belongs to results. */
export function createLogger(level: string): Logger {
  return pino({ level, base: undefined, timestamp: pino.stdTimeFunctions.isoTime }, pino.destination(2)) as Logger;
}
