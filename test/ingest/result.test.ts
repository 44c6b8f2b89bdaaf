import { describe, expect, test } from 'vitest';
import { decodeCounts, encodeCounts, NO_LINES } from '../../ingest/result.ts';

describe('a remembered answer', () => {
  test.each([
    { ...NO_LINES, accepted: 200 },
    { ...NO_LINES, skipped: 3, skippedBy: { no_token: 3 } },
    { accepted: 1, rejected: 1, skipped: 0, errors: [{ line: 2, code: 'missing_token' as const, message: 'none' }] },
  ])('says the same as the answer itself', (counts) => {
    expect(decodeCounts(encodeCounts(counts))).toEqual(counts);
  });

  test('is a number alone when everything was accepted, as one is kept for every request of a day', () => {
    expect(encodeCounts({ ...NO_LINES, accepted: 200 })).toBe('200');
  });

  test('of an older version is still understood', () => {
    const counts = { ...NO_LINES, accepted: 2 };
    expect(decodeCounts(JSON.stringify(counts))).toEqual(counts);
  });
});
