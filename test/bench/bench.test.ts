import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readArguments } from '../../bench/arguments.ts';
import { planAttacks } from '../../bench/attacks.ts';
import { bodiesOf } from '../../bench/bodies.ts';
import type { Figure } from '../../bench/contract.ts';
import { failed, markdownReport, type Report, textReport } from '../../bench/report.ts';
import { covered, median, quantile, random } from '../../bench/statistics.ts';
import { benchFleet } from '../../fixtures/index.ts';

describe('the statistics', () => {
  test('quantile and median are values that split the sorted list where they say', () => {
    expect(quantile([4, 1, 3, 2], 0.5)).toBe(2);
    expect(median([4, 1, 3, 2])).toBe(2.5);
    fc.assert(
      fc.property(
        fc.array(fc.double({ noNaN: true }), { minLength: 1 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (values, q) => {
          const found = quantile(values, q);
          expect(values).toContain(found);
          expect(values.filter((value) => value <= found).length).toBeGreaterThanOrEqual(Math.floor(q * values.length));
          expect(values.filter((value) => value < found).length).toBeLessThanOrEqual(Math.ceil(q * values.length));
        },
      ),
    );
  });

  test('covered counts time once, however many queries run in it', () => {
    const span = fc.tuple(fc.integer({ min: 0, max: 60 }), fc.integer({ min: 0, max: 20 }));
    fc.assert(
      fc.property(fc.array(span), (drawn) => {
        const spans = drawn.map(([from, length]) => [from, from + length] as const);
        const ticks = new Set(spans.flatMap(([from, to]) => Array.from({ length: to - from }, (_, i) => from + i)));
        expect(covered(spans)).toBe(ticks.size);
      }),
    );
  });
});

describe('the command line', () => {
  test('takes cases and options, and refuses a case that there is not', () => {
    expect(readArguments(['delay', '--quick', '--json', 'out.json'], ['delay', 'facts'])).toEqual({
      cases: ['delay'],
      quick: true,
      markdown: false,
      json: 'out.json',
      help: false,
    });
    expect(() => readArguments(['dely'], ['delay'])).toThrow('the cases are: delay');
  });
});

describe('the report', () => {
  const report = (figures: readonly Figure[]): Report => ({
    at: '2026-11-22T04:00:00.000Z',
    quick: false,
    machine: {
      cpu: 'A | B',
      cores: 2,
      memoryBytes: 8 * 2 ** 30,
      loadBefore: 0.12,
      platform: 'linux x64',
      node: '20.19.0',
      chdb: '3.4.0',
      engine: '26.7',
      redis: '7.0.15',
    },
    cases: [{ id: 'ingest', title: 'events', seconds: 3, result: { figures, notes: ['five rounds'] }, error: null }],
  });
  const ratio: Figure = {
    name: 'ratio',
    value: 0.39,
    unit: '',
    spread: [0.3, 0.5],
    bar: { kind: 'at least', value: 0.4 },
  };

  test('says which bars were met, on a terminal and as the table of the docs', () => {
    const both = report([ratio, { name: 'memory', value: 812.4, unit: 'MB', bar: { kind: 'below', value: 1500 } }]);
    expect(textReport(both)).toMatch(/ratio +0\.39 +0\.3 to 0\.5 +at least 0\.4: MISSED/);
    expect(textReport(both)).toMatch(/memory +812 MB +below 1,500 MB: met/);
    expect(markdownReport(both)).toContain('| ingest | ratio | 0.39 | 0.3 to 0.5 | at least 0.4: MISSED |');
    expect(markdownReport(both)).toContain('- ingest: five rounds');
  });

  test('fails for a lost event or a broken case, and not for a slow machine', () => {
    expect(failed(report([ratio]))).toBe(false);
    expect(failed(report([{ name: 'stored', value: 9, unit: '', bar: { kind: 'exactly', value: 10 } }]))).toBe(true);
    const [broken] = report([]).cases;
    expect(failed({ ...report([]), cases: [{ ...broken!, result: null, error: 'no engine' }] })).toBe(true);
  });
});

describe('what is sent', () => {
  const endMs = Date.UTC(2026, 9, 1);
  const fleet = benchFleet({ seed: 4, endMs, tokens: 100 });

  test('bodies hold every event once, in order', () => {
    const events = [...fleet.events({ toMs: fleet.startMs + 86_400_000 })];
    const bodies = [...bodiesOf(events, 7)];
    const lines = bodies.flatMap((body) => body.toString('utf8').trimEnd().split('\n'));
    expect(lines.map((line) => JSON.parse(line))).toEqual(events);
    expect(bodies.slice(0, -1).every((body) => body.toString('utf8').trimEnd().split('\n').length === 7)).toBe(true);
  });

  test('an attack calls what its token never called, from one place, with ids of its own', () => {
    const plan = planAttacks(fleet.tokens, random(1), 6);
    const history = [...plan.watch(fleet.events({ toMs: fleet.liveMs }))];
    const attacks = plan.pick();
    expect(attacks.map(({ kind }) => kind)).toEqual(['walk', 'country', 'walk', 'country', 'walk', 'country']);
    expect(new Set(attacks.map(({ token }) => token)).size).toBe(6);
    for (const { token, kind, body } of attacks) {
      const sent = body(endMs)
        .toString('utf8')
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line));
      const before = history.filter((event) => event.token === token && 'path' in event);
      const known = new Set(before.map((event) => ('path' in event ? `${event.method} ${event.path}` : '')));
      expect(sent).toHaveLength(kind === 'walk' ? 12 : 3);
      for (const event of sent) expect(known.has(`${event.method} ${event.path}`)).toBe(false);
      expect(new Set(sent.map((event) => event.id)).size).toBe(sent.length);
      expect(before.some((event) => event.ip === sent[0].ip)).toBe(kind === 'walk');
    }
  });
});
