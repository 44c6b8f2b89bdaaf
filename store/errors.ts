import { errorText, TokenwatchError } from '../core/index.ts';

/** NOT_ENOUGH_SPACE. */
const FULL_CODE = '243';

/** What the file system says of a full disk, or of a full share of it. */
const FULL_FILE_CODES = new Set(['ENOSPC', 'EDQUOT']);

/** Engine codes after which the same call may succeed: timeouts, load, lost replicas, too many parts. */
const TRANSIENT_CODES = new Set([
  '3',
  '159',
  '160',
  '173',
  '198',
  '202',
  '203',
  '209',
  '210',
  '225',
  '236',
  '241',
  '242',
  '252',
  '279',
  '285',
  '286',
  '290',
  '319',
  '394',
  '425',
  '439',
  '999',
]);

/** Engine codes that say that these rows or values can never be stored. */
const POISON_CODES = new Set([
  '6',
  '26',
  '27',
  '33',
  '38',
  '41',
  '53',
  '69',
  '70',
  '72',
  '117',
  '130',
  '131',
  '321',
  '349',
  '472',
]);

const NETWORK_CODES = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
]);

interface EngineError {
  readonly clickhouseCode?: unknown;
  readonly code?: unknown;
  readonly type?: unknown;
  readonly message?: unknown;
}

/** engineCode is ClickHouse's own error number as text, '' when the error did not come from the engine. */
export function engineCode(error: unknown): string {
  // chDB's own functions name it differently than the client.
  const native = (error as EngineError | null)?.clickhouseCode;
  if (typeof native === 'number') return String(native);
  const code = (error as EngineError | null)?.code;
  return typeof code === 'string' && /^\d+$/.test(code) ? code : '';
}

/** storeError turns what the client threw into a TokenwatchError: its kind is decided by codes, never by message text. */
export function storeError(error: unknown, doing: string): TokenwatchError {
  if (error instanceof TokenwatchError) return error;
  const number = engineCode(error);
  const text = errorText(error)
    .replace(/\s+/g, ' ')
    .replace(/^(Code: \d+\. DB::Exception: )+/, '')
    .slice(0, 300);
  if (number === '') {
    const code = String((error as EngineError | null)?.code ?? '');
    const timedOut = errorText(error).startsWith('Timeout error');
    // chDB's own functions give a code to what no engine answered, the client gives none.
    if (NETWORK_CODES.has(code) || timedOut || code === '' || code.startsWith('CHDB_'))
      return new TokenwatchError(
        'store_unreachable',
        'transient',
        `ClickHouse did not answer while ${doing}: ${text || code}`,
        {
          cause: error,
          fix: 'Check that the server of CLICKHOUSE_URL is up and can be reached from here; senders are asked to retry meanwhile.',
        },
      );
  }
  if (number === '164' || number === '497')
    return new TokenwatchError(
      'store_read_only',
      'config',
      `ClickHouse refuses writes while ${doing} (code ${number}).`,
      {
        cause: error,
        fix: 'Give the user of CLICKHOUSE_URL a profile with readonly = 0 and CREATE, INSERT, SELECT and ALTER on the database.',
      },
    );
  if (['192', '193', '194', '516'].includes(number))
    return new TokenwatchError(
      'store_login_refused',
      'config',
      `ClickHouse refused the login while ${doing} (code ${number}).`,
      {
        cause: error,
        fix: 'Put a valid user and password into CLICKHOUSE_URL.',
      },
    );
  if (POISON_CODES.has(number))
    return new TokenwatchError(
      'store_refused_rows',
      'poison',
      `ClickHouse refused the rows while ${doing} (code ${number}): ${text}`,
      { cause: error },
    );
  if (number === FULL_CODE || FULL_FILE_CODES.has(String((error as EngineError | null)?.code)))
    return new TokenwatchError(
      'store_full',
      'transient',
      `The disk of ClickHouse is full while ${doing} (code ${number || (error as EngineError).code}): ${text}`,
      {
        cause: error,
        fix: 'Free space on the disk of TOKENWATCH_DATA, or of the ClickHouse server; senders are asked to retry meanwhile.',
      },
    );
  if (TRANSIENT_CODES.has(number))
    return new TokenwatchError(
      'store_busy',
      'transient',
      `ClickHouse could not do it now while ${doing} (code ${number}): ${text}`,
      { cause: error },
    );
  return new TokenwatchError(
    'store_failed',
    'bug',
    `ClickHouse failed while ${doing} (code ${number || 'none'}): ${text}`,
    { cause: error },
  );
}
