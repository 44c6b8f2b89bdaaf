// `npm run evaluate`: all set-up that is missing, then the evaluation. It keeps its queues in memory and needs no Redis.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { fail, prepare, ROOT } from './setup.mjs';

try {
  await prepare({ redis: () => false });
  await import(pathToFileURL(join(ROOT, 'dist', 'evaluation', 'main.js')).href);
} catch (error) {
  fail(error);
}
