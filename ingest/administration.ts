import {
  clientOf,
  defineQuery,
  isAct,
  type LifecycleRow,
  networkOf,
  num,
  placesOf,
  type Store,
  text,
} from '../store/index.ts';

/** FAMILIAR_MS is how long after the first step from an origin, by event time, it is not familiar yet: longer than any detector looks back. */
export const FAMILIAR_MS = 2 * 24 * 3_600_000;

/** Origins of all owners that are remembered at most, some 100 bytes each; past it the memory starts anew. */
const MAX_ORIGINS = 1_000_000;

/** Origins that are read from the store at once. */
const SLICE_ORIGINS = 100_000;

/**
 * Administration knows from where, and with what, each owner's tokens were issued, rotated, revoked or changed, as far as this process
 * has seen it. As with `News`, what it does not know counts as new, which costs a look and never a finding.
 */
export interface Administration {
  /** isUnfamiliar takes note of a step, and tells whether somebody new may have taken it: it is from what was met in the last FAMILIAR_MS, or never. */
  isUnfamiliar(row: LifecycleRow): boolean;
  /** warm reads what the store knows since before a moment, epoch milliseconds of event time. */
  warm(store: Pick<Store, 'read'>, before: number, signal: AbortSignal): Promise<void>;
  /** forget starts anew: steps that were taken note of may not have been stored. */
  forget(): void;
}

const originsSize = defineQuery<Record<string, never>, number>(
  'administration_size',
  'SELECT count() AS origins FROM rollup_origins',
  (raw) => num(raw.origins),
);

const knownOrigins = defineQuery<
  { slices: number; slice: number; before: number },
  { owner: string; origins: [key: string, met: number][] }
>(
  'administration_known_origins',
  `SELECT owner, groupArray((concat(facet, '\\n', value), toUnixTimestamp64Milli(met))) AS origins
   FROM (
     SELECT owner, facet, value, min(first_seen) AS met
     FROM rollup_origins
     WHERE cityHash64(owner) % {slices:UInt32} = {slice:UInt32}
     GROUP BY owner, facet, value
     HAVING met < fromUnixTimestamp64Milli({before:Int64})
   )
   GROUP BY owner`,
  (raw) => ({
    owner: text(raw.owner),
    origins: (raw.origins as [unknown, unknown][]).map(([key, met]) => [text(key), num(met)]),
  }),
);

/** createAdministration makes an empty memory. */
export function createAdministration(): Administration {
  /** First step from each origin, by owner and by facet and value. */
  const owners = new Map<string, Map<string, number>>();
  let size = 0;

  function forget(): void {
    owners.clear();
    size = 0;
  }

  /** meet remembers a step from an origin, and gives the first one from there as far as is known. */
  function meet(owner: string, key: string, time: number): number {
    let origins = owners.get(owner);
    if (origins === undefined) {
      origins = new Map();
      owners.set(owner, origins);
    }
    const met = origins.get(key);
    if (met !== undefined && met <= time) return met;
    if (met === undefined) size++;
    origins.set(key, time);
    return time;
  }

  return {
    isUnfamiliar(row) {
      if (!isAct(row.action)) return false;
      if (size > MAX_ORIGINS) forget();
      const origin = { ...placesOf(row), network: networkOf(row), client: clientOf(row) };
      let unfamiliar = false;
      for (const [facet, value] of Object.entries(origin))
        if (value !== '' && row.time < meet(row.owner, `${facet}\n${value}`, row.time) + FAMILIAR_MS) unfamiliar = true;
      return unfamiliar;
    },
    async warm(store, before, signal) {
      const [rows = 0] = await store.read(originsSize, {});
      const slices = Math.max(1, Math.ceil(rows / SLICE_ORIGINS));
      for (let slice = 0; slice < slices && size < MAX_ORIGINS && !signal.aborted; slice++)
        for (const { owner, origins } of await store.read(knownOrigins, { slices, slice, before }))
          for (const [key, met] of origins) meet(owner, key, met);
    },
    forget,
  };
}
