import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { simulate, writeNdjson } from '../../fixtures/index.ts';
import { built, type Ended, type Program, run, tokenwatch, until } from '../kit/processes.ts';
import { type RedisServer, startRedisServer } from '../kit/redis-server.ts';

/** Eight quiet days of two owners, then a burst of issued tokens. */
const fleet = simulate({
  seed: 3,
  owners: 2,
  tokens: 6,
  historyDays: 7,
  liveDays: 1,
  endMs: Date.UTC(2026, 9, 15, 18),
  callsPerTokenDay: 20,
  attacks: ['issuance-burst'],
});
const attacked = fleet.truth.attacks[0]?.subject.owner as string;

const folder = mkdtempSync(join(tmpdir(), 'tokenwatch-cli-'));
const log = join(folder, 'fleet.ndjson.gz');
let redis: RedisServer;
let service: Program;
let greeting: string;
let url: string;

/** What every command finds around it, as in a user's own shell. */
const env = () => ({ TOKENWATCH_DATA: join(folder, 'data'), TOKENWATCH_LISTEN: '127.0.0.1:0', TOKENWATCH_LOG: 'warn' });

beforeAll(async () => {
  [redis] = await Promise.all([startRedisServer(), writeNdjson(fleet, log), built()]);
  writeFileSync(join(folder, 'tokenwatch.yaml'), 'alerts: { max_age: none }\n');
  service = tokenwatch(['up'], { cwd: folder, env: { ...env(), REDIS_URL: redis.url } });
  greeting = (await service.printed(/[\s\S]*Then, in another terminal:[\s\S]*\n\n/))[0];
  url = /listens at (\S+)/.exec(greeting)?.[1] as string;
}, 120_000);

afterAll(async () => {
  await service?.kill();
  await redis?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Types a command into a shell in the folder where the service was started. */
function type(args: readonly string[], more: Record<string, string> = {}, input = ''): Promise<Ended> {
  const instance = { TOKENWATCH_LISTEN: new URL(url).host };
  return tokenwatch(args, { cwd: folder, env: { ...env(), ...instance, ...more }, input }).ended;
}

async function ok(...args: string[]): Promise<string> {
  const ended = await type(args);
  expect(ended, `tokenwatch ${args.join(' ')}`).toMatchObject({ code: 0 });
  return ended.out;
}

describe('up', () => {
  test('prints where it listens, its key once, and a curl that works as pasted', async () => {
    const key = readFileSync(join(folder, 'data', 'access-key'), 'utf8').trim();
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    expect(greeting).toMatch(new RegExp(`shown this once[^\\n]*\\n +${key}\\n`));
    const pasted = /^ +curl [\s\S]*?'\n/m.exec(greeting)?.[0] as string;
    const { code, out } = await run('sh', ['-c', pasted], { cwd: folder }).ended;
    expect({ code, answer: JSON.parse(out) }).toMatchObject({ code: 0, answer: { accepted: 1, rejected: 0 } });
    expect(await ok('sql', 'SELECT token, endpoint FROM events', '--format', 'CSV')).toBe(
      '"tok_1","GET /v1/users/{id}"\n',
    );
  });

  test('sends nothing but the greeting to standard output', () => {
    expect(greeting.trim().split('\n')[0]).toBe(`Tokenwatch listens at ${url}`);
  });
});

describe('a file', () => {
  let alert: { id: string; status: string; owner: string };

  test('is imported, raises its alert, and a person handles it: list, show, ack, resolve', async () => {
    const imported = await ok('import', log);
    expect(imported).toMatch(/ lines in .*: [\d,]+ accepted, 0 rejected\n/);
    const listed = async (...filter: string[]) =>
      (await ok('alerts', 'list', '--json', ...filter))
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as typeof alert);
    await until(async () => (await listed('--severity', 'medium,high,critical')).length > 0);
    [alert] = (await listed('--severity', 'medium,high,critical')) as [typeof alert];
    expect(alert).toMatchObject({
      status: 'open',
      owner: attacked,
      token: null,
      detectors: ['lifecycle-novelty', 'churn-rate'],
    });
    const [table, shown] = await Promise.all([
      ok('alerts', 'list', '--owner', attacked),
      ok('alerts', 'show', alert.id),
    ]);
    expect(table).toContain(alert.id);
    expect(shown).toMatch(new RegExp(`${attacked} issued \\d+ tokens`));

    expect(await ok('alerts', 'ack', alert.id, '--note', "it's ours")).toBe(`${alert.id} is acknowledged\n`);
    expect(await listed('--status', 'acknowledged')).toMatchObject([{ id: alert.id }]);
    expect(await ok('alerts', 'resolve', alert.id, '--as', 'expected', '--until', '2027-01-01T00:00:00Z')).toBe(
      `${alert.id} is resolved as expected\n`,
    );
    // The burst, and from where and with what it came.
    expect(await ok('sql', 'SELECT DISTINCT facet, value, verdict FROM feedback ORDER BY facet FORMAT TSV')).toMatch(
      /^client\tpython-requests\texpected\nnetwork\t[\d.]+\texpected\nsteps-\w+\tissued\texpected\n$/,
    );
    const again = await type(['alerts', 'ack', alert.id]);
    expect(again).toMatchObject({ code: 1, out: '' });
    expect(again.err).toMatch(/^error: /);
  }, 180_000);

  test('is judged by a backtest beside the running service, one alert of the API a line', async () => {
    const judged = await ok('backtest', '--json', log);
    const alerts = judged
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    const shown = JSON.parse(await ok('alerts', 'show', alert.id, '--json'));
    // A backtest tells nobody: that is all that it may leave out.
    const keys = Object.keys(shown).filter((name) => name !== 'notifications');
    for (const one of alerts) expect(Object.keys(one).sort()).toEqual(keys.sort());
    const [burst] = alerts.filter(
      ({ owner, severity }) => owner === attacked && ['high', 'critical'].includes(severity),
    );
    expect(burst).toMatchObject({ id: alert.id, status: 'open', detectors: ['lifecycle-novelty', 'churn-rate'] });
    expect(Object.keys(burst.detections[0]).sort()).toEqual(Object.keys(shown.detections[0]).sort());

    // A file is read by a thread of its own, a pipe by the program's own thread: the findings are the same.
    const piped = await type(['backtest', '--json', '-'], {}, gunzipSync(readFileSync(log)).toString());
    expect(piped).toMatchObject({ code: 0, out: judged });
  }, 180_000);

  test('that cannot be judged ends a backtest with one clear error, also when only its reader can tell', async () => {
    const config = join(folder, 'broken-geo.yaml');
    writeFileSync(join(folder, 'broken.mmdb'), 'no database');
    writeFileSync(config, 'geo: { country: ./broken.mmdb }\n');
    const { code, out, err } = await type(['backtest', '--config', config, log]);
    expect({ code, out }).toEqual({ code: 1, out: '' });
    expect(err).toMatch(/^error: .*broken\.mmdb/m);
    expect(err).not.toMatch(/^\s+at /m);
  });

  test('that comes through a pipe is imported too', async () => {
    const line = JSON.stringify({ time: Date.now(), token: 'tok_piped', owner: 'acme', path: '/x', method: 'GET' });
    expect(await type(['import', '-'], {}, `${line}\n`)).toMatchObject({
      code: 0,
      out: expect.stringContaining('1 accepted'),
    });
  });
});

describe('key', () => {
  test('is issued, listed, rotated and revoked; standard output holds the key alone', async () => {
    const issued = await ok('key', 'issue', '--name', 'gateway', '--scope', 'read');
    const id = /^tw_(\w{8})_\S+\n$/.exec(issued)?.[1] as string;
    expect(await ok('key', 'list')).toMatch(new RegExp(`${id} +active +read .* gateway`));
    const asIt = (key: string) => type(['sql', 'SELECT 1', '--format', 'TSV'], { TOKENWATCH_ACCESS_KEY: key.trim() });
    expect(await asIt(issued)).toMatchObject({ code: 0, out: '1\n' });
    const next = await ok('key', 'rotate', id, '--grace', '1h');
    expect(next).toMatch(/^tw_\w{8}_\S+\n$/);
    expect(await ok('key', 'revoke', id)).toContain('is revoked');
    const [old, current] = await Promise.all([asIt(issued), asIt(next)]);
    expect(old).toMatchObject({ code: 1, err: expect.stringContaining('does not know this access key') });
    expect(current).toMatchObject({ code: 0, out: '1\n' });
  }, 180_000);
});

test('check says what works while the service runs', async () => {
  const { code, out } = await type(['check'], { REDIS_URL: redis.url });
  expect(out).toContain(`running and ready at ${url}`);
  expect({ code, out }).toMatchObject({ code: 0, out: expect.stringContaining('everything works') });
});

test.concurrent.each([
  ['a command that does not exist', ['improt', 'x'], 'did you mean import?'],
  ['a flag that does not exist', ['sql', 'SELECT 1', '--fromat', 'CSV'], 'fromat'],
  ['a file that is not there', ['import', 'absent.ndjson'], 'absent.ndjson'],
  ['SQL that is broken', ['sql', 'SELEC 1'], 'sql_'],
  ['SQL that writes', ['sql', 'DROP TABLE events'], 'sql_refused'],
  ['an alert that is not there', ['alerts', 'show', 'al_none'], 'alert_not_found'],
])('%s is one clear error: exit code 1, nothing on standard output, no stack', async (_what, args, text) => {
  const { code, out, err } = await type(args);
  expect({ code, out }).toEqual({ code: 1, out: '' });
  expect(err).toMatch(/^error: /);
  expect(err).toContain(text);
  expect(err).not.toMatch(/^\s+at /m);
  expect(err.trim().split('\n').length).toBeLessThanOrEqual(4);
});
