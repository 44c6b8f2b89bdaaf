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
  return yield* inflateWith(() => inflater(first), first, pieces, isGzip ? 'gzip' : name);
}

/** An inflater that fails keeps for itself what it made of the write that it failed on: writes are no larger than this. */
const WRITE_BYTES = 4096;

/** So much of a body is kept to be inflated again when it turns out to be damaged. */
const KEPT_BYTES = 256 << 10;

async function* inflateWith(
  open: () => Transform,
  first: Buffer,
  pieces: AsyncIterator<Uint8Array>,
  name: string,
): AsyncGenerator<Buffer, string> {
  const ahead = createInflation(open());
  // A second inflater stays behind the first, where nothing is wrong yet. When the first fails, the second takes the write
  // that it failed on byte by byte, which gives out all that comes before the damage. A body that is small never needs it.
  let behind: Inflation | null = null;
  let kept: Buffer[] = [];
  let keptBytes = 0;
  let given = 0;
  let passed = 0;
  const catchUp = async (): Promise<Inflation> => {
    behind ??= createInflation(open());
    for (const write of kept) for await (const piece of behind.write(write)) passed += piece.length;
    kept = [];
    keptBytes = 0;
    return behind;
  };
  async function* untilDamage(write: Buffer): AsyncGenerator<Buffer, void> {
    const inflation = await catchUp();
    for (let at = 0; at < write.length && !inflation.failed; at++) {
      for await (const piece of inflation.write(write.subarray(at, at + 1))) {
        const known = Math.max(0, given - passed);
        passed += piece.length;
        if (known < piece.length) yield piece.subarray(known);
      }
    }
  }
  const damaged = `The ${name} body is damaged or cut short; its complete lines before that were taken.`;
  try {
    for (let next: IteratorResult<Uint8Array> = { value: first }; !next.done; next = await pieces.next()) {
      const source = asBuffer(next.value);
      for (let at = 0; at < source.length; at += WRITE_BYTES) {
        const write = source.subarray(at, at + WRITE_BYTES);
        for await (const piece of ahead.write(write)) {
          given += piece.length;
          yield piece;
        }
        if (ahead.failed) {
          yield* untilDamage(write);
          return damaged;
        }
        if (ahead.ended) return '';
        kept.push(write);
        keptBytes += write.length;
        if (keptBytes >= KEPT_BYTES) await catchUp();
      }
    }
    yield* ahead.end();
    return ahead.failed ? damaged : '';
  } finally {
    ahead.close();
    (behind as Inflation | null)?.close();
  }
}

/** Inflation is an inflater that gives what it makes of one write before it is given the next. */
interface Inflation {
  /** Set when it ran into damage, or into an end that came too early. */
  readonly failed: boolean;
  /** Set when it is at the end of what is compressed, whatever follows. */
  readonly ended: boolean;
  write(piece: Buffer): AsyncGenerator<Buffer, void>;
  /** end says that nothing follows. */
  end(): AsyncGenerator<Buffer, void>;
  close(): void;
}

function createInflation(stream: Transform): Inflation {
  let failed = false;
  let ended = false;
  let written = true;
  let wake = (): void => {};
  stream.on('readable', () => wake());
  stream.on('end', () => {
    ended = true;
    wake();
  });
  stream.on('error', () => {
    failed = true;
    wake();
  });
  async function* take(): AsyncGenerator<Buffer, void> {
    for (;;) {
      // read() still gives what was pushed before an error, where the stream's own iterator would drop it.
      const piece = stream.read() as Buffer | null;
      if (piece !== null) yield piece;
      // A stream that fails or ends may forget the callback of the write.
      else if (written || failed || ended) return;
      else
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
    }
  }
  return {
    get failed() {
      return failed;
    },
    get ended() {
      return ended;
    },
    write(piece) {
      written = false;
      stream.write(piece, (error) => {
        written = !error;
        wake();
      });
      return take();
    },
    end() {
      written = false;
      stream.end();
      return take();
    },
    close: () => stream.destroy(),
  };
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
