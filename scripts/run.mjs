// `node scripts/run.mjs COMMAND [ARGUMENTS]`: all set-up that is missing, then the command, in this same process.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { fail, prepare, ROOT } from './setup.mjs';

const [command, ...args] = process.argv.slice(2);
const dist = (file) => pathToFileURL(join(ROOT, 'dist', file)).href;

try {
  await prepare({ redis: () => wantsPrivateRedis(command) });
  const main = join(ROOT, 'dist', 'cli', 'main.js');
  // The command sees the arguments as if it had been started by itself.
  process.argv.splice(1, process.argv.length - 1, main, ...(command === undefined ? [] : [command]), ...args);
  process.setSourceMapsEnabled(true);
  await import(pathToFileURL(main).href);
} catch (error) {
  fail(error);
}

/** A Redis of one's own is needed unless the operator has one; a broken configuration is the command's to report. */
async function wantsPrivateRedis(name) {
  if (process.env.REDIS_URL) return false;
  if (name === 'demo') return true;
  if (name !== 'up') return false;
  const { loadConfig } = await import(dist('config/index.js'));
  const at = args.findIndex((arg) => arg === '--config' || arg.startsWith('--config='));
  const file = at === -1 ? undefined : args[at].includes('=') ? args[at].slice('--config='.length) : args[at + 1];
  try {
    return loadConfig({ file, env: process.env, cwd: process.cwd() }).queue.url === null;
  } catch {
    return false;
  }
}
