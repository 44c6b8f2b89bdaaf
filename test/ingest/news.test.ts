import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createNews } from '../../ingest/news.ts';
import { type Part, placedIn, singleIn } from '../../ingest/part.ts';
import { encodeUsage, type Store, type UsageRow } from '../../store/index.ts';
import { openTestStore } from '../kit/store.ts';

const AT = Date.parse('2026-11-20T12:00:00Z');
const HOUR_MS = 3_600_000;

function call(fields: Partial<UsageRow> = {}): UsageRow {
  return {
    time: AT,
    receivedAt: AT,
    id: 'c1',
    token: 'tok_a',
    lineage: 'tok_a',
    owner: 'acme',
    endpoint: 'GET /v1/users',
    method: 'GET',
    status: 200,
    ip: '192.0.2.7',
    country: 'CH',
    asn: 64500,
    networkKind: '',
    latitude: 0,
    longitude: 0,
    accuracyKm: 0,
    userAgent: 'curl/8.5',
    bytes: 0,
    durationMs: 0,
    requestId: '',
    attributes: '',
    source: 'native',
    ...fields,
  };
}

describe('who was touched', () => {
  /** What one more call says: whether the subject's arrival may be judged anew by it. */
  const touches = (news: ReturnType<typeof createNews>, row: UsageRow) => {
    const note = news.note();
    note.see(row);
    return note.touched().length > 0;
  };
  const home = (at: number) => call({ time: AT + at });
  const abroad = (at: number) => call({ time: AT + at, country: 'BR' });

  test('is everybody who calls, while nobody is known to have arrived anywhere: another receiver may know', () => {
    const news = createNews();
    const from = AT + 3 * HOUR_MS;
    expect([touches(news, home(0)), touches(news, call({ time: from }))]).toEqual([true, true]);
    expect(touches(news, call({ time: from + 1 }))).toBe(true);
  });

  test('is who came to a new place, by each call from there and by the first from elsewhere since, and no longer by others', () => {
    const news = createNews();
    const day = 24 * HOUR_MS;
    touches(news, home(0));
    const calls = [
      { row: abroad(day), telling: true },
      { row: abroad(day + 1), telling: true },
      // Late: from before it arrived.
      { row: home(day - 1), telling: false },
      { row: call({ time: AT + day + 2, country: '' }), telling: false },
      { row: home(day + 3), telling: true },
      { row: home(day + 4), telling: false },
      { row: abroad(day + 5), telling: true },
      { row: home(day + 6), telling: false },
      // What came so long after it says nothing of the arrival: only that nothing is known of another.
      { row: home(day + 3 * HOUR_MS), telling: true },
    ];
    expect(calls.map(({ row }) => touches(news, row))).toEqual(calls.map(({ telling }) => telling));
  });

  test('is nobody who failed to authenticate: the first call from elsewhere is the next one', () => {
    const news = createNews();
    const day = 24 * HOUR_MS;
    touches(news, home(0));
    const calls = [abroad(day), call({ time: AT + day + 1, status: 401 }), home(day + 2), home(day + 3)];
    expect(calls.map((row) => touches(news, row))).toEqual([true, false, true, false]);
  });

  test('two places are told apart (an arrival itself is news already), and a memory that was thrown away knows of neither', () => {
    const news = createNews();
    const day = 24 * HOUR_MS;
    touches(news, home(0));
    const calls = [
      abroad(day),
      home(day + 1),
      call({ time: AT + day + 2, country: 'JP' }),
      home(day + 3),
      home(day + 4),
    ];
    expect(calls.map((row) => touches(news, row))).toEqual([true, true, false, true, false]);
    news.forget();
    expect(touches(news, home(day + 5))).toBe(true);
  });
});

describe('what a batch says about its subjects', () => {
  const told = (news: ReturnType<typeof createNews>, ...rows: UsageRow[]) => {
    const note = news.note();
    for (const row of rows) note.see(row);
    return note.news();
  };

  test('a subject is news when it meets an endpoint, a country, a network or a client, and not again', () => {
    const news = createNews();
    expect(told(news, call())).toEqual([['acme', 'tok_a']]);
    const later = { time: AT + 1 };
    expect(told(news, call(later))).toEqual([]);
    for (const fresh of [
      { endpoint: 'GET /v1/keys' },
      { country: 'BR' },
      { asn: 64501 },
      { networkKind: 'vpn' } as const,
      { userAgent: 'python/3' },
    ]) {
      expect(told(news, call({ ...later, ...fresh }))).toEqual([['acme', 'tok_a']]);
      expect(told(news, call({ ...fresh, time: AT + 2 }))).toEqual([]);
    }
    expect(told(news, call({ ...later, userAgent: 'curl/9' }))).toEqual([['acme', 'tok_a']]);
    expect(told(news, call({ time: AT + 3, userAgent: 'curl/9' }))).toEqual([]);
  });

  test('who came to a new place is told apart from other news', () => {
    const news = createNews();
    const arrived = (row: UsageRow) => {
      const note = news.note();
      note.see(row);
      return note.arrived();
    };
    expect(arrived(call())).toHaveLength(1);
    expect(arrived(call({ time: AT + 1, endpoint: 'GET /v1/keys' }))).toEqual([]);
    expect(arrived(call({ time: AT + 2, asn: 64501 }))).toEqual([]);
    // Who failed to authenticate was not the token.
    expect(arrived(call({ time: AT + 3, country: 'BR', status: 401 }))).toEqual([]);
    expect(arrived(call({ time: AT + 3, country: 'BR' }))).toHaveLength(1);
    expect(arrived(call({ time: AT + 4, networkKind: 'vpn' }))).toHaveLength(1);
  });

  test('who was refused is named, whatever is known of them; who failed to authenticate was not the token', () => {
    const news = createNews();
    const refused = (...statuses: number[]) => {
      const note = news.note();
      for (const [i, status] of statuses.entries()) note.see(call({ time: AT + i, status }));
      return note.refused();
    };
    expect(refused(200, 201, 401, 429, 500)).toEqual([]);
    expect(refused(200, 403)).toEqual([['acme', 'tok_a']]);
    expect(refused(404, 404)).toEqual([['acme', 'tok_a']]);
  });

  test('who met one new endpoint and nothing else is told apart: alone that is nothing', () => {
    const news = createNews();
    const single = (...rows: UsageRow[]) => {
      const note = news.note();
      for (const row of rows) note.see(row);
      return note.single();
    };
    expect(single(call())).toEqual([]);
    const [keys, teams, repos] = ['keys', 'teams', 'repos'].map((name, i) =>
      call({ time: AT + 1 + i, endpoint: `GET /v1/${name}` }),
    ) as [UsageRow, UsageRow, UsageRow];
    expect(single(keys)).toEqual([['acme', 'tok_a']]);
    expect(single(teams, call({ time: AT + 9 }))).toEqual([['acme', 'tok_a']]);
    for (const [i, fresh] of [{ country: 'BR' }, { asn: 64501 }, { userAgent: 'python/3' }].entries()) {
      expect(single(call({ time: AT + 20 + i, endpoint: `GET /v2/${i}`, ...fresh }))).toEqual([]);
      expect(
        single(
          call({ time: AT + 30 + i, endpoint: `GET /v3/${i}` }),
          call({ time: AT + 30 + i, endpoint: `GET /v4/${i}` }),
        ),
      ).toEqual([]);
    }
    // Who failed to authenticate met the endpoint, and its place is nobody's.
    expect(single(call({ ...repos, time: AT + 50, status: 401, country: 'JP' }))).toEqual([['acme', 'tok_a']]);
    // Late: it may move a first meeting.
    expect(single(call({ time: AT + 2 }))).toEqual([]);
  });

  test('one new endpoint in each of two requests of a batch is two', () => {
    const part = (news: Part['news'], single: Part['single']): Part => ({
      ...{ id: 'p', sender: 's', source: 'native', events: [], eventLines: [], lifecycle: [], lifecycleLines: [] },
      ...{ rejected: [], times: null, touched: [], arrived: [], owners: [], refused: [], news, single },
      ...{ placed: 0, unfamiliar: [] },
      counts: { accepted: 0, rejected: 0, skipped: 0, errors: [] },
    });
    const [a, b, c] = [['acme', 'a'] as const, ['acme', 'b'] as const, ['acme', 'c'] as const];
    expect(singleIn([part([a, b], [a]), part([c], [c])])).toEqual([a, c]);
    expect(singleIn([part([a, b], [a, b]), part([a, c], [a])])).toEqual([b]);
    expect(singleIn([part([a, b], [a]), part([a], [])])).toEqual([]);
    expect(singleIn([part([a], [a]), part(null, null)])).toBeNull();
  });

  test('calls with coordinates are added up, unless a part was written ahead by a version that did not count them', () => {
    expect([placedIn([]), placedIn([{ placed: 2 }, { placed: 0 }, { placed: 3 }])]).toEqual([0, 5]);
    expect(placedIn([{ placed: 2 }, {}])).toBeNull();
  });

  test('the same lineage under another owner is another subject', () => {
    const news = createNews();
    told(news, call());
    expect(told(news, call({ time: AT + 1, owner: 'globex' }))).toEqual([['globex', 'tok_a']]);
  });

  test('a second try of a batch that may not have been stored is as new as the first', () => {
    const news = createNews();
    expect(told(news, call())).toHaveLength(1);
    expect(told(news, call())).toHaveLength(1);
    told(news, call({ time: AT + HOUR_MS }));
    news.forget();
    expect(told(news, call({ time: AT + 2 * HOUR_MS }))).toHaveLength(1);
  });

  test('a late call may have moved a first meeting: news', () => {
    const news = createNews();
    told(news, call(), call({ time: AT + 5, country: 'BR' }));
    expect(told(news, call({ time: AT + 4 }))).toHaveLength(1);
    expect(told(news, call({ time: AT + 6 }))).toHaveLength(0);
  });

  test('what was not used for over a year is news when it is used again: it may be forgotten', () => {
    const news = createNews();
    const quarter = (start: string, add = 0) => Date.parse(`${start}T00:00:00Z`) + add;
    told(news, call({ time: quarter('2025-07-01') }), call({ time: quarter('2025-07-02'), country: 'BR' }));
    // The endpoint and the network are used all the time, the country at home is not.
    for (const start of ['2025-10-01', '2026-01-01', '2026-04-01', '2026-07-01'])
      expect(told(news, call({ time: quarter(start), country: 'BR' }))).toEqual([]);
    const size = news.size();
    expect(told(news, call({ time: quarter('2026-10-01', -1) }))).toEqual([]);
    expect(told(news, call({ time: quarter('2026-10-02'), country: 'BR' }))).toEqual([]);
    expect(told(news, call({ time: quarter('2027-10-01', -1) }))).toEqual([]);
    // Late by a moment, when the next quarter has begun.
    expect(told(news, call({ time: quarter('2027-10-02') }))).toEqual([]);
    expect(told(news, call({ time: quarter('2027-10-01', -1) }))).toEqual([]);
    expect(news.size()).toBe(size);
    expect(told(news, call({ time: quarter('2028-01-03'), country: 'BR' }))).toHaveLength(1);
    expect(told(news, call({ time: quarter('2028-01-04'), country: 'BR' }))).toEqual([]);
  });

  test('subjects that are too many to name are not named', () => {
    const note = createNews().note();
    for (let i = 0; i < 1_001; i++) note.see(call({ lineage: `tok_${i}` }));
    expect([note.touched().length, note.news(), note.single()]).toEqual([1_001, null, []]);
  });
});

describe('after a restart', () => {
  let store: Store;
  beforeAll(async () => {
    store = await openTestStore();
  });
  afterAll(() => store.close());

  test('nothing that the store has had for a while is news, whatever the addresses and user agents look like', async () => {
    const part = fc.constantFrom('', 'a', 'Ä', '1', '10', '/', ':', '.', 'fe80', ' ');
    const row = fc.record({
      lineage: fc.constantFrom('tok_a', 'tok_b', 'tok_c'),
      owner: fc.constantFrom('acme', 'globex'),
      endpoint: fc.array(part, { maxLength: 3 }).map((parts) => parts.join('')),
      country: fc.constantFrom('', 'CH', 'BR'),
      asn: fc.constantFrom(0, 0, 64500, 4_294_967_295),
      networkKind: fc.constantFrom('' as const, 'hosting' as const, 'vpn' as const, 'egress' as const),
      ip: fc.oneof(
        fc.ipV4(),
        fc.ipV6(),
        fc.array(part, { maxLength: 6 }).map((parts) => parts.join('')),
      ),
      userAgent: fc.array(part, { maxLength: 4 }).map((parts) => parts.join('')),
    });
    const rows = fc.sample(row, { numRuns: 400, seed: 7 }).map((fields, i) => call({ ...fields, id: `r${i}` }));
    await store.insert('events', rows.map(encodeUsage), 'rows');
    const news = createNews();
    await news.warm(store, AT + 1, new AbortController().signal);
    const note = news.note();
    for (const one of rows) note.see({ ...one, time: AT + 1 });
    expect(note.news()).toEqual([]);
    expect(note.touched()?.length).toBeGreaterThan(3);
    expect(news.size()).toBeGreaterThan(100);
    const cold = createNews();
    await cold.warm(store, AT, new AbortController().signal);
    expect(cold.size()).toBe(0);
    // To the detectors' memory of a year nothing is known that was used so long ago.
    const afterYears = news.note();
    for (const one of rows.slice(0, 50)) afterYears.see({ ...one, time: AT + 16 * 30 * 24 * HOUR_MS });
    expect(afterYears.news()?.length).toBeGreaterThan(3);
    const other = news.note();
    other.see(call({ time: AT + 1, country: 'JP' }));
    expect(other.news()).toHaveLength(1);
  });

  test('what was used again within the last hours after more than a year is news still: nobody may have judged it', async () => {
    const year = 366 * 24 * HOUR_MS;
    const uses: Readonly<Record<string, readonly number[]>> = {
      // As in every quarter since.
      constant: [0, 1, 2, 3, 4, 5].map((quarter) => AT - (quarter * year) / 4),
      // Once long ago, and again: some hours ago, or just now.
      before: [AT - 1.5 * year, AT - 5 * HOUR_MS],
      again: [AT - 1.5 * year, AT - HOUR_MS],
      // For the first time this quarter, and since.
      young: [AT - 20 * 24 * HOUR_MS, AT - HOUR_MS],
    };
    const calls = Object.entries(uses).flatMap(([name, times]) =>
      times.map((time) => call({ time, id: `${name} ${time}`, lineage: `tok_${name}` })),
    );
    await store.insert('events', calls.map(encodeUsage), 'uses');
    const news = createNews();
    await news.warm(store, AT - 2 * HOUR_MS, new AbortController().signal);
    const note = news.note();
    for (const name of Object.keys(uses)) note.see(call({ time: AT + 1, lineage: `tok_${name}` }));
    expect(note.news()).toEqual([['acme', 'tok_again']]);
  });
});
