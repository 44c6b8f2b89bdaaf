import { isAscii, isUtf8 } from 'node:buffer';
import { createHash } from 'node:crypto';
import { type RejectCode, TokenwatchError } from '../core/index.ts';
import { inflateBody } from './inflate.ts';
import { createLineScanner, createNestedScanner, type Scanner, sniffShape } from './scan.ts';

/** DecodedRecord is the text of one line or array element. */
export interface DecodedRecord {
  /** 1-based line (or array element) of the body. */
  readonly line: number;
  readonly text: string;
}

/** Refusal is a record that could not be read as text, with as much of its content as may be shown. */
export interface Refusal {
  readonly line: number;
  readonly code: RejectCode;
  readonly message: string;
  readonly content: string;
}

/** Chunk is a piece of a body whose borders depend on nothing but the inflated bytes: a retry gives the same chunks. */
export interface Chunk {
  readonly records: readonly DecodedRecord[];
  readonly refusals: readonly Refusal[];
  /** Bytes of its records. */
  readonly bytes: number;
  /** SHA-256, in hex, of the idempotency key, if there is one, and the inflated body up to the chunk's end. */
  readonly hash: string;
}

/** DecodeLimits bound what one body may make us hold. */
export interface DecodeLimits {
  readonly bodyLimitBytes: number;
  readonly lineLimitBytes: number;
  readonly chunkRecords: number;
  readonly chunkBytes: number;
}

/** DecodeOptions say how one body is read. */
export interface DecodeOptions extends DecodeLimits {
  /** The Content-Encoding header; undefined for none. */
  readonly encoding: string | undefined;
  /** Makes bodies of the same bytes unlike each other, by the hashes of their chunks. */
  readonly idempotencyKey?: string | undefined;
  /** Called with the size of every inflated piece before it is kept; may throw to stop. */
  readonly onBytes?: (bytes: number) => void;
  /** Called at the end when the body held a complete `{"Records":[...]}` document, which may have no records. */
  readonly onDocument?: () => void;
}

/** Most bytes of a refused record that are kept as its content: more than is shown, because redaction needs to see whole words. */
const CONTENT_LIMIT_BYTES = 4096;
const BOM = Buffer.from([0xef, 0xbb, 0xbf]);

/**
 * decodeBody inflates a body and splits it into chunks of records: NDJSON, a JSON array, one object (also over several
 * lines), objects one after another, or a `{"Records":[...]}` document, told apart by the first bytes. A body that ends
 * too early inside its compression, or is damaged, keeps its complete records before that, and a refusal `truncated_body`
 * says so. Throws
 * `unsupported_encoding`, and `body_too_large` after the chunks that fitted.
 */
export async function* decodeBody(
  source: AsyncIterable<Uint8Array>,
  options: DecodeOptions,
): AsyncGenerator<Chunk, void> {
  const assembler = createAssembler(options, options.idempotencyKey);
  let total = 0;
  let truncated = '';
  const inflated = inflateBody(source, options.encoding);
  try {
    for (;;) {
      const piece = await inflated.next();
      if (piece.done) {
        truncated = piece.value;
        break;
      }
      options.onBytes?.(piece.value.length);
      const room = options.bodyLimitBytes - total;
      total += piece.value.length;
      if (total > options.bodyLimitBytes) {
        yield* assembler.push(piece.value.subarray(0, room));
        yield* assembler.finish({ dropUnfinished: true, truncated: '' });
        throw tooLarge(options.bodyLimitBytes);
      }
      yield* assembler.push(piece.value);
    }
  } finally {
    await inflated.return('');
  }
  yield* assembler.finish({ dropUnfinished: truncated !== '', truncated });
  if (assembler.document()) options.onDocument?.();
}

function tooLarge(limitBytes: number): TokenwatchError {
  return new TokenwatchError(
    'body_too_large',
    'poison',
    `The body is larger than ${limitBytes} bytes when inflated; the complete lines before that were taken.`,
    { fix: 'Send smaller batches, or raise ingest.body_limit.' },
  );
}

/** createAssembler collects pieces of inflated bytes into chunks. */
export function createAssembler(limits: DecodeLimits, idempotencyKey?: string) {
  const contentBytes = Math.min(CONTENT_LIMIT_BYTES, limits.lineLimitBytes);
  const hash = createHash('sha256');
  // Hashed by itself, so that no key together with the body's beginning is another key.
  if (idempotencyKey !== undefined) hash.update(createHash('sha256').update(idempotencyKey).digest());
  let scanner: Scanner | null = null;
  /** The bytes held, a view into `store` when it is ours, else the sender's own piece. */
  let data: Buffer = Buffer.alloc(0);
  let store: Buffer | null = null;
  let hashedTo = 0;
  let atStart = true;
  let sniffAt = 0;
  let starts: number[] = [];
  let ends: number[] = [];
  let lines: number[] = [];
  let refusals: Refusal[] = [];
  let bytes = 0;
  /** First bytes of a record that is too long to be held. */
  let longHead: string | null = null;

  const append = (piece: Buffer): void => {
    if (data.length === 0) {
      data = piece;
      store = null;
      return;
    }
    const needed = data.length + piece.length;
    const offset = store === null ? 0 : data.byteOffset - store.byteOffset;
    if (store === null || offset + needed > store.length) {
      store = Buffer.allocUnsafeSlow(Math.max(2 * needed, 65_536));
      data.copy(store, 0);
      data = store.subarray(0, data.length);
    }
    const start = data.byteOffset - store.byteOffset;
    piece.copy(store, start + data.length);
    data = store.subarray(start, start + needed);
  };

  const hashUpTo = (offset: number): void => {
    if (offset <= hashedTo) return;
    hash.update(data.subarray(hashedTo, offset));
    hashedTo = offset;
  };

  const dropBefore = (offset: number): void => {
    if (offset === 0) return;
    hashUpTo(offset);
    hashedTo -= offset;
    scanner?.moved(offset);
    data = data.subarray(offset);
  };

  const close = (end: number): Chunk => {
    const records: DecodedRecord[] = [];
    const from = starts[0] ?? end;
    const region = data.subarray(from, ends[ends.length - 1] ?? end);
    if (isAscii(region)) {
      // One conversion for all: in ASCII an offset in bytes is an offset in characters.
      const text = region.toString('latin1');
      for (let i = 0; i < starts.length; i++) {
        records.push({
          line: lines[i] as number,
          text: text.slice((starts[i] as number) - from, (ends[i] as number) - from),
        });
      }
    } else {
      const valid = isUtf8(region);
      for (let i = 0; i < starts.length; i++) {
        const line = lines[i] as number;
        const record = data.subarray(starts[i], ends[i]);
        if (valid || isUtf8(record)) records.push({ line, text: record.toString('utf8') });
        else {
          const content = record.toString('utf8', 0, contentBytes);
          refusals.push({ line, code: 'bad_utf8', message: 'The line is not valid UTF-8.', content });
        }
      }
    }
    hashUpTo(end);
    const chunk: Chunk = { records, refusals, bytes, hash: hash.copy().digest('hex') };
    starts = [];
    ends = [];
    lines = [];
    refusals = [];
    bytes = 0;
    dropBefore(end);
    return chunk;
  };

  const take = (found: Scanner): void => {
    const size = found.end - found.start;
    bytes += size;
    if (size <= limits.lineLimitBytes) {
      starts.push(found.start);
      ends.push(found.end);
      lines.push(found.line);
      return;
    }
    const content = longHead ?? data.toString('utf8', found.start, found.start + contentBytes);
    longHead = null;
    refusals.push({
      line: found.line,
      code: 'line_too_long',
      message: `The line has ${size} bytes, more than the ${limits.lineLimitBytes} that are allowed.`,
      content,
    });
  };

  function* scan(final: boolean): Generator<Chunk, void> {
    if (atStart) {
      if (data.length < BOM.length && !final) return;
      atStart = false;
      if (data.subarray(0, BOM.length).equals(BOM)) dropBefore(BOM.length);
    }
    if (scanner === null) {
      if (data.length < sniffAt && !final) return;
      const shape = sniffShape(data, final, limits.lineLimitBytes);
      // Looked at again only when there is twice as much, so that many small pieces cost no more than a large one.
      sniffAt = data.length * 2;
      if (shape === null) return;
      scanner = shape === 'lines' ? createLineScanner(limits.lineLimitBytes) : createNestedScanner();
    }
    while (scanner.next(data, final)) {
      take(scanner);
      if (starts.length + refusals.length >= limits.chunkRecords || bytes >= limits.chunkBytes)
        yield close(scanner.end);
    }
    const unfinished = scanner.start;
    if (data.length - unfinished > limits.lineLimitBytes && unfinished < data.length) {
      longHead ??= data.toString('utf8', unfinished, unfinished + contentBytes);
      forgetFrom(Math.max(0, unfinished, ends[ends.length - 1] ?? 0));
    } else if (starts.length === 0) dropBefore(Math.max(0, unfinished));
  }

  /** forgetFrom drops the bytes of an unfinished record that is too long already; the records before it stay. */
  const forgetFrom = (offset: number): void => {
    hashUpTo(data.length);
    scanner?.forgot(data.length - offset, data);
    data = data.subarray(0, offset);
    hashedTo = offset;
  };

  /** lastIsWhole tells whether what nothing ends is an object all the same: one that was cut is no JSON. */
  const lastIsWhole = (): boolean => {
    if (longHead !== null) return false;
    const last = data
      .subarray(Math.max(0, scanner?.start ?? 0))
      .toString('utf8')
      .trim();
    if (!last.startsWith('{')) return false;
    try {
      JSON.parse(last);
      return true;
    } catch {
      return false;
    }
  };

  return {
    /** document tells whether a complete `{"Records":[...]}` was passed. */
    document: () => scanner?.document ?? false,
    /** push takes the next inflated bytes and gives the chunks that they complete. */
    *push(piece: Buffer): Generator<Chunk, void> {
      if (piece.length === 0) return;
      append(piece);
      yield* scan(false);
    },
    /** finish gives the last chunk, if there is anything left to tell. */
    *finish(options: { readonly dropUnfinished: boolean; readonly truncated: string }): Generator<Chunk, void> {
      sniffAt = 0;
      yield* scan(false);
      if (!options.dropUnfinished || lastIsWhole()) yield* scan(true);
      if (options.truncated !== '') {
        const line = scanner?.line ?? 1;
        refusals.push({ line, code: 'truncated_body', message: options.truncated, content: '' });
      }
      if (starts.length > 0 || refusals.length > 0) yield close(data.length);
    },
  };
}
