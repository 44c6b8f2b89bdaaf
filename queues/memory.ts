import { type BatchEntry, isTallied, type Queues, RECENT_MS, type SharedState } from './contract.ts';

/** createMemoryState is SharedState for one process that needs no other: a backtest. Nothing survives it. */
export function createMemoryState(): SharedState {
  const values = new Map<string, string>();
  const sets = new Map<string, Map<string, number>>();
  const versions = new Map<string, number>();
  const groups = new Map<string, Set<string> | 'full'>();
  const marked = new Map<string, Map<string, number>>();
  const counts = new Map<string, number>();
  const tallies = new Map<string, Map<string, Map<string, number>>>();
  const began = new Map<string, number>();
  return {
    async setOnce(name, value) {
      const there = values.get(name);
      if (there === undefined) values.set(name, value);
      return there ?? value;
    },
    async setAdd(name, members) {
      const set = sets.get(name) ?? new Map<string, number>();
      sets.set(name, set);
      let version = versions.get(name) ?? 0;
      for (const member of members) if (!set.has(member)) set.set(member, ++version);
      versions.set(name, version);
      return version;
    },
    async setSince(name, version) {
      const now = versions.get(name) ?? 0;
      const members =
        now === version
          ? []
          : [...(sets.get(name) ?? [])].filter(([, added]) => added > version).map(([member]) => member);
      return { version: now, members };
    },
    async countDistinct(name, asked, limit) {
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
    async recent(name, marks, from, limit) {
      const times = marked.get(name) ?? new Map<string, number>();
      marked.set(name, times);
      for (const [member, time] of marks) times.set(member, Math.max(time, times.get(member) ?? time));
      const newest = Math.max(...marks.values());
      for (const [member, time] of times) if (time < newest - RECENT_MS) times.delete(member);
      return [...times]
        .filter(([, time]) => time >= from)
        .slice(0, limit)
        .map(([member]) => member);
    },
    async tally(name, marks, { from, now, limit }) {
      const since = began.get(name) ?? now;
      began.set(name, since);
      const members = tallies.get(name) ?? new Map<string, Map<string, number>>();
      tallies.set(name, members);
      const found = new Map<string, number>();
      for (const [member, added] of marks) {
        const all = [...(members.get(member) ?? []), ...added.map(({ name: mark, time }) => [mark, time] as const)];
        const newest = [...new Map(all)].sort(([, a], [, b]) => b - a).slice(0, limit);
        members.set(member, new Map(newest));
        found.set(member, newest.filter(([, time]) => time >= from).length);
      }
      return isTallied(since, from, now) ? found : null;
    },
    async tallyAnew(name, now) {
      began.set(name, now);
    },
    async count(name, by) {
      const count = (counts.get(name) ?? 0) + by;
      counts.set(name, count);
      return count;
    },
  };
}

/**
 * createMemoryQueues is what ingest needs of the queues, without Redis: `onBatch` is told of every stored batch, and no request
 * is remembered, because a process that keeps nothing has no retries.
 */
export function createMemoryQueues(
  onBatch: (entry: BatchEntry) => Promise<void>,
): Pick<Queues, 'batches' | 'requests' | 'shared'> {
  return {
    shared: createMemoryState(),
    batches: {
      append: async (entries) => {
        for (const entry of entries) await onBatch(entry);
      },
      peek: async () => [],
      remove: async () => {},
      size: async () => 0,
    },
    requests: {
      done: async (ids) => ids.map(() => null),
      record: async () => {},
      reserve: async () => true,
      pending: async (ids) => ids.map(() => null),
      release: async () => {},
      orphans: async () => [],
      lease: async () => {},
    },
  };
}
