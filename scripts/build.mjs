// Compiles to dist/ and copies what is not TypeScript. Node built-ins only; `node scripts/build.mjs` builds always,
// with `--if-needed` only when the sources have changed.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const STAMP = 'dist/.stamp';

/** rooms are the folders that tsconfig.build.json compiles: one list for both. */
function rooms(root) {
  return JSON.parse(readFileSync(join(root, 'tsconfig.build.json'), 'utf8')).include;
}

/** isBuilt tells whether dist/ was made from the sources as they are. */
export function isBuilt(root) {
  try {
    return readFileSync(join(root, STAMP), 'utf8') === fingerprint(root);
  } catch {
    return false;
  }
}

/** build makes dist/ anew and puts it in place at once, so that a failed build leaves the old one alone. */
export async function build(root) {
  const stamp = fingerprint(root);
  const next = `dist-${process.pid}`;
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  try {
    const done = spawnSync(process.execPath, [tsc, '-p', 'tsconfig.build.json', '--outDir', next], {
      cwd: root,
      encoding: 'utf8',
    });
    if (done.status !== 0) throw new Error(`the build failed:\n${done.stdout}${done.stderr}`);
    for (const file of sources(root).filter((name) => !/\.(ts|md)$/.test(name))) {
      mkdirSync(dirname(join(root, next, file)), { recursive: true });
      cpSync(join(root, file), join(root, next, file));
    }
    // The package's bin: npx runs it as a program.
    chmodSync(join(root, next, 'cli', 'main.js'), 0o755);
    writeFileSync(join(root, next, '.stamp'), stamp);
    putInPlace(join(root, next), join(root, 'dist'));
  } finally {
    rmSync(join(root, next), { recursive: true, force: true });
  }
}

/** Two builds may end at the same moment: the later one wins. */
function putInPlace(from, to, tries = 5) {
  try {
    rmSync(to, { recursive: true, force: true });
    renameSync(from, to);
  } catch (error) {
    if (tries === 0) throw error;
    putInPlace(from, to, tries - 1);
  }
}

/** fingerprint changes with any source: names, sizes and times, which are quicker to read than contents. */
export function fingerprint(root) {
  const hash = createHash('sha256');
  for (const file of [...sources(root), 'tsconfig.json', 'tsconfig.build.json', 'package.json']) {
    const { size, mtimeMs } = statSync(join(root, file));
    hash.update(`${file} ${size} ${mtimeMs}\n`);
  }
  return hash.digest('hex');
}

function sources(root) {
  return rooms(root)
    .filter((room) => existsSync(join(root, room)))
    .flatMap((room) => readdirSync(join(root, room), { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .filter((file) => !file.startsWith(join('bench', 'results')))
    .sort();
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const root = fileURLToPath(new URL('..', import.meta.url));
  try {
    if (!process.argv.includes('--if-needed') || !isBuilt(root)) await build(root);
  } catch (error) {
    process.stderr.write(`error: ${error.message}\n`);
    process.exitCode = 1;
  }
}
