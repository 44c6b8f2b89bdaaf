import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FOLD_WINDOW_MS as exported, foldDetections } from '../../alerts/index.ts';
import { type AlertState, type Finding, FOLD_WINDOW_MS, findingOf, fold } from '../../alerts/policy.ts';
import { SEVERITIES } from '../../core/index.ts';
import { alertOf, detection, geoDetection, HOUR, MINUTE, ownerDetection, T0 } from './samples.ts';

describe('folding detections into alerts', () => {
  it('makes one alert of what several detectors find about one token, and lets the worst of them speak', () => {
    const alert = alertOf(detection(), geoDetection());
    expect(alert).toMatchObject({
      status: 'open',
      severity: 'critical',
      title: 'tok_9f2 was used from Brazil for the first time',
      detectors: ['endpoint-spread', 'geo-novelty'],
      openedAt: T0,
      lastSeen: T0 + 2 * MINUTE,
    });
    expect(alert.summary).toContain('Also: tok_9f2 called 6 endpoints it never touched.');
    expect(alert.detections.map((d) => d.id)).toEqual(['det_1', 'det_2']);
  });

  it('keeps the alert when the token is rotated, and names the token seen last', () => {
    const alert = alertOf(
      detection(),
      detection({ id: 'det_9', at: T0 + HOUR, subject: { token: 'tok_new', lineage: 'tok_9f2', owner: 'acme' } }),
    );
    expect(alert.subject).toEqual({ token: 'tok_new', lineage: 'tok_9f2', owner: 'acme' });
  });

  it('keeps tokens of two owners apart that have the same id', () => {
    const theirs = detection({ id: 'det_9', subject: { token: 'tok_9f2', lineage: 'tok_9f2', owner: 'globex' } });
    const owners = foldDetections([detection(), theirs]).map(({ subject }) => subject.owner);
    expect(owners.sort()).toEqual(['acme', 'globex']);
  });

  it('keeps an owner and its tokens apart', () => {
    expect(foldDetections([detection(), ownerDetection()])).toHaveLength(2);
    const owner = alertOf(ownerDetection());
    expect(owner.subject).toEqual({ token: null, lineage: null, owner: 'acme' });
  });

  it.each([
    ['at once', 0, 1],
    ['just within the window', FOLD_WINDOW_MS, 1],
    ['just beyond the window', FOLD_WINDOW_MS + 1, 2],
    ['late, within the window before it', -FOLD_WINDOW_MS, 1],
    ['late, before the window', -FOLD_WINDOW_MS - 1, 2],
  ])('a second finding %s gives the right number of alerts', (_, offset, count) => {
    const first = foldDetections([detection()]);
    expect(foldDetections([detection({ id: 'det_b', at: T0 + offset })], first)).toHaveLength(count);
  });

  it('opens a new alert after the old one was resolved, and leaves the resolved one alone', () => {
    const resolved = { ...alertOf(detection()), status: 'resolved' as const };
    const alerts = foldDetections([detection({ id: 'det_b', at: T0 + MINUTE })], [resolved]);
    expect(alerts.map((a) => a.status)).toEqual(['resolved', 'open']);
    expect(alerts[0]).toEqual(resolved);
  });

  it('keeps an acknowledged alert acknowledged when it takes another finding', () => {
    const acknowledged = { ...alertOf(detection()), status: 'acknowledged' as const };
    const alerts = foldDetections([geoDetection()], [acknowledged]);
    expect(alerts).toHaveLength(1);
    expect(alerts[0]).toMatchObject({ status: 'acknowledged', severity: 'critical' });
  });

  it('takes a detection once, however often it is told of it', () => {
    const once = foldDetections([detection()]);
    expect(foldDetections([detection(), detection()], once)).toEqual(once);
    expect(exported).toBe(24 * HOUR);
  });
});

const finding: fc.Arbitrary<Finding> = fc
  .record({
    n: fc.nat(),
    detector: fc.constantFrom('endpoint-spread', 'geo-novelty', 'churn-rate'),
    subject: fc.constantFrom(
      { token: 'a', lineage: 'a', owner: 'o' },
      { token: 'a2', lineage: 'a', owner: 'o' },
      { token: 'b', lineage: 'b', owner: 'o' },
      { token: null, lineage: null, owner: 'o' },
    ),
    severity: fc.constantFrom(...SEVERITIES),
    surprise: fc.double({ min: 0, max: 20, noNaN: true }),
    time: fc.integer({ min: 0, max: 6 * 24 * 60 }).map((minutes) => T0 + minutes * MINUTE),
  })
  .map(({ n, ...rest }) => ({ id: `det_${n}`, ...rest }));
const findings = fc.uniqueArray(finding, { selector: (f) => f.id, maxLength: 40 });

/** runAll folds stretch by stretch, each run on what the runs before left, as the worker does. */
function runAll(runs: readonly (readonly Finding[])[]) {
  const states = new Map<string, AlertState>();
  const held = new Map<string, string[]>();
  for (const run of runs) {
    const { changes, touched } = fold(run, [...states.values()]);
    for (const state of touched) states.set(state.id, state);
    for (const change of changes) held.set(change.alert, [...(held.get(change.alert) ?? []), change.finding.id]);
  }
  return { states, held };
}

/** cutAt splits a list at the given places. */
function cutAt<T>(items: readonly T[], places: readonly number[]): T[][] {
  const bounds = [0, ...[...places].map((p) => Math.min(p, items.length)).sort((a, b) => a - b), items.length];
  return bounds.slice(1).map((end, i) => items.slice(bounds[i], end));
}

describe('folding, whatever comes', () => {
  it('loses no finding and doubles none, in any order and any cut into runs', () => {
    fc.assert(
      fc.property(findings, fc.array(fc.nat(40), { maxLength: 6 }), (all, places) => {
        const { held, states } = runAll(cutAt(all, places));
        expect([...held.values()].flat().sort()).toEqual(all.map((f) => f.id).sort());
        expect([...held.keys()].sort()).toEqual([...states.keys()].sort());
      }),
    );
  });

  it('gives the same alerts, ids and all, however a stretch of event time is cut into runs', () => {
    fc.assert(
      fc.property(findings, fc.array(fc.nat(40), { maxLength: 6 }), (all, places) => {
        const inOrder = [...all].sort((a, b) => a.time - b.time || (a.id < b.id ? -1 : 1));
        expect(runAll(cutAt(inOrder, places))).toEqual(runAll([inOrder]));
      }),
    );
  });

  it('within one fold window, gives the same alerts of the same findings in any order of runs', () => {
    const close = findings.map((all) => all.map((f) => ({ ...f, time: T0 + ((f.time - T0) % FOLD_WINDOW_MS) })));
    fc.assert(
      fc.property(close, fc.array(fc.nat(40), { maxLength: 6 }), (all, places) => {
        const partition = ({ held }: ReturnType<typeof runAll>) => [...held.values()].map((ids) => ids.sort()).sort();
        const shuffled = runAll(cutAt(all, places));
        const together = runAll([all]);
        expect(partition(shuffled)).toEqual(partition(together));
        const figures = (states: Map<string, AlertState>) =>
          [...states.values()]
            .map(({ subjectKey, severity, openedAt, lastSeen, detectors }) => ({
              subjectKey,
              severity,
              openedAt,
              lastSeen,
              detectors: [...detectors].sort(),
            }))
            .sort((a, b) => (a.subjectKey < b.subjectKey ? -1 : 1));
        expect(figures(shuffled.states)).toEqual(figures(together.states));
      }),
    );
  });

  it('reduces a detection to the end of its window', () => {
    expect(findingOf(detection()).time).toBe(T0);
  });
});
