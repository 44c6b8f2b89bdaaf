import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { contentTypeOf, isSetOperation, splitFormat, tokenizeCanonical } from '../../store/analyst-sql.ts';

const escaped = (text: string, quote: string) =>
  text.replaceAll('\\', '\\\\').replaceAll(quote, `\\${quote}`).replaceAll('\n', '\\n');

/** Tokens as the engine writes them, with what must be read back. */
const token = fc.oneof(
  fc.stringMatching(/^[A-Za-z_]\w{0,8}$/).map((text) => ({ sql: text, kind: 'word', text })),
  fc
    .string({ unit: 'grapheme', maxLength: 12 })
    .filter((text) => !text.includes('\n'))
    .map((text) => ({ sql: `\`${escaped(text, '`')}\``, kind: 'quoted', text })),
  fc
    .string({ unit: 'grapheme', maxLength: 12 })
    .map((text) => ({ sql: `'${escaped(text, "'")}'`, kind: 'string', text: '' })),
  fc.nat().map((n) => ({ sql: String(n), kind: 'number', text: '' })),
  fc.constantFrom('+', '=', ',', '.', '->', ':').map((sql) => ({ sql, kind: 'sign', text: sql })),
);

describe('reading canonical SQL', () => {
  test('finds every token again, whatever is inside quotes', () => {
    fc.assert(
      fc.property(fc.array(token, { maxLength: 20 }), (parts) => {
        const read = tokenizeCanonical(parts.map((part) => part.sql).join(' '));
        const expected = parts.flatMap(({ kind, text }) =>
          text === '->' && kind === 'sign'
            ? [
                { kind, text: '-' },
                { kind, text: '>' },
              ]
            : [{ kind, text }],
        );
        expect(read?.map(({ kind, text }) => ({ kind, text }))).toEqual(expected);
      }),
    );
  });

  test('never throws, and never reads a comment or an open quote', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 60 }), (text) => {
        const read = tokenizeCanonical(text);
        expect(read === null || Array.isArray(read)).toBe(true);
      }),
    );
    for (const sql of [
      'a -- b',
      'a /* b */',
      "'open",
      '`open',
      'a # b',
      '$$a$$',
      '‘a’',
      'a\u00a0b',
      '(a',
      'a)',
      'a\nb',
    ])
      expect([sql, tokenizeCanonical(sql)]).toEqual([sql, null]);
  });
});

describe('the end of a query', () => {
  const split = (sql: string) => splitFormat(sql, tokenizeCanonical(sql) ?? []);

  test.each([
    ['SELECT 1 FORMAT JSON', 'SELECT 1', 'JSON'],
    ['SELECT 1 FORMAT `Null`', 'SELECT 1', 'Null'],
    ["SELECT format('{}', 'FORMAT JSON')", "SELECT format('{}', 'FORMAT JSON')", null],
    ['SELECT 1 AS FORMAT', 'SELECT 1 AS FORMAT', null],
  ])('%s: its format is found', (sql, rest, format) => {
    expect(split(sql)).toMatchObject({ sql: rest, format });
  });

  test.each([
    ['SELECT 1 UNION ALL SELECT 2', true],
    ['SELECT 1 INTERSECT SELECT 2', true],
    ['SELECT 1 EXCEPT SELECT 2', true],
    ['SELECT * EXCEPT a FROM t', false],
    ['SELECT * EXCEPT (a, b) FROM t', false],
    ['SELECT * FROM (SELECT 1 UNION ALL SELECT 2)', false],
    ["SELECT 'UNION ALL'", false],
  ])('%s: set operations are told apart', (sql, expected) => {
    expect(isSetOperation(tokenizeCanonical(sql) ?? [])).toBe(expected);
  });
});

test.each([
  ['JSON', 'application/json'],
  ['JSONCompact', 'application/json'],
  ['JSONEachRow', 'application/x-ndjson'],
  ['JSONCompactEachRowWithNames', 'application/x-ndjson'],
  ['CSV', 'text/csv'],
  ['TabSeparatedWithNames', 'text/tab-separated-values'],
  ['PrettySpace', 'text/plain'],
  ['Native', 'application/octet-stream'],
  ['Arrow', 'application/octet-stream'],
])('%s goes out as %s', (format, type) => {
  expect(contentTypeOf(format).split(';')[0]).toBe(type);
});
