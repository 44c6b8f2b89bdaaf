import { expect, test } from 'vitest';
import { systemClock } from '../../core/index.ts';
import { createBatcher, HURRY_MS } from '../../ingest/batcher.ts';
import type { Part } from '../../ingest/part.ts';
import { type LineCounts, NO_LINES } from '../../ingest/result.ts';

function part(id: string, receivedAt: number, events: string[]): Part {
  return {
    id,
    sender: 's',
    source: 'native',
    events,
    eventLines: events.map((_, i) => i + 1),
    lifecycle: [],
    lifecycleLines: [],
    rejected: [],
    times: [receivedAt, receivedAt],
    touched: [],
    single: [],
    refused: [],
    placed: 0,
    unfamiliar: [],
    news: [],
    arrived: [],
    owners: [],
    counts: { ...NO_LINES, accepted: events.length },
  };
}

/** A store that answers when it is told to. */
function gate() {
  const calls: { ids: string[]; receivedAt: number[]; open: (error?: Error) => void }[] = [];
  const store = (parts: readonly Part[], receivedAt: number) =>
    new Promise<LineCounts[]>((resolve, reject) => {
      calls.push({
        ids: parts.map(({ id }) => id),
        receivedAt: [receivedAt, ...parts.map(({ times }) => times?.[0] ?? 0)],
        open: (error) => (error ? reject(error) : resolve(parts.map(({ counts }) => counts))),
      });
    });
  return { calls, store };
}

const LIMITS = {
  ...{ rows: 3, bytes: 1000, lingerMs: 60_000, storesAtOnce: 1, clock: systemClock },
  urgent: () => false,
};

test('a batch leaves when it has its rows, and carries one received_at', async () => {
  const { calls, store } = gate();
  const batcher = createBatcher({ ...LIMITS, store });
  const answers = ['a', 'b', 'c'].map((id) => batcher.add((at) => part(id, at, ['x'])));
  expect(calls.map(({ ids }) => ids)).toEqual([['a', 'b', 'c']]);
  expect(new Set(calls[0]?.receivedAt).size).toBe(1);
  calls[0]?.open();
  expect(await Promise.all(answers)).toEqual(Array(3).fill({ ...NO_LINES, accepted: 1 }));
});

test('a batch leaves when it has its bytes', () => {
  const { calls, store } = gate();
  const batcher = createBatcher({ ...LIMITS, store });
  void batcher.add((at) => part('a', at, ['x'.repeat(1000)]));
  expect(calls.length).toBe(1);
});

test('a batch leaves by itself some time after its first part', async () => {
  const { calls, store } = gate();
  const batcher = createBatcher({ ...LIMITS, lingerMs: 1, store });
  const answer = batcher.add((at) => part('a', at, ['x']));
  await expect.poll(() => calls.length).toBe(1);
  calls[0]?.open();
  expect(await answer).toMatchObject({ accepted: 1 });
});

test('a batch with something urgent leaves at once, with all that it holds; but one such in a while', () => {
  const { calls, store } = gate();
  const clock = { at: 0, now: () => clock.at };
  const urgent = ({ id }: Part) => id.startsWith('urgent');
  const batcher = createBatcher({ ...LIMITS, rows: 100, storesAtOnce: 9, clock, urgent, store });
  const add = (id: string) => void batcher.add((at) => part(id, at, ['x']));
  add('a');
  expect(calls.length).toBe(0);
  add('urgent 1');
  expect(calls.map(({ ids }) => ids)).toEqual([['a', 'urgent 1']]);
  clock.at = HURRY_MS - 1;
  add('urgent 2');
  expect(calls.length).toBe(1);
  clock.at = HURRY_MS;
  add('urgent 3');
  expect(calls[1]?.ids).toEqual(['urgent 2', 'urgent 3']);
});

test('what is urgent leaves as soon as the store has room for it', async () => {
  const { calls, store } = gate();
  const clock = { at: 0, now: () => clock.at };
  const batcher = createBatcher({ ...LIMITS, rows: 100, clock, urgent: () => true, store });
  void batcher.add((at) => part('a', at, ['x']));
  clock.at = HURRY_MS;
  void batcher.add((at) => part('b', at, ['x']));
  expect(calls.map(({ ids }) => ids)).toEqual([['a']]);
  calls[0]?.open();
  await expect.poll(() => calls[1]?.ids).toEqual(['b']);
});

test('while the store is busy the open batch goes on filling, also beyond its time', async () => {
  const { calls, store } = gate();
  const batcher = createBatcher({ ...LIMITS, rows: 100, lingerMs: 1, store });
  void batcher.add((at) => part('a', at, ['x']));
  await expect.poll(() => calls.length).toBe(1);
  for (const id of ['b', 'c', 'd']) void batcher.add((at) => part(id, at, ['x']));
  calls[0]?.open();
  await expect.poll(() => calls.length).toBe(2);
  expect(calls[1]?.ids).toEqual(['b', 'c', 'd']);
});

test('a batch that fails fails its senders alone', async () => {
  const { calls, store } = gate();
  const batcher = createBatcher({ ...LIMITS, rows: 1, storesAtOnce: 2, store });
  const failed = batcher.add((at) => part('a', at, ['x']));
  const fine = batcher.add((at) => part('b', at, ['x']));
  calls[0]?.open(new Error('store away'));
  calls[1]?.open();
  await expect(failed).rejects.toThrow('store away');
  expect(await fine).toMatchObject({ accepted: 1 });
});

test('flush sends what is open and waits for it', async () => {
  const { calls, store } = gate();
  const batcher = createBatcher({ ...LIMITS, store });
  const answer = batcher.add((at) => part('a', at, ['x']));
  const flushed = batcher.flush();
  calls[0]?.open();
  await flushed;
  expect(await answer).toMatchObject({ accepted: 1 });
});
