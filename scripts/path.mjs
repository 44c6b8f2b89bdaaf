// Looking for programs on PATH; node built-ins only, as everything that runs before `npm ci`.
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** REDIS_SERVERS are the programs that can be the private Redis, the preferred one first. */
export const REDIS_SERVERS = ['redis-server', 'valkey-server'];

/** findOnPath returns the first of `names` that is a program on `path`, null when none is. */
export function findOnPath(names, path = process.env.PATH ?? '') {
  for (const name of names) {
    for (const folder of path.split(delimiter)) {
      if (folder === '') continue;
      const file = join(folder, name);
      try {
        accessSync(file, constants.X_OK);
        if (statSync(file).isFile()) return file;
      } catch {
        // Not here: the next folder.
      }
    }
  }
  return null;
}
