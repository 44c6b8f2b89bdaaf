import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { COMMANDS } from '../../cli/commands.ts';
import { ROLES } from '../../cli/service.ts';
import { DEFAULT_FILE, loadConfig } from '../../config/index.ts';
import { DETECTORS } from '../../detectors/index.ts';
import { FORMATS } from '../../ingest/index.ts';
import { fencedBlocks, filesUnder, firstColumn, read } from './markdown.ts';

const page = read('README.md');

test('README.md and CHANGELOG.md name every detector', () => {
  for (const { id } of DETECTORS) {
    expect(page).toContain(`\`${id}\``);
    expect(read('CHANGELOG.md')).toContain(`\`${id}\``);
  }
});

test('README.md shows every command and every role', () => {
  for (const name of Object.keys(COMMANDS)) expect(page).toMatch(new RegExp(`(npx tokenwatch|npm run) ${name}\\b`));
  for (const role of ROLES) expect(page).toContain(`--role ${role}`);
});

test('every npx tokenwatch line of the documents is a command that exists', () => {
  for (const path of ['README.md', ...filesUnder('docs', '.md')]) {
    for (const [, name = ''] of read(path).matchAll(/npx tokenwatch ([a-z]+)/g))
      expect(Object.keys(COMMANDS)).toContain(name);
  }
});

test('every configuration that README.md shows is valid', () => {
  const blocks = fencedBlocks(page, 'yaml');
  expect(blocks.length).toBeGreaterThan(0);
  for (const block of blocks) {
    const cwd = mkdtempSync(join(tmpdir(), 'tokenwatch-readme-'));
    writeFileSync(join(cwd, DEFAULT_FILE), block);
    const env = {
      WEBHOOK_SECRET: `whsec_${Buffer.alloc(32).toString('base64')}`,
      SLACK_WEBHOOK_URL: 'https://hooks.slack.example/services/T0/B0/x',
    };
    expect(() => loadConfig({ env, cwd })).not.toThrow();
    rmSync(cwd, { recursive: true });
  }
});

test('docs/api.md names every log format', () => {
  const formats = FORMATS.map(({ name }) => name);
  expect(formats.filter((name) => !read('docs/api.md').includes(`\`${name}\``))).toEqual([]);
});

test('README.md lists every room of the code', () => {
  const rooms = firstColumn(page).map((name) => name.replace('/', ''));
  for (const room of [
    'cli',
    'console',
    'ingest',
    'detectors',
    'alerts',
    'store',
    'queues',
    'config',
    'core',
    'fixtures',
  ])
    expect(rooms).toContain(room);
});
