// `npm run bench`: all set-up that is missing, then the benchmarks.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { fail, prepare, ROOT } from './setup.mjs';

try {
  await prepare({ redis: () => true });
  await import(pathToFileURL(join(ROOT, 'dist', 'bench', 'main.js')).href);
} catch (error) {
  fail(error);
}
