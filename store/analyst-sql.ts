/** SqlToken is one token of canonical SQL: a word (keyword or plain identifier), a quoted identifier, a literal, or a sign. */
export interface SqlToken {
  readonly kind: 'word' | 'quoted' | 'string' | 'number' | 'sign';
  /** A word as it stands, a quoted identifier without its quotes, a sign; '' for literals. */
  readonly text: string;
  /** Offset of its first character. */
  readonly at: number;
  /** How many brackets are open around it. */
  readonly depth: number;
}

/** One pattern for each kind of token, tried in this order. */
const PATTERNS: readonly (readonly [kind: SqlToken['kind'], pattern: RegExp])[] = [
  ['word', /[A-Za-z_]\w*/y],
  ['quoted', /`((?:[^`\\]+|\\[\s\S]|``)*)`/y],
  ['quoted', /"((?:[^"\\]+|\\[\s\S]|"")*)"/y],
  ['string', /'(?:[^'\\]+|\\[\s\S]|'')*'/y],
  ['number', /\d[\w.]*(?:[eE][+-]?\d+)?/y],
  ['sign', /(?!--|\/\*)[-+*/%=<>!|&^~?:;,.()[\]{}@]/y],
];

/**
 * tokenizeCanonical splits SQL that the engine itself has formatted on one line, which has no comments, heredocs or typographic
 * quotes any more. Null when it meets anything else: what cannot be read is not let through.
 */
export function tokenizeCanonical(sql: string): SqlToken[] | null {
  const tokens: SqlToken[] = [];
  let depth = 0;
  let at = 0;
  while (at < sql.length) {
    if (sql[at] === ' ') {
      at += 1;
      continue;
    }
    const token = tokenAt(sql, at);
    if (token === null) return null;
    if (token.kind === 'sign' && /[)\]}]/.test(token.text)) depth -= 1;
    tokens.push({ kind: token.kind, text: token.text, at, depth });
    if (token.kind === 'sign' && /[([{]/.test(token.text)) depth += 1;
    at += token.length;
  }
  return depth === 0 ? tokens : null;
}

function tokenAt(
  sql: string,
  at: number,
): { readonly kind: SqlToken['kind']; readonly text: string; readonly length: number } | null {
  for (const [kind, pattern] of PATTERNS) {
    pattern.lastIndex = at;
    const found = pattern.exec(sql);
    if (found === null) continue;
    const unquoted = (found[1] ?? '').replace(/\\([\s\S])|``|""/g, (two, escaped) => escaped ?? two[0]);
    const text = kind === 'quoted' ? unquoted : kind === 'word' || kind === 'sign' ? found[0] : '';
    return { kind, text, length: found[0].length };
  }
  return null;
}

/** isWord tells whether a token is the given keyword. */
export function isWord(token: SqlToken | undefined, keyword: string): boolean {
  return token?.kind === 'word' && token.text.toUpperCase() === keyword;
}

/** isSign tells whether a token is the given sign. */
export function isSign(token: SqlToken | undefined, sign: string): boolean {
  return token?.kind === 'sign' && token.text === sign;
}

/** splitFormat cuts a trailing `FORMAT x` off canonical SQL; format is null when there is none. */
export function splitFormat(
  sql: string,
  tokens: readonly SqlToken[],
): { readonly sql: string; readonly tokens: readonly SqlToken[]; readonly format: string | null } {
  const format = tokens.at(-1);
  const keyword = tokens.at(-2);
  const named = format?.kind === 'word' || format?.kind === 'quoted';
  if (!named || keyword === undefined || keyword.depth !== 0 || !isWord(keyword, 'FORMAT'))
    return { sql, tokens, format: null };
  return { sql: sql.slice(0, keyword.at).trimEnd(), tokens: tokens.slice(0, -2), format: format.text };
}

/** isSetOperation tells whether the statement joins several SELECTs at its top level. */
export function isSetOperation(tokens: readonly SqlToken[]): boolean {
  return tokens.some(
    (token, i) =>
      token.depth === 0 &&
      token.kind === 'word' &&
      (/^(UNION|INTERSECT)$/i.test(token.text) ||
        // `* EXCEPT column` is another thing: a set operation goes on with SELECT, a bracket, ALL or DISTINCT.
        (isWord(token, 'EXCEPT') &&
          ['SELECT', 'ALL', 'DISTINCT', 'WITH'].some((next) => isWord(tokens[i + 1], next))) ||
        (isWord(token, 'EXCEPT') && isSign(tokens[i + 1], '(') && isWord(tokens[i + 2], 'SELECT'))),
  );
}

/** contentTypeOf is the media type of a ClickHouse output format; text for those that people read. */
export function contentTypeOf(format: string): string {
  if (/^(JSONEachRow|JSONLines|JSONL|NDJSON|JSONStringsEachRow|PrettyJSONEachRow|PrettyNDJSON)$/i.test(format))
    return 'application/x-ndjson; charset=utf-8';
  if (/^JSONCompact(Strings)?EachRow/i.test(format)) return 'application/x-ndjson; charset=utf-8';
  if (/^JSON/i.test(format)) return 'application/json; charset=utf-8';
  if (/^CSV/i.test(format)) return 'text/csv; charset=utf-8';
  if (/^(TSV|TabSeparated|TSKV|LineAsString|Raw)/i.test(format) && !/^RawBLOB$/i.test(format))
    return 'text/tab-separated-values; charset=utf-8';
  if (/^(Pretty|Vertical|Values|Markdown|MD$|SQLInsert|Null|Hash|CustomSeparated|Prometheus)/i.test(format))
    return 'text/plain; charset=utf-8';
  if (/^XML$/i.test(format)) return 'application/xml; charset=utf-8';
  return 'application/octet-stream';
}
