import { accessSync, constants, existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createChannel } from '../alerts/index.ts';
import { type ChannelConfig, type Config, findConfigFile, formatBudget } from '../config/index.ts';
import { createLogger, errorText, plural, systemClock, TokenwatchError } from '../core/index.ts';
import { DETECTORS } from '../detectors/index.ts';
import { openGeo } from '../ingest/index.ts';
import { findRedisServer, openQueues } from '../queues/index.ts';
import { openStore } from '../store/index.ts';
import { baseUrl } from './api.ts';
import { CONFIG_OPTION, type Command, configOf, type Invocation, type Io, textOption } from './command.ts';
import { DETECTOR_PARAMS } from './detector-params.ts';
import { plain } from './ui/words.ts';

/** Finding is the state of one thing that Tokenwatch depends on. */
export interface Finding {
  readonly state: 'ok' | 'note' | 'broken';
  readonly what: string;
  readonly text: string;
  /** What to do; '' when there is nothing to do. */
  readonly fix: string;
}

const CONNECT_TIMEOUT_MS = 5_000;

/** check tries the configuration and everything that it names, and says what to do about what does not work. */
export const check: Command = {
  usage: 'check',
  about: 'Check the configuration and every dependency',
  options: [CONFIG_OPTION],
  examples: ['tokenwatch check --config /etc/tokenwatch.yaml'],
  async run(invocation, io) {
    const findings: Finding[] = [];
    const say = (finding: Finding) => {
      findings.push(finding);
      io.out.write(line(finding));
    };
    const config = await attempt('configuration', say, async () => {
      const loaded = configOf(invocation, io, DETECTOR_PARAMS);
      return [loaded, ok('configuration', describeFile(invocation, io))];
    });
    if (config !== null) {
      const running = await instanceAt(config);
      say(running === null ? ok('service', `not running at ${baseUrl(config.listen)}; npm start starts it`) : running);
      const folder = await attempt('data', say, async () => {
        const finding = checkData(config);
        return [finding, finding];
      });
      const usable = folder !== null && folder.state !== 'broken';
      await attempt('store', say, async () => [null, await checkStore(config, running !== null, usable)]);
      await attempt('queue', say, async () => [null, await checkQueue(config)]);
      await attempt('geo', say, async () => {
        const geo = await openGeo(config.geo);
        const now = systemClock.now();
        for (const { role, name, ageDays, bundled } of geo.databases(now)) {
          const text = `${role}: ${name}${bundled ? ' (bundled)' : ''}, ${ageDays} days old`;
          const warning = geo.warning(now);
          say({
            state: warning === '' || ageDays <= 90 ? 'ok' : 'note',
            what: 'geo',
            text,
            fix: ageDays <= 90 ? '' : warning,
          });
        }
        for (const { kind, path, count } of geo.lists())
          say(ok('geo', `${kind} networks: ${plural(count, 'range')} in ${path}`));
        geo.close();
        return [null, null];
      });
      const off = DETECTORS.filter(({ id }) => config.detectors[id]?.enabled === false).map(({ id }) => id);
      const on = DETECTORS.filter(({ id }) => !off.includes(id)).map(({ id }) => id);
      say(ok('detectors', `${on.join(', ') || 'none'}${off.length > 0 ? `; off: ${off.join(', ')}` : ''}`));
      const { budget } = config.alerts;
      const seen =
        budget === null ? 'none: every alert from medium on pages' : `${formatBudget(budget)}, the rest is held back`;
      say(ok('budget', `${seen}; tokenwatch budget compares others`));
      const channels = Object.entries(config.alerts.channels);
      if (channels.length === 0) {
        say({
          state: 'note',
          what: 'channels',
          text: 'none: alerts are recorded and shown, nobody is paged',
          fix: 'Add one under alerts.channels; see docs/configuration.md.',
        });
      }
      for (const [name, channel] of channels) {
        await attempt(`channel ${name}`, say, async () => [null, await checkChannel(name, channel)]);
      }
    }
    const broken = findings.filter(({ state }) => state === 'broken').length;
    io.out.write(broken === 0 ? '\neverything works\n' : `\n${broken} broken\n`);
    return broken === 0 ? 0 : 1;
  },
};

function ok(what: string, text: string): Finding {
  return { state: 'ok', what, text, fix: '' };
}

function line({ state, what, text, fix }: Finding): string {
  const indented = text.replaceAll('\n', `\n${' '.repeat(23)}`);
  return plain(`${state.padEnd(7)} ${what.padEnd(14)} ${indented}${fix === '' ? '' : `\n${' '.repeat(23)}${fix}`}\n`);
}

/** Whatever a check throws is a finding: the checks after it still run. */
async function attempt<T>(
  what: string,
  say: (finding: Finding) => void,
  work: () => Promise<readonly [T, Finding | null]>,
): Promise<T | null> {
  try {
    const [value, finding] = await work();
    if (finding !== null) say(finding);
    return value;
  } catch (error) {
    const fix = error instanceof TokenwatchError ? error.fix : '';
    say({ state: 'broken', what, text: errorText(error), fix });
    return null;
  }
}

function describeFile(invocation: Invocation, io: Io): string {
  const file = textOption(invocation.options, 'config');
  return (
    findConfigFile({ ...(file === null ? {} : { file }), env: io.env, cwd: io.cwd }) ??
    'defaults (no tokenwatch.yaml here)'
  );
}

async function instanceAt(config: Config): Promise<Finding | null> {
  const url = baseUrl(config.listen);
  try {
    const response = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(CONNECT_TIMEOUT_MS) });
    const body = (await response.text()).trim();
    return response.ok
      ? ok('service', `running and ready at ${url}`)
      : {
          state: 'broken',
          what: 'service',
          text: `running at ${url}, but not ready: ${body.slice(0, 300)}`,
          fix: 'See its log.',
        };
  } catch {
    return null;
  }
}

function checkData({ dataDir }: Config): Finding {
  // Not there yet: the first start makes it, if it may.
  let folder = dataDir;
  while (!existsSync(folder) && dirname(folder) !== folder) folder = dirname(folder);
  if (!statSync(folder).isDirectory()) {
    return {
      state: 'broken',
      what: 'data',
      text: `${folder} is not a folder`,
      fix: 'Set TOKENWATCH_DATA to a folder.',
    };
  }
  try {
    accessSync(folder, constants.W_OK | constants.X_OK);
  } catch {
    return {
      state: 'broken',
      what: 'data',
      text: `${folder} cannot be written to`,
      fix: 'Give it to the user that runs Tokenwatch, or set TOKENWATCH_DATA.',
    };
  }
  return ok('data', `${dataDir}${folder === dataDir ? '' : ' (made on first start)'}`);
}

async function checkStore(config: Config, running: boolean, usable: boolean): Promise<Finding> {
  const context = { log: createLogger('silent'), clock: systemClock };
  if (config.store.url !== null) {
    const store = await openStore(config, context);
    await store.ping();
    await store.close();
    return ok('store', 'ClickHouse answers, and its schema is up to date');
  }
  // The running service owns its data directory.
  if (running) return ok('store', `embedded engine in ${config.dataDir}, owned by the running service`);
  if (!usable)
    return {
      state: 'broken',
      what: 'store',
      text: `the embedded engine needs a folder that it can write to, in ${config.dataDir}`,
      fix: 'See data above, or set CLICKHOUSE_URL to a ClickHouse server.',
    };
  const used = existsSync(config.dataDir);
  const dataDir = used ? config.dataDir : mkdtempSync(join(tmpdir(), 'tokenwatch-check-'));
  try {
    const store = await openStore({ ...config, dataDir }, context);
    await store.ping();
    await store.close();
  } finally {
    if (!used) rmSync(dataDir, { recursive: true, force: true });
  }
  return ok('store', `the embedded engine works${used ? `, in ${config.dataDir}` : ''}`);
}

async function checkQueue(config: Config): Promise<Finding> {
  if (config.queue.url === null) {
    const program = findRedisServer();
    if (program !== null) return ok('queue', `private Redis by ${program}`);
    return {
      state: 'broken',
      what: 'queue',
      text: 'no redis-server or valkey-server is on PATH, and no REDIS_URL is set',
      fix: 'Debian, Ubuntu: apt-get install redis-server; Fedora: dnf install valkey; macOS: brew install redis; or set REDIS_URL.',
    };
  }
  const queues = await openQueues(config, { log: createLogger('silent'), clock: systemClock });
  await queues.ping().finally(() => queues.close(CONNECT_TIMEOUT_MS));
  return ok('queue', 'Redis answers');
}

/** Nothing is sent: a check at night should wake nobody. */
async function checkChannel(name: string, config: ChannelConfig): Promise<Finding> {
  createChannel(name, config, { clock: systemClock });
  const url = new URL(config.type === 'email' ? config.smtp : config.url);
  const port = Number(url.port) || { 'https:': 443, 'http:': 80, 'smtps:': 465, 'smtp:': 587 }[url.protocol] || 0;
  const host = url.hostname.replace(/^\[|\]$/g, '');
  await new Promise<void>((resolve, reject) => {
    const socket = connect({ host, port, timeout: CONNECT_TIMEOUT_MS });
    const done = (error?: Error) => {
      socket.destroy();
      if (error === undefined) resolve();
      else
        reject(
          new TokenwatchError(
            'channel_unreachable',
            'transient',
            `${host}:${port} cannot be reached: ${error.message}`,
            { fix: 'Check the address, and the firewall between here and there.' },
          ),
        );
    };
    socket
      .once('connect', () => done())
      .once('error', done)
      .once('timeout', () => done(new Error('no answer within 5 s')));
  });
  return ok(`channel ${name}`, `${config.type}, ${host}:${port} can be reached (nothing was sent)`);
}
