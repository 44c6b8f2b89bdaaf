import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';

interface Manifest {
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
}

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
const manifest = JSON.parse(read('package.json')) as Manifest;
const lock = JSON.parse(read('package-lock.json')) as {
  packages: Record<string, { version?: string; license?: string; dev?: boolean; engines?: { node?: string } }>;
};

const ALLOWED = ['Apache-2.0', 'MIT', 'MIT-0', 'ISC', 'BSD-2-Clause', 'BSD-3-Clause', '0BSD', 'Unlicense', 'CC0-1.0'];

describe('dependencies', () => {
  const direct = { ...manifest.dependencies, ...manifest.devDependencies };

  test('are pinned exactly, and locked as pinned', () => {
    for (const [name, version] of Object.entries(direct)) {
      expect(lock.packages[`node_modules/${name}`]?.version, name).toBe(version);
    }
  });

  test('each have their reason in docs/dependencies.md', () => {
    const page = read('docs/dependencies.md');
    expect(Object.keys(direct).filter((name) => !page.includes(`\`${name}\``))).toEqual([]);
  });

  test('that run in the product have a licence that lets anyone use it', () => {
    const others = Object.entries(lock.packages)
      .filter(([path, { dev, license }]) => path !== '' && dev !== true && !ALLOWED.includes(license ?? 'none'))
      .map(([path, { license }]) => `${path}: ${license}`);
    expect(others).toEqual([]);
  });

  test('that we name ourselves run on the oldest Node that we promise', () => {
    const tooNew = Object.keys(direct).filter((name) => {
      const wanted = lock.packages[`node_modules/${name}`]?.engines?.node ?? '';
      return wanted !== '' && !/\*|>= ?(?:[0-9]|1[0-9]|20)(?:\D|$)|\^20/.test(wanted);
    });
    expect(tooNew).toEqual([]);
  });
});
