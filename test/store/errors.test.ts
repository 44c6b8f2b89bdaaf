import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createLogger, type Logger, systemClock } from '../../core/index.ts';
import { storeError } from '../../store/errors.ts';
import { openStore } from '../../store/index.ts';
import { type ClickHouseHttp, startClickHouseHttp } from '../kit/clickhouse-http.ts';
import { built, distUrl, run } from '../kit/processes.ts';
import { rows } from '../kit/store.ts';

const PASSWORD = 'correct horse';
const folder = mkdtempSync(join(tmpdir(), 'tokenwatch-errors-'));
let server: ClickHouseHttp;

beforeAll(async () => {
  await built();
  server = await startClickHouseHttp({ dataDir: join(folder, 'held', 'clickhouse'), password: PASSWORD });
}, 120_000);
afterEach(() => {
  server.heal();
  server.version = null;
  server.readonlyProfile = 0;
});
afterAll(async () => {
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
});

function open(url: string | null, dataDir = folder) {
  return openStore(
    { dataDir, store: { url, retention: { eventsMs: null } } },
    { log: createLogger('silent'), clock: systemClock, database: 'errors' },
  );
}

function address(password = PASSWORD, port = server.port): string {
  return `http://default:${encodeURIComponent(password)}@127.0.0.1:${port}`;
}

describe('a ClickHouse server', () => {
  test('that works is opened, also by a user and a password', async () => {
    const store = await open(address());
    await store.ping();
    await store.close();
  });

  test('is used in the database that its address names, made when it is missing', async () => {
    const store = await openStore(
      { dataDir: folder, store: { url: `${address()}/named-in-url`, retention: { eventsMs: null } } },
      { log: createLogger('silent'), clock: systemClock },
    );
    expect(await rows(store, 'SELECT currentDatabase() AS name')).toEqual([{ name: 'named-in-url' }]);
    await store.close();
  });

  test('that is down is store_unreachable, to be tried again', async () => {
    await expect(open(address(PASSWORD, 1))).rejects.toMatchObject({
      code: 'store_unreachable',
      kind: 'transient',
      fix: expect.stringContaining('CLICKHOUSE_URL'),
    });
  });

  test('that goes away and comes back is noticed, and used again without a restart', async () => {
    const store = await open(address());
    server.fail({ kind: 'disconnect' });
    await expect(store.ping()).rejects.toMatchObject({ code: 'store_unreachable', kind: 'transient' });
    await expect(store.insert('rejected_events', ['[]'], 'x')).rejects.toMatchObject({ code: 'store_unreachable' });
    server.fail({ kind: 'status', status: 502, body: '<html>Bad Gateway</html>' });
    await expect(store.ping()).rejects.toMatchObject({ kind: 'transient' });
    server.heal();
    await store.ping();
    await store.close();
  });

  test('that is overloaded is store_busy, to be tried again', async () => {
    const store = await open(address());
    server.fail({ kind: 'exception', code: 202, type: 'TOO_MANY_SIMULTANEOUS_QUERIES', message: 'Too many queries.' });
    await expect(rows(store, 'SELECT 1')).rejects.toMatchObject({ code: 'store_busy', kind: 'transient' });
    await store.close();
  });

  test.each(['24.8.4.13', '25.2.1.1', ''])(
    'of version "%s" is store_too_old, with the version it takes',
    async (version) => {
      server.version = version;
      await expect(open(address())).rejects.toMatchObject({
        code: 'store_too_old',
        kind: 'config',
        fix: expect.stringContaining('25.3'),
      });
    },
  );

  test.each([1, 2] as const)(
    'with a user of readonly = %d is store_read_only, before anything is taken in',
    async (profile) => {
      server.readonlyProfile = profile;
      await expect(open(address())).rejects.toMatchObject({
        code: 'store_read_only',
        kind: 'config',
        fix: expect.stringContaining('readonly = 0'),
      });
    },
  );

  test('that became read-only after the start is store_read_only at the next insert', async () => {
    const store = await open(address());
    server.readonlyProfile = 2;
    await expect(
      store.insert('rejected_events', ['["2026-01-01T00:00:00Z","s",1,"c","m","x",""]'], 'x'),
    ).rejects.toMatchObject({
      code: 'store_read_only',
    });
    await store.close();
  });

  test('that refuses the password is store_login_refused, and the password is in no message', async () => {
    const error = await open(address('wrong horse')).then(
      () => null,
      (thrown: unknown) => thrown as Error & { fix: string },
    );
    expect(error).toMatchObject({ code: 'store_login_refused', kind: 'config' });
    expect(`${error?.message} ${error?.fix}`).not.toMatch(/horse/);
  });
});

describe('a full disk', () => {
  test.each(['ENOSPC', 'EDQUOT'])('whose file system says %s is store_full too', (code) => {
    const full = storeError(
      Object.assign(new Error('no space left on device, write'), { code }),
      'storing rows of events',
    );
    expect(full).toMatchObject({ code: 'store_full', kind: 'transient', fix: expect.stringContaining('Free space') });
  });

  test('is store_full with what to do, in the log once a minute, and fails the ping until a write works or a minute went by', async () => {
    const logged: unknown[] = [];
    const log = { ...createLogger('silent'), warn: (fields: unknown) => logged.push(fields) } as unknown as Logger;
    const clock = { at: Date.now(), now: () => clock.at };
    const store = await openStore(
      { dataDir: folder, store: { url: address(), retention: { eventsMs: null } } },
      { log, clock, database: 'errors' },
    );
    const at = new Date().toISOString().replace('T', ' ').replace('Z', '');
    let tokens = 0;
    const write = () =>
      store.insert(
        'successions',
        [JSON.stringify([at.slice(0, 10), 'acme', 'tok_2', 'tok_1', at])],
        `full-${tokens++}`,
      );
    const full = { code: 'store_full', kind: 'transient', fix: expect.stringContaining('TOKENWATCH_DATA') };
    server.fail({ kind: 'exception', code: 243, type: 'NOT_ENOUGH_SPACE', message: 'Cannot reserve 1.00 MiB' });
    await expect(write()).rejects.toMatchObject(full);
    await expect(write()).rejects.toMatchObject(full);
    server.heal();
    expect(logged).toEqual([expect.objectContaining({ code: 'store_full', fix: full.fix })]);
    await expect(store.ping()).rejects.toMatchObject(full);
    clock.at += 60_000;
    await store.ping();
    server.fail({ kind: 'exception', code: 243, type: 'NOT_ENOUGH_SPACE', message: 'Cannot reserve 1.00 MiB' });
    await expect(write()).rejects.toMatchObject(full);
    expect(logged).toHaveLength(2);
    server.heal();
    await write();
    await store.ping();
    await store.close();
  });
});

describe('a data directory', () => {
  test('that another process holds is store_locked, and names what to do', async () => {
    const script = `
      const { openStore } = await import(${JSON.stringify(distUrl('store/index.js'))});
      const config = { dataDir: ${JSON.stringify(join(folder, 'held'))}, store: { url: null, retention: { eventsMs: null } } };
      await openStore(config, {}).then(
        () => console.log('{}'),
        ({ code, kind, message, fix }) => console.log(JSON.stringify({ code, kind, message, fix })),
      );
      process.exit();`;
    const { out, err } = await run(process.execPath, ['--input-type=module', '-e', script], { cwd: folder }).ended;
    expect(JSON.parse(out || JSON.stringify(err))).toEqual({
      code: 'store_locked',
      kind: 'config',
      message: expect.stringMatching(new RegExp(`held/clickhouse is in use by process ${process.pid}\\.`)),
      fix: expect.stringContaining('TOKENWATCH_DATA'),
    });
    // And the holder goes on.
    const store = await open(address());
    await store.ping();
    await store.close();
  });
});
