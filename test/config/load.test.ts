// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the configuration's own variables are what is tested.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { type Config, type Environment, loadConfig } from '../../config/index.ts';
import { TokenwatchError } from '../../core/index.ts';

const folder = mkdtempSync(join(tmpdir(), 'tokenwatch-config-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const DETECTORS = { 'geo-novelty': ['min_surprise'], 'churn-rate': [] };
const SECRET = `whsec_${Buffer.alloc(32, 7).toString('base64')}`;
let count = 0;

function load(yaml: string, env: Environment = {}): Config {
  const file = join(folder, `${count++}.yaml`);
  writeFileSync(file, yaml);
  return loadConfig({ file, env, cwd: '/srv', detectors: DETECTORS });
}

/** The problems as a person reads them, without the line that names the file. */
function problems(yaml: string, env: Environment = {}): string[] {
  try {
    load(yaml, env);
  } catch (error) {
    expect(error).toBeInstanceOf(TokenwatchError);
    const { code, kind, message, fix } = error as TokenwatchError;
    expect([code, kind]).toEqual(['bad_config', 'config']);
    expect(fix).not.toBe('');
    return message.split('\n').slice(1);
  }
  return [];
}

describe('a configuration without a file', () => {
  const config = loadConfig({ env: {}, cwd: folder });

  test('is the embedded engine, a private Redis, and the documented defaults', () => {
    expect(config).toEqual({
      listen: { host: '127.0.0.1', port: 8653 },
      dataDir: join(folder, 'data'),
      store: { url: null, retention: { eventsMs: 90 * 86_400_000 } },
      queue: { url: null },
      geo: { country: null, city: null, asn: null, networks: {}, egress: [] },
      ingest: {
        batchRows: 5000,
        batchBytes: 8 * 1024 ** 2,
        lingerMs: 250,
        bodyLimitBytes: 64 * 1024 ** 2,
        lineLimitBytes: 1024 ** 2,
        bufferLimitBytes: 256 * 1024 ** 2,
      },
      detectors: {},
      alerts: { maxAgeMs: 3_600_000, budget: null, channels: {}, routes: [] },
      log: { level: 'info' },
    });
  });

  test('an empty file means the same', () => {
    expect(load('', { TOKENWATCH_DATA: join(folder, 'data') })).toEqual(config);
    expect(load('store:\ngeo:\n', { TOKENWATCH_DATA: join(folder, 'data') })).toEqual(config);
  });
});

describe('a file', () => {
  test('is read as the product describes it', () => {
    const config = load(
      `
listen: "[::1]:9000"
data: ./state
store: { url: "\${CLICKHOUSE_URL}", retention: { events: forever } }
queue: { url: "\${MY_REDIS}" }
geo: { country: ./geo/country.mmdb, networks: { vpn: [a.txt, /b.txt], relay: c.txt }, egress: 203.0.113.0/24 }
ingest: { batch_rows: 100, linger: 5ms, body_limit: 1MiB, line_limit: 64KiB }
detectors:
  geo-novelty: { enabled: false, min_surprise: 4.5 }
alerts:
  max_age: none
  budget: 5 per week
  channels:
    soc: { type: webhook, url: "https://soc.example/hook", secret: "\${HOOK_SECRET}", allow_private_network: true }
    slack: { type: slack, url: "\${SLACK:-https://hooks.slack.example/T0}" }
    mail: { type: email, smtp: "smtp://127.0.0.1:1025", from: Tokenwatch <tw@example.org>, to: oncall@example.org }
  routes:
    - { match: { severity: [high, critical], owner: acme }, channels: [slack, mail] }
    - { channels: soc }
`,
      { HOOK_SECRET: SECRET, MY_REDIS: 'redis://redis.example:6379' },
    );
    expect(config).toMatchObject({
      listen: { host: '::1', port: 9000 },
      dataDir: join(folder, 'state'),
      store: { url: null, retention: { eventsMs: null } },
      queue: { url: 'redis://redis.example:6379' },
      geo: {
        country: join(folder, 'geo/country.mmdb'),
        city: null,
        networks: { vpn: [join(folder, 'a.txt'), '/b.txt'], relay: [join(folder, 'c.txt')] },
        egress: ['203.0.113.0/24'],
      },
      ingest: { batchRows: 100, lingerMs: 5, bodyLimitBytes: 1024 ** 2, lineLimitBytes: 65_536 },
      detectors: { 'geo-novelty': { enabled: false, params: { min_surprise: 4.5 } } },
      alerts: {
        maxAgeMs: null,
        budget: { count: 5, periodMs: 604_800_000 },
        channels: {
          soc: { type: 'webhook', url: 'https://soc.example/hook', secrets: [SECRET], allowPrivateNetwork: true },
          slack: { type: 'slack', url: 'https://hooks.slack.example/T0', allowPrivateNetwork: false },
          mail: { type: 'email', smtp: 'smtp://127.0.0.1:1025', to: ['oncall@example.org'] },
        },
        routes: [
          { match: { severity: ['high', 'critical'], owner: ['acme'] }, channels: ['slack', 'mail'] },
          { match: {}, channels: ['soc'] },
        ],
      },
    });
  });

  test('without routes sends medium and above to every channel', () => {
    const config = load('alerts: { channels: { a: { type: slack, url: "https://a.example" } } }');
    expect(config.alerts.routes).toEqual([{ match: { severity: ['medium', 'high', 'critical'] }, channels: ['a'] }]);
  });

  test('gives way to the environment', () => {
    const env = {
      CLICKHOUSE_URL: 'http://ch:8123',
      REDIS_URL: 'redis://r',
      TOKENWATCH_LISTEN: '0.0.0.0:1',
      TOKENWATCH_DATA: 'elsewhere',
      TOKENWATCH_LOG: 'debug',
    };
    expect(
      load('listen: 127.0.0.1:2\ndata: here\nstore: { url: http://other }\nlog: { level: warn }', env),
    ).toMatchObject({
      listen: { host: '0.0.0.0', port: 1 },
      dataDir: '/srv/elsewhere',
      store: { url: 'http://ch:8123' },
      queue: { url: 'redis://r' },
      log: { level: 'debug' },
    });
  });

  test('that is named and not there is an error that says how to go on', () => {
    expect(() => loadConfig({ env: { TOKENWATCH_CONFIG: 'absent.yaml' }, cwd: folder })).toThrow(
      /cannot read .*absent/,
    );
  });
});

describe('a mistake', () => {
  test.each([
    [
      'stoer: {}',
      '  stoer (line 1): unknown key; did you mean store? allowed: listen, data, store, queue, geo, ingest, detectors, alerts, log',
    ],
    [
      'store: { retention: { events: 90 days } }',
      '  store.retention.events (line 1): found "90 days", allowed: a duration from 1h to 36500d, or forever',
    ],
    ['ingest:\n  linger: 100', '  ingest.linger (line 2): found 100, allowed: a duration from 1ms to 10s'],
    [
      'ingest: { batch_bytes: 1TiB }',
      '  ingest.batch_bytes (line 1): found "1TiB", allowed: a size from 1KiB to 256MiB',
    ],
    ['ingest: { batch_rows: 0 }', '  ingest.batch_rows (line 1): found 0, allowed: a whole number from 1 to 100000'],
    [
      'ingest: { line_limit: 8MiB, body_limit: 1MiB }',
      '  ingest.line_limit (line 1): is more than body_limit, so that no such line could ever come',
    ],
    ['listen: 8653', '  listen (line 1): found 8653, allowed: host:port, such as 127.0.0.1:8653 or [::1]:8653'],
    [
      'geo: { egress: [10.0.0.0/8, 10.0.0.0/33] }',
      '  geo.egress[1] (line 1): found "10.0.0.0/33", allowed: an address range, such as 203.0.113.0/24 or 2001:db8::/48',
    ],
    [
      'geo: { networks: { tor: ./exits.txt } }',
      '  geo.networks.tor (line 1): unknown key; allowed: relay, vpn, hosting, mobile, business',
    ],
    ['log: loud', '  log (line 1): found "loud", allowed: keys with values'],
    [
      'detectors: { geo-novlety: {} }',
      '  detectors.geo-novlety (line 1): unknown detector; did you mean geo-novelty? allowed: geo-novelty, churn-rate',
    ],
    [
      'detectors: { geo-novelty: { min-surprise: 3 } }',
      '  detectors.geo-novelty.min-surprise (line 1): unknown parameter; did you mean min_surprise? allowed: enabled, min_surprise',
    ],
    [
      'detectors: { geo-novelty: { min_surprise: high } }',
      '  detectors.geo-novelty.min_surprise (line 1): found "high", allowed: a number',
    ],
    [
      'alerts: { channels: { a: { type: pager } } }',
      '  alerts.channels.a.type (line 1): found "pager", allowed: webhook, slack, email',
    ],
    [
      'alerts: { channels: { a: { type: slack } } }',
      '  alerts.channels.a.url (line 1): missing; allowed: an address that begins with https:// or http://',
    ],
    [
      'alerts: { channels: { "a b": { type: slack, url: "http://x" } } }',
      '  alerts.channels.a b (line 1): a name has up to 64 letters, digits, - and _, and begins with a letter or digit',
    ],
    [
      'alerts: { routes: [ { channels: [sok] } ], channels: { soc: { type: slack, url: "http://x" } } }',
      '  alerts.routes[0].channels (line 1): unknown channel sok; did you mean soc? allowed: soc',
    ],
    [
      'alerts: { routes: [ { match: { severity: hihg }, channels: [] } ] }',
      '  alerts.routes[0].match.severity (line 1): found "hihg", allowed: info, low, medium, high, critical',
    ],
    [
      'alerts: { routes: [ { match: { severity: [hihg] }, channels: [] } ] }',
      '  alerts.routes[0].match.severity[0] (line 1): found "hihg", allowed: info, low, medium, high, critical',
    ],
    [
      'alerts: { budget: 5 a week }',
      '  alerts.budget (line 1): found "5 a week", allowed: a whole number from 1 to 10000 per day or per week, such as 5 per week, or none',
    ],
    [
      'alerts: { channels: { a: { type: slack, url: "${NOT_SET}" } } }',
      '  alerts.channels.a.url (line 1): the variable NOT_SET is not set; set it, or give a default: ${NOT_SET:-...}',
    ],
  ])('%s', (yaml, expected) => expect(problems(yaml)[0]).toBe(expected));

  test('in the environment names the variable', () => {
    expect(problems('', { TOKENWATCH_LISTEN: 'everywhere' })).toEqual([
      '  TOKENWATCH_LISTEN (listen): found "everywhere", allowed: host:port, such as 127.0.0.1:8653 or [::1]:8653',
    ]);
  });

  test('does not hide another: all are listed at once', () => {
    const found = problems(`
listen: nowhere
detectors: { x: {} }
alerts:
  max_age: soon
  budget: a few
  chanels: {}
  channels:
    a: { type: email, smtp: "http://x", from: me, to: [] }
`);
    expect(found.map((line) => line.trim().split(' ')[0])).toEqual([
      'listen',
      'alerts.max_age',
      'alerts.budget',
      'alerts.channels.a.smtp',
      'alerts.channels.a.from',
      'alerts.channels.a.to',
      'alerts.chanels',
      'detectors.x',
    ]);
  });

  test('in the YAML itself gives the line, and does not quote it', () => {
    const yaml = 'listen: 127.0.0.1:1\nqueue: { url: "redis://:hunter2@x"\nstore: {}\n';
    expect(() => load(yaml)).toThrow(/not valid YAML: line 3/);
    expect(() => load(yaml)).not.toThrow(/hunter2/);
  });

  test('in a secret, or in anything that a variable filled in, does not show the value', () => {
    const yaml = `
store: { url: "ftp://user:hunter2@x" }
listen: "\${LISTEN}"
alerts:
  max_age: "\${AGE:-hunter2}"
  channels:
    soc: { type: webhook, url: "hunter2", secret: hunter2 }
    more: { type: webhook, url: "http://x", secret: [hunter2] }
    mail: { type: email, smtp: "hunter2", from: "\${LISTEN}", to: a@b }
`;
    const found = problems(yaml, { LISTEN: 'hunter2', REDIS_URL: 'hunter2' });
    expect(found).toHaveLength(9);
    expect(found.join('\n')).not.toContain('hunter2');
  });

  test('of any kind is one clear error, never another exception', () => {
    const keys = fc.constantFrom(
      'listen',
      'data',
      'store',
      'url',
      'ingest',
      'linger',
      'alerts',
      'channels',
      'routes',
      'match',
      'x',
    );
    const tree = fc.letrec((tie) => ({
      node: fc.oneof({ depthSize: 'small' }, fc.jsonValue({ maxDepth: 1 }), fc.dictionary(keys, tie('node'))),
    })).node;
    fc.assert(
      fc.property(tree, (value) => void problems(JSON.stringify(value))),
      { numRuns: 100 },
    );
  });
});

describe('a variable in a text', () => {
  const url = (text: string, env: Environment) =>
    load(`alerts: { channels: { a: { type: slack, url: ${JSON.stringify(text)} } } }`, env).alerts.channels.a;

  test.each([
    ['https://${HOST}/x', 'https://example/x'],
    ['https://${NONE:-fallback}/x', 'https://fallback/x'],
    ['https://${EMPTY:-fallback}/x', 'https://fallback/x'],
    ['https://h/$${HOST}', 'https://h/${HOST}'],
    ['https://h/$HOST', 'https://h/$HOST'],
    ['https://h/${NESTED}', 'https://h/${HOST}'],
  ])('%s becomes %s', (text, expected) => {
    expect(url(text, { HOST: 'example', EMPTY: '', NESTED: '${HOST}' })).toMatchObject({ url: expected });
  });
});
