import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { DEFAULT_FILE, KNOBS, knobsTable, loadConfig } from '../../config/index.ts';

const DOCS = new URL('../../docs/configuration.md', import.meta.url);
const TABLE = /(<!-- knobs:[^\n]*-->\n)([\s\S]*?)(\n?<!-- \/knobs -->)/;

test('docs/configuration.md lists every key with its default and what it allows', () => {
  if (process.env.UPDATE_DOCS !== undefined) {
    const text = readFileSync(DOCS, 'utf8');
    writeFileSync(
      DOCS,
      text.replace(TABLE, (_, begin: string) => `${begin}${knobsTable()}\n<!-- /knobs -->`),
    );
  }
  expect(TABLE.exec(readFileSync(DOCS, 'utf8'))?.[2]).toBe(knobsTable());
});

test('the defaults in the documentation are those that hold', () => {
  // Every preset goes through the same reader as the file, so it has to be a value that the file could hold.
  for (const [path, knob] of Object.entries(KNOBS)) {
    if (knob.preset !== null) expect(knob.field.schema.safeParse(knob.preset).success, path).toBe(true);
  }
});

test('the example in the documentation is a valid configuration', () => {
  const example = /<!-- example[^\n]*\n```yaml\n([\s\S]*?)```/.exec(readFileSync(DOCS, 'utf8'))?.[1] as string;
  const cwd = mkdtempSync(join(tmpdir(), 'tokenwatch-docs-'));
  writeFileSync(join(cwd, DEFAULT_FILE), example);
  const env = {
    WEBHOOK_SECRET: `whsec_${Buffer.alloc(32).toString('base64')}`,
    SLACK_WEBHOOK_URL: 'https://hooks.slack.example/services/T0/B0/x',
  };
  const config = loadConfig({ env, cwd });
  rmSync(cwd, { recursive: true });
  expect(Object.keys(config.alerts.channels)).toEqual(['soc', 'slack', 'mail']);
});
