import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Authenticate, type Clock, randomToken, SCOPES, type Scope, TokenwatchError } from '../core/index.ts';
import { defineQuery, list, type Store, text, time } from '../store/index.ts';

/** AccessKey is what is known of a key; its secret is known to its holder alone. Times are epoch milliseconds. */
export interface AccessKey {
  readonly id: string;
  readonly name: string;
  readonly scopes: readonly Scope[];
  readonly status: 'active' | 'revoked';
  readonly createdAt: number;
  readonly expiresAt: number | null;
}

/** IssuedKey carries the key's whole text, which cannot be shown again. */
export interface IssuedKey extends AccessKey {
  readonly key: string;
}

/** Keys issues, checks and ends access keys. */
export interface Keys {
  /** authenticate checks `Bearer <key>`, or Basic with the key as the password. */
  readonly authenticate: Authenticate;
  issue(name: string, scopes: readonly Scope[], expiresAt?: number | null): Promise<IssuedKey>;
  list(): Promise<AccessKey[]>;
  /** rotate issues a key with the same name and scopes; the old one ends after `graceMs`. Throws `key_unknown`. */
  rotate(id: string, graceMs: number): Promise<IssuedKey>;
  /** revoke ends a key in every process within two seconds. Throws `key_unknown`. */
  revoke(id: string): Promise<AccessKey>;
  /**
   * ensureFirstKey sees to it that there is a key on first start: `given` when the operator chose one, else a new one in
   * `<dataDir>/access-key` (mode 0600). Returns the key's text only when it was newly made.
   */
  ensureFirstKey(options: { readonly dataDir: string; readonly given: string | null }): Promise<string | null>;
}

/** A revocation takes effect in every process within this time. */
const REFRESH_MS = 2_000;

/** Name of the file that holds the operator's first key. */
export const FIRST_KEY_FILE = 'access-key';

interface StoredKey extends AccessKey {
  readonly hash: string;
}

const allKeys = defineQuery<Record<string, never>, StoredKey>(
  'access_keys_all',
  `SELECT id, argMax(hash, updated_at) AS hash, argMax(name, updated_at) AS name, argMax(scopes, updated_at) AS scopes,
          argMax(status, updated_at) AS status, min(created_at) AS created,
          argMax(tuple(expires_at), updated_at).1 AS expires
   FROM access_keys GROUP BY id ORDER BY created, id`,
  (raw) => ({
    id: text(raw.id),
    hash: text(raw.hash),
    name: text(raw.name),
    scopes: list(raw.scopes).filter((scope): scope is Scope => (SCOPES as readonly string[]).includes(scope)),
    status: raw.status === 'active' ? 'active' : 'revoked',
    createdAt: time(raw.created),
    expiresAt: raw.expires === null ? null : time(raw.expires),
  }),
);

/** createKeys keeps the access keys in the store, hashed. */
export function createKeys(store: Pick<Store, 'insert' | 'read'>, clock: Clock): Keys {
  let known: ReadonlyMap<string, StoredKey> = new Map();
  let readAt = Number.NEGATIVE_INFINITY;
  let reading: Promise<void> | null = null;
  let lastWrite = 0;

  const refresh = (): Promise<void> => {
    // Counted from before the read: what changes while it runs is seen by the next one.
    const startedAt = clock.now();
    reading ??= store
      .read(allKeys, {})
      .then((keys) => {
        known = new Map(keys.map((key) => [key.hash, key]));
        readAt = startedAt;
      })
      .finally(() => {
        reading = null;
      });
    return reading;
  };

  const write = async (key: StoredKey): Promise<void> => {
    // The newest row of a key counts, so two changes within one millisecond still need an order.
    const updatedAt = Math.max(clock.now(), lastWrite + 1);
    lastWrite = updatedAt;
    const row = [
      key.id,
      key.hash,
      key.name,
      key.scopes,
      key.status,
      iso(key.createdAt),
      key.expiresAt === null ? null : iso(key.expiresAt),
      iso(updatedAt),
    ];
    await store.insert('access_keys', [JSON.stringify(row)], '');
    await reading?.catch(() => {});
    await refresh();
  };

  const add = async (key: string, id: string, name: string, scopes: readonly Scope[], expiresAt: number | null) => {
    const stored: StoredKey = {
      id,
      hash: hashOf(key),
      name,
      scopes,
      status: 'active',
      createdAt: clock.now(),
      expiresAt,
    };
    await write(stored);
    return { ...publicPart(stored), key };
  };

  const issue: Keys['issue'] = (name, scopes, expiresAt = null) => {
    const id = randomBytes(4).toString('hex');
    return add(`tw_${id}_${randomToken(32)}`, id, name, scopes, expiresAt);
  };

  const find = async (id: string): Promise<StoredKey> => {
    await refresh();
    for (const key of known.values()) if (key.id === id) return key;
    throw new TokenwatchError('key_unknown', 'poison', `There is no access key ${id.slice(0, 40)}.`, {
      fix: 'See the ids with: tokenwatch key list',
    });
  };

  return {
    issue,
    async authenticate(authorization, scope) {
      const presented = keyIn(authorization);
      if (presented === null) return { kind: 'unknown' };
      if (clock.now() - readAt >= REFRESH_MS) await refresh();
      const hash = hashOf(presented);
      const key = known.get(hash);
      // The lookup is by a hash that a caller cannot steer; the comparison is constant-time all the same.
      if (key === undefined || !timingSafeEqual(Buffer.from(key.hash), Buffer.from(hash))) return { kind: 'unknown' };
      if (key.status !== 'active' || (key.expiresAt !== null && key.expiresAt <= clock.now()))
        return { kind: 'unknown' };
      return key.scopes.includes(scope) ? { kind: 'ok', keyId: key.id } : { kind: 'forbidden' };
    },
    async list() {
      await refresh();
      return [...known.values()].map(publicPart);
    },
    async rotate(id, graceMs) {
      const old = await find(id);
      const next = await issue(old.name, old.scopes, null);
      const end = clock.now() + graceMs;
      await write({ ...old, expiresAt: old.expiresAt === null ? end : Math.min(old.expiresAt, end) });
      return next;
    },
    async revoke(id) {
      const revoked: StoredKey = { ...(await find(id)), status: 'revoked' };
      await write(revoked);
      return publicPart(revoked);
    },
    async ensureFirstKey({ dataDir, given }) {
      await refresh();
      if (given !== null) {
        checkGivenKey(given);
        const hash = hashOf(given);
        const there = known.get(hash);
        if (there?.status !== 'active') await add(given, hash.slice(0, 8), 'from TOKENWATCH_ACCESS_KEY', SCOPES, null);
        return null;
      }
      const path = join(dataDir, FIRST_KEY_FILE);
      const kept = readKeyFile(path);
      if (kept !== null && known.get(hashOf(kept))?.status === 'active') return null;
      for (const key of known.values()) if (key.status === 'active' && key.scopes.includes('manage')) return null;
      const made = await issue('first key', SCOPES);
      mkdirSync(dataDir, { recursive: true });
      writeFileSync(path, `${made.key}\n`, { mode: 0o600 });
      // The mode above holds for a new file only.
      chmodSync(path, 0o600);
      return made.key;
    },
  };
}

function publicPart({ id, name, scopes, status, createdAt, expiresAt }: StoredKey): AccessKey {
  return { id, name, scopes, status, createdAt, expiresAt };
}

function hashOf(key: string): string {
  return createHash('sha256').update(key).digest('hex');
}

function iso(at: number): string {
  return new Date(at).toISOString();
}

/** keyIn takes the key out of an Authorization header; null when there is none. */
function keyIn(authorization: string | undefined): string | null {
  const match = /^(bearer|basic)\s+(\S+)\s*$/i.exec(authorization ?? '');
  if (match === null) return null;
  const [, scheme, value] = match as unknown as [string, string, string];
  if (scheme.toLowerCase() === 'bearer') return value;
  const pair = Buffer.from(value, 'base64').toString('utf8');
  const colon = pair.indexOf(':');
  return colon < 0 || colon === pair.length - 1 ? null : pair.slice(colon + 1);
}

function checkGivenKey(given: string): void {
  if (/^\S{16,256}$/.test(given)) return;
  throw new TokenwatchError('bad_access_key', 'config', 'TOKENWATCH_ACCESS_KEY is not usable as an access key.', {
    fix: 'Give it 16 to 256 characters without spaces, or leave it out to have a key made.',
  });
}

function readKeyFile(path: string): string | null {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}
