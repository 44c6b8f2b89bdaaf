import type { ClickHouseClient, ClickHouseSettings } from '@clickhouse/client';
import { errorText, TokenwatchError } from '../core/index.ts';
import {
  boundedSql,
  type Catalogue,
  type FunctionFact,
  readStatement,
  refuseShape,
  refuseUnlessRead,
  type Statement,
} from './analyst-guard.ts';
import { contentTypeOf } from './analyst-sql.ts';
import type { AnalyseOptions, AnalystResult } from './contract.ts';
import { engineCode, storeError } from './errors.ts';

/**
 * SqlError is a query that was refused (`sql_refused`) or that the engine could not run (`sql_failed`); `engineCode` is
 * ClickHouse's own error number as text, '' when the engine never saw it.
 */
export class SqlError extends TokenwatchError {
  readonly engineCode: string;
  constructor(code: 'sql_refused' | 'sql_failed', message: string, options: { fix: string; engineCode?: string }) {
    super(code, 'poison', message, options);
    this.name = 'SqlError';
    this.engineCode = options.engineCode ?? '';
  }
}

/** AnalystConnection is a connection with the product's database in use that serves one query and is closed after it. */
export interface AnalystConnection {
  readonly client: ClickHouseClient;
  /** A query can be broken off. The embedded engine computes on, on a thread that its inserts need as well. */
  readonly abortable: boolean;
  close(): Promise<void>;
}

/** AnalystLimits bound what one query may use, and how many run and wait. */
export interface AnalystLimits {
  readonly maxMemoryBytes: number;
  readonly maxResultBytes: number;
  readonly maxThreads: number;
  /** Rows that are computed between two looks at the time limit. */
  readonly maxBlockRows: number;
  /** Queries at once; the embedded engine shares Node's four worker threads with the inserts. */
  readonly maxRunning: number;
  /** How long after its time limit a query that does not stop by itself is given up, in milliseconds. */
  readonly abortAfterMs: number;
  /** Queries that wait for their turn; one more is turned away. */
  readonly maxWaiting: number;
}

const MIB = 1 << 20;
const LIMITS: AnalystLimits = {
  maxMemoryBytes: 512 * MIB,
  maxResultBytes: 64 * MIB,
  maxThreads: 2,
  // Half a millisecond a row ends a second after its limit; by the engine's own 65,000 it was half a minute and more.
  maxBlockRows: 2_048,
  abortAfterMs: 5_000,
  maxRunning: 2,
  maxWaiting: 20,
};

/** Longest SQL in characters; the engine's own default is twice as much. */
const MAX_SQL_CHARS = 128 * 1024;

/** Analyst runs people's SQL so that it can read the product's tables and do nothing else. */
export interface Analyst {
  analyse(sql: string, options: AnalyseOptions): Promise<AnalystResult>;
  /** computing tells that the engine is at work for an analyst, which it may be longer than somebody waits for it. */
  computing(): boolean;
}

/**
 * createAnalyst guards analysts' SQL in three layers. The engine formats the query (which parses exactly one statement and runs
 * nothing), and only that canonical text goes on; its names are judged against what the engine knows (analyst-guard.ts); it
 * runs under `readonly = 1`, set together with the limits because no setting can be changed after it. Over HTTP this needs a
 * user whose own profile has `readonly = 0`, which the store needs anyway. `open` gives a connection per query: in the
 * embedded engine `readonly` stays with the session for good.
 */
export function createAnalyst(open: () => Promise<AnalystConnection>, limits: Partial<AnalystLimits> = {}): Analyst {
  const bounds = { ...LIMITS, ...limits };
  let running = 0;
  const takeTurn = createTurns(bounds.maxRunning, bounds.maxWaiting);
  const run = async (sql: string, options: AnalyseOptions) => {
    const connection = await open();
    try {
      return await analyseOn(connection, sql, options, bounds);
    } finally {
      await connection.close();
    }
  };
  return {
    computing: () => running > 0,
    analyse: async (sql, options) => {
      const endTurn = await takeTurn(options.timeoutMs);
      running++;
      // The turn ends with the engine's work, which may be later than the answer.
      const work = run(sql, options).finally(() => {
        running--;
        endTurn();
      });
      return inTime(work, options, bounds.abortAfterMs);
    },
  };
}

/** inTime gives up waiting for a query that does not end at its time limit. */
async function inTime<T>(work: Promise<T>, options: AnalyseOptions, abortAfterMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(tookTooLong(options, '159')), options.timeoutMs + abortAfterMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

async function analyseOn(
  { client, abortable }: AnalystConnection,
  sql: string,
  options: AnalyseOptions,
  limits: AnalystLimits,
): Promise<AnalystResult> {
  const statement = await parse(client, sql);
  const refusal = refuseShape(statement) ?? refuseUnlessRead(statement, await lookUp(client, statement.names));
  if (refusal !== null) throw new SqlError('sql_refused', refusal.message, { fix: refusal.fix });
  const format = statement.format ?? options.defaultFormat;
  const settings: ClickHouseSettings = {
    max_execution_time: Math.max(options.timeoutMs, 1) / 1000,
    timeout_overflow_mode: 'throw',
    max_memory_usage: String(limits.maxMemoryBytes),
    max_threads: limits.maxThreads,
    max_block_size: String(limits.maxBlockRows),
    // The engine's own cut; `max_result_rows` would cut only at the end of a block of 65,000.
    limit: String(options.maxRows),
    max_result_bytes: String(limits.maxResultBytes),
    result_overflow_mode: 'throw',
    allow_introspection_functions: 0,
    allow_ddl: 0,
    log_comment: 'analyst',
    wait_end_of_query: 1,
    // Last: the embedded engine takes them one after the other.
    readonly: '1',
  };
  const result = await attempt(
    client.exec({
      query: boundedSql(statement),
      query_params: options.params === undefined ? undefined : { ...options.params },
      clickhouse_settings: { ...settings, default_format: format } as ClickHouseSettings,
      ...(abortable ? { abort_signal: AbortSignal.timeout(options.timeoutMs + limits.abortAfterMs) } : {}),
    }),
    options,
  );
  const chunks: Buffer[] = [];
  let size = 0;
  // The engine's limit counts its own representation, and lets a single block pass.
  for await (const chunk of result.stream) {
    size += (chunk as Buffer).length;
    if (size > limits.maxResultBytes) throw tooLarge('');
    chunks.push(chunk as Buffer);
  }
  return {
    contentType: contentTypeOf(format),
    body: Buffer.concat(chunks),
    truncated: Number(result.summary?.result_rows ?? 0) >= options.maxRows,
  };
}

/** parse lets the engine read the query without running it. */
async function parse(client: ClickHouseClient, sql: string): Promise<Statement> {
  if (sql.trim() === '') throw new SqlError('sql_refused', 'There is no query.', { fix: 'Send SQL as the body.' });
  if (sql.length > MAX_SQL_CHARS)
    throw new SqlError('sql_refused', `The query is longer than ${MAX_SQL_CHARS} characters.`, {
      fix: 'Send a shorter one.',
    });
  const rows = await ask(client, 'SELECT formatQuerySingleLine({sql:String}) AS canonical', { sql });
  const statement = readStatement(String(rows[0]?.canonical ?? ''));
  if (statement !== null) return statement;
  throw new SqlError('sql_refused', 'The query could not be read safely.', {
    fix: 'Write it without unusual characters outside of quotes.',
  });
}

/** lookUp asks the engine what it knows under the names of a query, afresh every time: functions and tables come and go. */
async function lookUp(client: ClickHouseClient, names: ReadonlySet<string>): Promise<Catalogue> {
  const rows = await ask(
    client,
    `SELECT 'function' AS kind, lower(name) AS name, lower(alias_to) AS target, categories AS category,
            toString(origin) = 'System' AS built_in
     FROM system.functions WHERE lower(name) IN {names:Array(String)}
     UNION ALL
     SELECT 'table_function', lower(name), '', '', 1 FROM system.table_functions WHERE lower(name) IN {names:Array(String)}
     UNION ALL
     SELECT 'table', lower(name), '', '', 1 FROM system.tables
     WHERE database = currentDatabase() AND lower(name) IN {names:Array(String)}
     UNION ALL
     SELECT if(name = currentDatabase(), 'current', 'database'), lower(name), '', '', 1 FROM system.databases`,
    { names: [...names] },
  );
  const of = (kind: string) => rows.filter((row) => row.kind === kind);
  const namesOf = (kind: string) => of(kind).map((row) => String(row.name));
  const targets = of('function').flatMap((row) => (row.target === '' ? [] : [String(row.target)]));
  // Aliases have no category of their own.
  const targetRows =
    targets.length === 0
      ? []
      : await ask(
          client,
          'SELECT lower(name) AS name, categories FROM system.functions WHERE lower(name) IN {targets:Array(String)}',
          { targets },
        );
  const categories = new Map(targetRows.map((row) => [String(row.name), String(row.categories)]));
  const functions = new Map<string, FunctionFact[]>();
  for (const row of of('function')) {
    const name = String(row.name);
    const target = String(row.target) || name;
    const category = row.target === '' ? String(row.category) : (categories.get(target) ?? '');
    functions.set(name, [...(functions.get(name) ?? []), { target, category, builtIn: Number(row.built_in) === 1 }]);
  }
  return {
    functions,
    tableFunctions: new Set(namesOf('table_function')),
    tables: new Set(namesOf('table')),
    databases: new Set([...namesOf('database'), ...namesOf('current')]),
    currentDatabase: namesOf('current')[0] ?? '',
  };
}

async function ask(
  client: ClickHouseClient,
  query: string,
  query_params: Record<string, unknown>,
): Promise<Record<string, unknown>[]> {
  // A long query would not fit into a URL.
  const work = client.query({ query, query_params, format: 'JSONEachRow', use_multipart_params_auto: true });
  const result = await attempt(work, null);
  return result.json<Record<string, unknown>>();
}

/** Engine codes that speak of the server, not of the query: load, login, lost connections. */
const SERVER_CODES = new Set(['173', '192', '193', '194', '202', '203', '209', '210', '236', '439', '516', '999']);

async function attempt<T>(work: Promise<T>, options: AnalyseOptions | null): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw sqlError(error, options);
  }
}

function sqlError(error: unknown, options: AnalyseOptions | null): TokenwatchError {
  const code = engineCode(error);
  if (code === '' && /aborted/i.test(errorText(error)) && options !== null) return tookTooLong(options, '159');
  if (code === '' || SERVER_CODES.has(code)) return storeError(error, 'running an analyst query');
  if (code === '159' && options !== null) return tookTooLong(options, code);
  const failed = (message: string, fix: string) => new SqlError('sql_failed', message, { fix, engineCode: code });
  if (code === '241') return failed('The query needs more memory than one query may take.', NARROWER);
  if (code === '396') return tooLarge(code);
  if (code === '164' || code === '497')
    return new SqlError('sql_refused', 'The engine refuses this query: only reading is possible here.', {
      fix: 'Use a SELECT over the documented tables.',
      engineCode: code,
    });
  const text = errorText(error)
    .replace(/: In scope SELECT formatQuerySingleLine[\s\S]*$/, '')
    .replace(/\s+/g, ' ')
    .trim();
  return failed(text.slice(0, 1000), '');
}

const NARROWER = 'Select fewer columns, a shorter time span, or aggregate.';

function tooLarge(engineCode: string): SqlError {
  return new SqlError('sql_failed', 'The result is too large.', { fix: NARROWER, engineCode });
}

function tookTooLong(options: AnalyseOptions, code: string): SqlError {
  return new SqlError('sql_failed', `The query took longer than ${options.timeoutMs / 1000} s.`, {
    fix: NARROWER,
    engineCode: code,
  });
}

/**
 * createTurns lets `running` tasks run at once, keeps `waiting` more in line for at most the time they give, and turns away the
 * rest. What it returns resolves with the function that ends the turn.
 */
function createTurns(running: number, waiting: number): (waitMs: number) => Promise<() => void> {
  const line = new Set<() => void>();
  let free = running;
  const endTurn = () => {
    const [next] = line;
    if (next === undefined) free += 1;
    else next();
  };
  return async (waitMs) => {
    if (free > 0) free -= 1;
    else if (line.size >= waiting) throw busy('Too many queries are waiting already.');
    else await inLine(line, waitMs);
    return endTurn;
  };
}

function inLine(line: Set<() => void>, waitMs: number): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    const next = () => {
      clearTimeout(timer);
      line.delete(next);
      resolve();
    };
    const timer = setTimeout(() => {
      line.delete(next);
      reject(busy('The queries before this one take too long.'));
    }, waitMs);
    line.add(next);
  });
}

function busy(message: string): TokenwatchError {
  return new TokenwatchError('sql_busy', 'transient', message, { fix: 'Try again in a few seconds.' });
}
