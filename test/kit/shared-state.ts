import { createMemoryState, type SharedState } from '../../queues/index.ts';

/** MemorySharedState is SharedState in memory, with the counts of calls that a test may ask for. */
export interface MemorySharedState extends SharedState {
  readonly calls: { setOnce: number; setAdd: number; setSince: number; countDistinct: number };
}

/** createSharedState makes an empty shared state; several instances of a room given the same one are several processes. */
export function createSharedState(): MemorySharedState {
  const state = createMemoryState();
  const calls = { setOnce: 0, setAdd: 0, setSince: 0, countDistinct: 0 };
  return {
    calls,
    setOnce: (name, value) => {
      calls.setOnce++;
      return state.setOnce(name, value);
    },
    setAdd: (name, members) => {
      calls.setAdd++;
      return state.setAdd(name, members);
    },
    setSince: (name, version) => {
      calls.setSince++;
      return state.setSince(name, version);
    },
    countDistinct: (name, asked, limit) => {
      calls.countDistinct++;
      return state.countDistinct(name, asked, limit);
    },
    recent: state.recent,
    tally: state.tally,
    tallyAnew: state.tallyAnew,
    count: state.count,
  };
}
