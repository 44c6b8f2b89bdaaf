import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { SCOPES } from '../../core/index.ts';
import { createKeys, FIRST_KEY_FILE } from '../../ingest/index.ts';
import type { Store } from '../../store/index.ts';
import { openTestStore, rows } from '../kit/store.ts';

let store: Store;
const folder = mkdtempSync(join(tmpdir(), 'tokenwatch-keys-'));

beforeAll(async () => {
  store = await openTestStore();
});

afterAll(async () => {
  await store?.close();
  rmSync(folder, { recursive: true, force: true });
});

const clockAt = (at: number) => ({ at, now: () => clock.at });
let clock = clockAt(0);
const NOW = Date.UTC(2026, 10, 22);

test('a key works for its scopes only, and its secret is stored nowhere', async () => {
  clock = clockAt(NOW);
  const keys = createKeys(store, clock);
  const issued = await keys.issue('shipper', ['ingest']);
  expect(issued.key).toMatch(/^tw_[0-9a-f]{8}_[A-Za-z0-9_-]{43}$/);
  const authorization = `Bearer ${issued.key}`;
  expect(await keys.authenticate(authorization, 'ingest')).toEqual({ kind: 'ok', keyId: issued.id });
  expect(await keys.authenticate(authorization, 'manage')).toEqual({ kind: 'forbidden' });
  const basic = `Basic ${Buffer.from(`any:${issued.key}`).toString('base64')}`;
  expect(await keys.authenticate(basic, 'ingest')).toEqual({ kind: 'ok', keyId: issued.id });
  for (const wrong of [undefined, '', 'Bearer', `Bearer ${issued.key}x`, issued.key, 'Basic !!!', 'Bearer a b']) {
    expect(await keys.authenticate(wrong, 'ingest')).toEqual({ kind: 'unknown' });
  }
  const kept = JSON.stringify(await rows(store, 'SELECT * FROM access_keys'));
  expect(kept).toContain(issued.id);
  expect(kept).not.toContain(issued.key.slice(12));
  expect(JSON.stringify(await keys.list())).not.toContain(issued.key.slice(12));
});

test('a revocation takes effect in another process within two seconds', async () => {
  clock = clockAt(NOW);
  const here = createKeys(store, clock);
  const there = createKeys(store, clock);
  const { id, key } = await here.issue('leaked', ['ingest']);
  expect(await there.authenticate(`Bearer ${key}`, 'ingest')).toMatchObject({ kind: 'ok' });
  expect(await here.revoke(id)).toMatchObject({ id, status: 'revoked' });
  expect(await here.authenticate(`Bearer ${key}`, 'ingest')).toEqual({ kind: 'unknown' });
  clock.at += 2_000;
  expect(await there.authenticate(`Bearer ${key}`, 'ingest')).toEqual({ kind: 'unknown' });
});

test('a rotated key goes on for its grace time, the new one works at once', async () => {
  clock = clockAt(NOW);
  const keys = createKeys(store, clock);
  const old = await keys.issue('rotating', ['read'], NOW + 10_000_000);
  const next = await keys.rotate(old.id, 60_000);
  expect(next).toMatchObject({ name: 'rotating', scopes: ['read'] });
  expect(next.id).not.toBe(old.id);
  expect(await keys.authenticate(`Bearer ${old.key}`, 'read')).toMatchObject({ kind: 'ok' });
  clock.at = NOW + 60_000;
  expect(await keys.authenticate(`Bearer ${old.key}`, 'read')).toEqual({ kind: 'unknown' });
  expect(await keys.authenticate(`Bearer ${next.key}`, 'read')).toMatchObject({ kind: 'ok' });
});

test('an unknown id is named', async () => {
  await expect(createKeys(store, clock).revoke('nope')).rejects.toMatchObject({ code: 'key_unknown' });
});

test('the first start makes a key with all scopes in a private file, later starts none', async () => {
  clock = clockAt(NOW);
  const fresh = await openTestStore();
  const keys = createKeys(fresh, clock);
  const made = await keys.ensureFirstKey({ dataDir: folder, given: null });
  const path = join(folder, FIRST_KEY_FILE);
  expect(readFileSync(path, 'utf8').trim()).toBe(made);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  for (const scope of SCOPES) expect(await keys.authenticate(`Bearer ${made}`, scope)).toMatchObject({ kind: 'ok' });
  expect(await createKeys(fresh, clock).ensureFirstKey({ dataDir: folder, given: null })).toBeNull();
  await fresh.close();
});

test('a key given by the operator is taken, once, and a weak one refused', async () => {
  clock = clockAt(NOW);
  const fresh = await openTestStore();
  const given = 'a-key-of-the-operators-own';
  for (let start = 0; start < 2; start++) {
    const keys = createKeys(fresh, clock);
    expect(await keys.ensureFirstKey({ dataDir: folder, given })).toBeNull();
    expect(await keys.authenticate(`Bearer ${given}`, 'manage')).toMatchObject({ kind: 'ok' });
    expect((await keys.list()).length).toBe(1);
  }
  await expect(createKeys(fresh, clock).ensureFirstKey({ dataDir: folder, given: 'short' })).rejects.toMatchObject({
    code: 'bad_access_key',
  });
  await fresh.close();
});
