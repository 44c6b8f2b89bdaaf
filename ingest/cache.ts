/** Cache is a bounded map for derived values: a lost entry costs a recomputation, never a wrong answer. */
export interface Cache<V> {
  get(key: string): V | undefined;
  set(key: string, value: V): void;
  clear(): void;
  readonly size: number;
}

/**
 * createCache keeps between half of `limit` and `limit` of the most recently used entries. Two generations instead of a
 * list: a hit is one map lookup, and nothing moves until an entry of the old generation is used again.
 */
export function createCache<V>(limit: number): Cache<V> {
  const half = Math.max(1, Math.floor(limit / 2));
  let young = new Map<string, V>();
  let old = new Map<string, V>();
  function set(key: string, value: V): void {
    if (young.size >= half) {
      old = young;
      young = new Map();
    }
    young.set(key, value);
  }
  return {
    get(key) {
      const hit = young.get(key);
      if (hit !== undefined) return hit;
      const aged = old.get(key);
      if (aged !== undefined) set(key, aged);
      return aged;
    },
    set,
    clear() {
      young = new Map();
      old = new Map();
    },
    get size() {
      return young.size + old.size;
    },
  };
}
