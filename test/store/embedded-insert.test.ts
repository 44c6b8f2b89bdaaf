import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { encodeLifecycle, encodeUsage, type Store } from '../../store/index.ts';
import { openRowFiles } from '../../store/row-files.ts';
import { built, distUrl, run } from '../kit/processes.ts';
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
    asn: 0,
    networkKind: '',
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

/** storesOne stores a row with a data directory, in a process of its own, and prints how many are there then, or the error. */
async function storesOne(dataDir: string, env: Record<string, string>) {
  const script = `
    const { openStore } = await import(${JSON.stringify(distUrl('store/index.js'))});
    const { systemClock, createLogger } = await import(${JSON.stringify(distUrl('core/index.js'))});
    const config = { dataDir: ${JSON.stringify(dataDir)}, store: { url: null, retention: { eventsMs: null } } };
    try {
      const store = await openStore(config, { log: createLogger('silent'), clock: systemClock });
      await store.insert('events', [${JSON.stringify(events[0])}], '');
      const [row] = await store.read({ name: 'n', sql: 'SELECT count() AS rows FROM events', row: (raw) => raw }, {});
      console.log(JSON.stringify(row));
      await store.close();
    } catch ({ code, kind, message, fix }) {
      console.log(JSON.stringify({ code, kind, message, fix }));
    }
    process.exit();`;
  await built();
  return run(process.execPath, ['--input-type=module', '-e', script], { cwd: testStoreFolder(), env }).ended;
}

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

  test('lie apart, in the same place at every start, where the engine would read the data directory as a pattern', async () => {
    for (const odd of ['a{1,2}', 'a*', 'a?', '[a]', 'a.zip :: b', 'a.zip::b']) {
      const folders = await Promise.all(
        [1, 2].map(() => openRowFiles(join(folder, odd), true).lend(Buffer.from('[1]'), async (path) => dirname(path))),
      );
      expect([odd, folders[0]?.startsWith(folder), folders[0] === folders[1]]).toEqual([odd, false, true]);
      rmSync(folders[0] as string, { recursive: true });
    }
  });

  test.each(['a{1,2}', 'a.zip::b'])('of a data directory named %s reach the store', async (odd) => {
    const { out, err } = await storesOne(join(folder, odd), {});
    expect([JSON.parse(out || '{}'), err]).toEqual([{ rows: 1 }, '']);
  });

  test('cannot be had where the temporary folder has such a name too: an error instead of rows that go nowhere', async () => {
    mkdirSync(join(folder, 'tmp{a,b}'));
    const { out } = await storesOne(join(folder, 'b{1,2}'), { TMPDIR: join(folder, 'tmp{a,b}') });
    expect(JSON.parse(out)).toMatchObject({
      code: 'store_unusable',
      kind: 'config',
      fix: expect.stringContaining('TMPDIR'),
    });
  });

  test('need a folder: one that was cleared away comes back, one that cannot be is store_unusable', async () => {
    const files = openRowFiles(folder, true);
    rmSync(join(folder, 'inserting'), { recursive: true });
    expect(await files.lend(Buffer.from('[1]'), async (path) => readFileSync(path, 'utf8'))).toBe('[1]');
    rmSync(join(folder, 'inserting'), { recursive: true });
    writeFileSync(join(folder, 'inserting'), 'a file');
    const refused = { code: 'store_unusable', kind: 'config', fix: expect.stringContaining('TOKENWATCH_DATA') };
    await expect(files.lend(Buffer.from('[1]'), async () => {})).rejects.toMatchObject(refused);
    expect(() => openRowFiles(folder, false)).toThrow(expect.objectContaining(refused));
    rmSync(join(folder, 'inserting'));
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

test('the engine is told that merges make way for reads and inserts', async () => {
  const nice = "SELECT value FROM system.server_settings WHERE name = 'os_threads_nice_value_merge_mutate'";
  const store = await openTestStore();
  expect(await rows(store, nice)).toEqual([{ value: '5' }]);
  await store.close();
});
