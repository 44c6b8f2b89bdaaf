import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readFiles } from '../../cli/backtest-read.ts';
import { runBacktest } from '../../cli/backtest-run.ts';
import type { Io } from '../../cli/command.ts';
import { COMMANDS } from '../../cli/commands.ts';
import { runCommand } from '../../cli/dispatch.ts';
import { type Service, startService } from '../../cli/service.ts';
import { greeting, rolesOf } from '../../cli/up.ts';
import { loadConfig } from '../../config/index.ts';
import { createLogger, systemClock } from '../../core/index.ts';
import { openStore } from '../../store/index.ts';

const folder = mkdtempSync(join(tmpdir(), 'tokenwatch-cli-'));
const env = { TOKENWATCH_LISTEN: '127.0.0.1:0', TOKENWATCH_DATA: join(folder, 'data'), TOKENWATCH_LOG: 'silent' };
let service: Service;

beforeAll(async () => {
  service = await startService(loadConfig({ env, cwd: folder }), { log: createLogger('silent') });
});

afterAll(async () => {
  await service?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Runs a command line as a user would, against the running service. */
async function run(
  line: readonly string[],
  { input = '', more = {} }: { input?: string; more?: Record<string, string> } = {},
) {
  const out = new PassThrough();
  const err = new PassThrough();
  const io: Io = {
    env: { ...env, TOKENWATCH_LISTEN: new URL(service.url).host, ...more },
    cwd: folder,
    input: Readable.from([Buffer.from(input)]),
    out,
    err,
    signal: new AbortController().signal,
  };
  const code = await runCommand(['node', 'tokenwatch', ...line], io);
  return { code, out: String(out.read() ?? ''), err: String(err.read() ?? '') };
}

function event(n: number): string {
  return JSON.stringify({
    time: new Date().toISOString(),
    token: `tok_${n}`,
    owner: 'acme',
    method: 'GET',
    path: '/v1/users/42',
    status: 200,
  });
}

describe('a first start', () => {
  test('makes a key that only its owner can read, and shows it with a curl that works', async () => {
    const file = join(env.TOKENWATCH_DATA, 'access-key');
    expect(service.accessKeyIsNew).toBe(true);
    expect(readFileSync(file, 'utf8').trim()).toBe(service.accessKey);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const text = greeting(service, null);
    expect(text).toContain(`Tokenwatch listens at ${service.url}`);
    expect(text).toContain(`curl -sS ${service.url}/v1/events -H "Authorization: Bearer ${service.accessKey}"`);
  });

  test('later starts say where the key is, and do not show it', () => {
    const text = greeting({ ...service, accessKeyIsNew: false }, '/etc/tokenwatch.yaml');
    expect(text).not.toContain(service.accessKey);
    expect(text).toContain(`$(cat '${join(env.TOKENWATCH_DATA, 'access-key')}')`);
  });

  test('serves health, readiness and metrics', async () => {
    for (const path of ['/healthz', '/readyz', '/metrics'])
      expect((await fetch(`${service.url}${path}`)).status).toBe(200);
  });
});

describe('what is no HTTP', () => {
  const { TOKENWATCH_DATA } = env;
  const authorization = () => `Bearer ${readFileSync(join(TOKENWATCH_DATA, 'access-key'), 'utf8').trim()}`;
  const post = () => `POST /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: ${authorization()}\r\n`;

  test.each<[string, () => string, number, string]>([
    ['a malformed chunk', () => `${post()}transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n`, 400, 'bad_request'],
    ['no request at all', () => 'hello\r\n\r\n', 400, 'bad_request'],
    ['a huge header', () => `${post()}x: ${'x'.repeat(20_000)}\r\n\r\n`, 431, 'headers_too_large'],
  ])('is answered in the documented shape: %s', async (_name, request, status, code) => {
    const { hostname, port } = new URL(service.url);
    const socket = connect(Number(port), hostname);
    socket.write(request());
    let answer = '';
    for await (const piece of socket) answer += piece;
    const [head = '', body = ''] = answer.split('\r\n\r\n');
    expect(head).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
    expect(JSON.parse(body)).toEqual({ error: { code, message: expect.any(String), fix: expect.any(String) } });
  });
});

describe('import', () => {
  test('reads plain files, gzip and standard input, and sql finds what was imported', async () => {
    writeFileSync(join(folder, 'a.ndjson'), `${event(1)}\nnot json\n${event(2)}\n`);
    writeFileSync(join(folder, 'b.json.gz'), gzipSync(`[${event(3)},\n${event(4)}]`));
    const done = await run(['import', join(folder, 'a.ndjson'), join(folder, 'b.json.gz'), '-'], {
      input: `${event(5)}\n`,
    });
    expect(done).toMatchObject({ code: 0 });
    expect(done.out).toContain('5 accepted, 1 rejected');
    expect(done.out).toContain(`${join(folder, 'a.ndjson')}:2:`);
    const asked = await run(['sql', 'SELECT token, endpoint FROM events ORDER BY token', '--format', 'CSV']);
    expect(asked.out.trim().split('\n')).toEqual([1, 2, 3, 4, 5].map((n) => `"tok_${n}","GET /v1/users/{id}"`));
  });

  test('of a file that is not there, or of an unknown format, is one clear error', async () => {
    expect(await run(['import', join(folder, 'absent')])).toMatchObject({
      code: 1,
      err: expect.stringContaining('absent cannot be read'),
    });
    expect(await run(['import', 'x', '--format', 'nativ'])).toMatchObject({
      code: 1,
      err: expect.stringContaining('there is no format "nativ"'),
    });
  });
});

describe('sql', () => {
  test('refuses to write, with the reason and exit code 1', async () => {
    const refused = await run(['sql', 'DROP TABLE events']);
    expect(refused).toMatchObject({ code: 1, out: '' });
    expect(refused.err).toMatch(/^error: .*\n.*\n? *\(sql_refused\)\n$/s);
  });
});

describe('key', () => {
  test('issues, lists, rotates and revokes keys; the key itself goes to standard output alone', async () => {
    const issued = await run(['key', 'issue', '--name', 'gateway', '--scope', 'ingest,read', '--expires', '30d']);
    expect(issued.out).toMatch(/^tw_\w{8}_\S+\n$/);
    const id = /^tw_(\w{8})/.exec(issued.out)?.[1] as string;
    const listed = JSON.parse((await run(['key', 'list', '--json'])).out.trim().split('\n').at(-1) as string);
    expect(listed).toMatchObject({ id, name: 'gateway', scopes: ['ingest', 'read'], status: 'active' });
    expect(Date.parse(listed.expires_at) - Date.parse(listed.created_at)).toBeGreaterThan(29 * 86_400_000);
    const rotated = await run(['key', 'rotate', id, '--grace', '0s']);
    expect(rotated.out).toMatch(/^tw_/);
    const revoked = await run(['key', 'revoke', id]);
    expect(revoked.out).toContain('is revoked');
    const used = await run(['sql', 'SELECT 1'], { more: { TOKENWATCH_ACCESS_KEY: issued.out.trim() } });
    expect(used).toMatchObject({ code: 1, err: expect.stringContaining('does not know this access key') });
  });

  test('that is unknown is an error', async () => {
    expect(await run(['key', 'revoke', 'ffffffff'])).toMatchObject({
      code: 1,
      err: expect.stringContaining('key_unknown'),
    });
  });
});

describe('alerts', () => {
  test('says that there are none, and that one does not exist', async () => {
    expect(await run(['alerts', 'list'])).toMatchObject({ code: 0, out: '', err: 'no alerts\n' });
    expect(await run(['alerts', 'show', 'al_none'])).toMatchObject({
      code: 1,
      err: expect.stringContaining('alert_not_found'),
    });
  });
});

describe('check', () => {
  test('says that everything works when it does', async () => {
    const checked = await run(['check']);
    expect(checked.out).toContain(`running and ready at ${service.url}`);
    expect(checked).toMatchObject({ code: 0, out: expect.stringContaining('everything works') });
  });

  test('names what is broken with its fix, checks the rest all the same, and exits with 1', async () => {
    writeFileSync(
      join(folder, 'broken.yaml'),
      'queue: { url: "redis://127.0.0.1:1" }\nalerts: { channels: { mail: { type: email, smtp: "smtp://127.0.0.1:1", from: a@b.example, to: c@d.example } } }\n',
    );
    const checked = await run(['check', '--config', 'broken.yaml']);
    expect(checked.code).toBe(1);
    expect(checked.out).toMatch(/broken +queue/);
    expect(checked.out).toMatch(/broken +channel mail +127\.0\.0\.1:1 cannot be reached/);
    expect(checked.out).toMatch(/ok +geo|note +geo/);
    expect(checked.out).toContain('2 broken');
  });

  test('does not call the store well when its folder cannot be made', async () => {
    writeFileSync(join(folder, 'a-file'), '');
    const env = { TOKENWATCH_DATA: join(folder, 'a-file', 'data'), TOKENWATCH_LISTEN: '127.0.0.1:1' };
    const checked = await run(['check'], { more: env });
    expect(checked.out).toMatch(/broken +data +\S+a-file is not a folder/);
    expect(checked.out).toMatch(/broken +store +the embedded engine needs a folder/);
    expect(checked.code).toBe(1);
  });

  test('of a bad configuration lists its problems', async () => {
    writeFileSync(join(folder, 'bad.yaml'), 'stoer: {}\n');
    expect(await run(['check', '--config', 'bad.yaml'])).toMatchObject({
      code: 1,
      out: expect.stringContaining('did you mean store?'),
    });
  });
});

describe('budget', () => {
  test('shows what each budget would have paged, as a table and as the API says it', async () => {
    const asked = await run(['budget', '--days', '7']);
    expect(asked).toMatchObject({ code: 0, err: '' });
    expect(asked.out).toMatch(/\n {2}budget +paged +a week +held back +expected +malicious +endpoint-spread/);
    expect(asked.out).toContain('`a week` is the rate of 1.0 days, all that findings cover (one day at least)');
    expect(asked.out).toMatch(/\n {2}5 per week +0 +0 +0 +0 +0 +0 above 4 /);
    expect(asked.out).toMatch(/\n> none +0 /);
    const json = await run(['budget', '--json']);
    expect(JSON.parse(json.out)).toMatchObject({ budget: 'none', rows: expect.any(Array) });
    expect((await run(['budget', '--days', '0'])).err).toContain('days: expected a whole number from 1 to 90');
  });
});

describe('a command line', () => {
  test('that is wrong says how it would be right', async () => {
    expect((await run(['improt', 'x'])).err).toContain('did you mean import?');
    expect((await run(['sql'])).err).toContain('See: tokenwatch sql --help');
    expect((await run(['alerts', 'lsit'])).err).toContain('It can: list, show, ack, resolve.');
    expect((await run(['up', '--role', 'ingset'])).err).toContain('The roles are: ingest, detect, alert, console.');
    expect((await run(['key', 'issue', '--name', 'x', '--expires', 'soon'])).err).toContain('is not a duration');
  });

  test('to an instance that is not there says how to start it', async () => {
    const asked = await run(['sql', 'SELECT 1', '--url', 'http://127.0.0.1:2']);
    expect(asked).toMatchObject({
      code: 1,
      err: expect.stringContaining('no Tokenwatch answers at http://127.0.0.1:2: start it with npm start'),
    });
  });

  test('to what is no address says what one looks like', async () => {
    for (const url of ['garbage', 'localhost:8653', 'http://'])
      for (const command of [
        ['import', 'x'],
        ['sql', 'SELECT 1'],
      ])
        expect(await run([...command, '--url', url])).toMatchObject({
          code: 1,
          err: `error: --url ${url} is no address\n  An address looks like http://127.0.0.1:8653, with http or https.\n  (usage)\n`,
        });
  });

  test('finds every command under its own name', async () => {
    for (const [name, load] of Object.entries(COMMANDS)) expect((await load()).usage.split(' ')[0]).toBe(name);
  });

  test('picks roles, repeated or separated by commas', () => {
    expect(rolesOf({ args: [], options: {} })).toEqual(['ingest', 'detect', 'alert', 'console']);
    expect(rolesOf({ args: [], options: { role: ['alert', 'ingest'] } })).toEqual(['ingest', 'alert']);
    expect(rolesOf({ args: [], options: { role: 'detect,alert' } })).toEqual(['detect', 'alert']);
  });
});

test('a backtest of a folder says that it is one, and how to name its files', async () => {
  const judged = runBacktest({
    files: [folder],
    format: 'auto',
    config: service.config,
    store: service.store,
    clock: systemClock,
    log: createLogger('silent'),
    stdin: Readable.from([]),
    signal: new AbortController().signal,
    onProgress: () => {},
  });
  await expect(judged).rejects.toMatchObject({
    code: 'file_unreadable',
    message: `cannot read ${folder}: it is a folder`,
    fix: `Name the files in it: ${join(folder, '*')}`,
  });
});

test('a backtest gathers blocks that are bounded in bytes too, however wide the events are', async () => {
  const wide = JSON.parse(event(0));
  const lines = Array.from({ length: 10_000 }, (_, i) => JSON.stringify({ ...wide, n: i, extra: 'x'.repeat(7_900) }));
  const stdin = Readable.from(lines.map((line) => Buffer.from(`${line}\n`)));
  const sizes: number[] = [];
  const read = await readFiles(
    { files: ['-'], format: 'native', config: service.config },
    { clock: systemClock, log: createLogger('silent'), stdin, signal: new AbortController().signal },
    {
      onProgress: () => {},
      onBlock: async ({ tables }) => {
        sizes.push(tables.get('events')?.length ?? 0);
      },
    },
  );
  expect(read).toMatchObject({ accepted: 10_000, rejected: 0 });
  expect(sizes.length).toBe(2);
  // One chunk of the receivers is what a block may go beyond its bound.
  for (const size of sizes) expect(size).toBeLessThan((64 + 8) << 20);
});

test('a backtest rejects a line that is larger than what a receiver may hold, and judges the others', async () => {
  const log = createLogger('silent');
  const limit = 1 << 20;
  const lines = [...Array.from({ length: 100 }, (_, i) => event(i)), 'x'.repeat(3 * limit), event(100), event(101)];
  const file = join(folder, 'long-line.ndjson');
  writeFileSync(file, `${lines.join('\n')}\n`);
  const { config } = service;
  const store = await openStore(
    { dataDir: config.dataDir, store: { url: null, retention: { eventsMs: null } } },
    { log, clock: systemClock, database: 'backtest' },
  );
  try {
    const judged = await runBacktest({
      files: [file],
      format: 'auto',
      config: { ...config, ingest: { ...config.ingest, bufferLimitBytes: 2 * limit } },
      store,
      clock: systemClock,
      log,
      stdin: Readable.from([]),
      signal: new AbortController().signal,
      onProgress: () => {},
    });
    expect(judged).toMatchObject({ accepted: 102, rejected: 1, errors: [{ line: 101, code: 'line_too_long' }] });
  } finally {
    await store.close();
  }
});
