import { isSetOperation, isSign, isWord, type SqlToken, splitFormat, tokenizeCanonical } from './analyst-sql.ts';

/** What analysts may read of the product's database; `rollup_` tables besides, which the views are made of. */
const ANALYST_TABLES: ReadonlySet<string> = new Set([
  'events',
  'lifecycle',
  'lifecycle_origins',
  'rejected_events',
  'detections',
  'alerts',
  'feedback',
  'notifications',
  'successions',
  'tokens',
  'token_endpoints',
  'token_clients',
  'token_countries',
  'token_hourly',
  'token_networks',
  'token_network_kinds',
]);

/** Tables of the database `system` that say nothing about the server, its users or their queries. */
const SYSTEM_TABLES = new Set([
  'one',
  'numbers',
  'numbers_mt',
  'zeros',
  'functions',
  'formats',
  'columns',
  'tables',
  'data_type_families',
  'time_zones',
]);

/** Table functions that make rows out of nothing but their arguments. */
const TABLE_FUNCTIONS = new Set([
  'numbers',
  'numbers_mt',
  'zeros',
  'zeros_mt',
  'generateseries',
  'generate_series',
  'generaterandom',
  'primes',
  'values',
  'sqlstandardvalues',
  'view',
  'viewexplain',
  'format',
  'null',
]);

/** Categories of scalar and aggregate functions whose every member computes from its arguments alone. */
const SAFE_CATEGORIES =
  /^(Aggregate Functions?|Arithmetic|Arrays?|Bit|Bitmap|Comparison|Conditional|Dates and Times?|Date and Time|Distance|Encoding|Encryption|Financial|Geo|Geo Polygon|Hash|IP Address|JSON|Logical|Maps?|Mathematical|Null|Nullable|NumericIndexedVector|QBit|Random Number|Rounding|Strings?|String Replacement|String Search|String Splitting|Time Series|Time Window|Tuples?|Type Conversion|URLs?|UUIDs?)$/;

/** Functions of mixed categories that are as harmless. */
const SAFE_FUNCTIONS =
  /^(bar|block(number|size|serializedsize)|bytesize|casewithexpression|countdigits|currentdatabase|currentuser|database|user|schema|defaultvalueof\w+|digits|errorcodetoname|finalizeaggregation|formatquery\w*|formatreadable\w+|parsereadable\w+|parsetimedelta|formatrow\w*|getsizeofenumtype|getsubcolumn|hostname|identity|ignore|indexhint|initializeaggregation|isconstant|isdecimaloverflow|lowcardinality\w+|macnumtostring|macstringto\w+|materialize|minsamplesize\w+|neighbor|normalize(d)?query\w*|rownumberin\w+|running(accumulate|difference\w*|concurrency)|throwif|tocolumntypename|totypename|transform|varianttype|variantelement|version|visiblewidth|nested|_cast)$/;

/**
 * Functions that reach files, the network, other tables by name, keys, settings, models or the host, or that only wait. Held
 * against every name whatever its category, because servers before 25.6 give none.
 */
const UNSAFE_FUNCTIONS =
  /^(file|url|sleep\w*|dict\w+|joinget\w*|region\w+|ai[a-z]+|llm\w*|eval\w*|naivebayesclassifier\w*|stochastic\w+regression|catboost\w*|modelevaluate|executable\w*|addressto\w+|demangle|logtrace|tid|flamegraph|filesystem\w*|zookeeper\w*|transaction\w*|generateserialid|get(setting|serversetting|serverport|macro|clienthttpheader|oskernelversion|mergetree|maxtablename|typeserialization)\w*|globalvariable|showcertificate|hascolumnintable|hasthreadfuzzer|tcpport|fqdn|displayname|serveruuid|buildid|uptime|revision|connectionid|connection_id|initialquery\w+|(current|initial)?queryid|query_id|(current|enabled|default)(roles|profiles)|authenticateduser|currentschemas|shard(num|count)|mergetree\w+|ismergetree\w+|fuzz\w+|obfuscate\w+|structureto\w+|generaterandomstructure|lemmatize|synonyms|stem|detect\w+|chdb|__\w+)$/;

/** FunctionFact is one function of the engine under a name; an alias is judged by what it stands for. */
export interface FunctionFact {
  readonly target: string;
  readonly category: string;
  /** False for one that somebody added to the server. */
  readonly builtIn: boolean;
}

/** Catalogue is what the engine says about the names in a query; every name is in lower case. */
export interface Catalogue {
  readonly functions: ReadonlyMap<string, readonly FunctionFact[]>;
  readonly tableFunctions: ReadonlySet<string>;
  /** Tables of the current database. */
  readonly tables: ReadonlySet<string>;
  readonly databases: ReadonlySet<string>;
  readonly currentDatabase: string;
}

/** Statement is SQL that the guard has read but not yet judged. */
export interface Statement {
  /** Canonical SQL without its FORMAT clause. */
  readonly sql: string;
  readonly tokens: readonly SqlToken[];
  readonly format: string | null;
  /** Every word and quoted identifier in it, in lower case, in parts where it has dots. */
  readonly names: ReadonlySet<string>;
}

/** Refusal says what is not allowed, in words that can be shown; null: the query is a plain read. */
export type Refusal = { readonly message: string; readonly fix: string } | null;

const READ_ONLY =
  'Only reading is possible here: SELECT, WITH, EXPLAIN SELECT, SHOW TABLES, SHOW COLUMNS, SHOW CREATE TABLE and DESCRIBE.';

/** readStatement reads SQL as the engine has formatted it on one line; null when it has something in it that formatted SQL never has. */
export function readStatement(canonical: string): Statement | null {
  const all = tokenizeCanonical(canonical);
  if (all === null) return null;
  const { sql, tokens, format } = splitFormat(canonical, all);
  const names = new Set<string>();
  for (const token of tokens) {
    if (token.kind === 'word' || token.kind === 'quoted') for (const part of nameParts(token)) names.add(part);
  }
  return { sql, tokens, format, names };
}

/** boundedSql is what runs: SELECTs joined by UNION and the like go into one, so that the row limit counts them together. */
export function boundedSql(statement: Statement): string {
  const first = statement.tokens[0];
  const select = isWord(first, 'SELECT') || isWord(first, 'WITH') || isSign(first, '(');
  return select && isSetOperation(statement.tokens) ? `SELECT * FROM (${statement.sql})` : statement.sql;
}

/** refuseShape judges what kind of statement it is and which clauses it has, before the engine is asked anything more. */
export function refuseShape(statement: Statement): Refusal {
  return refuseKind(statement.tokens) ?? refuseClauses(statement);
}

/**
 * refuseUnlessRead judges a statement, by its shape and by the names that the engine knows: one read, of the product's
 * tables, with functions that compute from their arguments alone. Names are judged wherever they stand, called or not: the
 * engine takes a function's name as an argument too (`arrayMap(file, [...])`).
 */
export function refuseUnlessRead(statement: Statement, catalogue: Catalogue): Refusal {
  return (
    refuseShape(statement) ?? refuseFunctions(statement.tokens, catalogue) ?? refuseTables(statement.tokens, catalogue)
  );
}

function refuseKind(tokens: readonly SqlToken[]): Refusal {
  const refusal = (what: string): Refusal => ({ message: `${what} is not a plain read.`, fix: READ_ONLY });
  const words = tokens.slice(0, 4).map((token) => (token.kind === 'word' ? token.text.toUpperCase() : ''));
  const [first = ''] = words;
  if (first === 'SELECT' || first === 'WITH' || isSign(tokens[0], '(')) return null;
  if (first === 'DESCRIBE' && words[1] === 'TABLE') return null;
  if (first === 'SHOW') {
    const rest = words.slice(1).filter((word) => word !== 'FULL' && word !== 'EXTENDED');
    if (rest[0] === 'TABLES' || rest[0] === 'COLUMNS') return null;
    if (rest[0] === 'CREATE' && (rest[1] === 'TABLE' || rest[1] === 'VIEW')) return null;
    return refusal(`SHOW ${rest[0] ?? ''}`.trim());
  }
  if (first === 'EXPLAIN') {
    const select = tokens.findIndex(
      (token, i) => i > 0 && (isSign(token, '(') || isWord(token, 'SELECT') || isWord(token, 'WITH')),
    );
    // Between EXPLAIN and SELECT stand its kind and `name = value` options, nothing else.
    const between = tokens
      .slice(1, select)
      .map((token) => (token.kind === 'word' ? token.text : token.kind === 'sign' ? token.text : '1'));
    if (
      select > 0 &&
      /^((AST|SYNTAX|PLAN|PIPELINE|ESTIMATE|QUERY TREE) ?)?(\w+ = \w+( , )?)*$/i.test(between.join(' '))
    )
      return null;
    return refusal('EXPLAIN of anything but a SELECT');
  }
  return refusal(first === '' ? 'This' : first);
}

function refuseClauses({ tokens, format }: Statement): Refusal {
  for (const [i, token] of tokens.entries()) {
    const next = tokens[i + 1];
    if (isWord(token, 'INTO') && isWord(next, 'OUTFILE'))
      return { message: 'INTO OUTFILE writes a file.', fix: 'Leave it out: the result comes back in the answer.' };
    if ((isWord(token, 'INSERT') && isWord(next, 'INTO')) || (isWord(token, 'PARALLEL') && isWord(next, 'WITH')))
      return { message: `${token.text} ${next?.text} is not a plain read.`, fix: READ_ONLY };
    if (isWord(token, 'SETTINGS') && next !== undefined && isSign(tokens[i + 2], '='))
      return {
        message: 'A SETTINGS clause is not allowed.',
        fix: 'Leave it out: the limits of this endpoint are fixed.',
      };
    if (isSign(token, ':') && /identifier/i.test(next?.text ?? ''))
      return {
        message: 'A placeholder must not stand for a name.',
        fix: 'Write table and column names into the query.',
      };
    if (isSign(token, ';'))
      return { message: 'There is more than one statement.', fix: 'Send one statement at a time.' };
  }
  if (format !== null && !/^\w+$/.test(format)) return { message: 'There is no such format.', fix: '' };
  return null;
}

function refuseFunctions(tokens: readonly SqlToken[], catalogue: Catalogue): Refusal {
  for (const [i, token] of tokens.entries()) {
    if (token.kind !== 'word' && token.kind !== 'quoted') continue;
    const called = isSign(tokens[i + 1], '(');
    for (const name of nameParts(token)) {
      const facts = catalogue.functions.get(name) ?? [];
      const isFunction = facts.length > 0;
      const harmless = isFunction && facts.every(isHarmless);
      const refusal: Refusal = {
        message: `The function ${token.text} is not allowed here.`,
        fix: 'Use functions that compute from the columns; rename an alias or column that is called like it.',
      };
      if (isFunction && !harmless) return refusal;
      if (called && catalogue.tableFunctions.has(name) && !TABLE_FUNCTIONS.has(name) && !harmless) return refusal;
      // Names that the engine does not list, yet might take (combinators, dialects), are held to the same list.
      if (called && UNSAFE_FUNCTIONS.test(name)) return refusal;
    }
  }
  return null;
}

function isHarmless({ target, category, builtIn }: FunctionFact): boolean {
  if (!builtIn || UNSAFE_FUNCTIONS.test(target)) return false;
  return category === '' || SAFE_CATEGORIES.test(category) || SAFE_FUNCTIONS.test(target);
}

function refuseTables(tokens: readonly SqlToken[], catalogue: Catalogue): Refusal {
  const show = isWord(tokens[0], 'SHOW');
  // Names with the parts of dotted identifiers set apart, each with whether a dot follows.
  const chain: { readonly name: string; readonly text: string; readonly dotted: boolean }[] = [];
  for (const [i, token] of tokens.entries()) {
    if (token.kind !== 'word' && token.kind !== 'quoted') continue;
    const parts = nameParts(token);
    for (const [k, name] of parts.entries())
      chain.push({ name, text: token.text, dotted: k < parts.length - 1 || isSign(tokens[i + 1], '.') });
  }
  for (const [i, { name, text, dotted }] of chain.entries()) {
    if (catalogue.tables.has(name) && !ANALYST_TABLES.has(name) && !name.startsWith('rollup_') && name !== 'system')
      return { message: `The table ${text} is not for analysts.`, fix: `Tables: ${[...ANALYST_TABLES].join(', ')}.` };
    if (!catalogue.databases.has(name) || name === catalogue.currentDatabase || (!dotted && !show)) continue;
    const table = chain[i + 1]?.name ?? '';
    if (name === 'system' && dotted && SYSTEM_TABLES.has(table)) continue;
    return {
      message:
        name === 'system'
          ? `The table system.${table} is not for analysts.`
          : `The database ${text} is not for analysts.`,
      fix: `Tables: ${[...ANALYST_TABLES].join(', ')}.`,
    };
  }
  return null;
}

function nameParts(token: SqlToken): string[] {
  const name = token.text.toLowerCase();
  return token.kind === 'quoted' && name.includes('.') ? name.split('.') : [name];
}
