import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { readArguments } from '../../evaluation/arguments.ts';
import { docsOf, FIGURES_BEGIN, FIGURES_END, figuresMarkdown, withFigures } from '../../evaluation/docs.ts';
import { calibrationNotes, delayNotes } from '../../evaluation/notes.ts';
import { missesOf, type Report, tablesOf, textTable } from '../../evaluation/report.ts';
import { scoresOf } from '../../evaluation/scores.ts';
import { SOME } from './outcomes.ts';

const REPORT: Report = {
  quick: false,
  outcomes: SOME,
  rule: { endpoints: 5, country: false, steps: 12 },
  real: null,
};

describe('the report', () => {
  test('says which goals are met and which are missed', () => {
    const text = tablesOf(REPORT).map(textTable).join('\n');
    expect(text).toMatch(/recall of attacks .*0\.800 .*4 of 5: missed/);
    expect(text).toMatch(/false pages a week .*1\.5 .*: met/);
    expect(text).toMatch(/cron-touch-six +0\.000 .*missed/);
  });

  test('says of a pooled median which kinds do not meet the goal alone, and what of a delay was not judged', () => {
    const notes = delayNotes(scoresOf(SOME)).join('\n');
    expect(notes).toMatch(/all slow attacks, 37\.1 h, misses the goal of 4\.0 h\. Not met alone: churn-drift 72\.2 h/);
    expect(notes).toMatch(/1 of the 1 attacks of kind churn-drift .*by 69\.4 h/);
    expect(notes).not.toContain('all fast');
  });

  test('says which detector breaks its promise, in the table and in words', () => {
    const row = tablesOf(REPORT)
      .flatMap(({ rows }) => rows)
      .find(([name]) => name === 'churn-rate');
    expect(row?.at(-1)).toMatch(/^no: above it at 3 \(p = 0\.014\)$/);
    expect(calibrationNotes(scoresOf(SOME))).toEqual([
      expect.stringMatching(/churn-rate breaks its promise.*500 looks.*3 reached 3, where chance gives 0\.5/),
      'geo-novelty: no count above chance.',
    ]);
  });

  test('names every miss and every false page', () => {
    expect(missesOf(REPORT).map((text) => text.split(' ')[0])).toEqual(['missed', 'false', 'false', 'false', 'false']);
  });

  test('keeps every row of a table in as many columns', () => {
    for (const { columns, rows } of tablesOf(REPORT)) for (const row of rows) expect(row).toHaveLength(columns.length);
  });
});

describe('the documents', () => {
  const page = `# Title\n\n${FIGURES_BEGIN}\nthe figures of last time\n${FIGURES_END}\n\nEnd.\n`;

  test('change between the markers and nowhere else, and only once', () => {
    const once = withFigures(page, figuresMarkdown(REPORT));
    expect(once).not.toContain('last time');
    expect(once.startsWith('# Title')).toBe(true);
    expect(once.endsWith('\n\nEnd.\n')).toBe(true);
    expect(withFigures(once, figuresMarkdown(REPORT))).toBe(once);
    expect(() => withFigures('# no markers', '')).toThrow('no');
  });

  test('hold pictures that are well formed, whatever the figures are', () => {
    for (const outcomes of [SOME, []])
      for (const [name, text] of Object.entries(docsOf({ ...REPORT, outcomes }, page))) {
        if (!name.endsWith('.svg')) continue;
        expect(text, name).not.toMatch(/NaN|Infinity|undefined|null/);
        const open = [...text.matchAll(/<(\w+)[^>]*[^/]>/g)].map(([, tag]) => tag).sort();
        const closed = [...text.matchAll(/<\/(\w+)>/g)].map(([, tag]) => tag).sort();
        expect(open).toEqual(closed);
      }
  });

  test('in docs/evaluation say what the figures kept beside them say', () => {
    const folder = fileURLToPath(new URL('../../docs/evaluation/', import.meta.url));
    const kept = JSON.parse(readFileSync(`${folder}results.json`, 'utf8')) as Report;
    expect(scoresOf(kept.outcomes).detectors.recall.of).toBeGreaterThan(0);
    for (const [name, text] of Object.entries(docsOf(kept, readFileSync(`${folder}README.md`, 'utf8'))))
      expect(readFileSync(`${folder}${name}`, 'utf8'), name).toBe(text);
  });
});

describe('the command line', () => {
  test('asks for every seed with the small fleet and two with the large, and for fewer when told', () => {
    expect(readArguments([]).scenarios).toHaveLength((8 + 2) * 2);
    const few = readArguments(['--seeds', '101,102', '--calm-seeds', 'none', '--tokens', '200']).scenarios;
    expect(few.map(({ kind, seed, tokens }) => `${kind} ${seed} ${tokens}`)).toEqual([
      'attacks 101 200',
      'attacks 102 200',
    ]);
    expect(readArguments(['--quick']).scenarios.map(({ kind }) => kind)).toEqual(['attacks', 'calm']);
  });

  test('never reports on a seed that was tuned on, unless told', () => {
    const tuned = new Set(readArguments(['--tune']).scenarios.map(({ seed }) => seed));
    expect(readArguments([]).scenarios.filter(({ seed }) => tuned.has(seed))).toEqual([]);
  });

  test('never looks at a reported seed only to see that it works', () => {
    const reported = new Set(readArguments([]).scenarios.map(({ seed }) => seed));
    expect(readArguments(['--quick']).scenarios.filter(({ seed }) => reported.has(seed))).toEqual([]);
  });

  test.each([[['--seeds', 'x']], [['--at-once', '5']], [['--nonsense']]])('refuses %j', (args) => {
    expect(() => readArguments(args)).toThrow();
  });
});
