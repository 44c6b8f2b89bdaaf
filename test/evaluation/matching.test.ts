import fc from 'fast-check';
import { expect, test } from 'vitest';
import { delayOf, match, type Page } from '../../evaluation/matching.ts';
import type { AttackTruth } from '../../fixtures/index.ts';

const HOUR = 3_600_000;

function attack(id: string, token: string | null, fromMs: number, toMs: number): AttackTruth {
  const subject = { token, lineage: token, owner: 'acme' };
  return {
    id,
    kind: 'enumeration-fast',
    subject,
    firstEventMs: fromMs,
    firstTellingMs: fromMs,
    lastEventMs: toMs,
    events: 10,
    description: '',
  };
}

function page(token: string | null, ...times: number[]): Page {
  return { subject: { token, lineage: token, owner: 'acme' }, tokens: token === null ? [] : [token], times };
}

const T = 1_000 * HOUR;

test('a page is true for an attack on its token that was going on, and for no other', () => {
  const attacks = [
    attack('mine', 'tok_a', T, T + HOUR),
    attack('other token', 'tok_b', T, T + HOUR),
    attack('the owner', null, T, T + HOUR),
    attack('long ago', 'tok_a', T - 50 * HOUR, T - 40 * HOUR),
    attack('yet to come', 'tok_a', T + 3 * HOUR, T + 4 * HOUR),
  ];
  expect(match([page('tok_a', T + 60_000)], attacks)).toEqual({
    paged: [T + 60_000, null, null, null, null],
    trueFor: [['mine']],
  });
});

test('a page about an owner is true for an attack on the owner, not for one on a token of it', () => {
  const attacks = [attack('owner', null, T, T), attack('token', 'tok_a', T, T)];
  expect(match([page(null, T)], attacks).trueFor).toEqual([['owner']]);
});

test('an alert follows a lineage through rotations, and counts once for several attacks', () => {
  const rotated: Page = {
    subject: { token: 'tok_new', lineage: 'tok_a', owner: 'acme' },
    tokens: ['tok_new'],
    times: [T, T + 5 * HOUR],
  };
  const attacks = [attack('one', 'tok_a', T, T), attack('two', 'tok_new', T + 5 * HOUR, T + 6 * HOUR)];
  expect(match([rotated], attacks)).toEqual({ paged: [T, T + 5 * HOUR], trueFor: [['one', 'two']] });
});

test('an alert that was there before the attack catches it only by paging again', () => {
  expect(match([page('tok_a', T - 5 * HOUR)], [attack('later', 'tok_a', T, T + HOUR)]).paged).toEqual([null]);
});

test('every page is true or false, every attack caught or missed, and each true page has an attack that was paged', () => {
  const tokens = fc.constantFrom('tok_a', 'tok_b', null);
  const times = fc.integer({ min: 0, max: 100 }).map((hour) => T + hour * HOUR);
  fc.assert(
    fc.property(
      fc.array(fc.tuple(tokens, times)),
      fc.array(fc.tuple(tokens, times, fc.integer({ min: 0, max: 12 }))),
      (pages, attacks) => {
        const truth = attacks.map(([token, at, hours], i) => attack(String(i), token, at, at + hours * HOUR));
        const { paged, trueFor } = match(
          pages.map(([token, at]) => page(token, at)),
          truth,
        );
        expect(paged).toHaveLength(attacks.length);
        expect(trueFor).toHaveLength(pages.length);
        const named = new Set(trueFor.flat());
        paged.forEach((at, i) => {
          expect(named.has(String(i))).toBe(at !== null);
        });
      },
    ),
  );
});

test('time to alert runs from the first event of the attack, also of one that began before anything was judged', () => {
  const one = { ...attack('a', 'tok_a', T, T + HOUR), firstTellingMs: T + 1_000 };
  expect(delayOf(one, T + 5_000, 0)).toBe(5_000);
  expect(delayOf(one, T - 5_000, 0)).toBe(0);
  expect(delayOf(one, T + 5_000, T + 3_000)).toBe(5_000);
  expect(delayOf(one, T + 1_000, T + 3_000)).toBe(3_000);
});
