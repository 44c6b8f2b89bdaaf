import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  formatBudget,
  formatDuration,
  formatSize,
  nearest,
  parseBudget,
  parseDuration,
  parseSize,
} from '../../config/index.ts';

describe('durations and sizes', () => {
  test('what is written is read back as the same number', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 10 ** 12 }), (value) => {
        expect(parseDuration(formatDuration(value))).toBe(value);
        expect(parseSize(formatSize(value))).toBe(value);
      }),
    );
  });

  test('any text is read as a safe whole number or not at all', () => {
    const nearly = fc.stringMatching(/^[0-9.]{0,20} ?(ms|s|m|h|d|B|KiB|MiB|x|)$/);
    fc.assert(
      fc.property(fc.oneof(fc.string(), nearly), (text) => {
        for (const value of [parseDuration(text), parseSize(text)]) {
          if (value !== null) expect(Number.isSafeInteger(value) && value >= 0).toBe(true);
        }
      }),
    );
  });

  test.each([
    ['500ms', 500],
    ['1.5h', 5_400_000],
    ['90d', 7_776_000_000],
    ['0s', 0],
  ])('%s is %d milliseconds', (text, ms) => expect(parseDuration(text)).toBe(ms));

  test.each(['', '90', 'd', '-1d', '90 days', '1h30m', '1e3s', 'constructor', '1constructor', '99999999999999999999d'])(
    '%j is not a duration',
    (text) => expect(parseDuration(text)).toBeNull(),
  );

  test.each([
    ['64MiB', 67_108_864],
    ['1 KiB', 1024],
    ['1MB', 1_000_000],
  ])('%s is %d bytes', (text, bytes) => expect(parseSize(text)).toBe(bytes));
});

describe('the nearest known word', () => {
  test.each([
    ['chanels', 'channels'],
    ['maxAge', 'max_age'],
    ['max-age', 'max_age'],
    ['enbaled', 'enabled'],
    ['routse', 'routes'],
    ['whatever', null],
  ])('%s was meant to be %s', (word, meant) => {
    expect(nearest(word, ['max_age', 'channels', 'routes', 'enabled'])).toBe(meant);
  });

  test('a word is nearest to itself', () => {
    const words = fc.uniqueArray(fc.stringMatching(/^[a-z]{1,12}$/), { minLength: 1 });
    fc.assert(fc.property(words, (list) => nearest(list[0] as string, list) === list[0]));
  });
});

describe('an alert budget', () => {
  const budget = fc.record({
    count: fc.integer({ min: 1, max: 10_000 }),
    periodMs: fc.constantFrom(86_400_000, 604_800_000),
  });

  test('is read as it is written', () => {
    fc.assert(fc.property(budget, (one) => void expect(parseBudget(formatBudget(one))).toEqual(one)));
    expect(parseBudget('5 per week')).toEqual({ count: 5, periodMs: 604_800_000 });
    expect(parseBudget(' 2 per day ')).toEqual({ count: 2, periodMs: 86_400_000 });
    expect(formatBudget(null)).toBe('none');
  });

  test('is nothing else: what is read says what was written', () => {
    const near = fc.stringMatching(/^[0-9. -]{0,6} ?(per|a|\/)? ?(day|week|days|month|hour|Week)?$/);
    fc.assert(
      fc.property(fc.oneof(near, fc.string()), (text) => {
        const read = parseBudget(text);
        if (read !== null) expect(formatBudget(read)).toBe(text.trim());
      }),
    );
  });

  test.each([
    '0 per week',
    '-1 per week',
    '1.5 per week',
    '05 per week',
    '5',
    '5/week',
    '5 a week',
    '5 per weeks',
    '5 per month',
    '10001 per day',
    '1e3 per day',
    '',
  ])('"%s" is refused', (text) => expect(parseBudget(text)).toBeNull());
});
