import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

const SETUP = new URL('../../scripts/setup.mjs', import.meta.url).href;
let folder: string;
let bin: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tokenwatch-setup-'));
  bin = join(folder, 'bin');
  mkdirSync(bin);
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Puts a program on the PATH of the set-up, which holds nothing else. */
function program(name: string, script: string): void {
  const file = join(bin, name);
  writeFileSync(file, `#!/bin/sh\n${script}\n`);
  chmodSync(file, 0o755);
}

function setUp(code: string, env: Record<string, string> = {}) {
  const script = `import * as setup from ${JSON.stringify(SETUP)};\ntry { ${code} } catch (error) { setup.fail(error); }`;
  const done = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
    env: { PATH: bin, FOLDER: folder, ...env },
  });
  return { code: done.status, err: done.stderr, out: done.stdout };
}

const REDIS = 'await setup.ensureRedis();';

describe('a missing Redis', () => {
  test('is no matter when redis-server or valkey-server is on PATH', () => {
    program('valkey-server', '');
    program('apt-get', 'echo "$@" >> "$FOLDER/calls"');
    expect(setUp(REDIS)).toMatchObject({ code: 0, err: '' });
    expect(existsSync(join(folder, 'calls'))).toBe(false);
  });

  test('is installed by the package manager that is there', () => {
    // As on a fresh image: nothing can be installed before the lists are there.
    program(
      'apt-get',
      `case "$1" in
        update) : > "$FOLDER/lists" ;;
        install) [ -e "$FOLDER/lists" ] || { echo "E: Unable to locate package"; exit 100; }
                 printf '#!/bin/sh\\n' > "$FOLDER/bin/redis-server"; /bin/chmod 755 "$FOLDER/bin/redis-server" ;;
      esac`,
    );
    program('sudo', '[ "$1" = "-n" ] && shift; exec "$@"');
    for (const name of ['true', 'env', 'sh']) symlinkSync(`/usr/bin/${name}`, join(bin, name));
    expect(setUp(REDIS)).toMatchObject({
      code: 0,
      err: expect.stringMatching(/^✓ installing redis-server \(\d+\.\d s\)\n$/),
    });
  });

  test('that cannot be installed is one message that says what to install and how', () => {
    const { code, err } = setUp(REDIS);
    expect(code).toBe(1);
    expect(err).toContain(
      'error: Tokenwatch keeps its queues in Redis, and no redis-server or valkey-server is on PATH',
    );
    expect(err).toContain('there is no package manager here');
    for (const way of ['apt-get install redis-server', 'dnf install valkey', 'brew install redis', 'REDIS_URL']) {
      expect(err).toContain(way);
    }
    expect(err).not.toContain('    at ');
  });

  test('shows the end of what the package manager said when it failed', () => {
    program('brew', 'echo "Error: no bottle available"; exit 1');
    expect(setUp(REDIS).err).toContain('brew could not install it:\n    Error: no bottle available');
  });
});

describe('the set-up', () => {
  test.each(['18.20.8', '20.18.3'])('refuses Node %s and says which one it needs', (version) => {
    expect(setUp(`setup.checkNode('${version}');`)).toMatchObject({
      code: 1,
      err: expect.stringContaining(`this is Node ${version}; Tokenwatch needs Node 20.19 or newer`),
    });
  });

  test.each(['20.19.0', '22.0.0', '24.1.0'])('takes Node %s', (version) => {
    expect(setUp(`setup.checkNode('${version}');`)).toMatchObject({ code: 0 });
  });

  test('knows from the lock file whether the packages are installed, whatever the times of the files', () => {
    const lock = (version: string) =>
      JSON.stringify({
        packages: { '': {}, 'node_modules/a': { version }, 'node_modules/b': { version: '1.0.0', optional: true } },
      });
    const installed = () => setUp(`console.log(setup.packagesAreInstalled(${JSON.stringify(folder)}));`).out.trim();
    writeFileSync(join(folder, 'package-lock.json'), lock('1.0.0'));
    expect(installed()).toBe('false');
    mkdirSync(join(folder, 'node_modules'));
    const present = (version: string) => JSON.stringify({ packages: { 'node_modules/a': { version } } });
    writeFileSync(join(folder, 'node_modules/.package-lock.json'), present('0.9.0'));
    expect(installed()).toBe('false');
    writeFileSync(join(folder, 'node_modules/.package-lock.json'), present('1.0.0'));
    expect(installed()).toBe('true');
  });
});

test('the build is there only when it was made from the sources as they are', () => {
  const build = new URL('../../scripts/build.mjs', import.meta.url).href;
  writeFileSync(join(folder, 'tsconfig.build.json'), JSON.stringify({ include: ['core'] }));
  for (const file of ['tsconfig.json', 'package.json']) writeFileSync(join(folder, file), '{}');
  mkdirSync(join(folder, 'core'));
  writeFileSync(join(folder, 'core', 'a.ts'), 'export {};\n');
  mkdirSync(join(folder, 'dist'));
  const run = (code: string) => {
    const script = `import { fingerprint, isBuilt } from ${JSON.stringify(build)};\nimport { writeFileSync } from 'node:fs';\n${code}`;
    return spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' }).stdout.trim();
  };
  const root = JSON.stringify(folder);
  expect(run(`console.log(isBuilt(${root}));`)).toBe('false');
  run(`writeFileSync(${root} + '/dist/.stamp', fingerprint(${root}));`);
  expect(run(`console.log(isBuilt(${root}));`)).toBe('true');
  writeFileSync(join(folder, 'core', 'b.sql'), 'SELECT 1\n');
  expect(run(`console.log(isBuilt(${root}));`)).toBe('false');
});

test('nothing that runs before npm ci needs a package', () => {
  const scripts = fileURLToPath(new URL('../../scripts', import.meta.url));
  const away = join(folder, 'scripts');
  spawnSync('cp', ['-r', scripts, away]);
  for (const script of ['setup.mjs', 'build.mjs', 'path.mjs']) {
    const done = spawnSync(process.execPath, [
      '--input-type=module',
      '-e',
      `await import(${JSON.stringify(join(away, script))});`,
    ]);
    expect(done.status, String(done.stderr)).toBe(0);
  }
});
