import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest';
import type { Detection } from '../../core/index.ts';
import { churnRateDetector } from '../../detectors/churn-rate.ts';
import { combinedSignals } from '../../detectors/combined-signals.ts';
import { scopeOf } from '../../detectors/contract.ts';
import { endpointSpread } from '../../detectors/endpoint-spread.ts';
import { EXAMPLE_END, exampleFacts } from '../../detectors/examples.ts';
import {
  activityAsSaid,
  churnAsSaid,
  feedbackFor,
  isBurstExpected,
  isExpected,
  valueKey,
  valuesAsSaid,
  type Word,
  wordEnd,
} from '../../detectors/feedback.ts';
import type { MetValue } from '../../detectors/met-facts.ts';
import type { NoveltyFacts } from '../../detectors/novelty.ts';
import { enabledDetectors, toDetection } from '../../detectors/run.ts';
import { encodeUsage, FACETS_OF_CALLS, type Store, type UsageRow } from '../../store/index.ts';
import { openTestStore, rows } from '../kit/store.ts';
import { DAY, HOUR, MINUTE, taught } from './kit.ts';

const START = Date.UTC(2026, 9, 1);

const word = (fields: Partial<Word> = {}): Word => ({
  ...{ alert: 'al_1', owner: 'acme', lineage: 'tok_1', facet: 'endpoint', value: 'a', verdict: 'malicious' },
  ...{ from: 100, to: 200, amount: 3, endsAt: null, ...fields },
});

const anyWord = fc
  .record({
    alert: fc.constantFrom('al_1', 'al_2'),
    facet: fc.constantFrom('endpoint', 'country'),
    value: fc.constantFrom('a', 'b', 'c', 'd'),
    verdict: fc.constantFrom('expected', 'malicious'),
    from: fc.nat(100 * HOUR),
    lasting: fc.nat(10 * HOUR),
    amount: fc.nat(50),
    endsAt: fc.option(fc.nat(200 * HOUR)),
  })
  .map(({ lasting, ...rest }) => word({ ...rest, to: rest.from + lasting }));

const anyValue = fc
  .record({
    facet: fc.constantFrom('endpoint', 'country'),
    value: fc.constantFrom('a', 'b', 'c', 'd'),
    met: fc.nat(200 * HOUR),
    calls: fc.integer({ min: 1, max: 100 }),
    firstStatus: fc.constantFrom(200, 404),
  })
  .map((value) => ({ ...value, owner: 'acme', lineage: 'tok_1' }));

const anyValues = fc
  .uniqueArray(anyValue, { selector: valueKey })
  .map((values) => values.sort((a, b) => a.met - b.met || (a.value < b.value ? -1 : 1)));

describe('values as people said', () => {
  it('are untouched where nobody said anything', () => {
    fc.assert(fc.property(anyValues, (values) => void expect(valuesAsSaid(values, [], new Map())).toEqual(values)));
  });

  it('hold no malicious value that was not used again, and every other one once, by first meeting', () => {
    fc.assert(
      fc.property(anyValues, fc.uniqueArray(anyWord, { selector: valueKey }), fc.boolean(), (values, words, later) => {
        const wordOf = new Map(words.map((one) => [valueKey(one), one]));
        const again = new Map(
          words.flatMap((one) => {
            const end = wordEnd(one);
            return later && end !== null ? [[valueKey(one), { met: end + 1, firstStatus: 200 }] as const] : [];
          }),
        );
        const said = valuesAsSaid(values, words, again);
        const left = values.filter((value) => {
          const one = wordOf.get(valueKey(value));
          return one?.verdict !== 'malicious' || again.has(valueKey(value));
        });
        expect(said.map(valueKey).sort()).toEqual(left.map(valueKey).sort());
        expect(said.map(({ met }) => met)).toEqual(said.map(({ met }) => met).sort((a, b) => a - b));
        for (const value of said) {
          const one = wordOf.get(valueKey(value));
          if (one === undefined) continue;
          const end = wordEnd(one);
          // News again exactly when it was used after the word had ended.
          expect(value.said?.again ?? false).toBe(again.has(valueKey(value)));
          if (value.said?.again) expect(value.met).toBeGreaterThan(end ?? Number.POSITIVE_INFINITY);
          else if (isExpected(value)) expect(value.met).toBeLessThanOrEqual(end ?? Number.POSITIVE_INFINITY);
        }
      }),
    );
  });
});

describe('activity as people said', () => {
  const activity = fc
    .uniqueArray(fc.nat(200), { minLength: 1, maxLength: 60 })
    .chain((hours) =>
      fc
        .array(fc.integer({ min: 1, max: 500 }), { minLength: hours.length, maxLength: hours.length })
        .map((calls) => ({ hours: hours.sort((a, b) => a - b).map((hour) => hour * HOUR), calls })),
    );
  const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0);

  it('loses at most the malicious calls, in the hours of the abuse only', () => {
    fc.assert(
      fc.property(activity, fc.array(anyWord, { maxLength: 6 }), (before, words) => {
        const after = activityAsSaid(before, words);
        const malicious = words.filter(({ verdict }) => verdict === 'malicious');
        const lost = sum(before.calls) - sum(after.calls);
        expect(lost).toBeGreaterThanOrEqual(-1e-6);
        // An hour with less than half a call left goes with it.
        const most = sum(malicious.map(({ amount }) => amount)) + 0.5 * (before.hours.length - after.hours.length);
        expect(lost).toBeLessThanOrEqual(most + 1e-6);
        expect(after.hours).toEqual([...after.hours].sort((a, b) => a - b));
        const first = Math.min(...malicious.map(({ from }) => from));
        const last = Math.max(...malicious.map(({ to }) => to));
        for (const [i, hour] of before.hours.entries())
          if (malicious.length === 0 || hour + HOUR <= first || hour > last)
            expect(after.calls[after.hours.indexOf(hour)]).toBe(before.calls[i]);
      }),
    );
  });

  it('counts a call once, though its endpoint, country, network and client are all malicious', () => {
    const abuse = { from: 10 * HOUR, to: 11 * HOUR - 1, amount: 40 };
    const words = ['endpoint', 'country', 'network', 'client'].map((facet) => word({ facet, ...abuse }));
    expect(activityAsSaid({ hours: [9, 10, 11].map((hour) => hour * HOUR), calls: [100, 100, 100] }, words)).toEqual({
      hours: [9, 10, 11].map((hour) => hour * HOUR),
      calls: [100, 60, 100],
    });
  });
});

describe('a value that is found malicious after it was used honestly', () => {
  const LATER = START + 12 * DAY;
  let store: Store;
  const usage = (hours: readonly number[], country: string) =>
    hours.map((time) =>
      encodeUsage({
        ...{ time, receivedAt: time, id: `${country} ${time}`, token: 'tok_1', lineage: 'tok_1', owner: 'acme' },
        ...{ endpoint: 'GET /v1', method: 'GET', status: 200, ip: '', country, asn: 0, networkKind: '' },
        ...{ latitude: 0, longitude: 0, accuracyKm: 0, userAgent: '', bytes: 1, durationMs: 1, requestId: '' },
        ...{ attributes: '', source: 'native' },
      }),
    );
  const hourly = (from: number, to: number) =>
    Array.from({ length: Math.ceil((to - from) / HOUR) }, (_, i) => from + i * HOUR);
  const found = (at: number): Detection => ({
    ...{ id: `det_${at}`, detector: 'geo-novelty', subject: { token: 'tok_1', lineage: 'tok_1', owner: 'acme' } },
    ...{ severity: 'high', title: '', summary: '', window: { from: at, to: at }, observed: {}, expected: {} },
    ...{ surprise: 5, state: 'known', evidence: [], sql: '' },
  });
  const abroad = async () => {
    const { words } = await feedbackFor(store, scopeOf([], 0));
    return words.filter(({ facet, value }) => facet === 'country' && value === 'BR');
  };
  beforeAll(async () => {
    store = await openTestStore();
    // At home every hour, for two days of them abroad as well, which is expected for three days.
    await store.insert('events', usage(hourly(START, LATER), 'DE'), 'home');
    await store.insert('events', usage(hourly(START + 2 * DAY + MINUTE, START + 4 * DAY), 'BR'), 'trip');
    await taught(store, 'al_1', [found(START + 2 * DAY)], { verdict: 'expected', until: START + 5 * DAY }, START);
    // And much later a thief.
    await store.insert('events', usage(hourly(LATER + MINUTE, LATER + 5 * HOUR), 'BR'), 'thief');
    await taught(store, 'al_2', [found(LATER + MINUTE)], { verdict: 'malicious' }, LATER + 6 * HOUR);
  });
  afterAll(() => store.close());

  it('loses the use that the word is about, and keeps the honest one', async () => {
    const [abuse] = await abroad();
    expect(abuse).toMatchObject({
      verdict: 'malicious',
      from: LATER + MINUTE,
      to: LATER + 4 * HOUR + MINUTE,
      amount: 5,
    });
    const hours = [...hourly(START, LATER), ...hourly(LATER, LATER + 5 * HOUR)];
    const used = { hours, calls: hours.map((hour) => (hour >= START + 2 * DAY && hour < START + 4 * DAY ? 2 : 1)) };
    const left = activityAsSaid(used, await abroad());
    expect(left).toEqual({ hours: used.hours.slice(0, -5), calls: used.calls.slice(0, -5) });
  });

  it('and used again is malicious from the first abuse on', async () => {
    await store.insert('events', usage(hourly(LATER + 3 * DAY, LATER + 3 * DAY + 2 * HOUR), 'BR'), 'again');
    await taught(store, 'al_3', [found(LATER + 3 * DAY)], { verdict: 'malicious' }, LATER + 4 * DAY);
    const last = LATER + 3 * DAY + HOUR;
    expect(await abroad()).toMatchObject([{ alert: 'al_3', from: LATER + MINUTE, to: last, amount: 7 }]);
  });
});

describe('a value that was forgotten and used again', () => {
  const NOW = Date.UTC(2026, 9, 12, 12);
  const LONG_AGO = Date.UTC(2025, 7, 11);
  let store: Store;
  const usage = (lineage: string, country: string, times: readonly number[]) =>
    times.map((time) =>
      encodeUsage({
        ...{ time, receivedAt: time, id: `${country} ${time}`, token: lineage, lineage, owner: 'acme' },
        ...{ endpoint: 'GET /v1', method: 'GET', status: 200, ip: '', country, asn: 0, networkKind: '' },
        ...{ latitude: 0, longitude: 0, accuracyKm: 0, userAgent: '', bytes: 1, durationMs: 1, requestId: '' },
        ...{ attributes: '', source: 'native' },
      }),
    );
  const found = (lineage: string): Detection => ({
    ...{ id: `det_${lineage}`, detector: 'geo-novelty', subject: { token: lineage, lineage, owner: 'acme' } },
    ...{ severity: 'high', title: '', summary: '', window: { from: NOW, to: NOW + HOUR }, observed: {}, expected: {} },
    ...{ surprise: 5, state: 'known', evidence: [], sql: '' },
  });
  const wordsOf = async (lineage: string) => {
    const { ofLineage } = await feedbackFor(store, scopeOf([], 0));
    return ofLineage.get(`acme\n${lineage}`) ?? [];
  };
  const weekly = (from: number, to: number) =>
    Array.from({ length: Math.ceil((to - from) / (7 * DAY)) }, (_, i) => from + i * 7 * DAY);
  beforeAll(async () => {
    store = await openTestStore();
    for (const lineage of ['tok_1', 'tok_2', 'tok_3', 'tok_4']) {
      // At home every week, abroad long ago and again now; the third one slept since.
      const home = lineage === 'tok_3' ? LONG_AGO : NOW;
      await store.insert('events', usage(lineage, 'DE', weekly(LONG_AGO - 60 * DAY, home)), `${lineage} home`);
      const abroad = [LONG_AGO - 9 * DAY, LONG_AGO, NOW, NOW + MINUTE, NOW + HOUR];
      await store.insert('events', usage(lineage, 'BR', abroad), `${lineage} abroad`);
    }
    await taught(store, 'al_1', [found('tok_1')], { verdict: 'malicious' }, NOW + 2 * HOUR);
    await taught(store, 'al_2', [found('tok_2')], { verdict: 'expected' }, NOW + 2 * HOUR);
    // And another alert in the same quarter, days later.
    const later = { ...found('tok_4'), window: { from: NOW + 5 * DAY, to: NOW + 5 * DAY } };
    await taught(store, 'al_4', [later], { verdict: 'expected' }, NOW + 6 * DAY);
    await taught(store, 'al_3', [found('tok_3')], { verdict: 'malicious' }, NOW + 2 * HOUR);
  });
  afterAll(() => store.close());

  it('is malicious in its use since, not in the honest one before', async () => {
    const words = await wordsOf('tok_1');
    expect(words).toMatchObject([
      { facet: 'country', value: 'BR', verdict: 'malicious', from: NOW, to: NOW + HOUR, amount: 3 },
    ]);
  });

  it('is expected from now on', async () => {
    expect(await wordsOf('tok_2')).toMatchObject([
      { facet: 'country', value: 'BR', verdict: 'expected', endsAt: null },
    ]);
  });

  it('is nothing that another alert of the quarter is about', async () => {
    expect(await wordsOf('tok_4')).toEqual([]);
  });

  it('of a token that was asleep nothing was forgotten, and the word is not about what it knew', async () => {
    expect(await wordsOf('tok_3')).toEqual([]);
  });
});

describe('churn as people said', () => {
  const [example] = churnRateDetector.examples;
  const facts = example?.facts as Parameters<typeof churnAsSaid>[0] & { recent: { time: number; token: string }[] };
  const params = enabledDetectors({}).find(({ detector }) => detector.id === 'churn-rate')?.params ?? {};
  const first = facts.recent[0]?.time ?? 0;
  const last = facts.recent.at(-1)?.time ?? 0;
  const burst = { facet: 'steps-hour', value: 'issued', lineage: '', from: first, to: last, amount: 60 };
  const pages = (said: unknown) =>
    churnRateDetector.judge(said, params, 0).filter(({ severity }) => severity !== 'low').length;
  /** The owner a week on: `count` tokens within ten minutes again. */
  const weekOn = (count: number) => ({
    ...facts,
    hours: [...facts.hours, { hour: first - (first % HOUR), steps: facts.recent.length }],
    recent: Array.from({ length: count }, (_, i) => ({ time: first + 7 * DAY + i * 1000, token: `later_${i}` })),
  });

  it('an expected burst does not raise again while it is expected, nor one as full; a much fuller one does', () => {
    const expected = [word({ ...burst, verdict: 'expected', endsAt: first + 30 * DAY })];
    expect(pages(facts)).toBeGreaterThan(0);
    expect(pages(churnAsSaid(facts, expected, last))).toBe(0);
    expect(pages(churnAsSaid(weekOn(60), expected, first + 7 * DAY))).toBe(0);
    expect(pages(churnAsSaid(weekOn(200), expected, first + 7 * DAY))).toBeGreaterThan(0);
    expect(pages(churnAsSaid(weekOn(60), expected, first + 31 * DAY))).toBeGreaterThan(0);
  });

  it('a malicious burst is left out: as many raise again, where they would have become a habit', () => {
    const said = churnAsSaid(weekOn(60), [word({ ...burst })], first + 7 * DAY);
    expect(said.hours.every(({ hour }) => hour + HOUR <= first)).toBe(true);
    expect(pages(weekOn(60))).toBe(0);
    expect(pages(said)).toBeGreaterThan(0);
  });

  it('steps of a burst that was spoken of count for no later one', () => {
    const recent = [...facts.recent, { time: last + 5 * HOUR, token: 'one' }];
    for (const verdict of ['expected', 'malicious'] as const)
      expect(churnAsSaid({ ...facts, recent }, [word({ ...burst, verdict })], last).recent).toEqual([recent.at(-1)]);
  });

  it('a drift over three days that is expected excuses as many over three days, and no single day as full', async () => {
    const [start, history, days] = [first - 24 * DAY, 21, 3];
    const spread = (day: number, steps: number) =>
      Array.from({ length: steps }, (_, i) => start + day * DAY + (i * 8 * HOUR) / steps);
    const ordinary = Array.from({ length: history }, (_, day) => spread(day, 1)).flat();
    const drift = Array.from({ length: days }, (_, day) => spread(history + day, 8)).flat();
    const drifting = {
      ...facts,
      firstSeen: start,
      hours: ordinary.map((hour) => ({ hour: hour - (hour % HOUR), steps: 1 })),
      recent: drift.map((time, i) => ({ time, token: `tok_${i}` })),
    };
    const findings = churnRateDetector.judge(drifting, params, 0);
    const found = findings.filter(({ expected }) => expected.window === 'three days');
    expect(found.length).toBeGreaterThan(0);

    const store = await openTestStore();
    const detections = found.map((finding) => toDetection('churn-rate', finding));
    await taught(store, 'al_drift', detections, { verdict: 'expected' }, drift.at(-1) ?? 0);
    const { words } = await feedbackFor(store, scopeOf([], 0));
    await store.close();
    const { expected } = churnAsSaid(drifting, words, drift.at(-1) ?? 0);
    const steps = Math.max(...found.map(({ observed }) => Number(observed.tokens)));
    expect(expected).toEqual([{ steps, windowMs: 3 * DAY, until: null }]);
    expect(isBurstExpected(expected, 0, 3 * DAY, steps)).toBe(true);
    expect(isBurstExpected(expected, 0, DAY, steps)).toBe(false);
    const burst = { ...drifting, recent: spread(history + 10, steps).map((time, i) => ({ time, token: `new_${i}` })) };
    expect(pages({ ...burst, expected })).toBeGreaterThan(0);
  });

  it('a day of steps that is expected allows no such hour', () => {
    const day = [{ steps: 60, windowMs: DAY, until: null }];
    expect(isBurstExpected(day, 0, DAY, 75)).toBe(true);
    expect(isBurstExpected(day, 0, DAY, 76)).toBe(false);
    expect(isBurstExpected(day, 0, HOUR, 60)).toBe(false);
  });
});

describe('an attacker who teaches', () => {
  const spread = enabledDetectors({}).find(({ detector }) => detector.id === 'endpoint-spread')?.params ?? {};
  const combined = enabledDetectors({}).find(({ detector }) => detector.id === 'combined-signals')?.params ?? {};
  const DAYS = 30;

  const met = (value: string, at: number): MetValue => ({
    ...{ value, met: at, calls: 1, failed: 0, firstStatus: 200, peersBefore: 0, peersRecent: [] },
    ...{ fleetBefore: 2, peers: [], newcomers: [] },
  });
  /** A cron token of three endpoints with four weeks of history, and endpoints that it met at `times` after them. */
  const cron = (times: readonly number[], stranger = false): NoveltyFacts => {
    const facts = exampleFacts({ endpoint: { known: 3, fresh: 0 } });
    const end = Math.max(EXAMPLE_END, ...times) + HOUR;
    const extra: number[] = [];
    for (let hour = (facts.activeHours.at(-1) ?? 0) + HOUR; hour < end; hour += HOUR) extra.push(hour);
    const place = stranger ? [met('AS64500', times[0] ?? 0)] : [];
    const client = stranger ? [met('curl', times[0] ?? 0)] : [];
    return {
      ...facts,
      activeHours: [...facts.activeHours, ...extra],
      hourlyCalls: [...facts.hourlyCalls, ...extra.map(() => 150)],
      values: {
        ...facts.values,
        endpoint: [...facts.values.endpoint, ...times.map((at, i) => met(`GET /v1/poison/${i}`, at))],
        network: [...facts.values.network, ...place],
        client: [...facts.values.client, ...client],
      },
    };
  };
  const daily = Array.from({ length: DAYS }, (_, day) => EXAMPLE_END + day * DAY + 3 * HOUR);
  const strike = EXAMPLE_END + DAYS * DAY;
  const twice = daily.flatMap((at) => [at, at + 12 * HOUR]);
  const paging = (findings: readonly { severity: string; window: { to: number } }[]) =>
    findings.filter(({ severity }) => severity !== 'low').map(({ window }) => window.to);

  /** The fewest new endpoints within ten minutes from the token's own place that page, after what was `taught`. */
  const fewest = (taught: readonly number[], said: (facts: NoveltyFacts) => NoveltyFacts = (facts) => facts) => {
    for (let count = 1; count <= 100; count++) {
      const burst = Array.from({ length: count }, (_, i) => strike + (i * 9 * MINUTE) / count);
      if (paging(endpointSpread.judge(said(cron([...taught, ...burst])), spread, strike)).length > 0) return count;
    }
    return Number.POSITIVE_INFINITY;
  };

  it('from a place of their own is caught with the first endpoint', () => {
    expect(paging(combinedSignals.judge(cron(daily, true), combined, EXAMPLE_END))[0]).toBe(daily[0]);
  });

  it('from the token’s own place is never paged with one or two endpoints a day, and is bounded: the figures of docs/detectors.md', () => {
    expect(paging(endpointSpread.judge(cron(daily), spread, EXAMPLE_END))).toEqual([]);
    expect(paging(endpointSpread.judge(cron(twice), spread, EXAMPLE_END))).toEqual([]);
    expect({ clean: fewest([]), poisoned: fewest(daily), twice: fewest(twice) }).toEqual({
      clean: 5,
      poisoned: 8,
      twice: 9,
    });
  });

  it('has taught nothing once what they met is found malicious', () => {
    const words = daily.map((at, i) => word({ value: `GET /v1/poison/${i}`, from: at, to: at, amount: 1 }));
    const said = (facts: NoveltyFacts): NoveltyFacts => {
      const values = facts.values.endpoint.map((value) => ({
        ...{ ...value, facet: 'endpoint', owner: 'acme', lineage: 'tok_1' },
      }));
      const burst = values.filter(({ met: at }) => at >= strike);
      const before = values.filter(({ met: at }) => at < strike);
      return {
        ...facts,
        values: { ...facts.values, endpoint: [...valuesAsSaid(before, words, new Map()), ...burst] },
      };
    };
    expect(fewest(daily, said)).toBe(fewest([]));
  });
});

describe('the facets of calls', () => {
  let store: Store;
  beforeAll(async () => {
    store = await openTestStore();
  });
  afterAll(() => store.close());

  test('are those of the rollup', async () => {
    const call = (fields: Partial<UsageRow>, i: number) =>
      encodeUsage({
        ...{ time: 1.7e12 + i, receivedAt: 1.7e12, id: `e${i}`, token: 'tok_1', lineage: 'tok_1', owner: 'acme' },
        ...{
          endpoint: 'GET /v1',
          method: 'GET',
          status: 200,
          ip: '',
          country: '',
          asn: 0,
          networkKind: '',
          latitude: 0,
          longitude: 0,
          accuracyKm: 0,
          userAgent: '',
          bytes: 1,
        },
        ...{ durationMs: 1, requestId: '', attributes: '', source: 'native', ...fields },
      });
    const calls = [
      { ip: '203.0.113.9', country: 'DE' },
      { ip: '2001:db8::1' },
      { asn: 64500, ip: '198.51.100.1' },
      { ip: '192.0.2.1', networkKind: 'egress', country: 'FR' },
      { networkKind: 'vpn', asn: 3 },
      {},
    ] satisfies Partial<UsageRow>[];
    const agents = ['app/1.0 (x)', 'curl', ''];
    const all = calls.flatMap((fields) => agents.map((userAgent) => ({ ...fields, userAgent })));
    await store.insert('events', all.map(call), '');
    const pairs = await rows(
      store,
      `SELECT DISTINCT pair.1 AS facet, pair.2 AS value FROM events ARRAY JOIN ${FACETS_OF_CALLS} AS pair WHERE pair.2 != '' ORDER BY facet, value`,
    );
    expect(pairs.length).toBeGreaterThan(6);
    expect(pairs).toEqual(await rows(store, 'SELECT DISTINCT facet, value FROM rollup_facets ORDER BY facet, value'));
  });
});
