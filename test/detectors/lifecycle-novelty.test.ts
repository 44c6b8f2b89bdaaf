import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest';
import { createLogger, type Detection } from '../../core/index.ts';
import { openJudge, scopeOf } from '../../detectors/index.ts';
import { strangeness } from '../../detectors/lifecycle-novelty.ts';
import { UNSAID } from '../../queues/index.ts';
import { ACTS, ORIGINS_OF_STEPS, type Store } from '../../store/index.ts';
import { openTestStore, rows } from '../kit/store.ts';
import { ABROAD_IP, asPrinted, DAY, HOME_IP, HOUR, judged, MINUTE, NEARBY_IP, taught } from './kit.ts';

/** A Monday noon, long ago. */
const NOW = Date.UTC(2026, 9, 12, 12);
const FROM = NOW - 14 * DAY;

/** Step is what a test says of one step; the rest is as every day. */
interface Step {
  readonly at: number;
  readonly owner: string;
  readonly action?: string;
  readonly ip?: string;
  readonly client?: string;
}

function stepEvent({ at, owner, action = 'issued', ip = HOME_IP, client = 'Mozilla' }: Step): object {
  const time = new Date(at).toISOString();
  const agent = client === '' ? {} : { user_agent: `${client}/5.0` };
  return {
    time,
    token: `tok_${owner}_${at}`,
    owner,
    action,
    ...(ip === '' ? {} : { ip }),
    ...agent,
    id: `${owner} ${at} ${action}`,
  };
}

/** Two steps a day at work, from the office. */
const everyDay = (owner: string, rest: Partial<Step> = {}, to = NOW): object[] =>
  Array.from({ length: Math.floor((to - FROM) / DAY) * 2 }, (_, i) =>
    stepEvent({ at: FROM + Math.floor(i / 2) * DAY + (i % 2) * 3 * HOUR, owner, ...rest }),
  );

const about = (detections: readonly Detection[], owner: string) =>
  detections.filter(({ detector, subject }) => detector === 'lifecycle-novelty' && subject.owner === owner);
const pages = (detections: readonly Detection[]) => detections.filter(({ severity }) => severity !== 'low');

let store: Store;
let found: readonly Detection[];
beforeAll(async () => {
  store = await openTestStore();
  ({ detections: found } = await judged(store, [
    ...['stolen', 'home', 'silent', 'expected', 'malicious', 'corrected', 'quiet'].flatMap((owner) => everyDay(owner)),
    ...everyDay('bare', { ip: '', client: '' }),
    stepEvent({ at: NOW + MINUTE, owner: 'stolen', ip: ABROAD_IP, client: 'curl' }),
    stepEvent({ at: NOW + 9 * HOUR, owner: 'stolen', action: 'revoked', ip: ABROAD_IP, client: 'curl' }),
    stepEvent({ at: NOW + MINUTE, owner: 'home', ip: NEARBY_IP }),
    stepEvent({ at: NOW + MINUTE, owner: 'silent', action: 'expired', ip: ABROAD_IP, client: 'curl' }),
    stepEvent({ at: NOW + MINUTE, owner: 'young', ip: ABROAD_IP, client: 'curl' }),
    stepEvent({ at: NOW + MINUTE, owner: 'bare', ip: HOME_IP, client: 'Mozilla' }),
    stepEvent({ at: NOW + 10 * HOUR, owner: 'corrected', ip: NEARBY_IP }),
    ...['expected', 'malicious', 'corrected'].map((owner) =>
      stepEvent({ at: NOW + MINUTE, owner, ip: ABROAD_IP, client: 'curl' }),
    ),
  ]));
});
afterAll(() => store.close());

describe('who administers an owner’s tokens', () => {
  it('is told at the first step that a stranger takes, with the token, the address and the client', () => {
    const [first] = pages(about(found, 'stolen'));
    expect(first?.window).toEqual({ from: NOW + MINUTE, to: NOW + MINUTE });
    expect(first?.subject).toEqual({ token: null, lineage: null, owner: 'stolen' });
    expect(first?.title).toBe('Somebody new issued tokens of stolen: Brazil (BR), client curl');
    expect(first?.summary).toContain(`from Brazil (BR) (${ABROAD_IP}), where nobody ever did`);
    expect(first?.evidence).toMatchObject([{ token: `tok_stolen_${NOW + MINUTE}`, ip: ABROAD_IP, client: 'curl' }]);
  });

  it('is one episode: what the stranger does later that day is no second page of the same grade', () => {
    const anchors = about(found, 'stolen').map(({ severity }) => severity);
    expect(new Set(anchors).size).toBe(anchors.length);
  });

  it('is nothing where one new network comes alone, where a token ends by itself, or where nobody is known yet', () => {
    for (const owner of ['home', 'silent', 'young', 'quiet'])
      expect([owner, pages(about(found, owner))]).toEqual([owner, []]);
  });

  it('begins with the first step that says where it came from', () => {
    expect(about(found, 'bare')).toEqual([]);
  });

  it('is in the view for analysts as the steps say', async () => {
    const made = await rows(
      store,
      `SELECT origin.1 AS facet, owner, origin.2 AS value, min(time) AS first_seen, max(time) AS last_seen, count() AS steps
       FROM lifecycle ARRAY JOIN ${ORIGINS_OF_STEPS} AS origin WHERE action IN ${ACTS} AND origin.2 != ''
       GROUP BY facet, owner, value ORDER BY facet, owner, value`,
    );
    expect(made.length).toBeGreaterThan(10);
    expect(await rows(store, 'SELECT * FROM lifecycle_origins ORDER BY facet, owner, value')).toEqual(made);
  });
});

test('the view of origins is open to analysts', async () => {
  const row = await asPrinted(store, "SELECT count() AS origins FROM lifecycle_origins WHERE owner = 'stolen'");
  expect(Number(row.origins)).toBeGreaterThan(3);
});

describe('what people say of a stranger', () => {
  const again = (owner: string, at: number) => [
    stepEvent({ at, owner, ip: ABROAD_IP, client: 'curl' }),
    stepEvent({ at: at + MINUTE, owner, ip: ABROAD_IP, client: 'curl' }),
  ];

  it('expected, until a date: no news until then, and news again afterwards', async () => {
    const lesson = { verdict: 'expected', until: NOW + 2 * DAY } as const;
    await taught(store, 'al_expected', pages(about(found, 'expected')), lesson, NOW + HOUR);
    // The finding names a country; network and client came with it.
    const words =
      "SELECT facet, value, toUnixTimestamp64Milli(first_seen) AS first, amount FROM feedback WHERE owner = 'expected'";
    const met =
      "SELECT facet, value, toUnixTimestamp64Milli(min(first_seen)) AS first, sum(steps) AS amount FROM rollup_origins WHERE owner = 'expected'";
    const lately = await rows(store, `${met} GROUP BY facet, value HAVING first >= ${NOW} ORDER BY facet`);
    expect(lately.map(({ facet }) => facet)).toEqual(['client', 'country', 'network']);
    expect(await rows(store, `${words} ORDER BY facet`)).toEqual(lately);
    const { detections: before } = await judged(store, again('expected', NOW + DAY));
    expect(about(before, 'expected')).toEqual([]);
    const { detections: after } = await judged(store, again('expected', NOW + 3 * DAY));
    expect(pages(about(after, 'expected')).length).toBeGreaterThan(0);
    expect(about(after, 'expected')[0]?.summary).toContain('were expected only until a time that is over');
  });

  it('is looked at with whoever is named, though to the receivers it is nothing new; of others nothing is asked', async () => {
    const asked: unknown[] = [];
    const reads: Pick<Store, 'read'> = {
      read: (query, params) => {
        if (query.name === 'lifecycle_origin_values') asked.push(params.owners);
        return store.read(query, params);
      },
    };
    const judge = openJudge({ store: reads as Store, config: { detectors: {} }, log: createLogger('error') });
    const at = NOW + 3 * DAY;
    const look = (owners: string[], unfamiliar: string[] | null) => {
      const batch = { receivedAt: at, minTime: at, maxTime: at + HOUR, usage: 0, lifecycle: 2 };
      return judge(scopeOf([{ ...UNSAID, ...batch, owners, unfamiliar }], at));
    };
    expect(about(await look(['expected', 'quiet', 'home'], []), 'expected')).not.toEqual([]);
    await look(['quiet', 'home'], ['home']);
    await look(['quiet', 'home'], []);
    await look(['quiet', 'home'], null);
    expect(asked).toEqual([['expected'], ['home'], ['quiet', 'home']]);
  });

  it('malicious, and then expected: the later word takes the place of the first, also for what only that one reached', async () => {
    const page = pages(about(found, 'corrected'));
    await taught(store, 'al_corrected', page, { verdict: 'malicious' }, NOW + 12 * HOUR);
    await taught(store, 'al_corrected', page, { verdict: 'expected' }, NOW + 13 * HOUR);
    const said = await rows(
      store,
      `SELECT facet, value, groupArray(verdict) AS verdicts FROM (SELECT * FROM feedback WHERE owner = 'corrected' ORDER BY recorded_at)
       GROUP BY facet, value ORDER BY facet, value`,
    );
    expect(said.map(({ verdicts }) => verdicts)).toEqual(said.map(() => ['malicious', 'expected']));
    // The network that was met ten hours later, beside that of the stranger.
    expect(said.map(({ facet }) => facet)).toEqual(['client', 'country', 'network', 'network']);
  });

  it('malicious: it is never a habit, and the next step from there is news again, as its SQL says', async () => {
    await taught(store, 'al_malicious', pages(about(found, 'malicious')), { verdict: 'malicious' }, NOW + HOUR);
    const { detections } = await judged(store, again('malicious', NOW + DAY));
    const [page] = pages(about(detections, 'malicious'));
    expect(page?.summary).toContain('were found malicious before');
    expect(page?.window.from).toBe(NOW + DAY);
    const row = await asPrinted(store, page?.sql ?? '');
    expect(Number(row.steps)).toBe(page?.observed.steps);
  });
});

describe('strangeness', () => {
  const surprise = fc.double({ min: 0.01, max: 20, noNaN: true });

  test('of both at once is that of a product of chances, less what choosing costs; of one alone less than its own', () => {
    fc.assert(
      fc.property(surprise, surprise, (place, client) => {
        // The chance that both happen, or that one does that is as rare: its share of all false alarms bounds it.
        const both = 0.6 * 10 ** -strangeness(place, client);
        expect(Math.log10(both)).toBeCloseTo(Math.log10(0.6) - Math.max(0, place + client + Math.log10(0.6)), 9);
        expect(strangeness(place, 0)).toBeLessThanOrEqual(place);
        expect(strangeness(0, client)).toBeLessThanOrEqual(client);
        expect(strangeness(place + 1, client)).toBeGreaterThanOrEqual(strangeness(place, client));
      }),
    );
  });

  test('keeps its promise: of looks with independent chances, no more than one in 10^s reach s', () => {
    // Exactly: of a place of chance p and a client of chance q, four outcomes.
    fc.assert(
      fc.property(
        fc.double({ min: 0.0001, max: 0.5, noNaN: true }),
        fc.double({ min: 0.0001, max: 0.5, noNaN: true }),
        (p, q) => {
          const outcomes = [
            { chance: p * q, surprise: strangeness(-Math.log10(p), -Math.log10(q)) },
            { chance: p * (1 - q), surprise: strangeness(-Math.log10(p), 0) },
            { chance: (1 - p) * q, surprise: strangeness(0, -Math.log10(q)) },
          ];
          for (const { surprise } of outcomes) {
            const reached = outcomes
              .filter((one) => one.surprise >= surprise)
              .reduce((sum, { chance }) => sum + chance, 0);
            expect(reached).toBeLessThanOrEqual(10 ** -surprise * (1 + 1e-9));
          }
        },
      ),
    );
  });
});
