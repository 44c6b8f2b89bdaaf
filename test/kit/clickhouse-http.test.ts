import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { type ClickHouseClient, createClient } from '@clickhouse/client';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type ClickHouseHttp, startClickHouseHttp } from './clickhouse-http.ts';

let server: ClickHouseHttp;
let client: ClickHouseClient;

beforeAll(async () => {
  server = await startClickHouseHttp();
});
afterAll(() => server.stop());

beforeEach(() => {
  client = connect();
});
afterEach(async () => {
  server.heal();
  server.version = null;
  server.readonlyProfile = 0;
  await client.close();
});

function connect(options: { url?: string; database?: string } = {}): ClickHouseClient {
  return createClient({
    url: server.url,
    compression: { request: true, response: true },
    log: { level: 127 },
    ...options,
  });
}

async function rows<T>(query: string, query_params: Record<string, unknown> = {}): Promise<T[]> {
  const result = await client.query({ query, query_params, format: 'JSONEachRow' });
  return result.json<T>();
}

async function freshTable(name: string): Promise<void> {
  await client.command({ query: `DROP TABLE IF EXISTS ${name}` });
  await client.command({
    query: `CREATE TABLE ${name} (a UInt64, b String) ENGINE = MergeTree ORDER BY a
            SETTINGS non_replicated_deduplication_window = 100`,
  });
}

describe('the real client over HTTP', () => {
  test('pings, with and without a query', async () => {
    expect(await client.ping()).toEqual({ success: true });
    expect(await client.ping({ select: true })).toEqual({ success: true });
  });

  test('makes a table and reads back what it inserted as objects', async () => {
    await freshTable('objects');
    const summary = await client.insert({
      table: 'objects',
      values: [
        { a: 1, b: 'x' },
        { a: 2, b: 'é\n\u{1F600}' },
      ],
      format: 'JSONEachRow',
    });
    expect(summary.summary?.written_rows).toBe('2');
    expect(await rows('SELECT a, b FROM objects ORDER BY a')).toEqual([
      { a: 1, b: 'x' },
      { a: 2, b: 'é\n\u{1F600}' },
    ]);
  });

  test('takes a stream of rows through exec with the query in the URL', async () => {
    await freshTable('streamed');
    const result = await client.exec({
      query: 'INSERT INTO streamed (b, a) FORMAT JSONCompactEachRow',
      values: Readable.from(['["x",1]\n', '["y",2]'], { objectMode: false }),
    });
    result.stream.resume();
    expect(result.summary?.written_rows).toBe('2');
    expect(await rows('SELECT a, b FROM streamed ORDER BY a')).toEqual([
      { a: 1, b: 'x' },
      { a: 2, b: 'y' },
    ]);
  });

  test('an insert without rows succeeds and stores nothing', async () => {
    await freshTable('empty');
    await client.insert({ table: 'empty', values: [], format: 'JSONEachRow' });
    const result = await client.exec({
      query: 'INSERT INTO empty FORMAT JSONCompactEachRow',
      values: Readable.from([], { objectMode: false }),
    });
    result.stream.resume();
    expect(await rows('SELECT count() AS n FROM empty')).toEqual([{ n: 0 }]);
  });

  test('the same deduplication token stores once, in the table and in its rollup', async () => {
    await freshTable('raw');
    await client.command({ query: 'DROP TABLE IF EXISTS per_b' });
    await client.command({ query: 'DROP TABLE IF EXISTS per_b_mv' });
    await client.command({
      query: `CREATE TABLE per_b (b String, n SimpleAggregateFunction(sum, UInt64)) ENGINE = AggregatingMergeTree ORDER BY b
              SETTINGS non_replicated_deduplication_window = 100`,
    });
    await client.command({
      query: 'CREATE MATERIALIZED VIEW per_b_mv TO per_b AS SELECT b, count() AS n FROM raw GROUP BY b',
    });
    const insert = (token: string) =>
      client.insert({
        table: 'raw',
        values: [[1, 'x']],
        format: 'JSONCompactEachRow',
        clickhouse_settings: {
          insert_deduplication_token: token,
          deduplicate_blocks_in_dependent_materialized_views: 1,
        },
      });
    await insert('one');
    await insert('one');
    expect(await rows('SELECT count() AS n FROM raw')).toEqual([{ n: 1 }]);
    expect(await rows('SELECT sum(n) AS n FROM per_b')).toEqual([{ n: 1 }]);
    await insert('two');
    expect(await rows('SELECT count() AS n FROM raw')).toEqual([{ n: 2 }]);
    expect(await rows('SELECT sum(n) AS n FROM per_b')).toEqual([{ n: 2 }]);
  });

  test('typed parameters arrive as they were given, whatever is in them', async () => {
    const given = {
      s: "it's \\ a\ttab 'and' é",
      n: '18446744073709551615',
      list: ["o'clock", 'b\\'],
      none: null,
      when: new Date('2026-11-22T01:02:03.123Z'),
    };
    expect(
      await rows(
        `SELECT {s:String} AS s, {n:UInt64} AS n, {list:Array(String)} AS list, {none:Nullable(String)} AS none,
                toUnixTimestamp64Milli({when:DateTime64(3, 'UTC')}) AS at
         SETTINGS output_format_json_quote_64bit_integers = 1`,
        given,
      ),
    ).toEqual([{ s: given.s, n: given.n, list: given.list, none: null, at: String(given.when.getTime()) }]);
  });

  test('a parameter list too long for a URL goes through as multipart', async () => {
    const long = createClient({ url: server.url, use_multipart_params: true, log: { level: 127 } });
    const list = Array.from({ length: 20_000 }, (_, i) => `lineage-${i}`);
    const result = await long.query({
      query: 'SELECT length({list:Array(String)}) AS n',
      query_params: { list },
      format: 'JSONEachRow',
    });
    expect(await result.json()).toEqual([{ n: 20_000 }]);
    await long.close();
  });

  test('a setting of one request is forgotten by the next', async () => {
    const threads = 'SELECT value FROM system.settings WHERE name = {name:String}';
    const ask = async (clickhouse_settings: Record<string, number>) => {
      const result = await client.query({
        query: threads,
        query_params: { name: 'max_threads' },
        format: 'JSONEachRow',
        clickhouse_settings,
      });
      return ((await result.json()) as { value: string }[])[0]?.value;
    };
    expect(await ask({ max_threads: 1 })).toBe('1');
    expect(await ask({})).not.toBe('1');
    await expect(client.query({ query: 'SELECT {name:String}' })).rejects.toMatchObject({ code: '456' });
  });

  test('a database is chosen by the connection', async () => {
    await client.command({ query: 'CREATE DATABASE IF NOT EXISTS other' });
    const other = connect({ database: 'other' });
    await other.command({ query: 'CREATE TABLE IF NOT EXISTS here (a UInt8) ENGINE = Memory' });
    expect(await rows("SELECT database FROM system.tables WHERE name = 'here'")).toEqual([{ database: 'other' }]);
    await expect(connect({ database: 'nowhere' }).query({ query: 'SELECT 1' })).rejects.toMatchObject({
      code: '81',
      type: 'UNKNOWN_DATABASE',
    });
    await other.close();
  });

  test('errors carry the engine code and type', async () => {
    await expect(client.query({ query: 'SELEC 1' })).rejects.toMatchObject({ code: '62', type: 'SYNTAX_ERROR' });
    await expect(client.query({ query: 'SELECT * FROM nope' })).rejects.toMatchObject({ code: '60' });
    await expect(
      client.query({ query: 'SELECT 1', clickhouse_settings: { nope: 1 } as Record<string, number> }),
    ).rejects.toMatchObject({ code: '115', type: 'UNKNOWN_SETTING' });
    await freshTable('strict');
    await expect(
      client.exec({
        query: 'INSERT INTO strict FORMAT JSONCompactEachRow',
        values: Readable.from(['["x",1]\n'], { objectMode: false }),
      }),
    ).rejects.toMatchObject({ code: expect.stringMatching(/^\d+$/) });
  });

  test('one request holds one statement', async () => {
    await freshTable('kept');
    await expect(client.command({ query: 'SELECT 1; DROP TABLE kept' })).rejects.toMatchObject({ code: '62' });
    expect(await rows('SELECT count() AS n FROM kept;')).toEqual([{ n: 0 }]);
  });

  test('many requests at once each get their own answer', async () => {
    const answers = await Promise.all(
      Array.from({ length: 40 }, (_, i) => rows<{ n: number }>('SELECT {i:UInt32} AS n', { i })),
    );
    expect(answers.map((answer) => answer[0]?.n)).toEqual(Array.from({ length: 40 }, (_, i) => i));
  });
});

describe('the wire', () => {
  const post = (query: string, init: RequestInit = {}) => fetch(`${server.url}/?${query}`, { method: 'POST', ...init });

  test('query in the URL and body are put together', async () => {
    const response = await post(`query=${encodeURIComponent('SELECT 1 AS one')}&default_format=JSONEachRow`);
    expect(await response.text()).toBe('{"one":1}\n');
    await post('', { body: 'CREATE TABLE IF NOT EXISTS wire (a UInt8) ENGINE = Memory' });
    await post('', { body: 'INSERT INTO wire FORMAT CSV\n1\n2\n' });
    await post(`query=${encodeURIComponent('INSERT INTO wire VALUES')}`, { body: '(3),(4)' });
    await post(`query=${encodeURIComponent('INSERT INTO wire FORMAT CSV')}`, {
      body: gzipSync('5\n'),
      headers: { 'content-encoding': 'gzip' },
    });
    expect(await (await post('', { body: 'SELECT sum(a) FROM wire' })).text()).toBe('15\n');
  });

  test('answers say what they are', async () => {
    const response = await post('query_id=q1', { body: 'SELECT number FROM numbers(3) FORMAT CSV' });
    expect(response.headers.get('x-clickhouse-query-id')).toBe('q1');
    expect(response.headers.get('x-clickhouse-format')).toBe('CSV');
    expect(response.headers.get('x-clickhouse-timezone')).toBeTruthy();
    expect(JSON.parse(response.headers.get('x-clickhouse-summary') ?? '{}')).toMatchObject({ result_rows: '3' });
  });

  test.each([
    ['SELEC 1', 400, '62'],
    ['SELECT * FROM nope', 404, '60'],
    ['SELECT throwIf(1)', 500, '395'],
  ])('%s is HTTP %i with exception code %s', async (body, status, code) => {
    const response = await post('', { body });
    expect(response.status).toBe(status);
    expect(response.headers.get('x-clickhouse-exception-code')).toBe(code);
    expect(await response.text()).toMatch(/^Code: \d+\. DB::Exception: [\s\S]* \([A-Z_]+\) \(version [\d.]+\)\n$/);
  });

  test('GET, readonly=1 and readonly=2 refuse writes', async () => {
    const create = encodeURIComponent('CREATE TABLE by_get (a Int8) ENGINE = Log');
    expect((await fetch(`${server.url}/?query=${create}`)).headers.get('x-clickhouse-exception-code')).toBe('164');
    for (const readonly of ['1', '2']) {
      const response = await post(`readonly=${readonly}&max_threads=1`, {
        body: 'CREATE TABLE t (a Int8) ENGINE = Log',
      });
      expect(response.headers.get('x-clickhouse-exception-code')).toBe('164');
      expect((await post(`readonly=${readonly}&max_threads=1`, { body: 'SELECT 1' })).status).toBe(200);
    }
    expect((await post('readonly=1', { body: 'SELECT 1 SETTINGS max_threads = 1' })).status).toBe(500);
  });

  test('broken gzip is an error, not a crash', async () => {
    const response = await post('query=INSERT', { body: 'no gzip', headers: { 'content-encoding': 'gzip' } });
    expect(response.headers.get('x-clickhouse-exception-code')).toBe('354');
    expect((await fetch(`${server.url}/ping`)).status).toBe(200);
  });
});

describe('a server with problems', () => {
  test('can be down, answer with a proxy error, or throw', async () => {
    server.fail({ kind: 'disconnect' });
    await expect(client.query({ query: 'SELECT 1' })).rejects.toThrow();
    server.fail({ kind: 'status', status: 502, body: '<html>Bad gateway</html>' });
    await expect(client.query({ query: 'SELECT 1' })).rejects.toThrow('Bad gateway');
    server.fail({ kind: 'exception', code: 252, type: 'TOO_MANY_PARTS', message: 'Too many parts' }, { times: 1 });
    await expect(client.query({ query: 'SELECT 1' })).rejects.toMatchObject({ code: '252', type: 'TOO_MANY_PARTS' });
    expect(await rows('SELECT 1 AS one')).toEqual([{ one: 1 }]);
  });

  test('can lose the answer of an insert that it did store', async () => {
    await freshTable('lost');
    server.fail({ kind: 'lose-answer' }, { times: 1, when: (sql) => sql.startsWith('INSERT') });
    const insert = () => client.insert({ table: 'lost', values: [[1, 'x']], format: 'JSONCompactEachRow' });
    await expect(insert()).rejects.toThrow();
    expect(await rows('SELECT count() AS n FROM lost')).toEqual([{ n: 1 }]);
  });

  test('can be old, and can be read-only', async () => {
    server.version = '21.8.1.1';
    expect(await rows('SELECT version() AS v')).toEqual([{ v: '21.8.1.1' }]);
    server.readonlyProfile = 1;
    await expect(client.command({ query: 'CREATE TABLE x (a Int8) ENGINE = Log' })).rejects.toMatchObject({
      code: '164',
    });
  });
});

test('a wrong password is refused, the right one is taken', async () => {
  // The engine takes one data directory a process.
  const locked = await startClickHouseHttp({ dataDir: server.dataDir, password: 'right' });
  const url = (password: string) => locked.url.replace('//', `//default:${password}@`);
  await expect(connect({ url: url('wrong') }).query({ query: 'SELECT 1' })).rejects.toMatchObject({ code: '516' });
  const result = await connect({ url: url('right') }).query({ query: 'SELECT 1 AS one', format: 'JSONEachRow' });
  expect(await result.json()).toEqual([{ one: 1 }]);
  await locked.stop();
});
