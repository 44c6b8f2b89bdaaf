import { Session } from 'chdb';

/** EngineRequest is one query as it arrived over HTTP, with everything that shapes how it runs. */
export interface EngineRequest {
  /** The query, with inline data when it is an INSERT whose rows came with it. */
  readonly sql: string;
  /** Rows that came in the body, apart from the query; null when there were none. */
  readonly rows: Buffer | null;
  readonly database: string | null;
  readonly defaultFormat: string;
  readonly settings: ReadonlyMap<string, string>;
  readonly params: ReadonlyMap<string, string>;
  /** 1 forbids writes and settings, 2 forbids writes only; 0 for none. */
  readonly readonly: number;
}

/** EngineAnswer is what the engine gave back, and what it counted. */
export interface EngineAnswer {
  readonly body: Buffer;
  readonly resultRows: number;
  readonly resultBytes: number;
  readonly writtenRows: number;
  readonly writtenBytes: number;
  readonly elapsedMs: number;
}

const NOTHING: EngineAnswer = {
  body: Buffer.alloc(0),
  resultRows: 0,
  resultBytes: 0,
  writtenRows: 0,
  writtenBytes: 0,
  elapsedMs: 0,
};

/** Formats that the engine takes as bytes, without a JavaScript string in between. */
const RAW_FORMATS = ['JSONEachRow', 'JSONCompactEachRow', 'CSV', 'CSVWithNames', 'TabSeparated', 'TSV'] as const;
type RawFormat = (typeof RAW_FORMATS)[number];

const RAW_INSERT = /^\s*INSERT\s+INTO\s+([A-Za-z_][\w.]*)\s*(?:\(([^()]*)\))?\s*FORMAT\s+(\w+)\s*;?\s*$/i;

/**
 * runOnFreshSession runs one request on a chDB session of its own. In chDB a setting becomes `SET` on the session and stays
 * for the next query; a server's HTTP interface forgets it. A session is opened in half a millisecond, so each request gets one.
 */
export async function runOnFreshSession(dataDir: string, request: EngineRequest): Promise<EngineAnswer> {
  const session = new Session(dataDir);
  try {
    if (request.database !== null) await session.queryAsync(`USE ${quoteIdentifier(request.database)}`);
    // Parameters come first: they may be longer than the engine lets a statement be.
    const params = [...request.params].map(([name, value]) => `param_${name} = ${quoteString(value)}`);
    if (params.length > 0) {
      await session.queryAsync(`SET max_query_size = ${1 << 30}`);
      await session.queryAsync(`SET ${params.join(', ')}`);
      await session.queryAsync('SET max_query_size = DEFAULT');
    }
    const settings = [...request.settings].map(([name, value]) => `${name} = ${quoteString(value)}`);
    if (settings.length > 0) await session.queryAsync(`SET ${settings.join(', ')}`);
    // Last: after it the session takes no further settings.
    if (request.readonly > 0) await session.queryAsync(`SET readonly = ${request.readonly}`);
    await refuseSecondStatement(session, request.sql);
    return await run(session, request);
  } finally {
    session.close();
  }
}

async function run(session: Session, request: EngineRequest): Promise<EngineAnswer> {
  if (request.rows === null) return query(session, request.sql, request.defaultFormat);
  if (request.rows.length === 0) return NOTHING;
  const raw = rawInsert(request.sql);
  if (raw === null || request.readonly > 0)
    return query(session, `${request.sql}\n${request.rows.toString()}`, request.defaultFormat);
  const summary = await session.insert({ ...raw, values: request.rows });
  return {
    ...NOTHING,
    writtenRows: summary.rowsWritten,
    writtenBytes: summary.bytesWritten,
    elapsedMs: summary.elapsed * 1000,
  };
}

async function query(session: Session, sql: string, format: string): Promise<EngineAnswer> {
  const result = await session.queryAsync(sql, { format });
  const bytes = result.bytes();
  return {
    ...NOTHING,
    body: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength),
    resultRows: result.rowsRead,
    resultBytes: result.bytesRead,
    elapsedMs: result.elapsed * 1000,
  };
}

/** A server takes one statement a request; chDB would run them all. */
async function refuseSecondStatement(session: Session, sql: string): Promise<void> {
  if (!/;\s*\S/.test(sql) || /^\s*INSERT\b/i.test(sql)) return;
  await session.queryAsync(`SELECT formatQuerySingleLine(${quoteString(sql)}) FORMAT Null`);
}

function rawInsert(sql: string): { table: string; columns?: string[]; format: RawFormat } | null {
  const match = RAW_INSERT.exec(sql);
  const format = RAW_FORMATS.find((known) => known === match?.[3]);
  if (match?.[1] === undefined || format === undefined) return null;
  if (match[2] === undefined) return { table: match[1], format };
  const columns = match[2].split(',').map((column) => column.trim().replace(/^[`"](.*)[`"]$/, '$1'));
  return columns.every((column) => /^[A-Za-z_]\w*$/.test(column)) ? { table: match[1], columns, format } : null;
}

function quoteString(value: string): string {
  return `'${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}

function quoteIdentifier(name: string): string {
  return `\`${name.replaceAll('\\', '\\\\').replaceAll('`', '\\`')}\``;
}
