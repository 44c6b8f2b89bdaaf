import { readFileSync } from 'node:fs';

/** version is the version of the package that this runs from. */
export function version(): string {
  // The same file from the sources (cli/) and from the build (dist/cli/).
  for (const path of ['../package.json', '../../package.json']) {
    try {
      return (JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8')) as { version: string }).version;
    } catch {
      // One folder further up.
    }
  }
  return 'unknown';
}
