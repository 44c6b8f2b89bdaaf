import { errorText, TokenwatchError } from '../../core/index.ts';

/**
 * reportError is how every command says that it failed: what was wrong, what to do, and the code to look up. A stack only
 * when `debug` is set: it helps whoever works on Tokenwatch, nobody else.
 */
export function reportError(error: unknown, debug: boolean): string {
  const lines = [`error: ${errorText(error)}`];
  if (error instanceof TokenwatchError) {
    if (error.fix !== '') lines.push(`  ${error.fix}`);
    lines.push(`  (${error.code})`);
  }
  if (debug && error instanceof Error) {
    lines.push(error.stack ?? '');
    if (error.cause !== undefined)
      lines.push(`caused by: ${error.cause instanceof Error ? error.cause.stack : error.cause}`);
  }
  return `${lines.join('\n')}\n`;
}
