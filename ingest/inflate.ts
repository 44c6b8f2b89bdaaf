import type { Transform } from 'node:stream';
import zlib from 'node:zlib';
import { TokenwatchError } from '../core/index.ts';

type Inflater = (first: Uint8Array) => Transform;

/** zstd is in Node from 22.15 on; the types of the oldest runtime do not know it. */
const createZstd = (zlib as { createZstdDecompress?: () => Transform }).createZstdDecompress;

const INFLATERS: Readonly<Record<string, Inflater>> = {
  gzip: () => zlib.createGunzip(),
  'x-gzip': () => zlib.createGunzip(),
  deflate: (first) => (hasZlibHeader(first) ? zlib.createInflate() : zlib.createInflateRaw()),
  br: () => zlib.createBrotliDecompress(),
  ...(createZstd === undefined ? {} : { zstd: () => createZstd() }),
};

/** ENCODINGS are the content encodings that this runtime can read, besides none. */
export const ENCODINGS: readonly string[] = Object.keys(INFLATERS);

/**
 * inflateBody undoes a body's Content-Encoding piece by piece. Its return value is '' when the body was whole, else what
 * is wrong with it (cut short, or damaged) after everything that could be read was given out. A body without an encoding
 * that begins like gzip is read as gzip. Throws `unsupported_encoding`; errors of the source itself pass through.
 */
export async function* inflateBody(
  source: AsyncIterable<Uint8Array>,
  encoding: string | undefined,
): AsyncGenerator<Buffer, string> {
  const name = encoding === undefined || encoding === '' ? 'identity' : encoding.trim().toLowerCase();
  if (name !== 'identity' && !Object.hasOwn(INFLATERS, name)) {
    throw new TokenwatchError(
      'unsupported_encoding',
      'poison',
      `Content-Encoding ${name.slice(0, 40)} is not supported.`,
      {
        fix: `Send the body as it is, or with one of: ${ENCODINGS.join(', ')}.`,
      },
    );
  }
  const pieces = source[Symbol.asyncIterator]();
  const first = await firstBytes(pieces);
  const isGzip = name === 'identity' && first.length > 1 && first[0] === 0x1f && first[1] === 0x8b;
  const inflater = INFLATERS[isGzip ? 'gzip' : name];
  if (inflater === undefined) {
    if (first.length > 0) yield first;
    for (let next = await pieces.next(); !next.done; next = await pieces.next()) yield asBuffer(next.value);
    return '';
  }
  if (first.length === 0) return '';
  return yield* inflateWith(inflater(first), first, pieces, isGzip ? 'gzip' : name);
}

async function* inflateWith(
  stream: Transform,
  first: Buffer,
  pieces: AsyncIterator<Uint8Array>,
  name: string,
): AsyncGenerator<Buffer, string> {
  let failure: unknown = null;
  let sourceFailed = false;
  let ended = false;
  let wake = (): void => {};
  stream.on('readable', () => wake());
  stream.on('end', () => {
    ended = true;
    wake();
  });
  stream.on('error', (error) => {
    failure ??= error;
    wake();
  });
  // A stream that fails forgets the callback of the write that it failed on.
  let settleWrite = (_more: boolean): void => {};
  stream.on('close', () => settleWrite(false));
  // Each piece is waited for before the next, and the last one before the end: what is inflated is then out before an
  // unexpected end is noticed.
  const write = (piece: Uint8Array): Promise<boolean> =>
    new Promise((resolve) => {
      settleWrite = resolve;
      if (stream.destroyed) resolve(false);
      else stream.write(piece, (error) => resolve(!error));
    });
  const feed = async (): Promise<void> => {
    try {
      let more = await write(first);
      while (more) {
        const next = await pieces.next();
        if (next.done) {
          stream.end();
          return;
        }
        more = await write(next.value);
      }
    } catch (error) {
      sourceFailed = true;
      failure = error;
      wake();
    }
  };
  void feed();
  try {
    for (;;) {
      // read() still gives what was inflated before an error, where the stream's own iterator would drop it.
      const piece = stream.read() as Buffer | null;
      if (piece !== null) yield piece;
      else if (failure !== null) break;
      else if (ended) return '';
      else
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
    }
    if (sourceFailed) throw failure;
    return `The ${name} body is damaged or cut short; its complete lines before that were taken.`;
  } finally {
    stream.destroy();
  }
}

async function firstBytes(pieces: AsyncIterator<Uint8Array>): Promise<Buffer> {
  let held: Buffer = Buffer.alloc(0);
  while (held.length < 2) {
    const next = await pieces.next();
    if (next.done) break;
    held = held.length === 0 ? asBuffer(next.value) : Buffer.concat([held, next.value]);
  }
  return held;
}

function asBuffer(piece: Uint8Array): Buffer {
  return Buffer.isBuffer(piece) ? piece : Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength);
}

/** hasZlibHeader tells zlib-wrapped deflate (RFC 1950) from raw deflate, which some senders mean by `deflate`. */
function hasZlibHeader(first: Uint8Array): boolean {
  const [cmf = 0, flags = 0] = first;
  return (cmf & 0x0f) === 8 && ((cmf << 8) | flags) % 31 === 0;
}
