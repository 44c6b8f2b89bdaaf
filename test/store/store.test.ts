import { randomBytes } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import {
  encodeLifecycle,
  encodeRejected,
  encodeUsage,
  type LifecycleRow,
  type Store,
  type UsageRow,
} from '../../store/index.ts';
import { readMigrations } from '../../store/migrate.ts';
import { emptyStore, openTestStore, removeDatabase, rows } from '../kit/store.ts';

const DAY_MS = 86_400_000;
/** Within every retention: these tests run against the engine's own clock. */
const NOW = Date.now() - 60_000;

let keeper: Store;
const databases = new Set<string>();
const stores: Store[] = [];
beforeAll(async () => {
  keeper = await openTestStore();
});
afterEach(async () => {
  for (const store of stores.splice(0)) await store.close();
  for (const database of databases) await removeDatabase(keeper, database);
  databases.clear();
});
afterAll(() => keeper.close());

/** empty is the shared store without anything in it: sooner than one of its own. */
async function empty(): Promise<Store> {
  await emptyStore(keeper);
  return keeper;
}

async function open(options: { database?: string; eventsMs?: number | null } = {}) {
  const database = options.database ?? `test_${randomBytes(6).toString('hex')}`;
  databases.add(database);
  const store = await openTestStore({ ...options, database });
  stores.push(store);
  return { database, store };
}

function usage(fields: Partial<UsageRow> = {}): UsageRow {
  return {
    time: NOW,
    receivedAt: NOW,
    id: 'e1',
    token: 'tok_1',
    lineage: 'tok_1',
    owner: 'acme',
    endpoint: 'GET /v1/users/{id}',
    method: 'GET',
    status: 200,
    ip: '203.0.113.9',
    country: 'AU',
    asn: 64_500,
    networkKind: '',
    latitude: 0,
    longitude: 0,
    accuracyKm: 0,
    userAgent: 'curl/8.5',
    bytes: 512,
    durationMs: 12.5,
    requestId: 'r1',
    attributes: '',
    source: 'native',
    ...fields,
  };
}

function lifecycle(fields: Partial<LifecycleRow> = {}): LifecycleRow {
  return {
    time: NOW,
    receivedAt: NOW,
    id: 'l1',
    action: 'issued',
    token: 'tok_1',
    lineage: 'tok_1',
    owner: 'acme',
    replaces: '',
    issuedBy: '',
    issuerLineage: '',
    asn: 0,
    networkKind: '',
    requestedAt: null,
    expiresAt: NOW + DAY_MS,
    effectiveAt: null,
    fingerprint: '',
    scopes: ['read', 'write'],
    reason: 'it\'s "new"\n',
    config: '',
    ip: '',
    country: '',
    userAgent: '',
    requestId: '',
    attributes: '',
    source: 'native',
    ...fields,
  };
}

async function value(store: Store, sql: string): Promise<unknown> {
  return Object.values((await rows(store, sql))[0] ?? {})[0];
}

/** What the table and every rollup that its rows go into have counted. */
async function counted(store: Store): Promise<Record<string, number>> {
  const [row] = await rows(
    store,
    `SELECT (SELECT count() FROM events) AS events,
            (SELECT sum(calls) FROM token_endpoints) AS endpoints,
            (SELECT sum(calls) FROM token_countries) AS countries,
            (SELECT sum(calls) FROM token_hourly) AS hours,
            (SELECT sum(calls) FROM tokens) AS tokens,
            (SELECT count() FROM lifecycle) AS lifecycle,
            (SELECT sum(steps) FROM rollup_churn) AS churn`,
  );
  return Object.fromEntries(Object.entries(row ?? {}).map(([name, count]) => [name, Number(count)]));
}
const counts = (events: number, steps: number) => ({
  events,
  endpoints: events,
  countries: events,
  hours: events,
  tokens: events,
  lifecycle: steps,
  churn: steps,
});

/** The contract: what analysts and their tools hold on to. */
const CONTRACT: Record<string, readonly string[]> = {
  events:
    'time token lineage owner endpoint method status ip country asn user_agent bytes duration_ms request_id id received_at attributes'.split(
      ' ',
    ),
  lifecycle:
    'time token lineage owner action replaces issued_by requested_at expires_at effective_at fingerprint scopes reason config'.split(
      ' ',
    ),
  rejected_events: ['received_at', 'sender', 'line', 'code', 'message', 'content'],
  detections: ['id', 'detector', 'token', 'lineage', 'owner', 'severity', 'surprise', 'evidence', 'sql'],
  alerts: ['id', 'status', 'severity', 'title', 'summary', 'token', 'lineage', 'owner', 'detectors', 'opened_at'],
  notifications: ['id', 'alert', 'channel', 'reason', 'status', 'attempts', 'target', 'error', 'at'],
  tokens: ['token', 'lineage', 'owner', 'first_seen', 'last_seen', 'calls', 'state'],
  token_endpoints: ['owner', 'lineage', 'endpoint', 'first_seen', 'last_seen', 'calls', 'denied', 'failed'],
  token_countries: ['owner', 'lineage', 'country', 'first_seen', 'last_seen', 'calls', 'denied', 'failed'],
  token_hourly: ['owner', 'lineage', 'hour', 'calls', 'denied', 'failed', 'bytes'],
};

describe('the schema', () => {
  test('has every table and view of the contract, and can be read where nothing is stored yet', async () => {
    const store = await empty();
    for (const [table, columns] of Object.entries(CONTRACT))
      expect(await rows(store, `SELECT ${columns.join(', ')} FROM ${table}`), table).toEqual([]);
  });

  test('is made once: opening it again applies nothing and keeps what is stored', async () => {
    const { database, store } = await open();
    await store.insert('events', [encodeUsage(usage())], 'one');
    // Two that land side by side must not take one number.
    expect(readMigrations().map(({ version }) => version)).toEqual(readMigrations().map((_, i) => i + 1));
    const applied = 'SELECT version, name, hash, applied_at FROM schema_migrations ORDER BY version';
    const before = await rows(store, applied);
    expect(before.map((row) => row.version)).toEqual(readMigrations().map(({ version }) => version));
    const again = await open({ database });
    expect(await rows(again.store, applied)).toEqual(before);
    expect(await value(again.store, 'SELECT count() FROM events')).toBe(1);
  });

  test('may be made by two processes at once', async () => {
    const database = `test_${randomBytes(6).toString('hex')}`;
    const [one, two] = await Promise.all([open({ database }), open({ database })]);
    await one.store.insert('events', [encodeUsage(usage())], 'one');
    expect(await counted(two.store)).toEqual(counts(1, 0));
  });

  test('of a newer Tokenwatch is refused', async () => {
    const { database, store } = await open();
    await rows(store, `INSERT INTO schema_migrations SELECT 999, 'later', 'x', now64(3)`);
    await expect(openTestStore({ database })).rejects.toMatchObject({
      code: 'store_schema_newer',
      kind: 'config',
      message: expect.stringContaining('999'),
    });
  });

  test('made by a migration that is not ours any more is refused', async () => {
    const { database, store } = await open();
    await rows(store, `ALTER TABLE schema_migrations UPDATE hash = 'x' WHERE version = 1 SETTINGS mutations_sync = 1`);
    await expect(openTestStore({ database })).rejects.toMatchObject({
      code: 'store_migration_changed',
      kind: 'config',
    });
  });
});

describe('rows', () => {
  test('come back as they were given, whatever is in them', async () => {
    const store = await empty();
    const odd = 'a"b\\c\n\t\u0000é\u{1f600}\u2028';
    await store.insert(
      'events',
      [encodeUsage(usage({ userAgent: odd, attributes: '{"a":"\\n"}', bytes: 2 ** 52 }))],
      '',
    );
    await store.insert('lifecycle', [encodeLifecycle(lifecycle())], '');
    const [event] = await rows(store, 'SELECT *, toUnixTimestamp64Milli(time) AS ms FROM events');
    expect(event).toMatchObject({ user_agent: odd, attributes: '{"a":"\\n"}', duration_ms: 12.5, status: 200 });
    expect(Number(event?.bytes)).toBe(2 ** 52);
    expect(Number(event?.ms)).toBe(NOW);
    const [step] = await rows(store, 'SELECT * FROM lifecycle');
    expect(step).toMatchObject({ scopes: ['read', 'write'], reason: 'it\'s "new"\n', requested_at: null });
  });

  test('of one insert are stored together or not at all', async () => {
    const store = await empty();
    const bad = JSON.stringify(['not a time', ...JSON.parse(encodeUsage(usage())).slice(1)]);
    await expect(store.insert('events', [encodeUsage(usage()), bad], 'mixed')).rejects.toMatchObject({
      code: 'store_refused_rows',
      kind: 'poison',
    });
    expect(await counted(store)).toEqual(counts(0, 0));
    await store.insert('events', [encodeUsage(usage())], 'mixed');
    expect(await counted(store)).toEqual(counts(1, 0));
  });

  test('that an older version wrote ahead, without the newest columns, are stored with those empty', async () => {
    const store = await empty();
    const whole = encodeLifecycle(lifecycle({ id: 'l2', issuedBy: 'tok_0', issuerLineage: 'tok_0' }));
    const older = JSON.stringify(JSON.parse(encodeLifecycle(lifecycle())).slice(0, -4));
    await store.insert('lifecycle', [older, whole], '');
    expect(await rows(store, 'SELECT id, source, issued_by, issuer_lineage FROM lifecycle ORDER BY id')).toEqual([
      { id: 'l1', source: 'native', issued_by: '', issuer_lineage: '' },
      { id: 'l2', source: 'native', issued_by: 'tok_0', issuer_lineage: 'tok_0' },
    ]);
  });

  test('of many years fit into one insert', async () => {
    const store = await empty();
    const lines = Array.from({ length: 300 }, (_, week) =>
      encodeUsage(usage({ id: `e${week}`, time: NOW - week * 7 * DAY_MS })),
    );
    await store.insert('events', lines, 'years');
    expect(await counted(store)).toEqual(counts(300, 0));
  });
});

describe('a batch that is sent again', () => {
  const events = [1, 2, 3].map((n) => encodeUsage(usage({ id: `e${n}`, token: `tok_${n}`, lineage: `tok_${n}` })));
  const steps = [1, 2].map((n) => encodeLifecycle(lifecycle({ id: `l${n}` })));

  test('under the same token is stored once, in its table and in every rollup', async () => {
    const store = await empty();
    for (let attempt = 0; attempt < 3; attempt++) {
      await store.insert('events', events, 'batch 1');
      await store.insert('lifecycle', steps, 'batch 1');
    }
    expect(await counted(store)).toEqual(counts(3, 2));
  });

  test('by two senders at once is stored once', async () => {
    const store = await empty();
    await Promise.all([1, 2, 3, 4].map(() => store.insert('events', events, 'batch 1')));
    expect(await counted(store)).toEqual(counts(3, 0));
  });

  test('after a restart is stored once', async () => {
    const { database, store } = await open();
    await store.insert('events', events, 'batch 1');
    await store.close();
    const again = await open({ database });
    await again.store.insert('events', events, 'batch 1');
    expect(await counted(again.store)).toEqual(counts(3, 0));
  });

  test('under another token is another batch', async () => {
    const store = await empty();
    const others = [1, 2, 3].map((n) => encodeUsage(usage({ id: `f${n}`, token: `tok_${n}`, lineage: `tok_${n}` })));
    await store.insert('events', events, 'batch 1');
    await store.insert('events', others, 'batch 2');
    await store.insert('lifecycle', steps, 'batch 1');
    expect(await counted(store)).toEqual(counts(6, 2));
  });

  test('without a token is stored each time, also when nothing in it differs', async () => {
    const store = await empty();
    const row = { receivedAt: NOW, sender: 's', line: 1, code: 'bad_json', message: 'm', content: 'c', source: '' };
    for (let attempt = 0; attempt < 2; attempt++) await store.insert('rejected_events', [encodeRejected(row)], '');
    // The one before had a token: none of it may stick.
    await store.insert('events', events, 'batch 1');
    await store.insert('rejected_events', [encodeRejected(row)], '');
    expect(await value(store, 'SELECT count() FROM rejected_events')).toBe(3);
  });
});

describe('retention', () => {
  const ttl = async (store: Store) =>
    /TTL (.*?) SETTINGS/.exec(
      String(
        await value(
          store,
          `SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = 'events'`,
        ),
      ),
    )?.[1] ?? null;

  test('is set, changed and removed by the configuration alone', async () => {
    const { database, store } = await open({ eventsMs: 90 * DAY_MS });
    expect(await ttl(store)).toContain('toDateTime(received_at) + toIntervalSecond(7776000)');
    expect(await ttl((await open({ database, eventsMs: 30 * DAY_MS })).store)).toContain('2592000');
    expect(await ttl((await open({ database, eventsMs: null })).store)).toBeNull();
    expect(await ttl((await open({ database, eventsMs: null })).store)).toBeNull();
  });

  test('counts from when an event was received: an import of 2023 stays, what came too long ago goes', async () => {
    const { store } = await open({ eventsMs: 90 * DAY_MS });
    const lines = [
      encodeUsage(usage({ id: 'imported', time: Date.UTC(2023, 0, 5) })),
      encodeUsage(usage({ id: 'expired', time: Date.UTC(2023, 0, 5), receivedAt: NOW - 100 * DAY_MS })),
    ];
    await store.insert('events', lines, 'import');
    await rows(store, 'OPTIMIZE TABLE events FINAL');
    expect(await rows(store, 'SELECT id FROM events')).toEqual([{ id: 'imported' }]);
    // What was learned of it stays: baselines outlive the events.
    expect(await value(store, 'SELECT sum(calls) FROM token_endpoints')).toEqual(
      expect.toSatisfy((n) => Number(n) === 2),
    );
  });
});

test('a closed store can be opened again, and has what was in it', async () => {
  const { database, store } = await open();
  await store.insert('events', [encodeUsage(usage())], 'one');
  await store.ping();
  await store.close();
  expect(await counted((await open({ database })).store)).toEqual(counts(1, 0));
});
