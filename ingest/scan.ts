const NEWLINE = 0x0a;
const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_ARRAY = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_ARRAY = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const RECORDS_KEY = Buffer.from('"Records"');

/** isSpace tells whether a byte is JSON whitespace. */
export function isSpace(byte: number): boolean {
  return byte === 0x20 || byte === NEWLINE || byte === 0x0d || byte === 0x09;
}

/** BodyShape is how a body separates its records: one a line, or by JSON nesting (array, concatenated or pretty-printed objects). */
export type BodyShape = 'lines' | 'nested';

/**
 * sniffShape tells the shape of a body from its first line; null: more bytes are needed. `final` says that no more will
 * come. Everything that is not clearly nested is `lines`, so that one broken line costs only itself.
 */
export function sniffShape(data: Buffer, final: boolean, lineLimitBytes: number): BodyShape | null {
  const length = data.length;
  let start = 0;
  while (start < length && isSpace(data[start] as number)) start++;
  if (start === length) return final ? 'lines' : null;
  const first = data[start];
  if (first === OPEN_ARRAY) return 'nested';
  if (first !== OPEN_OBJECT) return 'lines';
  const records = recordsPrefix(data, start);
  if (records > 0) return 'nested';
  if (records === NEED_MORE && !final) return null;

  const open: number[] = [];
  let inString = false;
  for (let at = start; at < length; at++) {
    const byte = data[at] as number;
    if (inString) {
      if (byte === BACKSLASH) at++;
      else if (byte === QUOTE) inString = false;
      else if (byte === NEWLINE) return 'lines';
    } else if (byte === QUOTE) inString = true;
    else if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) open.push(byte);
    else if (byte === CLOSE_OBJECT || byte === CLOSE_ARRAY) {
      open.pop();
      if (open.length === 0) return afterFirstValue(data, at + 1, final);
    } else if (byte === NEWLINE) return acrossNewline(data, at, final, open[open.length - 1] as number);
    if (at - start > lineLimitBytes) return 'lines';
  }
  return final ? 'lines' : null;
}

/** afterFirstValue decides by what follows a complete first object: another one on the same line means concatenation. */
function afterFirstValue(data: Buffer, from: number, final: boolean): BodyShape | null {
  for (let at = from; at < data.length; at++) {
    const byte = data[at] as number;
    if (byte === NEWLINE) return 'lines';
    if (!isSpace(byte)) return byte === OPEN_OBJECT || byte === COMMA ? 'nested' : 'lines';
  }
  return final ? 'lines' : null;
}

/** acrossNewline decides whether the first object goes on in the next line (pretty-printed) or is a broken line of NDJSON. */
function acrossNewline(data: Buffer, newline: number, final: boolean, innermost: number): BodyShape | null {
  const length = data.length;
  let before = newline - 1;
  while (isSpace(data[before] as number)) before--;
  let after = newline + 1;
  while (after < length && isSpace(data[after] as number)) after++;
  if (after === length) return final ? 'lines' : null;
  const last = data[before] as number;
  const next = data[after] as number;
  if (last === COLON || last === OPEN_ARRAY) return 'nested';
  if (last === OPEN_OBJECT) return next === QUOTE || next === CLOSE_OBJECT ? 'nested' : 'lines';
  if (last === COMMA) return innermost === OPEN_ARRAY || next === QUOTE ? 'nested' : 'lines';
  return next === COMMA || next === CLOSE_OBJECT || next === CLOSE_ARRAY || next === COLON ? 'nested' : 'lines';
}

const NEED_MORE = -1;
const NO_MATCH = 0;

/** Longest run of whitespace looked through for `{"Records":[`: more of it is no log file. */
const PREFIX_LIMIT_BYTES = 64;

/** recordsPrefix is the offset after `{"Records":[` at `from`, 0 when something else is there, -1 when more bytes are needed. */
function recordsPrefix(data: Buffer, from: number): number {
  const limit = Math.min(data.length, from + PREFIX_LIMIT_BYTES);
  const ended = limit < data.length ? NO_MATCH : NEED_MORE;
  let at = skipSpace(data, from + 1, limit);
  for (let i = 0; i < RECORDS_KEY.length; i++, at++) {
    if (at >= limit) return ended;
    if (data[at] !== RECORDS_KEY[i]) return NO_MATCH;
  }
  at = skipSpace(data, at, limit);
  if (at >= limit) return ended;
  if (data[at] !== COLON) return NO_MATCH;
  at = skipSpace(data, at + 1, limit);
  if (at >= limit) return ended;
  return data[at] === OPEN_ARRAY ? at + 1 : NO_MATCH;
}

function skipSpace(data: Buffer, from: number, limit: number): number {
  let at = from;
  while (at < limit && isSpace(data[at] as number)) at++;
  return at;
}

/** Scanner finds record after record in a growing buffer. */
export interface Scanner {
  /**
   * next looks on from where it stopped. True: `start`..`end` is a record. False: more bytes are needed; `start` is where
   * the unfinished record begins (or the buffer's end), everything before it may be dropped.
   */
  next(data: Buffer, final: boolean): boolean;
  /** moved tells the scanner that the buffer's first `bytes` bytes are gone; they held no part of an unfinished record. */
  moved(bytes: number): void;
  /**
   * forgot tells the scanner that the last `bytes` bytes of `data`, all of an unfinished record, are going to be dropped.
   * `start` then no longer points into the buffer, but `end - start` stays the record's size.
   */
  forgot(bytes: number, data: Buffer): void;
  start: number;
  end: number;
  /** 1-based line (or array element) of the record. */
  line: number;
  /** Whether a complete `{"Records":[...]}` document was passed, also one without records. */
  document: boolean;
}

/** createLineScanner splits at newlines; blank lines are counted and passed over. */
export function createLineScanner(lineLimitBytes: number): Scanner {
  let at = 0;
  let begin = 0;
  let line = 1;
  const moved = (bytes: number): void => {
    at -= bytes;
    begin -= bytes;
  };
  return {
    start: 0,
    end: 0,
    line: 1,
    document: false,
    next(data, final) {
      for (;;) {
        let newline = data.indexOf(NEWLINE, at);
        if (newline < 0) {
          at = data.length;
          this.start = begin;
          this.line = line;
          if (!final || begin === data.length) return false;
          newline = data.length;
        }
        this.start = begin;
        this.end = newline;
        this.line = line++;
        begin = Math.min(newline + 1, data.length);
        at = begin;
        if (newline - this.start > lineLimitBytes || !isBlank(data, this.start, newline)) return true;
      }
    },
    moved,
    forgot: moved,
  };
}

function isBlank(data: Buffer, from: number, to: number): boolean {
  for (let at = from; at < to; at++) if (!isSpace(data[at] as number)) return false;
  return true;
}

/**
 * createNestedScanner splits by JSON nesting: the elements of arrays, the elements of a `{"Records":[...]}` document,
 * objects one after another. A string that runs into a newline, or a new object at a line's start where none can be, ends
 * a broken record, so that the ones after it are found again.
 */
export function createNestedScanner(): Scanner {
  let at = 0;
  let begin = 0;
  let line = 0;
  let inRecord = false;
  let depth = 0;
  let inString = false;
  let escaped = false;
  /** A bare word or number: ends at a separator instead of a bracket. */
  let scalar = false;
  let inArray = false;
  let recordsDocument = false;
  /** Inside what follows the array of a Records document: passed over. */
  let inTail = false;
  /** Bytes before this were not followed by the ones after it: some between were forgotten. */
  let floor = 0;
  /** Of the forgotten bytes, the last one and the last one that is not whitespace. */
  let gone = 0;
  let goneSignificant = 0;

  const significantBefore = (data: Buffer): number => {
    let before = at - 1;
    while (before >= floor && isSpace(data[before] as number)) before--;
    return before >= floor ? (data[before] as number) : goneSignificant;
  };
  const byteBefore = (data: Buffer): number => (at > floor ? (data[at - 1] as number) : gone);

  /** startsAfterBreak tells whether an object that opens at a line's start cannot be part of the record around it. */
  const startsAfterBreak = (data: Buffer): boolean => {
    if (byteBefore(data) !== NEWLINE) return false;
    const last = significantBefore(data);
    return last !== COMMA && last !== COLON && last !== OPEN_ARRAY;
  };

  /** outside handles a byte between records; false when the bytes after it are needed. */
  const outside = (data: Buffer, byte: number, final: boolean): boolean => {
    if (isSpace(byte) || byte === COMMA) at++;
    else if (byte === CLOSE_ARRAY && inArray) {
      inArray = false;
      inTail = recordsDocument;
      depth = recordsDocument ? 1 : 0;
      recordsDocument = false;
      at++;
    } else if (byte === OPEN_ARRAY && !inArray) {
      inArray = true;
      at++;
    } else {
      const elements = byte === OPEN_OBJECT && !inArray ? recordsPrefix(data, at) : NO_MATCH;
      if (elements === NEED_MORE && !final) return false;
      if (elements > 0) {
        recordsDocument = true;
        inArray = true;
        at = elements;
        return true;
      }
      inRecord = true;
      begin = at;
      if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) depth = 1;
      else if (byte === QUOTE) inString = true;
      else scalar = true;
      at++;
    }
    return true;
  };

  return {
    start: 0,
    end: 0,
    line: 1,
    document: false,
    next(data, final) {
      const found = (end: number): true => {
        this.start = begin;
        this.end = end;
        this.line = ++line;
        inRecord = false;
        inString = false;
        escaped = false;
        scalar = false;
        depth = 0;
        return true;
      };
      const length = data.length;
      while (at < length) {
        const byte = data[at] as number;
        if (inString) {
          if (byte === NEWLINE && !inTail) return found(at++);
          at++;
          if (escaped) escaped = false;
          else if (byte === BACKSLASH) escaped = true;
          else if (byte === QUOTE) {
            inString = false;
            if (depth === 0 && !inTail) return found(at);
          }
        } else if (scalar) {
          if (isSpace(byte) || byte === COMMA || byte === CLOSE_ARRAY || byte === OPEN_OBJECT) return found(at);
          at++;
        } else if (depth > 0) {
          if (byte === OPEN_OBJECT && !inTail && startsAfterBreak(data)) return found(at);
          at++;
          if (byte === QUOTE) inString = true;
          else if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) depth++;
          else if ((byte === CLOSE_OBJECT || byte === CLOSE_ARRAY) && --depth === 0) {
            if (!inTail) return found(at);
            inTail = false;
            this.document = true;
          }
        } else if (!outside(data, byte, final)) break;
      }
      if (final && inRecord) {
        at = length;
        return found(length);
      }
      this.start = inRecord ? begin : Math.min(at, length);
      this.line = line + 1;
      return false;
    },
    moved(bytes) {
      at -= bytes;
      begin -= bytes;
      floor = Math.max(0, floor - bytes);
    },
    forgot(bytes, data) {
      goneSignificant = significantBefore(data);
      gone = byteBefore(data);
      at -= bytes;
      begin -= bytes;
      floor = at;
    },
  };
}

/** splitConcatenated cuts a line that is not one JSON value into the values that it holds; one element when it is not several. */
export function splitConcatenated(text: string): string[] {
  const data = Buffer.from(text);
  const scanner = createNestedScanner();
  const parts: string[] = [];
  while (scanner.next(data, true)) parts.push(data.toString('utf8', scanner.start, scanner.end));
  return parts;
}
