// What has to be there before anything runs: Node, the npm packages, a Redis, the build. Node built-ins only.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, isBuilt } from './build.mjs';
import { findOnPath, REDIS_SERVERS } from './path.mjs';

/** ROOT is the folder of the checkout. */
export const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** SetupError is a set-up that cannot go on: what is wrong, and what to do, for a person. */
export class SetupError extends Error {}

const NODE_NEEDED = [20, 19];

/** checkNode refuses a Node that is too old, before anything fails in a stranger way. */
export function checkNode(version = process.versions.node) {
  const [major, minor] = version.split('.').map(Number);
  if (major > NODE_NEEDED[0] || (major === NODE_NEEDED[0] && minor >= NODE_NEEDED[1])) return;
  throw new SetupError(
    [
      `this is Node ${version}; Tokenwatch needs Node ${NODE_NEEDED.join('.')} or newer`,
      '  Install the current LTS from https://nodejs.org or with your version manager (nvm install --lts), then run this again.',
    ].join('\n'),
  );
}

/** prepare does all set-up that is still missing. `redis` tells, once the build is there, whether a Redis program is needed. */
export async function prepare({ redis }) {
  checkNode();
  if (!packagesAreInstalled()) await stage('installing npm packages', installPackages);
  if (!isBuilt(ROOT)) await stage('building', () => build(ROOT));
  if (await redis()) await ensureRedis();
}

/** ensureRedis installs a redis-server unless one is on PATH. */
export async function ensureRedis() {
  if (findOnPath(REDIS_SERVERS) === null) await stage('installing redis-server', installRedis);
}

/** packagesAreInstalled compares what npm installed with the lock file, entry by entry: times say little after a checkout. */
export function packagesAreInstalled(root = ROOT) {
  try {
    const wanted = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages;
    const present = JSON.parse(readFileSync(join(root, 'node_modules', '.package-lock.json'), 'utf8')).packages;
    return Object.entries(wanted).every(
      ([path, { version, optional, peer }]) =>
        path === '' || (present[path] === undefined ? optional || peer : present[path].version === version),
    );
  } catch {
    return false;
  }
}

/** stage runs one step of the set-up and says, in one line, what it was and how long it took. */
export async function stage(title, step) {
  const began = performance.now();
  const elapsed = () => `${((performance.now() - began) / 1000).toFixed(1)} s`;
  const live = process.stderr.isTTY === true;
  if (live) process.stderr.write(`· ${title}`);
  const ticker = live ? setInterval(() => process.stderr.write(`\r· ${title} ${elapsed()}`), 1000) : null;
  ticker?.unref();
  try {
    const result = await step();
    process.stderr.write(`${live ? '\r' : ''}✓ ${title} (${elapsed()})\n`);
    return result;
  } catch (error) {
    process.stderr.write(`${live ? '\r' : ''}✗ ${title} (${elapsed()})\n`);
    throw error;
  } finally {
    if (ticker !== null) clearInterval(ticker);
  }
}

/** run starts a program quietly; its output is kept for the case that it fails. Resolves with {code, output}. */
export function run(command, args, options = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'], ...options });
    let output = '';
    const keep = (chunk) => {
      output = (output + chunk).slice(-20_000);
    };
    child.stdout?.on('data', keep);
    child.stderr?.on('data', keep);
    child.on('error', (error) => resolve({ code: 127, output: `${output}${error.message}` }));
    child.on('close', (code, signal) =>
      resolve({ code: code ?? 1, output: signal ? `${output}ended by ${signal}` : output }),
    );
  });
}

/** tail is the last lines of a program's output, indented, without npm's small talk. */
export function tail(output, count = 15) {
  const lines = output.split('\n').filter((line) => line.trim() !== '' && !/^npm (warn|notice)/i.test(line));
  return lines
    .slice(-count)
    .map((line) => `    ${line}`)
    .join('\n');
}

/** fail prints an error as the commands do, and ends the process. */
export function fail(error) {
  const text = error instanceof SetupError || process.env.TOKENWATCH_LOG !== 'debug' ? error.message : error.stack;
  process.stderr.write(`error: ${text}\n`);
  process.exit(1);
}

async function installPackages() {
  let { code, output } = await npm('ci');
  if (code !== 0 && output.includes('EUSAGE')) {
    // The lock file does not list some optional package of another platform; `install` does not mind.
    ({ code, output } = await npm('install', '--no-save'));
  }
  if (code === 0) return;
  throw new SetupError(
    [
      '`npm ci` failed; the end of what it said:',
      tail(output),
      '  Most often the package registry cannot be reached: check the network and `npm config get registry`, then run this again.',
    ].join('\n'),
  );
}

function npm(...command) {
  // Dev packages too, whatever NODE_ENV says: the compiler is one of them.
  const args = [...command, '--include=dev', '--no-audit', '--no-fund', '--no-progress', '--loglevel=error'];
  const script = process.env.npm_execpath;
  return script !== undefined && /\.[cm]?js$/.test(script) && existsSync(script)
    ? run(process.execPath, [script, ...args])
    : run(process.platform === 'win32' ? 'npm.cmd' : 'npm', args);
}

/** How each package manager installs a Redis; the first that is on PATH is used. */
const MANAGERS = [
  { name: 'apt-get', root: true, packages: ['redis-server', 'valkey-server', 'valkey'], install: aptGet },
  {
    name: 'dnf',
    root: true,
    packages: ['valkey', 'redis'],
    install: (pkg, as) => as('dnf', ['install', '-y', '-q', pkg]),
  },
  {
    name: 'apk',
    root: true,
    packages: ['redis', 'valkey'],
    install: (pkg, as) => as('apk', ['add', '--no-cache', pkg]),
  },
  { name: 'brew', root: false, packages: ['redis'], install: (pkg, as) => as('brew', ['install', '--quiet', pkg]) },
];

async function installRedis() {
  const manager = MANAGERS.find(({ name }) => findOnPath([name]) !== null);
  if (manager === undefined) throw noRedis('there is no package manager here that could install it');
  const as = manager.root ? asRoot() : run;
  if (as === null) throw noRedis('installing it needs root, and sudo asks for a password or is not there');
  let last = '';
  for (const pkg of manager.packages) {
    const { code, output } = await manager.install(pkg, as);
    if (code === 0 && findOnPath(REDIS_SERVERS) !== null) return;
    last ||= output;
  }
  throw noRedis(`${manager.name} could not install it:\n${tail(last, 8)}`);
}

async function aptGet(pkg, as) {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const install = () =>
    as('apt-get', ['install', '-y', '-qq', '--no-install-recommends', '-o', 'DPkg::Lock::Timeout=120', pkg], { env });
  const first = await install();
  if (first.code === 0) return first;
  // A fresh machine or image has no package lists, or old ones.
  const update = await as('apt-get', ['update', '-qq', '-o', 'DPkg::Lock::Timeout=120'], { env });
  const second = await install();
  return second.code === 0 || update.code === 0 ? second : update;
}

/** How to run something as root without asking anything; null when that is not possible. */
function asRoot() {
  if (process.getuid?.() === 0) return run;
  if (findOnPath(['sudo']) === null || spawnSync('sudo', ['-n', 'true'], { stdio: 'ignore' }).status !== 0) return null;
  return (command, args, options) =>
    run('sudo', ['-n', 'env', `DEBIAN_FRONTEND=${options?.env?.DEBIAN_FRONTEND ?? ''}`, command, ...args], options);
}

function noRedis(why) {
  return new SetupError(
    [
      `Tokenwatch keeps its queues in Redis, and no redis-server or valkey-server is on PATH; ${why}`,
      '  Install one and run this again:',
      '    Debian, Ubuntu   sudo apt-get install redis-server',
      '    Fedora, RHEL     sudo dnf install valkey',
      '    Alpine           sudo apk add redis',
      '    macOS            brew install redis',
      '  or set REDIS_URL to a Redis 6.2 or newer that you have, such as redis://127.0.0.1:6379 (the tests need the program).',
    ].join('\n'),
  );
}
