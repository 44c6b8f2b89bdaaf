import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { systemClock } from '../../core/index.ts';
import { type ImportFileOptions, type ImportProgress, importFiles } from '../../ingest/index.ts';
import { event, ndjson, openEngines, type Receiver, startReceiver, stored } from './kit.ts';

let engines: Awaited<ReturnType<typeof openEngines>>;
let receiver: Receiver;
const folder = mkdtempSync(join(tmpdir(), 'tokenwatch-import-'));

beforeAll(async () => {
  engines = await openEngines();
  receiver = await startReceiver(engines.store, engines.queues);
});

afterAll(async () => {
  await receiver?.close();
  await engines?.close();
  rmSync(folder, { recursive: true, force: true });
});

function file(name: string, content: string | Buffer): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

function run(files: string[], options: Partial<ImportFileOptions> = {}) {
  return importFiles({ files, url: receiver.url, key: receiver.key, format: 'auto', clock: systemClock, ...options });
}

test('plain, gzipped and pretty-printed files arrive, and importing them again stores nothing twice', async () => {
  const events = (n: number) => Array.from({ length: n }, () => event({ token: 'tok_import' }));
  const files = [
    file('a.ndjson', `${ndjson(events(6_000))}\n`),
    file('b.json.gz', gzipSync(JSON.stringify({ Records: events(10) }))),
    file('c.json', JSON.stringify(events(3), null, 2)),
  ];
  const seen: ImportProgress[] = [];
  const result = await run(files, { onProgress: (progress) => seen.push(progress) });
  expect(result).toMatchObject({ lines: 6_013, accepted: 6_013, rejected: 0, skipped: 0, errors: [] });
  expect(await stored(engines.store, 'tok_import')).toBe(6_013);
  const last = seen.at(-1);
  expect(last).toMatchObject({ lines: 6_013, file: files[2], waiting: null });
  expect(last?.bytesRead).toBe(last?.bytesTotal);
  expect(seen.length).toBeGreaterThan(3);
  await run(files);
  expect(await stored(engines.store, 'tok_import')).toBe(6_013);
});

test('bad lines are counted and named by file and line, also beyond the first request', async () => {
  const lines = Array.from({ length: 5_100 }, () => JSON.stringify(event({ token: 'tok_import_bad' })));
  lines[6] = 'broken';
  lines[7] = '';
  lines[5_050] = 'broken too';
  const bytes = Buffer.concat([Buffer.from(`${lines.join('\n')}\n{"x":"`), Buffer.from([0xff]), Buffer.from('"}\n')]);
  const path = file('bad.ndjson', bytes);
  const result = await run([path]);
  expect(result).toMatchObject({ accepted: 5_097, rejected: 3 });
  expect(result.errors.map(({ file, line, code }) => [file, line, code])).toEqual([
    [path, 7, 'bad_json'],
    [path, 5_051, 'bad_json'],
    [path, 5_101, 'bad_utf8'],
  ]);
});

test('pieces of a file that are alike are all stored, once', async () => {
  const line = `{"time":"2026-11-20T10:00:00Z","token":"tok_alike"}\n`;
  const path = file('alike.ndjson', line.repeat(10_000));
  for (let attempt = 0; attempt < 2; attempt++) {
    expect(await run([path])).toMatchObject({ accepted: 10_000, rejected: 0 });
    expect(await stored(engines.store, 'tok_alike')).toBe(10_000);
  }
});

test('what is skipped is counted by its reason', async () => {
  const record = (eventID: string, userIdentity: object) => ({
    ...{ eventVersion: '1.08', eventTime: '2026-11-20T10:00:00Z', eventSource: 's3.amazonaws.com' },
    ...{ eventName: 'ListBuckets', sourceIPAddress: '203.0.113.5', eventID, userIdentity },
  });
  const service = { type: 'AWSService', invokedBy: 'cloudtrail.amazonaws.com' };
  const records = [record('e-1', service), record('e-2', service), record('e-3', { type: 'IAMUser', userName: 'ben' })];
  expect(await run([file('skipped.json', JSON.stringify({ Records: records }))])).toMatchObject({
    ...{ accepted: 0, rejected: 0, skipped: 3 },
    skippedBy: { service_call: 2, no_token: 1 },
  });
});

test('standard input is a file named -', async () => {
  async function* stdin() {
    yield Buffer.from(ndjson([event({ token: 'tok_stdin' })]));
  }
  const progress: ImportProgress[] = [];
  expect(await run(['-'], { stdin: stdin(), onProgress: (p) => progress.push(p) })).toMatchObject({ accepted: 1 });
  expect(progress.at(-1)?.bytesTotal).toBeNull();
});

test('503 is waited out as long as the service says, and the same request is sent again', async () => {
  const bodies: string[] = [];
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const piece of request) body += piece;
    bodies.push(body);
    const first = bodies.length === 1;
    response.writeHead(first ? 503 : 200, first ? { 'retry-after': '0.01' } : {});
    response.end(
      JSON.stringify(first ? { error: { code: 'ingest_busy', message: 'full', fix: '' } } : { accepted: 2 }),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const waits: unknown[] = [];
  const result = await run([file('two.ndjson', ndjson([event(), event()]))], {
    url,
    onProgress: ({ waiting }) => waiting && waits.push(waiting),
  });
  expect(result).toMatchObject({ accepted: 2 });
  expect(bodies.length).toBe(2);
  expect(bodies[1]).toBe(bodies[0]);
  expect(waits).toEqual([{ reason: 'full', ms: 10 }]);
  server.close();
});

test('what cannot work is said at once: a missing file, a wrong key, a service that is not there', async () => {
  const path = file('one.ndjson', ndjson([event()]));
  await expect(run([join(folder, 'nope')])).rejects.toMatchObject({ code: 'import_file' });
  await expect(run([path], { key: 'wrong' })).rejects.toMatchObject({ code: 'import_refused' });
  await expect(run([path], { url: 'http://127.0.0.1:1', giveUpMs: 0 })).rejects.toMatchObject({
    code: 'import_unreachable',
  });
});
