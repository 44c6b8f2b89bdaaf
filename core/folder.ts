import { accessSync, constants, mkdirSync } from 'node:fs';
import { TokenwatchError } from './errors.ts';

/** makeDataFolder makes a folder under the data directory, and those above it, for this user alone; throws `store_unusable` when nothing can be written there. */
export function makeDataFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    accessSync(path, constants.W_OK | constants.X_OK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const why =
      code === 'EEXIST' || code === 'ENOTDIR'
        ? 'there is a file in its place or above it'
        : `it cannot be written to (${code})`;
    throw new TokenwatchError('store_unusable', 'config', `The data folder ${path} cannot be used: ${why}.`, {
      cause: error,
      fix: 'Give it to the user that runs Tokenwatch, with free space, or choose another folder with TOKENWATCH_DATA.',
    });
  }
}
