import { createHash, randomBytes } from 'node:crypto';

/** stableId hashes its parts to `length` hex digits, with a separator that no part can forge; the same parts give the same id on every process. */
export function stableId(parts: readonly (string | number)[], length = 20): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, length);
}

/** randomToken is `bytes` random bytes as URL-safe text. */
export function randomToken(bytes = 24): string {
  return randomBytes(bytes).toString('base64url');
}
