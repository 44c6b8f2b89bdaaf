import { describe, expect, it } from 'vitest';
import { subjectsToJudge } from '../../detectors/subjects.ts';
import { type BatchEntry, createMemoryState, type Subject } from '../../queues/index.ts';

const AT = Date.parse('2026-11-20T12:00:00Z');
const MINUTE_MS = 60_000;
const A: Subject = ['acme', 'tok_a'];
const B: Subject = ['acme', 'tok_b'];

function batch(at: number, fields: Partial<BatchEntry> = {}): BatchEntry {
  return {
    receivedAt: at,
    minTime: at,
    maxTime: at,
    usage: 1,
    lifecycle: 0,
    touched: [],
    news: [],
    arrived: [],
    owners: [],
    ...fields,
  };
}

describe('who is judged', () => {
  it('is who met something new in the batches, and nobody else', async () => {
    const entries = [batch(AT, { touched: [A, B], news: [A] })];
    expect(await subjectsToJudge(createMemoryState(), entries, entries)).toEqual([A]);
  });

  it('is also who came to a new place within the last hour, told of it by whichever process', async () => {
    const shared = createMemoryState();
    const look = (entry: BatchEntry) => subjectsToJudge(shared, [entry], [entry]);
    await look(batch(AT, { touched: [A, B], news: [A, B], arrived: [A] }));
    expect(await look(batch(AT + 60 * MINUTE_MS, { touched: [A, B] }))).toEqual([A]);
    expect(await look(batch(AT + 61 * MINUTE_MS, { touched: [B] }))).toEqual([]);
    expect(await look(batch(AT + 80 * MINUTE_MS, { touched: [A, B] }))).toEqual([]);
  });

  it('is asked of the store while a batch of the last hour did not say', async () => {
    const shared = createMemoryState();
    const look = (entry: BatchEntry) => subjectsToJudge(shared, [entry], [entry]);
    expect(await look(batch(AT, { news: null, arrived: null }))).toBeNull();
    expect(await look(batch(AT + 60 * MINUTE_MS, { touched: [A] }))).toBeNull();
    expect(await look(batch(AT + 80 * MINUTE_MS, { touched: [A] }))).toEqual([]);
    expect(await look(batch(AT + 81 * MINUTE_MS, { news: null, arrived: [] }))).toBeNull();
  });

  it('is whoever came to a new place lately when a batch is too large to name its subjects', async () => {
    const shared = createMemoryState();
    const look = (entry: BatchEntry) => subjectsToJudge(shared, [entry], [entry]);
    await look(batch(AT, { touched: [A], news: [A], arrived: [A] }));
    expect(await look(batch(AT + MINUTE_MS, { touched: null, news: [B] }))).toEqual([B, A]);
  });

  it('is asked of the store when they are too many to name', async () => {
    const many = Array.from({ length: 1_001 }, (_, i): Subject => ['acme', `tok_${i}`]);
    const entries = [batch(AT, { touched: many, news: many })];
    expect(await subjectsToJudge(createMemoryState(), entries, entries)).toBeNull();
  });

  it('hears of batches that are too old to page: where they came is not come to again', async () => {
    const shared = createMemoryState();
    const old = batch(AT, { touched: [A], news: [A], arrived: [A] });
    const now = batch(AT + 30 * MINUTE_MS, { touched: [A] });
    expect(await subjectsToJudge(shared, [old, now], [now])).toEqual([A]);
  });
});
