import { type ClickHouseClient, type ClickHouseClientConfigOptions, createClient } from '@clickhouse/client';
import { createChdbConnection } from 'chdb/connection';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { createLogger, systemClock } from '../../core/index.ts';
import { type Analyst, type AnalystConnection, createAnalyst, SqlError } from '../../store/analyst.ts';
import { openStore } from '../../store/index.ts';
import { type ClickHouseHttp, startClickHouseHttp } from '../kit/clickhouse-http.ts';

/** Each must be refused by the guard or fail in the engine without having done anything. */
const HOSTILE = {
  'writes and definitions': [
    "INSERT INTO events (token) VALUES ('x')",
    'INSERT INTO events SELECT * FROM events',
    'CREATE TABLE evil (a Int8) ENGINE = Memory',
    'CREATE TEMPORARY TABLE evil (a Int8)',
    'CREATE VIEW evil AS SELECT 1',
    'CREATE FUNCTION evil AS x -> x + 1',
    'CREATE DICTIONARY evil (a Int8) PRIMARY KEY a SOURCE(NULL()) LAYOUT(FLAT()) LIFETIME(0)',
    'CREATE USER evil',
    'DROP TABLE events',
    'TRUNCATE TABLE events',
    'ALTER TABLE events DELETE WHERE 1',
    'ALTER TABLE events UPDATE owner = 1 WHERE 1',
    'DELETE FROM events WHERE 1',
    'UPDATE events SET owner = 1 WHERE 1',
    'RENAME TABLE events TO gone',
    'EXCHANGE TABLES events AND lifecycle',
    'OPTIMIZE TABLE events FINAL',
    'ATTACH TABLE evil',
    'DETACH TABLE events',
    'UNDROP TABLE events',
    'GRANT ALL ON *.* TO default',
    'REVOKE ALL ON *.* FROM default',
    'KILL QUERY WHERE 1',
    'SYSTEM SHUTDOWN',
    'SYSTEM FLUSH LOGS',
    'SET readonly = 0',
    'SET ROLE ALL',
    'USE system',
    "BACKUP TABLE events TO File('/tmp/evil')",
    "RESTORE TABLE events FROM File('/tmp/evil')",
    'CHECK TABLE events',
    'EXISTS TABLE access_keys',
    'BEGIN TRANSACTION',
    'EXECUTE AS default SELECT 1',
    "SELECT 1 INTO OUTFILE '/tmp/evil'",
    'SELECT 1 PARALLEL WITH SELECT 2',
    'EXPLAIN AST INSERT INTO events SELECT * FROM events',
    'EXPLAIN SYNTAX DROP TABLE events',
    'EXPLAIN TABLE OVERRIDE mysql(1) COLUMNS (a Int8)',
  ],
  'several statements': [
    'SELECT 1; DROP TABLE events',
    'SELECT 1; SELECT 2',
    'SELECT 1;;DROP TABLE events',
    'SELECT 1 -- x\n; DROP TABLE events',
    'SELECT 1 /* ; */ ; DROP TABLE events',
    "SELECT 'a\\'; DROP TABLE events",
    'SELECT $$a$$; DROP TABLE events',
    'SELECT ‘a’; DROP TABLE events',
    'DROP/**/TABLE events',
    '/* SELECT */ DROP TABLE events',
    '-- SELECT 1\nDROP TABLE events',
    '#! SELECT\nDROP TABLE events',
    '\u00a0DROP\u00a0TABLE\u00a0events',
  ],
  'files, network, other engines': [
    "SELECT file('/etc/passwd')",
    "SELECT FILE('/etc/passwd')",
    "SELECT `file`('/etc/passwd')",
    'SELECT "file"(\'/etc/passwd\')',
    'SELECT “file”(‘/etc/passwd’)',
    "SELECT file/* */('/etc/passwd')",
    "SELECT arrayMap(x -> file(x), ['/etc/passwd'])",
    "SELECT arrayMap(file, ['/etc/passwd'])",
    "SELECT arrayMap(`file`, ['/etc/passwd'])",
    "WITH file AS f SELECT arrayMap(f, ['/etc/passwd'])",
    "SELECT * APPLY(file) FROM (SELECT '/etc/passwd')",
    "SELECT * APPLY(x -> file(x)) FROM (SELECT '/etc/passwd')",
    "SELECT (SELECT file('/etc/passwd'))",
    "WITH a AS (SELECT file('/etc/passwd')) SELECT * FROM a",
    "SELECT 1 WHERE 1 IN (SELECT length(file('/etc/passwd')))",
    "SELECT 1 UNION ALL SELECT length(file('/etc/passwd'))",
    "SELECT count() FROM events HAVING length(file('/etc/passwd')) > 0",
    "SELECT 1 ORDER BY file('/etc/passwd')",
    "EXPLAIN SELECT file('/etc/passwd')",
    "EXPLAIN SYNTAX SELECT file('/etc/passwd')",
    "SELECT * FROM (EXPLAIN SELECT file('/etc/passwd'))",
    "DESCRIBE TABLE file('/etc/passwd', 'LineAsString')",
    "SELECT * FROM file('/etc/passwd', 'LineAsString')",
    "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
    "SELECT * FROM events AS e JOIN url('http://127.0.0.1:1/', 'LineAsString') AS u ON 1",
    "SELECT 1 IN (SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString'))",
    "SELECT 1 IN url('http://127.0.0.1:1/', 'LineAsString')",
    "SELECT * FROM s3('http://127.0.0.1:1/a', 'CSV')",
    "SELECT * FROM gcs('http://127.0.0.1:1/a', 'CSV')",
    "SELECT * FROM remote('127.0.0.1:1', system.one)",
    "SELECT * FROM remoteSecure('127.0.0.1:1', system.one)",
    "SELECT * FROM mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
    "SELECT * FROM postgresql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
    "SELECT * FROM mongodb('127.0.0.1:1', 'a', 'b', 'c', 'd', 'e String')",
    "SELECT * FROM redis('127.0.0.1:1', 'a', 'a String')",
    "SELECT * FROM sqlite('/tmp/a.db', 'a')",
    "SELECT * FROM odbc('DSN=a', 'b')",
    "SELECT * FROM jdbc('jdbc:a', 'b')",
    "SELECT * FROM hdfs('hdfs://127.0.0.1:1/a', 'CSV')",
    "SELECT * FROM azureBlobStorage('http://127.0.0.1:1', 'a', 'b')",
    "SELECT * FROM iceberg('http://127.0.0.1:1/a')",
    "SELECT * FROM icebergLocal('/tmp/a')",
    "SELECT * FROM deltaLake('http://127.0.0.1:1/a')",
    "SELECT * FROM hudi('http://127.0.0.1:1/a')",
    "SELECT * FROM executable('cat /etc/passwd', 'TSV', 'a String')",
    "SELECT * FROM filesystem('/etc')",
    "SELECT * FROM input('a String')",
    "SELECT * FROM cluster('default', system.one)",
    "SELECT * FROM clusterAllReplicas('default', system.one)",
    "SELECT * FROM eval('SELECT 1')",
    'SELECT * FROM loop(events)',
    "SELECT * FROM fuzzQuery('SELECT 1')",
    "SELECT * FROM dictionary('d')",
    "SELECT dictGet('d', 'a', 1)",
    "SELECT catboostEvaluate('/tmp/model', 1)",
    "SELECT aiGenerate('hello')",
  ],
  'other tables, secrets, the host': [
    'SELECT * FROM access_keys',
    'SELECT * FROM tokenwatch.access_keys',
    'SELECT * FROM `access_keys`',
    'SELECT * FROM "access_keys"',
    'SELECT * FROM/**/access_keys',
    'SELECT access_keys.hash FROM events, access_keys',
    'SELECT * FROM events WHERE token IN (SELECT hash FROM access_keys)',
    'SELECT 1 IN access_keys',
    'WITH k AS (SELECT * FROM access_keys) SELECT * FROM k',
    'SELECT * FROM view(SELECT * FROM access_keys)',
    "SELECT * FROM merge('tokenwatch', 'access')",
    "SELECT * FROM merge(currentDatabase(), '^access')",
    "SELECT * FROM mergeTreeIndex('tokenwatch', 'access_keys')",
    "SELECT * FROM viewIfPermitted(SELECT * FROM access_keys ELSE null('a String'))",
    "SELECT joinGet('tokenwatch.access_keys', 'hash', 1)",
    "SELECT hasColumnInTable('tokenwatch', 'access_keys', 'hash')",
    'SHOW CREATE TABLE access_keys',
    'DESCRIBE TABLE access_keys',
    'SHOW COLUMNS FROM access_keys',
    'SELECT * FROM alert_log',
    'SELECT * FROM schema_migrations',
    'SELECT * FROM system.users',
    'SELECT * FROM `system`.`users`',
    'SELECT * FROM `system.users`',
    'SELECT * FROM system.processes',
    'SELECT * FROM system.query_log',
    'SELECT * FROM system.settings',
    'SELECT * FROM system.server_settings',
    'SELECT * FROM system.named_collections',
    'SELECT * FROM system.parts',
    'SELECT 1 IN system.users',
    'SELECT * FROM information_schema.tables',
    'SHOW USERS',
    'SHOW GRANTS',
    'SHOW PROCESSLIST',
    'SHOW SETTINGS',
    'SHOW CREATE USER default',
    'SHOW DATABASES',
    'SHOW TABLES FROM system',
    "SELECT getSetting('max_threads')",
    "SELECT getServerSetting('max_connections')",
    "SELECT getMacro('a')",
    "SELECT getClientHTTPHeader('Authorization')",
    'SELECT showCertificate()',
    'SELECT serverUUID(), tcpPort()',
    'SELECT demangle(addressToSymbol(1))',
    'SELECT filesystemAvailable()',
  ],
  'time, memory and settings': [
    'SELECT sleep(3)',
    'SELECT sleepEachRow(1) FROM numbers(100)',
    'SELECT arrayMap(sleepEachRow, [1, 1])',
    'SELECT 1 SETTINGS readonly = 0',
    'SELECT 1 SETTINGS max_execution_time = 0',
    'SELECT * FROM (SELECT 1 SETTINGS max_memory_usage = 0)',
    'SELECT 1 FORMAT JSON SETTINGS limit = 0',
    'SELECT logTrace(1)',
  ],
};

const HONEST: readonly (readonly [sql: string, first: unknown])[] = [
  ['SELECT count() AS n FROM events', { n: 5 }],
  ['select token, count() as n from events group by token order by n desc, token limit 1;', { token: 'tok_a', n: 3 }],
  ["-- who\nSELECT DISTINCT owner FROM tokenwatch.events /* here */ WHERE token = 'tok_a'", { owner: 'acme' }],
  ["SELECT owner FROM events WHERE endpoint LIKE 'GET %' AND NOT status IN (401, 403) LIMIT 1", { owner: 'acme' }],
  ['SELECT uniq(token) AS n FROM events WHERE time > now() - INTERVAL 100 YEAR', { n: 2 }],
  ['WITH a AS (SELECT token FROM events) SELECT count() AS n FROM a JOIN tokens USING (token)', { n: 5 }],
  [
    'SELECT token, row_number() OVER (PARTITION BY token ORDER BY time) AS i FROM events ORDER BY token, i',
    { token: 'tok_a', i: 1 },
  ],
  ['SELECT quantile(0.5)(status) AS q, countIf(status >= 400) AS f FROM events', { q: 200, f: 1 }],
  ['SELECT arrayMap(x -> x * 2, [1, 2]) AS a', { a: [2, 4] }],
  ['SELECT arrayMap(toString, [1, 2]) AS a', { a: ['1', '2'] }],
  ['SELECT 1 AS a UNION DISTINCT SELECT 1', { a: 1 }],
  ['(SELECT 1 AS a) EXCEPT (SELECT 2)', { a: 1 }],
  ['SELECT * EXCEPT (attributes) FROM events WHERE 0', undefined],
  ['SELECT CASE status WHEN 200 THEN 1 ELSE 2 END AS c FROM events ORDER BY c LIMIT 1', { c: 1 }],
  ['SELECT toStartOfHour(toDateTime(3601)) = toDateTime(3600) AS same', { same: 1 }],
  ['SELECT JSONExtractString(\'{"a":"b"}\', \'a\') AS a, 1 - -1 AS two, -(-1) AS one', { a: 'b', two: 2, one: 1 }],
  ["SELECT 'it''s; -- fine' AS s, 'file(x)' AS f", { s: "it's; -- fine", f: 'file(x)' }],
  ['SELECT number FROM numbers(3) ORDER BY number DESC', { number: 2 }],
  ['SELECT count() > 5 AS many FROM system.columns WHERE database = currentDatabase()', { many: 1 }],
  ["SELECT count() AS n FROM system.tables WHERE name = 'events' AND database = 'tokenwatch'", { n: 1 }],
  ['SELECT 1 + 1', { 'plus(1, 1)': 2 }],
  ['SELECT calls > 0 AS ok FROM token_endpoints LIMIT 1', { ok: 1 }],
  [
    'SELECT e.token FROM events AS e ANY LEFT JOIN token_countries AS c ON c.lineage = e.lineage ORDER BY 1 LIMIT 1',
    { token: 'tok_a' },
  ],
  ['SELECT concat(`token`, \'é\') AS "weird name" FROM events ORDER BY 1 LIMIT 1', { 'weird name': 'tok_aé' }],
  ["SELECT version() != '' AS v, hostName() != '' AS h", { v: 1, h: 1 }],
  ["SELECT if(ip = '', 'unknown', ip) AS ip FROM events LIMIT 1", { ip: '203.0.113.9' }],
  // Names and texts that look like calls are names and texts.
  ["SELECT 1 AS `x\\`, file('/etc/passwd') AS \\`y`", { "x`, file('/etc/passwd') AS `y": 1 }],
  ["SELECT '\\'' AS a, ')file(''x' AS b, $$;'\"`$$ AS c", { a: "'", b: ")file('x", c: ';\'"`' }],
  ['SELECT status, count() FROM events GROUP BY ALL WITH TOTALS HAVING count() > 100', undefined],
];

let server: ClickHouseHttp;
const clients: ClickHouseClient[] = [];

beforeAll(async () => {
  server = await startClickHouseHttp();
  const store = await openStore(
    { store: { url: server.url, retention: { eventsMs: null } }, dataDir: '' },
    { log: createLogger('silent'), clock: systemClock },
  );
  await store.close();
  const client = createClient({ url: server.url, database: 'tokenwatch' });
  clients.push(client);
  const event = (id: string, token: string, status: number) => ({
    ...{ time: '2026-11-22 01:02:03.000', id, token, lineage: token, owner: 'acme', method: 'GET', status },
    ...{ endpoint: 'GET /v1/users', ip: '203.0.113.9', country: 'DE' },
  });
  await client.insert({
    table: 'events',
    values: [
      ...[event('1', 'tok_a', 200), event('2', 'tok_a', 200), event('3', 'tok_a', 401)],
      ...[event('4', 'tok_b', 200), event('5', 'tok_b', 200)],
    ],
    format: 'JSONEachRow',
  });
});
afterAll(async () => {
  for (const client of clients) await client.close();
  await server.stop();
});

async function overHttp(): Promise<AnalystConnection> {
  const client = createClient({
    url: server.url,
    database: 'tokenwatch',
    compression: { response: true, request: true },
    log: { level: 127 },
  });
  return { client, abortable: true, close: () => client.close() };
}

async function embedded(): Promise<AnalystConnection> {
  const connection = createChdbConnection({ path: server.dataDir });
  const client = createClient({ connection, log: { level: 127 } } as ClickHouseClientConfigOptions);
  await client.command({ query: 'USE tokenwatch' });
  return { client, abortable: false, close: () => client.close() };
}

describe.each([
  ['embedded', embedded, 1],
  // The guard is the same code: a sample of the queries shows that it reads the same answers from a server.
  ['over HTTP', overHttp, 7],
] as const)('analyst SQL, %s', (_name, open, step) => {
  const analyst: Analyst = createAnalyst(open);
  const options = { defaultFormat: 'JSONEachRow', maxRows: 1000, timeoutMs: 10_000 };

  describe.each(Object.entries(HOSTILE))('refuses %s', (_kind, queries) => {
    test.each(queries.filter((_, i) => i % step === 0))('%s', async (sql) => {
      const error = await analyst.analyse(sql, options).then(
        (result) => result.body.toString(),
        (thrown) => thrown,
      );
      expect(error).toBeInstanceOf(SqlError);
      // Refused by the guard before it ran, or no SQL at all.
      expect([error.code, error.engineCode]).toSatisfy(
        ([code, engine]) => (code === 'sql_refused' && engine === '') || (code === 'sql_failed' && engine === '62'),
      );
      expect(error.message).not.toMatch(/formatQuery|root:/);
    });
  });

  test.each(HONEST)('answers %s', async (sql, first) => {
    const result = await analyst.analyse(sql, options);
    const rows = result.body.toString().split('\n').filter(Boolean);
    expect(rows.length === 0 ? undefined : JSON.parse(rows[0] ?? '')).toEqual(first);
    expect(result.truncated).toBe(false);
  });

  test('shows what there is to read', async () => {
    for (const [sql, part] of [
      ['SHOW TABLES', 'token_hourly'],
      ['SHOW CREATE TABLE events', 'ReplacingMergeTree'],
      ['DESCRIBE TABLE events', 'user_agent'],
      ['SHOW COLUMNS FROM events', 'user_agent'],
      ['EXPLAIN SELECT count() FROM events', 'Output'],
      ['EXPLAIN PLAN header = 1 SELECT 1', 'Output'],
    ] as const) {
      expect((await analyst.analyse(sql, options)).body.toString()).toContain(part);
    }
  });

  test('a FORMAT of the query decides, with its media type', async () => {
    for (const [format, type, body] of [
      ['JSON', 'application/json; charset=utf-8', '"data":'],
      ['JSONEachRow', 'application/x-ndjson; charset=utf-8', '{"a":1}\n'],
      ['CSVWithNames', 'text/csv; charset=utf-8', '"a"\n1\n'],
      ['TSV', 'text/tab-separated-values; charset=utf-8', '1\n'],
      ['PrettyCompact', 'text/plain; charset=utf-8', '┌─a─┐'],
      ['Parquet', 'application/octet-stream', 'PAR1'],
    ] as const) {
      const result = await analyst.analyse(`SELECT 1 AS a FORMAT ${format}`, options);
      expect([result.contentType, result.body.toString('latin1')]).toEqual([
        type,
        expect.stringContaining(Buffer.from(body).toString('latin1')),
      ]);
    }
    await expect(analyst.analyse('SELECT 1 FORMAT Nonsense', options)).rejects.toMatchObject({ code: 'sql_failed' });
  });

  test.each([
    'SELECT number FROM numbers(100000)',
    'SELECT number FROM numbers(9) UNION ALL SELECT number FROM numbers(9)',
  ])('the row limit cuts exactly, and says so: %s', async (sql) => {
    const result = await analyst.analyse(sql, { ...options, maxRows: 10 });
    expect(result.body.toString().trim().split('\n')).toHaveLength(10);
    expect(result.truncated).toBe(true);
  });

  test('the time limit stops a long query with a clear error', async () => {
    await expect(
      analyst.analyse('SELECT sum(cityHash64(number)) FROM numbers(1000000000000)', { ...options, timeoutMs: 200 }),
    ).rejects.toMatchObject({ code: 'sql_failed', engineCode: '159', message: 'The query took longer than 0.2 s.' });
  });

  test('the time limit stops a query that is slow in every row too, near its limit', async () => {
    // All in one block it would be half a minute.
    const patient = createAnalyst(open, { abortAfterMs: 60_000 });
    await expect(
      patient.analyse(
        "SELECT sum(levenshteinDistance(repeat('a', 2500) || toString(number), repeat('b', 2500))) FROM numbers(65000)",
        { ...options, timeoutMs: 200 },
      ),
    ).rejects.toMatchObject({ engineCode: '159', message: 'The query took longer than 0.2 s.' });
  }, 20_000);

  test('the memory limit stops a large query with a clear error', async () => {
    const small = createAnalyst(open, { maxMemoryBytes: 20 << 20 });
    await expect(
      small.analyse('SELECT length(groupArray(number)) FROM numbers(20000000)', options),
    ).rejects.toMatchObject({ code: 'sql_failed', engineCode: '241' });
  });

  test('a result too large to send is an error', async () => {
    const small = createAnalyst(open, { maxResultBytes: 1000 });
    for (const sql of ["SELECT repeat('x', 2000)", 'SELECT number FROM numbers(1000)']) {
      await expect(small.analyse(sql, options)).rejects.toMatchObject({ message: 'The result is too large.' });
    }
  });

  test('a broken query says what the engine says', async () => {
    await expect(analyst.analyse('SELEC count() FROM events', options)).rejects.toMatchObject({
      code: 'sql_failed',
      engineCode: '62',
      message: expect.stringContaining('Syntax error'),
    });
    await expect(analyst.analyse('SELECT nope FROM events', options)).rejects.toMatchObject({ engineCode: '47' });
    await expect(analyst.analyse('  ', options)).rejects.toMatchObject({ code: 'sql_refused' });
    await expect(analyst.analyse(`SELECT '${'x'.repeat(200_000)}'`, options)).rejects.toMatchObject({
      code: 'sql_refused',
    });
  });

  test('a long query is read as any other', async () => {
    const long = `SELECT length('${"\\'é".repeat(25_000)}') AS n, [${'1,'.repeat(2_000)}1][1] AS one`;
    expect((await analyst.analyse(long, options)).body.toString()).toBe('{"n":75000,"one":1}\n');
  });

  test('placeholders carry values, never names', async () => {
    const result = await analyst.analyse('SELECT count() AS n FROM events WHERE token = {t:String}', {
      ...options,
      params: { t: 'tok_b' },
    });
    expect(result.body.toString()).toBe('{"n":2}\n');
    for (const sql of ['SELECT * FROM {t:Identifier}', 'SELECT * FROM tokenwatch.{t:Identifier}']) {
      await expect(analyst.analyse(sql, { ...options, params: { t: 'access_keys' } })).rejects.toMatchObject({
        code: 'sql_refused',
      });
    }
  });

  test('nothing of one query stays for the next', async () => {
    await analyst.analyse('SELECT 1', { ...options, maxRows: 1 });
    const result = await analyst.analyse('SELECT number FROM numbers(5)', options);
    expect(result.body.toString().trim().split('\n')).toHaveLength(5);
  });

  test('more queries than may wait are turned away for a retry', async () => {
    const narrow = createAnalyst(open, { maxRunning: 1, maxWaiting: 1 });
    const results = await Promise.allSettled([1, 2, 3].map(() => narrow.analyse('SELECT 1', options)));
    expect(results.map((result) => result.status)).toEqual(['fulfilled', 'fulfilled', 'rejected']);
    expect((results[2] as PromiseRejectedResult).reason).toMatchObject({ code: 'sql_busy', kind: 'transient' });
  });
});

test('a query that the embedded engine does not stop keeps its turn until it has ended, and others are told to come back', async () => {
  let open = 0;
  const analyst = createAnalyst(
    async () => {
      const connection = await embedded();
      open++;
      return {
        ...connection,
        close: async () => {
          await connection.close();
          open--;
        },
      };
    },
    // One block: the engine looks at its limit at the end only.
    { maxRunning: 1, maxWaiting: 1, maxBlockRows: 65_000, abortAfterMs: 100 },
  );
  const options = { defaultFormat: 'TSV', maxRows: 10, timeoutMs: 200 };
  const slow =
    "SELECT sum(levenshteinDistance(repeat('a', 2500) || toString(number), repeat('b', 2500))) FROM numbers(4000)";
  await expect(analyst.analyse(slow, options)).rejects.toMatchObject({
    message: 'The query took longer than 0.2 s.',
  });
  expect([open, analyst.computing()]).toEqual([1, true]);
  await expect(analyst.analyse('SELECT 1', options)).rejects.toMatchObject({ code: 'sql_busy', kind: 'transient' });
  await vi.waitFor(() => expect([open, analyst.computing()]).toEqual([0, false]), { timeout: 60_000 });
  expect((await analyst.analyse('SELECT 1', { ...options, timeoutMs: 10_000 })).body.toString()).toBe('1\n');
}, 90_000);

test('a function that somebody added to the server is refused', async () => {
  const admin = await overHttp();
  await admin.client.command({ query: "CREATE FUNCTION harmless_looking AS x -> file('/etc/passwd')" });
  const analyst = createAnalyst(overHttp);
  await expect(
    analyst.analyse('SELECT harmless_looking(1)', { defaultFormat: 'JSON', maxRows: 1, timeoutMs: 1000 }),
  ).rejects.toMatchObject({ code: 'sql_refused' });
  await admin.client.command({ query: 'DROP FUNCTION harmless_looking' });
  await admin.close();
});

test("an unreachable server is an error that may pass, not the query's", async () => {
  server.fail({ kind: 'disconnect' });
  const analyst = createAnalyst(overHttp);
  await expect(
    analyst.analyse('SELECT 1', { defaultFormat: 'JSON', maxRows: 1, timeoutMs: 1000 }),
  ).rejects.toMatchObject({ code: 'store_unreachable', kind: 'transient' });
  server.heal();
});
