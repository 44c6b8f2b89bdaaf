import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatDuration, formatSize, nearest, parseDuration, parseSize } from '../../config/index.ts';

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
