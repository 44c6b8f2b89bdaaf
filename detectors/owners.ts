import { defineQuery, text } from '../store/index.ts';
import { once, type Reads, type Stretch } from './contract.ts';

/** The owners of a scope, when its batches do not name them. */
const touched = defineQuery<Record<string, unknown> & { from: number; to: number; receivedAt: number[] }, string>(
  'lifecycle_owners',
  `SELECT DISTINCT owner FROM lifecycle
   WHERE time >= fromUnixTimestamp64Milli({from:Int64}) AND time <= fromUnixTimestamp64Milli({to:Int64})
     AND has({receivedAt:Array(Int64)}, toUnixTimestamp64Milli(received_at))`,
  (raw) => text(raw.owner),
);

/** ownersIn are the owners of the lifecycle events of a stretch. */
export const ownersIn = once(async (reads: Reads, stretch: Stretch): Promise<readonly string[]> => {
  const { owners, lifecycle, from, to, receivedAt } = stretch;
  if (lifecycle === 0) return [];
  return owners ?? reads.read(touched, { from, to, receivedAt: [...receivedAt] });
});
