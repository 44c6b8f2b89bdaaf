import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Service, startService } from '../../cli/service.ts';
import { loadConfig } from '../../config/index.ts';
import { createLogger } from '../../core/index.ts';
import { filesUnder, firstColumn, read, sectionsOf } from './markdown.ts';

const page = read('docs/api.md');
const folder = mkdtempSync(join(tmpdir(), 'tokenwatch-api-'));
let service: Service;

beforeAll(async () => {
  const env = { TOKENWATCH_LISTEN: '127.0.0.1:0', TOKENWATCH_DATA: folder };
  service = await startService(loadConfig({ env, cwd: folder }), { log: createLogger('silent') });
});
afterAll(async () => {
  await service.close();
  rmSync(folder, { recursive: true, force: true });
});

test('docs/api.md lists every metric that the service has, and no other', async () => {
  const text = await (await fetch(`${service.url}/metrics`)).text();
  const served = [...text.matchAll(/^# TYPE (tokenwatch_\w+) (\w+)$/gm)].map(([, name, type]) => `${name} ${type}`);
  const rows = [...page.matchAll(/^\| `(tokenwatch_\w+)` \| (counter|gauge|histogram) \|/gm)];
  expect(rows.map(([, name, type]) => `${name} ${type}`).sort()).toEqual(served.sort());
});

/** The routes that the sources register, as `METHOD path`. */
function routes(): string[] {
  const files = [...filesUnder('console', '.ts'), 'ingest/http.ts'];
  return files.flatMap((file) =>
    [...read(file).matchAll(/\b(?:app|scope)\.(get|post|delete)(?:<\w+>)?\(\s*['`]([^'`]+)['`]/g)].flatMap(
      ([, method = '', path = '']) => `${method.toUpperCase()} ${path}`,
    ),
  );
}

test('docs/api.md describes every call, and no other', () => {
  const described = sectionsOf(page).flatMap(({ title }) =>
    [...title.matchAll(/`((?:GET|POST|DELETE) [^`]+)`/g)].map(([, call = '']) => call.replace(/\{(\w+)\}/g, ':$1')),
  );
  expect(described.sort()).toEqual(routes().sort());
});

test('every call that is described is served', async () => {
  const calls = sectionsOf(page).flatMap(({ title }) => [...title.matchAll(/`(GET|POST|DELETE) ([^`]+)`/g)]);
  expect(calls.length).toBeGreaterThan(0);
  for (const [, method = '', path = ''] of calls) {
    const url = `${service.url}${path.replace(/\{\w+\}/g, 'x')}`;
    const response = await fetch(url, { method, headers: { authorization: 'Bearer none' } });
    expect(response.status, `${method} ${path}`).not.toBe(404);
    await response.text();
  }
});

test('every scope and filter in a table of docs/api.md is one that the API knows', async () => {
  const filters = sectionsOf(page).find(({ title }) => title.includes('GET /v1/alerts`'));
  const known = { severity: 'high', status: 'open', since: '2026-11-22T01:02:03Z', limit: '1', cursor: '' };
  for (const name of firstColumn(filters?.text ?? '')) {
    const value = known[name as keyof typeof known] ?? 'x';
    if (value === '') continue;
    const response = await fetch(`${service.url}/v1/alerts?${name}=${value}`, {
      headers: { authorization: `Bearer ${service.accessKey}` },
    });
    expect(response.status, name).toBe(200);
    await response.text();
  }
});
