import { describe, expect, it } from 'vitest';
import { refusedToJudge, subjectsToJudge } from '../../detectors/subjects.ts';
import { type BatchEntry, createMemoryState, type SharedState, type Subject } from '../../queues/index.ts';

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
    single: [],
    refused: [],
    placed: 0,
    unfamiliar: [],
    news: [],
    owners: [],
    ...fields,
  };
}

/** A look at some batches at the time of the newest; those not among `judged` only wait with them. */
let key = 0;
function judged(
  shared: SharedState,
  entries: readonly BatchEntry[],
  of = entries,
  now = Math.max(...entries.map((one) => one.maxTime)),
) {
  return subjectsToJudge(
    shared,
    entries.map((entry) => ({ key: String(key++), entry })),
    of,
    now,
  );
}

describe('who is judged', () => {
  it('is who met something new in the batches, and nobody else', async () => {
    const entries = [batch(AT, { news: [A] })];
    expect(await judged(createMemoryState(), entries)).toEqual([A]);
  });

  it('is also whose calls may tell more of an arrival shortly before', async () => {
    const entries = [batch(AT, { touched: [B], news: [A] }), batch(AT + 1, { touched: [A] })];
    expect(await judged(createMemoryState(), entries)).toEqual([A, B]);
  });

  it('is asked of the store when a batch does not say, or when they are too many to name', async () => {
    expect(await judged(createMemoryState(), [batch(AT, { news: null })])).toBeNull();
    expect(await judged(createMemoryState(), [batch(AT, { touched: null })])).toBeNull();
    const many = Array.from({ length: 1_001 }, (_, i): Subject => ['acme', `tok_${i}`]);
    expect(await judged(createMemoryState(), [batch(AT, { news: many })])).toBeNull();
  });

  describe('with a single new endpoint', () => {
    const HOUR_MS = 60 * MINUTE_MS;
    const DAY_MS = 24 * HOUR_MS;
    const single = (at: number, fields: Partial<BatchEntry> = {}) => batch(at, { news: [A], single: [A], ...fields });
    /** A shared state of a service that has run for weeks. */
    const used = async () => {
      const shared = createMemoryState();
      await judged(shared, [batch(AT - 14 * DAY_MS)]);
      return shared;
    };

    it('is the third within a day, from however many batches, and any that comes with more', async () => {
      const shared = await used();
      const look = (entry: BatchEntry) => judged(shared, [entry]);
      expect(await look(single(AT))).toEqual([]);
      expect(await look(single(AT + 12 * HOUR_MS))).toEqual([]);
      expect(await look(single(AT + 24 * HOUR_MS))).toEqual([A]);
      expect(await look(single(AT + 40 * HOUR_MS))).toEqual([]);
      expect(await look(single(AT + 41 * HOUR_MS, { single: [], refused: [] }))).toEqual([A]);
      // What came with more may be what makes one endpoint tell.
      expect(await look(single(AT + 42 * HOUR_MS))).toEqual([A]);
      expect(
        await judged(shared, [single(AT + 99 * HOUR_MS), single(AT + 99 * HOUR_MS), single(AT + 99 * HOUR_MS)]),
      ).toEqual([A]);
    });

    it('is everybody while nobody counted for long enough, or something was not counted', async () => {
      const young = createMemoryState();
      expect(await judged(young, [single(AT)])).toEqual([A]);
      expect(await judged(young, [single(AT + 48 * HOUR_MS)])).toEqual([A]);
      expect(await judged(young, [single(AT + 100 * HOUR_MS)])).toEqual([]);
      await judged(young, [batch(AT + 101 * HOUR_MS, { news: null })]);
      expect(await judged(young, [single(AT + 102 * HOUR_MS)])).toEqual([A]);
      // Old history is too old to be asked for, whoever was in it.
      const shared = await used();
      await judged(shared, [batch(AT - 9 * DAY_MS, { news: null })], [], AT);
      expect(await judged(shared, [single(AT)])).toEqual([]);
    });

    it('is whoever a late batch names, because it is judged with what came after it', async () => {
      const shared = await used();
      expect(await judged(shared, [single(AT + HOUR_MS)])).toEqual([]);
      expect(await judged(shared, [single(AT + 2 * HOUR_MS)])).toEqual([]);
      expect(await judged(shared, [single(AT)], undefined, AT + 2 * HOUR_MS)).toEqual([A]);
    });

    it('is everybody when the receiver does not say', async () => {
      const shared = await used();
      expect(await judged(shared, [single(AT, { single: null, refused: null })])).toEqual([A]);
    });
  });
});

describe('whose refused calls are looked at', () => {
  const many = Array.from({ length: 1_001 }, (_, i): Subject => ['acme', `tok_${i}`]);

  it('is who was refused one in the batches, each once', () => {
    expect(refusedToJudge([batch(AT, { refused: [A, B] }), batch(AT + 1, { refused: [A] })])).toEqual([A, B]);
    expect(refusedToJudge([batch(AT)])).toEqual([]);
  });

  it('is asked of the store when a batch does not say, or when they are too many to name', () => {
    expect(refusedToJudge([batch(AT, { refused: [A] }), batch(AT, { refused: null })])).toBeNull();
    expect(refusedToJudge([batch(AT, { refused: many })])).toBeNull();
  });
});
