import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createLogger, type Detection } from '../../core/index.ts';
import { openJudge, scopeOf } from '../../detectors/index.ts';
import { fleetAt } from '../../detectors/prior.ts';
import { UNSAID } from '../../queues/index.ts';
import type { Store } from '../../store/index.ts';
import { openTestStore, rows } from '../kit/store.ts';
import {
  ABROAD_IP,
  asPrinted,
  type Call,
  callEvent,
  cityDatabase,
  DAY,
  HOUR,
  habit,
  judged,
  MINUTE,
  plain,
  taught,
} from './kit.ts';

/** Two customers whose tokens have the same ids: `shared`, each stolen by somebody who looks like the other, and `t2`, stolen by one thief. */
const NOW = Date.UTC(2026, 9, 12, 12);
const FROM = NOW - 8 * DAY;
const PATHS = ['/v1/jobs', '/v1/health', '/v1/metrics'];
const THEIRS = { owner: 'globex', ip: ABROAD_IP, client: 'curl' };
const THEIR_PATHS = ['/b/1', '/b/2', '/b/3', '/b/4', '/b/5'];

const HISTORY: readonly Call[] = [
  ...habit('shared', PATHS, FROM, NOW + 2 * HOUR),
  ...habit('shared', THEIR_PATHS, FROM, NOW + 2 * HOUR, THEIRS),
  ...habit('t2', PATHS, FROM, NOW + 2 * HOUR),
  ...habit('t2', PATHS, FROM, NOW + 2 * HOUR, { owner: 'globex' }),
  ...Array.from({ length: 2 }, (_, i) => habit(`tok_peer_${i}`, PATHS, FROM, NOW + 2 * HOUR)).flat(),
];

const calls = (token: string, paths: readonly string[], rest: Partial<Call>): Call[] =>
  paths.map((path, i) => ({ at: NOW + 90_000 + i * 10_000, token, path, ...rest }));
const VAULTS = Array.from({ length: 12 }, (_, i) => `/v1/vault${i}/keys`);
const stolenOf = (owner: string): Call[] => [
  ...(owner === 'acme'
    ? calls('shared', THEIR_PATHS, { ip: ABROAD_IP, client: 'curl' })
    : calls('shared', PATHS, { owner })),
  ...calls('t2', VAULTS, { owner, ip: ABROAD_IP, client: 'python-requests', status: 403 }),
];

const city = cityDatabase();
/** Everything that happens, to both; `suffix` is what the other's token ids end with. */
const run = (store: Store, suffix: string) => {
  const named = (call: Call) => (call.owner === 'globex' ? { ...call, token: `${call.token}${suffix}` } : call);
  const calls = [...HISTORY, ...stolenOf('acme'), ...stolenOf('globex')];
  return judged(
    store,
    calls.map((call) => callEvent(named(call))),
    { city },
  );
};
const of = (owner: string, detections: readonly Detection[]) =>
  detections.filter(({ subject }) => subject.owner === owner);

describe('a token id that two owners use', () => {
  let store: Store;
  let detections: readonly Detection[];
  let apart: readonly Detection[];
  beforeAll(async () => {
    const other = await openTestStore();
    ({ detections: apart } = await run(other, '_of_globex'));
    await other.close();
    store = await openTestStore();
    ({ detections } = await run(store, ''));
  });
  afterAll(() => store.close());

  it.each(['acme', 'globex'])(
    'gives %s the findings that it has when no other owner has tokens of the same ids',
    (owner) => {
      const mine = of(owner, detections);
      for (const token of ['shared', 't2'])
        expect(
          mine.some(({ subject, severity }) => subject.token === token && severity !== 'low'),
          token,
        ).toBe(true);
      // Ids are hashes of the names, and stand in for an order where times are the same.
      const told = (found: readonly Detection[]) =>
        found.map(({ id: _, ...rest }) => JSON.stringify(rest).replaceAll('_of_globex', '')).sort();
      expect(told(mine)).toEqual(told(of(owner, apart)));
    },
  );

  it('prints SQL that returns what was observed', async () => {
    expect(new Set(detections.map(({ detector }) => detector))).toEqual(
      new Set(['endpoint-spread', 'geo-novelty', 'impossible-travel', 'combined-signals', 'refused-calls']),
    );
    for (const { sql, observed, subject } of detections) {
      expect(sql).toContain(`owner = '${subject.owner}' AND lineage = '${subject.lineage}'`);
      const row = await asPrinted(store, sql);
      for (const [key, value] of Object.entries(observed))
        if (typeof value !== 'string') expect([key, plain(row[key])]).toEqual([key, plain(value)]);
    }
  });

  it('is two tokens to whoever asks', async () => {
    const said = await rows(
      store,
      "SELECT owner, toUInt32(calls) AS made FROM tokens WHERE token = 'shared' ORDER BY owner",
    );
    const made = (owner: string) =>
      [...HISTORY, ...stolenOf(owner)].filter((call) => call.token === 'shared' && (call.owner ?? 'acme') === owner);
    expect(said).toEqual(['acme', 'globex'].map((owner) => ({ owner, made: made(owner).length })));
  });

  it('is revoked by its own owner, or by a log that names none of them', async () => {
    const revoked = (id: string, token: string, owner: string) =>
      `('${id}', '${token}', '${owner}', 'revoked', now64(3))`;
    await rows(
      store,
      `INSERT INTO lifecycle (id, token, owner, action, time)
       VALUES ${[revoked('1', 'shared', 'globex'), revoked('2', 't2', '')].join(', ')}`,
    );
    const said = 'SELECT owner, token FROM tokens WHERE revoked_at IS NOT NULL ORDER BY owner, token';
    expect(await rows(store, said)).toEqual([
      { owner: 'acme', token: 't2' },
      { owner: 'globex', token: 'shared' },
      { owner: 'globex', token: 't2' },
    ]);
  });

  it('and what people say of one excuses nothing of the other', async () => {
    const batches = await rows(
      store,
      'SELECT toUnixTimestamp64Milli(received_at) AS at, toUInt32(count()) AS usage FROM events GROUP BY at',
    );
    const judge = openJudge({ store, config: { detectors: {} }, log: createLogger('error') });
    const again = async () => {
      const entries = batches.map(({ at, usage }) => ({
        ...{ receivedAt: Number(at), minTime: NOW, maxTime: NOW + 2 * HOUR, usage: Number(usage) },
        lifecycle: 0,
        ...UNSAID,
      }));
      return judge(scopeOf(entries, NOW));
    };
    const before = of('globex', await again());
    expect(before.filter(({ subject }) => subject.token === 't2')).not.toEqual([]);
    await taught(store, 'al_1', of('acme', detections), { verdict: 'expected' }, NOW + DAY);
    const after = await again();
    expect(of('acme', after)).toEqual([]);
    expect(of('globex', after)).toEqual(before);
    await taught(store, 'al_2', of('globex', detections), { verdict: 'malicious' }, NOW + 2 * DAY);
    expect(of('acme', await again())).toEqual([]);
  });
});

describe('a rotation that nobody declared, by one of two owners of the same ids', () => {
  const BEGAN = NOW - 3 * DAY;
  let store: Store;
  beforeAll(async () => {
    store = await openTestStore();
    await judged(
      store,
      [
        ...habit('tok_old', PATHS, FROM - 4 * DAY, BEGAN),
        ...habit('tok_new', PATHS, BEGAN, NOW),
        // Two services of another owner, each with habits of its own.
        ...habit('tok_old', THEIR_PATHS, FROM - 4 * DAY, NOW, THEIRS),
        ...habit('tok_new', VAULTS, BEGAN + MINUTE, NOW, { ...THEIRS, client: 'wget' }),
      ].map(callEvent),
    );
  });
  afterAll(() => store.close());

  it('is inferred for that one alone', async () => {
    const { successions } = await fleetAt({ read: store.read }, NOW, NOW);
    expect([...successions.values()]).toMatchObject([{ owner: 'acme', lineage: 'tok_new', predecessor: 'tok_old' }]);
  });
});
