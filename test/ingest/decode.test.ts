import { brotliCompressSync, createGzip, deflateRawSync, deflateSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Chunk, type DecodeOptions, decodeBody } from '../../ingest/decode.ts';
import { ENCODINGS } from '../../ingest/inflate.ts';

const LIMITS: DecodeOptions = {
  encoding: undefined,
  bodyLimitBytes: 64 << 20,
  lineLimitBytes: 1 << 20,
  chunkRecords: 5000,
  chunkBytes: 4 << 20,
};

async function* pieces(body: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < body.length; at += size) yield body.subarray(at, at + size);
}

async function decode(body: string | Uint8Array, options: Partial<DecodeOptions> = {}, size = 1 << 16) {
  const chunks: Chunk[] = [];
  const data = typeof body === 'string' ? Buffer.from(body) : body;
  let error: unknown = null;
  try {
    for await (const chunk of decodeBody(pieces(data, size), { ...LIMITS, ...options })) chunks.push(chunk);
  } catch (thrown) {
    error = thrown;
  }
  return {
    chunks,
    error: error as { code?: string } | null,
    records: chunks.flatMap((chunk) => chunk.records),
    texts: chunks.flatMap((chunk) => chunk.records.map((record) => record.text)),
    refusals: chunks.flatMap((chunk) => chunk.refusals.map(({ line, code }) => `${line}:${code}`)),
  };
}

const values = (texts: string[]): unknown[] => texts.map((text) => JSON.parse(text));

describe('the shape of a body is told by its first bytes', () => {
  const records = [{ a: 1, s: 'x]}",{\\' }, { b: [1, { c: '{' }] }, { d: 'ü€🦉' }];
  const shapes: Record<string, string> = {
    ndjson: records.map((record) => JSON.stringify(record)).join('\n'),
    'ndjson with CRLF, blank lines and a final newline': `\r\n${records.map((record) => JSON.stringify(record)).join('\r\n\r\n')}\r\n`,
    'ndjson with a byte order mark': `\ufeff${records.map((record) => JSON.stringify(record)).join('\n')}`,
    array: JSON.stringify(records),
    'pretty-printed array': JSON.stringify(records, null, 2),
    'concatenated objects': records.map((record) => JSON.stringify(record)).join(''),
    'objects separated by spaces': records.map((record) => JSON.stringify(record)).join(' '),
    'pretty-printed objects': records.map((record) => JSON.stringify(record, null, 2)).join('\n'),
    'CloudTrail document': JSON.stringify({ Records: records }),
    'pretty-printed CloudTrail document': JSON.stringify({ Records: records, more: { x: ['}'] } }, null, 2),
    'CloudTrail documents one a line': `${JSON.stringify({ Records: records.slice(0, 1) })}\n${JSON.stringify({ Records: records.slice(1) })}`,
  };
  for (const [name, body] of Object.entries(shapes)) {
    test(`${name} gives the same records, however the network cuts it`, async () => {
      for (const size of [1, 2, 7, 1 << 16]) {
        const { texts, refusals, error } = await decode(body, {}, size);
        expect({ values: values(texts), refusals, error }).toEqual({ values: records, refusals: [], error: null });
      }
    });
  }

  test('one pretty-printed object is one record', async () => {
    const { texts } = await decode(JSON.stringify({ a: { b: [1, 2] } }, null, 4));
    expect(values(texts)).toEqual([{ a: { b: [1, 2] } }]);
  });

  test('a broken first line costs only itself', async () => {
    for (const first of [
      '{"a":1',
      '{"a":"x',
      '{"a":1,',
      '{',
      'garbage',
      '{"a":1} garbage',
      '\u0000\u0000',
      '"x',
      '12',
    ]) {
      const { texts } = await decode(`${first}\n{"b":2}\n{"c":3}\n`);
      expect(texts.slice(1), first).toEqual(['{"b":2}', '{"c":3}']);
    }
  });

  test('a broken element costs only itself where the next one is found again', async () => {
    const { texts } = await decode('[\n{"a":"x\n},\n{"b":2\n{"c":3},\n{"d":4}\n]');
    expect(texts.at(-1)).toBe('{"d":4}');
    expect(texts.at(-2)).toBe('{"c":3}');
  });

  test('lines are numbered as in the body, elements by position', async () => {
    expect((await decode('\n{"a":1}\n\n{"b":2}')).records.map((record) => record.line)).toEqual([2, 4]);
    expect((await decode('[{"a":1},{"b":2}]')).records.map((record) => record.line)).toEqual([1, 2]);
  });

  test('an empty body gives nothing', async () => {
    for (const body of ['', '\n \n', '\ufeff', '[]', '[\n]', '{"Records":[]}']) {
      expect((await decode(body)).chunks, JSON.stringify(body)).toEqual([]);
    }
  });
});

describe('chunks depend on the inflated bytes alone', () => {
  const line = fc.oneof(
    { weight: 6, arbitrary: fc.object({ maxDepth: 2 }).map((value) => JSON.stringify(value)) },
    fc.string({ unit: 'binary', maxLength: 30 }),
    fc.constantFrom('', '{', '}', '[', ']', '"', '\\', '{"a":"\\', '{"Records":[', 'x'.repeat(90), ' '.repeat(90)),
    fc.uint8Array({ maxLength: 12 }).map((bytes) => Buffer.from(bytes).toString('latin1')),
  );
  const body = fc
    .tuple(
      fc.constantFrom('', '[', '\ufeff', '{"Records":[ '),
      fc.array(line, { maxLength: 12 }),
      fc.constantFrom('\n', ',', ',\n', ' '),
    )
    .map(([prefix, lines, separator]) => Buffer.from(prefix + lines.join(separator), 'utf8'));

  test('any cut into packets gives the same chunks, hashes and refusals', async () => {
    await fc.assert(
      fc.asyncProperty(body, fc.integer({ min: 1, max: 40 }), async (bytes, size) => {
        const limits = { lineLimitBytes: 80, chunkRecords: 3, chunkBytes: 100 };
        const whole = await decode(bytes, limits);
        const cut = await decode(bytes, limits, size);
        expect(cut.chunks).toEqual(whole.chunks);
        expect(cut.error).toEqual(whole.error);
      }),
      { numRuns: 400 },
    );
  });

  test('any list of objects comes back the same from every shape', async () => {
    const objects = fc.array(
      fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 })).map((o) => ({ k: 1, ...o })),
      {
        minLength: 1,
        maxLength: 8,
      },
    );
    await fc.assert(
      fc.asyncProperty(objects, fc.integer({ min: 1, max: 50 }), async (list, size) => {
        const one = list.map((value) => JSON.stringify(value));
        const expected = one.map((text) => JSON.parse(text));
        for (const text of [
          one.join('\n'),
          one.join(''),
          JSON.stringify(list),
          JSON.stringify(list, null, 1),
          JSON.stringify({ Records: list }),
        ]) {
          expect(values((await decode(text, { chunkRecords: 3 }, size)).texts)).toEqual(expected);
        }
      }),
      { numRuns: 60 },
    );
  });

  test('chunks close by records and by bytes, and each hash covers all before it', async () => {
    const lines = Array.from({ length: 10 }, (_, i) => JSON.stringify({ i }));
    const { chunks } = await decode(lines.join('\n'), { chunkRecords: 4 });
    expect(chunks.map((chunk) => chunk.records.length)).toEqual([4, 4, 2]);
    const other = await decode(['{"i":9}', ...lines.slice(1)].join('\n'), { chunkRecords: 4 });
    for (const [i, chunk] of other.chunks.entries()) expect(chunk.hash).not.toBe(chunks[i]?.hash);
    expect((await decode(lines.join('\n'), { chunkBytes: 14 })).chunks.map((chunk) => chunk.records.length)).toEqual([
      2, 2, 2, 2, 2,
    ]);
  });
});

describe('compressed bodies', () => {
  const body = Array.from({ length: 2000 }, (_, i) => JSON.stringify({ i, pad: `${i * 7919}` })).join('\n');
  const compressed: Record<string, Buffer> = {
    gzip: gzipSync(body),
    'x-gzip': gzipSync(body),
    deflate: deflateSync(body),
    br: brotliCompressSync(body),
    GZIP: gzipSync(body),
  };
  for (const [encoding, bytes] of Object.entries(compressed)) {
    test(`${encoding} gives what the plain body gives`, async () => {
      const plain = await decode(body);
      for (const size of [1, 1000]) expect((await decode(bytes, { encoding }, size)).chunks).toEqual(plain.chunks);
    });
  }

  test('deflate without its zlib wrapper, and gzip that is not declared, are read too', async () => {
    const plain = await decode(body);
    expect((await decode(deflateRawSync(body), { encoding: 'deflate' })).chunks).toEqual(plain.chunks);
    expect((await decode(gzipSync(body))).chunks).toEqual(plain.chunks);
  });

  test('gzip files one after another are one body', async () => {
    const half = body.indexOf('\n', body.length / 2) + 1;
    const joined = Buffer.concat([gzipSync(body.slice(0, half)), gzipSync(body.slice(half))]);
    expect((await decode(joined, { encoding: 'gzip' })).texts.length).toBe(2000);
  });

  test('an unknown encoding is refused by name', async () => {
    const { error } = await decode('x', { encoding: 'snappy' });
    expect(error?.code).toBe('unsupported_encoding');
    expect(ENCODINGS).toContain('br');
  });

  test.each(['gzip', 'deflate', 'br'])(
    'a %s body that is cut short keeps its complete lines and says so',
    async (encoding) => {
      const bytes = compressed[encoding] as Buffer;
      const { texts, refusals, error } = await decode(bytes.subarray(0, bytes.length * 0.6), { encoding }, 500);
      expect(error).toBeNull();
      expect(texts.length).toBeGreaterThan(encoding === 'br' ? 0 : 800);
      expect(texts).toEqual(body.split('\n').slice(0, texts.length));
      expect(refusals).toEqual([`${texts.length + 1}:truncated_body`]);
    },
  );

  test('every complete line before damage is kept, whatever follows complete gzip data', async () => {
    const lines = fc.array(
      fc.record({ n: fc.nat(), text: fc.string({ maxLength: 200 }) }).map((value) => JSON.stringify(value)),
      { minLength: 1, maxLength: 400 },
    );
    // What begins like gzip is the next file, not junk.
    const junk = fc.uint8Array({ minLength: 1, maxLength: 300 }).filter(([a, b]) => a !== 0x1f || b !== 0x8b);
    await fc.assert(
      fc.asyncProperty(
        lines,
        junk,
        fc.constantFrom('', '\n'),
        fc.integer({ min: 1, max: 9000 }),
        async (all, tail, end, size) => {
          const bytes = Buffer.concat([gzipSync(all.join('\n') + end), tail]);
          const { texts, refusals, error } = await decode(bytes, { encoding: 'gzip' }, size);
          expect(error).toBeNull();
          expect(texts).toEqual(all);
          // A zero ends what is read: some tools pad with them.
          expect(refusals.map((refusal) => refusal.split(':')[1])).toEqual(tail[0] === 0 ? [] : ['truncated_body']);
        },
      ),
      { numRuns: 40 },
    );
  });

  test.each(['gzip', 'deflate'])(
    'a %s body with a wrong checksum keeps all its lines and says so',
    async (encoding) => {
      for (const text of [body, '{"a":1}\n', '{"a":1}']) {
        const bytes = encoding === 'gzip' ? gzipSync(text) : deflateSync(text);
        // The last eight bytes are checksum and length in gzip, the last four the checksum in deflate.
        const at = bytes.length - (encoding === 'gzip' ? 8 : 4);
        bytes[at] = (bytes[at] as number) ^ 0xff;
        const { texts, refusals } = await decode(bytes, { encoding });
        expect(texts).toEqual(text.trimEnd().split('\n'));
        expect(refusals.length).toBe(1);
      }
    },
  );

  test('a large body that is damaged in its middle keeps every line before the damage', async () => {
    const lines = Array.from({ length: 60_000 }, (_, i) =>
      JSON.stringify({ i, pad: `${(i * 2_654_435_761) % 4_294_967_296}` }),
    );
    const members = [lines.slice(0, 55_000), lines.slice(55_000)].map((part) => gzipSync(`${part.join('\n')}\n`));
    expect(members[0]?.length).toBeGreaterThan(300_000);
    const { texts, refusals } = await decode(
      Buffer.concat([members[0] as Buffer, Buffer.from('junk'), members[1] as Buffer]),
    );
    expect(texts).toEqual(lines.slice(0, 55_000));
    expect(refusals).toEqual(['55001:truncated_body']);
  });

  test('a body that is not what its encoding says is refused as damaged', async () => {
    expect((await decode('{"a":1}', { encoding: 'gzip' })).refusals).toEqual(['1:truncated_body']);
  });
});

describe('limits', () => {
  test('a bomb of zeros stops at the limit, without being held', async () => {
    const block = Buffer.alloc(1 << 20);
    const gzip = createGzip();
    const written = (async () => {
      for (let i = 0; i < 200; i++) if (!gzip.write(block)) await new Promise((resolve) => gzip.once('drain', resolve));
      gzip.end();
    })();
    const bomb: Buffer[] = [];
    for await (const piece of gzip) bomb.push(piece as Buffer);
    await written;
    let seen = 0;
    const chunks: Chunk[] = [];
    const run = async () => {
      const options = {
        ...LIMITS,
        encoding: 'gzip',
        bodyLimitBytes: 8 << 20,
        onBytes: (bytes: number) => (seen += bytes),
      };
      for await (const chunk of decodeBody(pieces(Buffer.concat(bomb), 4096), options)) chunks.push(chunk);
    };
    await expect(run()).rejects.toMatchObject({ code: 'body_too_large' });
    expect(seen).toBeLessThan(9 << 20);
  });

  test('a body over the limit keeps the complete lines before it', async () => {
    const { texts, error } = await decode('{"a":1}\n{"b":2}\n{"c":3}\n', { bodyLimitBytes: 20 });
    expect(texts).toEqual(['{"a":1}', '{"b":2}']);
    expect(error?.code).toBe('body_too_large');
  });

  test('a line of 50 MB is refused, the lines around it are kept', async () => {
    const body = Buffer.concat([
      Buffer.from('{"a":1}\n{"s":"'),
      Buffer.alloc(50 << 20, 'x'),
      Buffer.from('"}\n{"b":2}\n'),
    ]);
    const { texts, refusals, chunks } = await decode(body);
    expect(texts).toEqual(['{"a":1}', '{"b":2}']);
    expect(refusals).toEqual(['2:line_too_long']);
    expect(chunks.flatMap((chunk) => chunk.refusals)[0]?.content.length).toBe(4096);
  });

  test('an element that is too long is refused, the elements around it are kept', async () => {
    const { texts, refusals } = await decode(`[{"a":1},{"s":"${'x'.repeat(3 << 20)}"},{"b":2}]`);
    expect(texts).toEqual(['{"a":1}', '{"b":2}']);
    expect(refusals).toEqual(['2:line_too_long']);
  });

  test('invalid UTF-8 costs only its line', async () => {
    const body = Buffer.concat([
      Buffer.from('{"a":"ü"}\n{"b":"'),
      Buffer.from([0xff, 0xfe]),
      Buffer.from('"}\n{"c":"€"}'),
    ]);
    const { texts, refusals } = await decode(body);
    expect(texts).toEqual(['{"a":"ü"}', '{"c":"€"}']);
    expect(refusals).toEqual(['2:bad_utf8']);
  });

  test('an error of the source passes through, and what was not complete is not given', async () => {
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield Buffer.from('{"a":1}\n{"b"');
      throw new Error('socket hung up');
    }
    const seen: Chunk[] = [];
    const run = async () => {
      for await (const chunk of decodeBody(broken(), LIMITS)) seen.push(chunk);
    };
    await expect(run()).rejects.toThrow('socket hung up');
    expect(seen).toEqual([]);
  });
});
