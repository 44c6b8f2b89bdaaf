import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { native } from '../../ingest/formats/native.ts';

const read = (name: string) => readFileSync(new URL(`../../fixtures/bad-lines/${name}`, import.meta.url), 'utf8');
const lines = read('lines.ndjson').trimEnd().split('\n');
const expected = JSON.parse(read('expected.json')) as { line: number; code: string | null; about: string }[];
const NOW = Date.UTC(2026, 10, 22, 12);

/** What the decoder refuses before a format sees it. */
const DECODER_CODES = ['bad_json', 'not_an_object'];

describe('each bad line of the fixtures gets its own code', () => {
  it('and each line has an expectation', () => {
    expect(expected.map(({ line }) => line)).toEqual(lines.map((_line, i) => i + 1));
  });

  it.each(expected.filter(({ code }) => !DECODER_CODES.includes(code ?? '')))('$line: $about', ({ line, code }) => {
    const parsed = native.parse(JSON.parse(lines[line - 1] as string), NOW);
    expect(parsed.kind === 'rejected' ? parsed.code : null).toBe(code);
    if (parsed.kind === 'rejected') expect(parsed.message).not.toBe('');
  });
});
