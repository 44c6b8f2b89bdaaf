import type { SharedState } from '../../queues/contract.ts';

/** MemorySharedState is SharedState in memory, with the counts of calls that a test may ask for. */
export interface MemorySharedState extends SharedState {
  readonly calls: { setOnce: number; setAdd: number; setSince: number; countDistinct: number };
}

/** createSharedState makes an empty shared state; several instances of a room given the same one are several processes. */
export function createSharedState(): MemorySharedState {
  const values = new Map<string, string>();
  const sets = new Map<string, Map<string, number>>();
  const versions = new Map<string, number>();
  const groups = new Map<string, Set<string> | 'full'>();
  const calls = { setOnce: 0, setAdd: 0, setSince: 0, countDistinct: 0 };
  return {
    calls,
    async setOnce(name, value) {
      calls.setOnce++;
      const there = values.get(name);
      if (there !== undefined) return there;
      values.set(name, value);
      return value;
    },
    async setAdd(name, members) {
      calls.setAdd++;
      const set = sets.get(name) ?? new Map<string, number>();
      sets.set(name, set);
      let version = versions.get(name) ?? 0;
      for (const member of members) if (!set.has(member)) set.set(member, ++version);
      versions.set(name, version);
      return version;
    },
    async setSince(name, version) {
      calls.setSince++;
      const members = [...(sets.get(name) ?? [])].filter(([, added]) => added > version).map(([member]) => member);
      return { version: versions.get(name) ?? 0, members };
    },
    async countDistinct(name, asked, limit) {
      calls.countDistinct++;
      const sizes = new Map<string, number>();
      for (const [group, members] of asked) {
        const key = JSON.stringify([name, group]);
        let set = groups.get(key) ?? new Set<string>();
        if (set !== 'full') {
          for (const member of members) if (set.size < limit) set.add(member);
          if (set.size >= limit) set = 'full';
          groups.set(key, set);
        }
        sizes.set(group, set === 'full' ? limit : set.size);
      }
      return sizes;
    },
  };
}
