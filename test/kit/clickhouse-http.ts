import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import zlib from 'node:zlib';
import { drainPending, Session } from 'chdb';
import { type EngineAnswer, type EngineRequest, runOnFreshSession } from './clickhouse-engine.ts';
import { EngineError, exceptionStatus, toEngineError } from './clickhouse-errors.ts';

/**
 * Fault is what the server does instead of, or after, answering: an HTTP error as a proxy or an overloaded server gives it,
 * a connection cut before anything ran, or the answer lost after the query did run.
 */
export type Fault =
  | { readonly kind: 'status'; readonly status: number; readonly body?: string; readonly retryAfter?: number }
  | { readonly kind: 'exception'; readonly code: number; readonly type: string; readonly message: string }
  | { readonly kind: 'disconnect' }
  | { readonly kind: 'lose-answer' };

export interface FaultOptions {
  /** How many requests it hits; for ever when not given. */
  readonly times?: number;
  /** Which requests it hits, by their SQL ('' for /ping); all when not given. */
  readonly when?: (sql: string) => boolean;
}

export interface ClickHouseHttpOptions {
  /** chDB data directory; a temporary one, removed on stop, when not given. A process can have one open at a time, also several times. */
  readonly dataDir?: string;
  /** Password of the user `default`; any is taken when not given. */
  readonly password?: string;
}

/** ClickHouseHttp is a running server; every test stops the one that it started. */
export interface ClickHouseHttp {
  readonly url: string;
  readonly port: number;
  readonly dataDir: string;
  /** What `SELECT version()` answers; null: the engine's own. */
  version: string | null;
  /** The user's profile: 0 may write, 1 may only read and change no setting, 2 may only read. */
  readonlyProfile: 0 | 1 | 2;
  /** SQL of every request so far, in order of arrival, without the rows of an insert. */
  readonly queries: readonly string[];
  /** fail makes requests go wrong until `heal`. */
  fail(fault: Fault, options?: FaultOptions): void;
  heal(): void;
  stop(): Promise<void>;
}

/** Settings of the HTTP layer itself: the engine does not know them. */
const HTTP_SETTINGS =
  /^(wait_end_of_query|buffer_size|compress|decompress|cancel_http_readonly_queries_on_client_close|send_progress_in_http_headers|add_http_cors_header|enable_http_compression|http_.*)$/;
/** URL parameters that are not settings. */
const RESERVED = new Set(['query', 'query_id', 'database', 'default_format', 'session_id', 'session_timeout', 'role']);
const CREDENTIALS = new Set(['user', 'password', 'quota_key']);

/** Queries that run at once: each one holds a thread of libuv's pool of four. */
const PARALLEL = 3;

const inflate: Record<string, (body: Buffer) => Promise<Buffer>> = {
  gzip: promisify(zlib.gunzip),
  deflate: promisify(zlib.inflate),
  br: promisify(zlib.brotliDecompress),
};
const deflate: Record<string, (body: Buffer) => Promise<Buffer>> = {
  gzip: promisify(zlib.gzip),
  deflate: promisify(zlib.deflate),
  br: promisify(zlib.brotliCompress),
};

/**
 * startClickHouseHttp serves ClickHouse's HTTP interface (https://clickhouse.com/docs/interfaces/http) over the embedded
 * engine, as far as `@clickhouse/client` uses it, so that the HTTP path is tested over the wire where no server can run.
 */
export async function startClickHouseHttp(options: ClickHouseHttpOptions = {}): Promise<ClickHouseHttp> {
  const dataDir = options.dataDir ?? (await mkdtemp(join(tmpdir(), 'clickhouse-http-')));
  // Holds the engine between requests: without an open session it would shut down after each of them.
  const keeper = new Session(dataDir);
  const engineVersion = keeper.query('SELECT version()', 'TSVRaw').trim();
  const timezone = keeper.query('SELECT timezone()', 'TSVRaw').trim();
  const slots = createSlots(PARALLEL);
  const queries: string[] = [];
  let fault: { readonly fault: Fault; readonly when: (sql: string) => boolean; left: number } | null = null;

  const takeFault = (sql: string): Fault | null => {
    if (fault === null || fault.left <= 0 || !fault.when(sql)) return null;
    fault.left -= 1;
    return fault.fault;
  };

  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const url = new URL(request.url ?? '/', 'http://localhost');
    const queryId = url.searchParams.get('query_id') || randomUUID();
    response.setHeader('X-ClickHouse-Server-Display-Name', 'chdb');
    response.setHeader('X-ClickHouse-Query-Id', queryId);
    response.setHeader('X-ClickHouse-Timezone', timezone);
    const compression = responseCompression(request, url.searchParams);
    try {
      const body = await readBody(request);
      if (url.pathname === '/ping' || (request.method === 'GET' && !url.searchParams.has('query'))) {
        if (await sabotage(takeFault(''), response)) return;
        await send(response, 200, Buffer.from('Ok.\n'), null);
        return;
      }
      if (url.pathname !== '/') {
        await send(response, 404, Buffer.from(`There is no handle ${url.pathname}\n`), null);
        return;
      }
      checkPassword(request, url.searchParams, options.password);
      const parts = await readParts(request, body);
      for (const [name, value] of parts.fields) url.searchParams.append(name, value);
      const urlQuery = url.searchParams.get('query') ?? '';
      queries.push(urlQuery || firstLine(parts.body));
      const broken = takeFault(urlQuery || parts.body.toString());
      if (broken?.kind !== 'lose-answer' && (await sabotage(broken, response))) return;
      const asked = toEngineRequest(urlQuery, parts.body, url.searchParams, request.method ?? 'GET', server);
      const answer = await slots(() => runOnFreshSession(dataDir, asked));
      if (broken !== null) return void request.socket.destroy();
      response.setHeader('X-ClickHouse-Format', formatOf(asked));
      response.setHeader('X-ClickHouse-Summary', JSON.stringify(summary(answer)));
      await send(response, 200, answer.body, compression);
    } catch (error) {
      const exception = toEngineError(error);
      response.setHeader('X-ClickHouse-Exception-Code', String(exception.code));
      const text = `${exception.message} (version ${server.version ?? engineVersion})\n`;
      await send(response, exceptionStatus(exception.code), Buffer.from(text), compression);
    }
  };

  // A server takes URLs of up to 1 MiB; Node's own limit is 16 KiB.
  const http = createServer({ maxHeaderSize: 1 << 20 }, (request, response) => {
    handle(request, response).catch((error) => response.destroy(error));
  });
  await new Promise<void>((resolve, reject) => {
    http.once('error', reject);
    http.listen(0, '127.0.0.1', resolve);
  });
  const { port } = http.address() as AddressInfo;

  const server: ClickHouseHttp = {
    url: `http://127.0.0.1:${port}`,
    port,
    dataDir,
    version: null,
    readonlyProfile: 0,
    queries,
    fail(what, { times = Number.POSITIVE_INFINITY, when = () => true } = {}) {
      fault = { fault: what, when, left: times };
    },
    heal() {
      fault = null;
    },
    async stop() {
      http.closeAllConnections();
      await new Promise((resolve) => http.close(resolve));
      keeper.close();
      await drainPending();
      if (options.dataDir === undefined) await rm(dataDir, { recursive: true, force: true });
    },
  };
  return server;
}

/** sabotage does what `fault` asks for; false when there is nothing to do. */
async function sabotage(fault: Fault | null, response: ServerResponse): Promise<boolean> {
  if (fault === null) return false;
  if (fault.kind === 'exception')
    throw new EngineError(fault.code, `Code: ${fault.code}. DB::Exception: ${fault.message} (${fault.type})`);
  if (fault.kind === 'status') {
    if (fault.retryAfter !== undefined) response.setHeader('Retry-After', String(fault.retryAfter));
    await send(response, fault.status, Buffer.from(fault.body ?? ''), null);
  } else response.destroy();
  return true;
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const raw = Buffer.concat(chunks);
  const encoding = request.headers['content-encoding'];
  if (encoding === undefined || encoding === 'identity' || raw.length === 0) return raw;
  const decode = inflate[encoding];
  if (decode === undefined) throw exception(48, `Unknown compression method ${encoding}`, 'NOT_IMPLEMENTED');
  return decode(raw).catch(() => {
    throw exception(354, `inflate failed: ${encoding} body is broken`, 'ZLIB_INFLATE_FAILED');
  });
}

/** readParts takes the query and its parameters out of a multipart body, which the client uses for long ones. */
async function readParts(
  request: IncomingMessage,
  body: Buffer,
): Promise<{ fields: [string, string][]; body: Buffer }> {
  const type = request.headers['content-type'] ?? '';
  if (!type.startsWith('multipart/form-data')) return { fields: [], body };
  const form = await new Response(new Uint8Array(body), { headers: { 'content-type': type } }).formData();
  return { fields: [...form].map(([name, value]) => [name, String(value)]), body: Buffer.alloc(0) };
}

function checkPassword(request: IncomingMessage, url: URLSearchParams, expected: string | undefined): void {
  const basic = /^Basic (.+)$/.exec(request.headers.authorization ?? '')?.[1];
  const [user, password] =
    basic === undefined
      ? [
          String(request.headers['x-clickhouse-user'] ?? url.get('user') ?? 'default'),
          String(request.headers['x-clickhouse-key'] ?? url.get('password') ?? ''),
        ]
      : splitOnce(Buffer.from(basic, 'base64').toString(), ':');
  if (user === 'default' && (expected === undefined || password === expected)) return;
  throw exception(
    516,
    `${user}: Authentication failed: password is incorrect, or there is no user with such name.`,
    'AUTHENTICATION_FAILED',
  );
}

function toEngineRequest(
  urlQuery: string,
  body: Buffer,
  url: URLSearchParams,
  method: string,
  server: Pick<ClickHouseHttp, 'version' | 'readonlyProfile'>,
): EngineRequest {
  const settings = new Map<string, string>();
  const params = new Map<string, string>();
  for (const [name, value] of url) {
    if (name.startsWith('param_')) params.set(identifier(name.slice('param_'.length)), value);
    else if (!RESERVED.has(name) && !CREDENTIALS.has(name) && !HTTP_SETTINGS.test(name))
      settings.set(identifier(name), value);
  }
  if (server.readonlyProfile === 1 || (server.readonlyProfile === 2 && settings.has('readonly'))) {
    const name = settings.keys().next().value;
    if (name !== undefined) throw exception(164, `Cannot modify '${name}' setting in readonly mode.`, 'READONLY');
  }
  const asked = Number(settings.get('readonly') ?? 0);
  settings.delete('readonly');
  // As a server does: GET must not change anything.
  const readonly = server.readonlyProfile || asked || (method === 'GET' ? 2 : 0);
  const sql = urlQuery === '' ? body.toString() : urlQuery;
  if (sql.trim() === '') throw exception(62, 'Syntax error: Empty query', 'SYNTAX_ERROR');
  const hasRows = urlQuery !== '' && (body.length > 0 || /^\s*INSERT\b[\s\S]*\b(FORMAT\s+\w+|VALUES)\s*$/i.test(sql));
  return {
    sql: server.version === null ? sql : sql.replace(/\bversion\(\)/gi, `'${server.version}'`),
    rows: hasRows ? body : null,
    database: url.get('database'),
    defaultFormat: url.get('default_format') ?? 'TabSeparated',
    settings,
    params,
    readonly,
  };
}

function formatOf(request: EngineRequest): string {
  return /\bFORMAT\s+(\w+)\s*(?:SETTINGS\b[\s\S]*)?;?\s*$/i.exec(request.sql)?.[1] ?? request.defaultFormat;
}

function summary(answer: EngineAnswer): Record<string, string> {
  return {
    read_rows: String(answer.resultRows + answer.writtenRows),
    read_bytes: String(answer.resultBytes + answer.writtenBytes),
    written_rows: String(answer.writtenRows),
    written_bytes: String(answer.writtenBytes),
    total_rows_to_read: '0',
    result_rows: String(answer.resultRows),
    result_bytes: String(answer.resultBytes),
    elapsed_ns: String(Math.round(answer.elapsedMs * 1e6)),
  };
}

function responseCompression(request: IncomingMessage, url: URLSearchParams): string | null {
  if (url.get('enable_http_compression') !== '1') return null;
  const accepted = String(request.headers['accept-encoding'] ?? '').split(/\s*,\s*/);
  return accepted.find((encoding) => encoding in deflate) ?? null;
}

async function send(response: ServerResponse, status: number, body: Buffer, compression: string | null): Promise<void> {
  const compress = compression === null ? undefined : deflate[compression];
  if (compression !== null) response.setHeader('Content-Encoding', compression);
  const bytes = compress === undefined ? body : await compress(body);
  response.writeHead(status, { 'Content-Type': 'text/plain; charset=UTF-8', 'Content-Length': bytes.length });
  response.end(bytes);
}

/** createSlots runs at most `count` tasks at once; the rest wait in order. */
function createSlots(count: number): <T>(task: () => Promise<T>) => Promise<T> {
  const waiting: (() => void)[] = [];
  let free = count;
  return async (task) => {
    if (free > 0) free -= 1;
    else await new Promise<void>((resolve) => waiting.push(resolve));
    try {
      return await task();
    } finally {
      const next = waiting.shift();
      if (next === undefined) free += 1;
      else next();
    }
  };
}

function exception(code: number, message: string, type: string): EngineError {
  return new EngineError(code, `Code: ${code}. DB::Exception: ${message} (${type})`);
}

function identifier(name: string): string {
  if (/^[A-Za-z_]\w*$/.test(name)) return name;
  throw exception(115, `Unknown setting '${name}'`, 'UNKNOWN_SETTING');
}

function firstLine(body: Buffer): string {
  return body.subarray(0, 4096).toString();
}

function splitOnce(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
}
