import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { type Clock, errorText, TokenwatchError } from '../core/index.ts';
import { type Chunk, type DecodedRecord, decodeBody } from './decode.ts';
import type { IngestAnswer } from './http.ts';
import { addCounts, type LineCounts, type LineError, NO_LINES } from './result.ts';

/**
 * Requests are cut by content alone and named by a hash of the file up to their end: an import that is started again sends
 * the same ones and stores nothing twice, and pieces of a file that are alike are requests of their own.
 */
const REQUEST_RECORDS = 5_000;
const REQUEST_BYTES = 4 << 20;
const LINE_LIMIT_BYTES = 1 << 20;

/** Waits between tries when the service does not say how long: doubled from the first to the longest. */
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;
const GIVE_UP_MS = 5 * 60_000;

/** ImportProgress is told after every request. */
export interface ImportProgress extends LineCounts {
  readonly file: string;
  /** Lines read so far, over all files. */
  readonly lines: number;
  /** Bytes of the files as they are on disk; `bytesTotal` is null when standard input is one of them. */
  readonly bytesRead: number;
  readonly bytesTotal: number | null;
  readonly linesPerSecond: number;
  /** Set while the service does not take the events: why, and when it is tried again. */
  readonly waiting: { readonly reason: string; readonly ms: number } | null;
}

/** ImportFileOptions say what is imported, and where to. */
export interface ImportFileOptions {
  /** Paths; `-` is standard input. Gzip is recognised by its content. */
  readonly files: readonly string[];
  /** Address of a running instance, e.g. `http://127.0.0.1:8653`. */
  readonly url: string;
  readonly key: string;
  /** As in `?format=`; `auto` tells it from the records. */
  readonly format: string;
  readonly clock: Clock;
  readonly stdin?: AsyncIterable<Uint8Array>;
  readonly lineLimitBytes?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: ImportProgress) => void;
  /** How long one request is tried before the import gives up. */
  readonly giveUpMs?: number;
}

/** ImportResult is what became of all lines; `errors` are the first ones, with their file. */
export interface ImportResult extends Omit<LineCounts, 'errors'> {
  readonly lines: number;
  readonly seconds: number;
  readonly errors: readonly (LineError & { readonly file: string })[];
}

const ERRORS_LIMIT = 20;

/**
 * importFiles sends files to a running instance. It waits out 503 and a service that is away, as long as `giveUpMs`.
 * Throws `import_file` for a file that cannot be read, `import_refused` when the service refuses, `import_unreachable`.
 */
export async function importFiles(options: ImportFileOptions): Promise<ImportResult> {
  const { clock, files } = options;
  const startedAt = clock.now();
  const bytesTotal = await totalBytes(files);
  let counts = NO_LINES;
  const errors: (LineError & { file: string })[] = [];
  let lines = 0;
  let bytesRead = 0;

  const progress = (file: string, waiting: ImportProgress['waiting']): void => {
    const seconds = Math.max(0.001, (clock.now() - startedAt) / 1000);
    options.onProgress?.({ ...counts, file, lines, bytesRead, bytesTotal, linesPerSecond: lines / seconds, waiting });
  };
  const settle = (file: string, chunk: Chunk, answer: LineCounts): void => {
    const known = answer.errors.map((error) => ({ ...error, line: chunk.records[error.line - 1]?.line ?? error.line }));
    const refused = chunk.refusals.map(({ line, code, message }) => ({ line, code, message }));
    counts = addCounts(counts, { ...answer, rejected: answer.rejected + refused.length, errors: [] });
    const all = [...known, ...refused].sort((a, b) => a.line - b.line);
    for (const error of all) if (errors.length < ERRORS_LIMIT) errors.push({ ...error, file });
    lines += chunk.records.length + refused.length;
    progress(file, null);
  };

  for (const file of files) {
    const source = file === '-' ? (options.stdin ?? process.stdin) : createReadStream(file, { highWaterMark: 1 << 18 });
    const counted = async function* (): AsyncGenerator<Uint8Array> {
      for await (const piece of source as AsyncIterable<Uint8Array>) {
        bytesRead += piece.length;
        yield piece;
      }
    };
    let sending: Promise<void> = Promise.resolve();
    const limits = {
      encoding: undefined,
      bodyLimitBytes: Number.MAX_SAFE_INTEGER,
      lineLimitBytes: options.lineLimitBytes ?? LINE_LIMIT_BYTES,
      chunkRecords: REQUEST_RECORDS,
      chunkBytes: REQUEST_BYTES,
    };
    try {
      for await (const chunk of decodeBody(counted(), limits)) {
        // One request at a time keeps the order of the lines; the next chunk is read meanwhile.
        await sending;
        sending = send(chunk, options, (waiting) => progress(file, waiting)).then((answer) =>
          settle(file, chunk, answer),
        );
        sending.catch(() => {});
      }
      await sending;
    } catch (error) {
      if (error instanceof TokenwatchError || options.signal?.aborted) throw error;
      throw fileError(file, error);
    }
  }
  return { ...counts, lines, errors, seconds: (clock.now() - startedAt) / 1000 };
}

/** send posts one chunk as NDJSON until it is taken. */
async function send(
  chunk: Chunk,
  options: ImportFileOptions,
  onWait: (waiting: NonNullable<ImportProgress['waiting']>) => void,
): Promise<LineCounts> {
  if (chunk.records.length === 0) return NO_LINES;
  const body = chunk.records.map(oneLine).join('\n');
  const url = new URL(`/v1/events?format=${encodeURIComponent(options.format)}`, options.url);
  const giveUpAt = options.clock.now() + (options.giveUpMs ?? GIVE_UP_MS);
  for (let wait = FIRST_WAIT_MS; ; wait = Math.min(wait * 2, LONGEST_WAIT_MS)) {
    const answer = await post(url, { body, hash: chunk.hash }, options);
    if (answer.kind === 'taken') return answer.counts;
    const ms = answer.retryAfterMs ?? wait;
    if (options.clock.now() + ms > giveUpAt) {
      throw new TokenwatchError(
        'import_unreachable',
        'transient',
        `${url.origin} does not take the events: ${answer.reason}`,
        {
          fix: 'Start the service (npm start) or give its address with --url; importing the same file again stores nothing twice.',
        },
      );
    }
    onWait({ reason: answer.reason, ms });
    await delay(ms, undefined, options.signal === undefined ? {} : { signal: options.signal });
  }
}

type Posted =
  | { readonly kind: 'taken'; readonly counts: LineCounts }
  | { readonly kind: 'later'; readonly reason: string; readonly retryAfterMs: number | null };

async function post(
  url: URL,
  { body, hash }: { readonly body: string; readonly hash: string },
  options: ImportFileOptions,
): Promise<Posted> {
  let response: Response;
  let answer: Partial<IngestAnswer>;
  try {
    response = await fetch(url, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${options.key}`,
        'content-type': 'application/x-ndjson',
        'idempotency-key': `"${hash}"`,
      },
      body,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    answer = JSON.parse(await response.text()) as Partial<IngestAnswer>;
  } catch (error) {
    if (options.signal?.aborted) throw error;
    const cause = (error as Error).cause;
    return { kind: 'later', reason: errorText(cause ?? error), retryAfterMs: null };
  }
  const { accepted = 0, rejected = 0, skipped = 0, skipped_by: skippedBy, errors = [], error } = answer;
  if (response.status === 200 || (response.status === 400 && error?.code === 'nothing_usable')) {
    return { kind: 'taken', counts: { accepted, rejected, skipped, errors, ...(skippedBy && { skippedBy }) } };
  }
  const reason = error?.message ?? `HTTP ${response.status}`;
  if (response.status === 503 || response.status === 502 || response.status === 504 || response.status === 429) {
    const seconds = Number(response.headers.get('retry-after'));
    return { kind: 'later', reason, retryAfterMs: seconds > 0 ? seconds * 1000 : null };
  }
  throw new TokenwatchError(
    'import_refused',
    'config',
    `${url.origin} refused the events (HTTP ${response.status}): ${reason}`,
    {
      fix: error?.fix ?? '',
    },
  );
}

/** oneLine puts a record that was pretty-printed over several lines on one. */
function oneLine({ text }: DecodedRecord): string {
  if (!text.includes('\n')) return text;
  try {
    return JSON.stringify(JSON.parse(text));
  } catch {
    return text.replaceAll('\n', ' ');
  }
}

async function totalBytes(files: readonly string[]): Promise<number | null> {
  let total = 0;
  for (const file of files) {
    if (file === '-') return null;
    try {
      total += (await stat(file)).size;
    } catch (error) {
      throw fileError(file, error);
    }
  }
  return total;
}

function fileError(file: string, error: unknown): TokenwatchError {
  return new TokenwatchError('import_file', 'config', `${file} cannot be read: ${errorText(error)}`, {
    cause: error,
    fix: 'Check the path and its permissions.',
  });
}
