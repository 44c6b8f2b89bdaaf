import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { encodeLifecycle, encodeUsage, type Store } from '../../store/index.ts';
import { openRowFiles } from '../../store/row-files.ts';
import { emptyStore, openTestStore, rows, testStoreFolder } from '../kit/store.ts';

const NOW = Date.now() - 60_000;
const ROWS = 4_000;

/** What an encoder has to get past two readers unchanged. */
const ODD = [
  '',
  'a"b\\c',
  'tab\tline\nreturn\r',
  'nul\u0000',
  'é ü 漢字',
  '\u{1f600}',
  '\u2028',
  '[1,2]',
  '{x:String}',
  "it's $$",
  ';',
];

const events = Array.from({ length: ROWS }, (_, i) =>
  encodeUsage({
    time: NOW + i,
    receivedAt: NOW,
    id: `e${i}`,
    token: `tok_${i % 7}${ODD[i % ODD.length]}`,
    lineage: `tok_${i % 7}`,
    owner: `acme ${ODD[i % ODD.length]}`,
    endpoint: `GET /v1/${i % 50}${ODD[(i + 1) % ODD.length]}`,
    method: 'GET',
    status: i % 1_000,
    ip: '203.0.113.9',
    country: i % 3 === 0 ? '' : 'AU',
    asn: i,
    networkKind: i % 2 === 0 ? 'hosting' : '',
    latitude: i / 100,
    longitude: -i / 100,
    accuracyKm: i % 9,
    userAgent: `curl ${ODD[(i + 2) % ODD.length]}`,
    bytes: 2 ** 52 + i,
    durationMs: i / 8,
    requestId: `r${ODD[(i + 3) % ODD.length]}`,
    attributes: JSON.stringify({ filler: 'x'.repeat(200), odd: ODD[i % ODD.length] }),
    source: 'native',
  }),
);
const steps = Array.from({ length: ROWS }, (_, i) =>
  encodeLifecycle({
    time: NOW + i,
    receivedAt: NOW,
    id: `l${i}`,
    action: i % 2 === 0 ? 'issued' : 'revoked',
    token: `tok_${i}`,
    lineage: `tok_${i}`,
    owner: 'acme',
    replaces: i % 4 === 0 ? 'tok_0' : '',
    issuedBy: '',
    issuerLineage: '',
    requestedAt: i % 3 === 0 ? null : NOW,
    expiresAt: null,
    effectiveAt: NOW,
    fingerprint: '',
    scopes: i % 2 === 0 ? [] : ['read', `write ${ODD[i % ODD.length]}`],
    reason: `${ODD[i % ODD.length]}${'y'.repeat(200)}`,
    config: '',
    ip: '',
    country: '',
    userAgent: '',
    requestId: '',
    attributes: '',
    source: 'native',
  }),
);

let store: Store;
beforeAll(async () => {
  store = await openTestStore();
});
afterAll(() => store.close());

const hashOf = async (table: string) =>
  (await rows(store, `SELECT count() AS rows, toString(groupBitXor(cityHash64(*))) AS hash FROM ${table}`))[0];
const ROLLUPS = ['rollup_facets', 'rollup_hours', 'rollup_tokens', 'rollup_places', 'rollup_churn'];
/** Everything that is stored, whatever parts it lies in. */
const all = async () => ({
  events: await hashOf('events FINAL'),
  lifecycle: await hashOf('lifecycle FINAL'),
  rollups: await Promise.all(ROLLUPS.map((table) => hashOf(`${table} FINAL`))),
});
async function insert(size: number): Promise<void> {
  await emptyStore(store);
  for (let at = 0; at < ROWS; at += size) {
    await store.insert('events', events.slice(at, at + size), `events ${size} ${at}`);
    await store.insert('lifecycle', steps.slice(at, at + size), `steps ${size} ${at}`);
  }
}
const left = () => readdirSync(join(testStoreFolder(), 'inserting'));

describe('rows of an insert into the embedded engine', () => {
  test('are stored the same in many pieces and in one, in their tables and in every rollup, and leave no file', async () => {
    await insert(400);
    const small = await all();
    expect(small.events).toMatchObject({ rows: ROWS });
    await insert(ROWS);
    expect(await all()).toEqual(small);
    expect(left()).toEqual([]);
  });

  test('under the same token are stored once, also by two senders at once', async () => {
    await insert(ROWS);
    const once = await all();
    await Promise.all([1, 2].map(() => store.insert('events', events, `events ${ROWS} 0`)));
    await store.insert('lifecycle', steps, `steps ${ROWS} 0`);
    expect(await all()).toEqual(once);
    expect((await rows(store, 'SELECT sum(calls) AS calls FROM rollup_hours'))[0]).toEqual({ calls: ROWS });
  });

  test('are refused as a whole when one of them is none, and their file goes', async () => {
    await emptyStore(store);
    const bad = JSON.stringify(['not a time', ...JSON.parse(events[0] as string).slice(1)]);
    await expect(store.insert('events', [...events, bad], 'mixed')).rejects.toMatchObject({
      code: 'store_refused_rows',
      kind: 'poison',
    });
    expect((await all()).events).toMatchObject({ rows: 0 });
    expect(left()).toEqual([]);
    await store.insert('events', events, 'mixed');
    expect((await all()).events).toMatchObject({ rows: ROWS });
  });
});

describe('the files of rows', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tokenwatch-rows-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test('that a killed process left are cleared by the first that opens the folder, and by no other', () => {
    const stale = join(folder, 'inserting', 'stale.rows');
    mkdirSync(join(folder, 'inserting'));
    writeFileSync(stale, '[1]');
    openRowFiles(folder, false);
    expect(existsSync(stale)).toBe(true);
    openRowFiles(folder, true);
    expect(existsSync(stale)).toBe(false);
  });

  test('lie apart where the engine would read the path of the data directory as a pattern, and go with the store', async () => {
    for (const odd of ['a{1,2}', 'a*', 'a?', '[a]', 'a.zip :: b']) {
      const files = openRowFiles(join(folder, odd), true);
      const path = await files.lend(Buffer.from('[1]'), async (path) => path);
      expect([odd, path.startsWith(folder), existsSync(dirname(path))]).toEqual([odd, false, true]);
      files.close();
      expect([odd, existsSync(dirname(path))]).toEqual([odd, false]);
    }
  });

  test('hold what was given, for as long as it is used', async () => {
    const files = openRowFiles(folder, true);
    const path = await files.lend(Buffer.from('[1]\n[2]'), async (path) => {
      expect(readFileSync(path, 'utf8')).toBe('[1]\n[2]');
      return path;
    });
    expect(existsSync(path)).toBe(false);
    await expect(files.lend(Buffer.from('[1]'), () => Promise.reject(new Error('refused')))).rejects.toThrow('refused');
    expect(readdirSync(dirname(path))).toEqual([]);
  });
});
