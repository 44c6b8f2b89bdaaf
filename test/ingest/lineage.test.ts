import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createLineages } from '../../ingest/lineage.ts';
import { createSharedState } from '../kit/shared-state.ts';

describe('the lineage of a token', () => {
  it('is itself when it replaced nobody', () => {
    expect(createLineages(createSharedState()).of('t1')).toBe('t1');
  });

  it('is the first of its chain, in whatever order the links arrive', async () => {
    const orders = fc.shuffledSubarray([1, 2, 3, 4, 5, 6], { minLength: 6 });
    await fc.assert(
      fc.asyncProperty(orders, async (order) => {
        const lineages = createLineages(createSharedState());
        for (const n of order) await lineages.prepare([{ child: `t${n}`, parent: `t${n - 1}` }]);
        for (let n = 0; n <= 6; n++) expect(lineages.of(`t${n}`)).toBe('t0');
      }),
    );
  });

  it('is the same on every process and after a restart', async () => {
    const shared = createSharedState();
    const [one, other] = [createLineages(shared), createLineages(shared)];
    await one.prepare([{ child: 'b', parent: 'a' }]);
    await other.prepare([{ child: 'c', parent: 'b' }]);
    await one.prepare([]);
    for (const lineages of [one, other]) expect(lineages.of('c')).toBe('a');
    const restarted = createLineages(shared);
    await restarted.prepare([]);
    expect(restarted.of('c')).toBe('a');
    expect(restarted.size()).toBe(2);
  });

  it('ignores circles, a second predecessor and empty names', async () => {
    const lineages = createLineages(createSharedState());
    await lineages.prepare([
      { child: 'b', parent: 'a' },
      { child: 'a', parent: 'b' },
      { child: 'a', parent: 'a' },
      { child: 'b', parent: 'z' },
      { child: '', parent: 'a' },
      { child: 'x', parent: '' },
    ]);
    expect(['a', 'b', 'x', 'z'].map(lineages.of)).toEqual(['a', 'a', 'x', 'z']);
  });

  it('agrees over processes for any links, and a lineage is always its own lineage', async () => {
    const name = fc.constantFrom('a', 'b', 'c', 'd', 'e');
    const links = fc.array(fc.tuple(fc.boolean(), fc.record({ child: name, parent: name })), { maxLength: 20 });
    await fc.assert(
      fc.asyncProperty(links, async (found) => {
        const shared = createSharedState();
        const processes = [createLineages(shared), createLineages(shared)] as const;
        for (const [first, link] of found) await processes[first ? 0 : 1].prepare([link]);
        for (const lineages of processes) await lineages.prepare([]);
        for (const token of 'abcde') {
          expect(processes[0].of(token)).toBe(processes[1].of(token));
          expect(processes[0].of(processes[0].of(token))).toBe(processes[0].of(token));
        }
      }),
    );
  });
});
