import { expect, test } from 'vitest';
import { REJECT_CODES } from '../../core/index.ts';
import { filesUnder, firstColumn, read, sectionsOf } from './markdown.ts';

const ROOMS = ['alerts', 'cli', 'config', 'console', 'core', 'detectors', 'fixtures', 'ingest', 'queues', 'store'];
/** Where a code begins its life: an error that is made, an answer that is refused, an answer written down. */
const MADE = [
  /\b(?:TokenwatchError|SqlError|badRequest)\(\s*'([a-z_]+)'/g,
  /\brefuse\(\s*reply,\s*\d+,\s*'([a-z_]+)'/g,
  /\bcode \?\? '([a-z_]+)'/g,
];
const WRITTEN = /^\s*(?:\?\s*)?\{?\s*(?:status: \d+, )?code: '([a-z_]+)'/gm;

function codesIn(text: string, patterns: readonly RegExp[]): string[] {
  return patterns.flatMap((pattern) => [...text.matchAll(pattern)].map(([, code]) => code ?? ''));
}

function sourceCodes(): string[] {
  const made = ROOMS.flatMap((room) => filesUnder(room, '.ts')).flatMap((file) => codesIn(read(file), MADE));
  const answers = ['console/errors.ts', 'ingest/http.ts'].flatMap((file) => codesIn(read(file), [WRITTEN]));
  return [...new Set([...made, ...answers])].sort();
}

function documentedCodes(rejected: boolean): string[] {
  const sections = sectionsOf(read('docs/errors.md'));
  return sections
    .filter(({ title }) => (title === 'Rejected lines') === rejected)
    .flatMap(({ text }) => firstColumn(text))
    .sort();
}

test('docs/errors.md explains every error code, each once, and none that does not exist', () => {
  expect(documentedCodes(false)).toEqual(sourceCodes());
});

test('docs/errors.md explains every reason for which a line is refused', () => {
  expect(documentedCodes(true)).toEqual([...REJECT_CODES].sort());
});
