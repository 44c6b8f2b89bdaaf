import { beforeEach, describe, expect, test } from 'vitest';
import { ARRIVAL_MS, followedUp } from '../../ingest/arrivals.ts';
import { createMemoryState, type SharedState, type Subject } from '../../queues/index.ts';

const AT = Date.parse('2026-11-20T12:00:00Z');
const MINUTE_MS = 60_000;
const A: Subject = ['acme', 'tok_a'];
const B: Subject = ['acme', 'tok_b'];
/** The same name under another owner is somebody else. */
const OTHER: Subject = ['bakery', 'tok_a'];

describe('whose calls may tell more of an arrival', () => {
  let shared: SharedState;
  beforeEach(() => {
    shared = createMemoryState();
  });
  const batch = (at: number, touched: Subject[] | null, arrived: Subject[] | null = []) =>
    followedUp(shared, [{ touched, arrived }], { from: at, to: at });

  test('is who came to a new place shortly before, whichever receiver heard it, and calls again', async () => {
    expect(await batch(AT, [A, B, OTHER], [A])).toEqual([A]);
    expect(await batch(AT + 60 * MINUTE_MS, [A, B, OTHER])).toEqual([A]);
    expect(await batch(AT + 61 * MINUTE_MS, [B, OTHER])).toEqual([]);
    expect(await batch(AT + ARRIVAL_MS + 1, [A, B])).toEqual([]);
  });

  test('is named once, from whichever requests of a batch', async () => {
    const parts = [
      { touched: [A, B], arrived: [] },
      { touched: [A, OTHER], arrived: [A, OTHER] },
    ];
    expect(await followedUp(shared, parts, { from: AT, to: AT })).toEqual([A, OTHER]);
  });

  test('is named of a late batch too: it may be from before the arrival was heard', async () => {
    await batch(AT, [A], [A]);
    expect(await batch(AT - 30 * MINUTE_MS, [A, B])).toEqual([A]);
  });

  test('is not known while a batch of the last hours did not say who came, or too many did', async () => {
    expect(await batch(AT, [A], null)).toBeNull();
    expect(await batch(AT + 60 * MINUTE_MS, [A])).toBeNull();
    expect(await batch(AT + ARRIVAL_MS + 1, [A])).toEqual([]);
    const many = Array.from({ length: 1_001 }, (_, i): Subject => ['acme', `tok_${i}`]);
    expect(await batch(AT + 2 * ARRIVAL_MS, [A], many)).toBeNull();
  });

  test('is not known when nobody took note of the callers, unless nobody came', async () => {
    expect(await batch(AT, null)).toEqual([]);
    await batch(AT, [A], [A]);
    expect(await batch(AT + 1, null)).toBeNull();
  });
});
