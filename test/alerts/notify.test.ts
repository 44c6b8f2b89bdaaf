import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type LogEntry, stateAfter } from '../../alerts/history.ts';
import { channelsFor, notifyReason, planNotifications, type Told } from '../../alerts/notify.ts';
import type { AlertState } from '../../alerts/policy.ts';
import type { AlertsConfig } from '../../config/index.ts';
import type { Severity } from '../../core/index.ts';
import { HOUR, MINUTE, T0 } from './samples.ts';

const state = (fields: Partial<AlertState> = {}): AlertState => ({
  id: 'al_1',
  subjectKey: 'lineage:tok_9f2',
  subject: { token: 'tok_9f2', lineage: 'tok_9f2', owner: 'acme' },
  status: 'open',
  resolvedAs: null,
  severity: 'high',
  detectors: ['a'],
  openedAt: T0,
  lastSeen: T0,
  overBar: true,
  held: null,
  ...fields,
});
const told = (severity: Severity, ...detectors: string[]): Told => ({ severity, detectors });

describe('why a channel hears of an alert', () => {
  it.each<[string, Told | null, AlertState | null, AlertState, string | null]>([
    ['a new alert', null, null, state(), 'first'],
    ['the same again', told('high', 'a'), state(), state(), null],
    ['more severe than told', told('medium', 'a'), state({ severity: 'medium' }), state(), 'worse'],
    ['another detector', told('high', 'a'), state(), state({ detectors: ['a', 'b'] }), 'grew'],
    [
      'worse and another detector',
      told('low', 'a'),
      state({ severity: 'low' }),
      state({ detectors: ['a', 'b'] }),
      'worse',
    ],
    ['a channel that was not told yet', null, state({ severity: 'low' }), state(), 'first'],
    [
      'acknowledged and another detector',
      told('high', 'a'),
      state({ status: 'acknowledged' }),
      state({ status: 'acknowledged', detectors: ['a', 'b'] }),
      null,
    ],
    [
      'acknowledged and worse',
      told('high', 'a'),
      state({ status: 'acknowledged' }),
      state({ status: 'acknowledged', severity: 'critical' }),
      'worse',
    ],
    [
      'acknowledged, not told, no worse',
      null,
      state({ status: 'acknowledged' }),
      state({ status: 'acknowledged' }),
      null,
    ],
  ])('%s', (_, before, was, now, reason) => {
    expect(notifyReason(before, was, now)).toBe(reason);
  });
});

const channels: AlertsConfig['channels'] = {
  soc: { type: 'webhook', url: 'https://soc.example/hook', secrets: [], allowPrivateNetwork: false },
  slack: { type: 'slack', url: 'https://hooks.slack.example/x', allowPrivateNetwork: false },
};
const withRoutes = (...routes: AlertsConfig['routes'][number][]) => ({ channels, routes });

describe('where an alert goes', () => {
  it.each<[string, Pick<AlertsConfig, 'channels' | 'routes'>, AlertState, string[]]>([
    ['without routes, medium goes everywhere', withRoutes(), state({ severity: 'medium' }), ['soc', 'slack']],
    ['without routes, low goes nowhere', withRoutes(), state({ severity: 'low' }), []],
    [
      'the first matching route decides',
      withRoutes({ match: { severity: ['high'] }, channels: ['slack'] }, { match: {}, channels: ['soc'] }),
      state(),
      ['slack'],
    ],
    [
      'the next route takes the rest',
      withRoutes({ match: { severity: ['high'] }, channels: ['slack'] }, { match: {}, channels: ['soc'] }),
      state({ severity: 'medium' }),
      ['soc'],
    ],
    [
      'a route without severities does not take low',
      withRoutes({ match: {}, channels: ['soc'] }),
      state({ severity: 'low' }),
      [],
    ],
    [
      'a route that names low takes low',
      withRoutes({ match: { severity: ['low'] }, channels: ['soc'] }),
      state({ severity: 'low' }),
      ['soc'],
    ],
    [
      'what the alert budget holds back goes where low goes',
      withRoutes({ match: {}, channels: ['soc'] }, { match: { severity: ['low'] }, channels: ['slack'] }),
      state({ overBar: false, held: { detector: 'a', needed: 5, time: T0 } }),
      ['slack'],
    ],
    ['by owner', withRoutes({ match: { owner: ['other'] }, channels: ['soc'] }), state(), []],
    [
      'by any of its detectors',
      withRoutes({ match: { detector: ['b'] }, channels: ['soc'] }),
      state({ detectors: ['a', 'b'] }),
      ['soc'],
    ],
    ['each channel once', withRoutes({ match: {}, channels: ['soc', 'soc'] }), state(), ['soc']],
  ])('%s', (_, config, alert, expected) => {
    expect(channelsFor(alert, config)).toEqual(expected);
  });
});

let next = 0;
function entry(fields: Partial<LogEntry> = {}): LogEntry {
  next += 1;
  return {
    recordedAt: T0,
    alert: 'al_1',
    kind: 'opened',
    subjectKey: 'lineage:tok_9f2',
    subject: { token: 'tok_9f2', lineage: 'tok_9f2', owner: 'acme' },
    detection: `det_${next}`,
    detectionTime: T0,
    severity: 'high',
    status: 'open',
    note: '',
    by: '',
    resolvedAs: null,
    needed: 0,
    detector: 'a',
    detectedAt: T0,
    ...fields,
  };
}
const grew = (recordedAt: number, fields: Partial<LogEntry> = {}) =>
  entry({ kind: 'grew', status: '', recordedAt, detectedAt: recordedAt, detectionTime: recordedAt, ...fields });
const said = (kind: 'acknowledged' | 'resolved', recordedAt: number) =>
  entry({ kind, status: kind, recordedAt, detection: '', detector: '', detectedAt: 0 });

const soc = { channels: { soc: channels.soc! }, routes: [] };
const plan = (history: LogEntry[], options: Partial<Parameters<typeof planNotifications>[2]> = {}) =>
  planNotifications(history, soc, { since: 0, maxAgeMs: null, wasSent: () => true, ...options }).map(({ job }) => job);
const reasons = (history: LogEntry[], options: Partial<Parameters<typeof planNotifications>[2]> = {}) =>
  plan(history, options).map((job) => job.reason);

describe('the messages that an alert’s log calls for', () => {
  it('says first, grew, worse and resolved once each, and nothing for more of the same', () => {
    const history = [
      entry({ severity: 'medium' }),
      grew(T0 + 1, { severity: 'medium' }),
      grew(T0 + 2, { severity: 'medium', detector: 'b' }),
      grew(T0 + 3, { severity: 'high', detector: 'b' }),
      grew(T0 + 4, { severity: 'low', detector: 'b' }),
      said('resolved', T0 + 5),
    ];
    expect(reasons(history)).toEqual(['first', 'grew', 'worse', 'resolved']);
    expect(new Set(plan(history).map((job) => job.id)).size).toBe(4);
  });

  it('counts what one run found as one message', () => {
    expect(reasons([entry(), grew(T0, { detector: 'b' }), grew(T0, { severity: 'critical' })])).toEqual(['first']);
  });

  it('stays silent on an acknowledged alert until it is worse than ever', () => {
    const history = [entry(), said('acknowledged', T0 + 1), grew(T0 + 2, { detector: 'b' })];
    expect(reasons(history)).toEqual(['first']);
    expect(reasons([...history, grew(T0 + 3, { severity: 'critical' })])).toEqual(['first', 'worse']);
  });

  it('says resolved only to a channel that was sent something', () => {
    const history = [entry(), said('resolved', T0 + 1)];
    expect(reasons(history, { wasSent: () => false })).toEqual(['first']);
    expect(reasons([entry({ severity: 'low' }), said('resolved', T0 + 1)])).toEqual([]);
  });

  it('pages nobody for findings that were old when they were found', () => {
    const old = entry({ detectionTime: T0 - 2 * HOUR });
    expect(reasons([old], { maxAgeMs: HOUR })).toEqual([]);
    expect(reasons([old], { maxAgeMs: null })).toEqual(['first']);
    expect(reasons([old, grew(T0 + MINUTE)], { maxAgeMs: HOUR })).toEqual(['first']);
  });

  it('does not send past steps again, but remembers that they were told', () => {
    expect(reasons([entry(), grew(T0 + HOUR, { detector: 'b' })], { since: T0 + 1 })).toEqual(['grew']);
  });

  it('is nothing while the alert budget holds an alert back, and the page when a finding comes over its bar', () => {
    const weak = entry({ severity: 'medium', needed: 4.8 });
    const alsoWeak = grew(T0 + 1, { severity: 'high', detector: 'b', needed: 6.2 });
    expect(reasons([weak, alsoWeak])).toEqual([]);
    expect(reasons([weak, alsoWeak, grew(T0 + 2)])).toEqual(['first']);
    // From then on it is an alert like any other.
    expect(reasons([weak, grew(T0 + 2), grew(T0 + 3, { detector: 'b', needed: 7 })])).toEqual(['first', 'grew']);
    expect(reasons([weak, said('acknowledged', T0 + 1), grew(T0 + 2)])).toEqual(['first']);
    expect(reasons([weak, said('resolved', T0 + 1)])).toEqual([]);
  });

  it('is the same in any order of the log, with any entry twice', () => {
    const history = [
      entry({ severity: 'low' }),
      grew(T0, { severity: 'medium', needed: 5 }),
      grew(T0, { severity: 'medium', needed: 5.5 }),
      entry({ severity: 'medium' }),
      grew(T0 + 1, { detector: 'b' }),
      said('acknowledged', T0 + 2),
      grew(T0 + 3, { severity: 'critical' }),
      said('resolved', T0 + 4),
    ];
    fc.assert(
      fc.property(fc.shuffledSubarray([...history, ...history], { minLength: 16 }), (shuffled) => {
        expect(plan(shuffled)).toEqual(plan(history));
        expect(stateAfter(shuffled)).toEqual(stateAfter(history));
      }),
    );
    expect(stateAfter(history)).toMatchObject({ status: 'resolved', severity: 'critical', detectors: ['a', 'b'] });
  });
});
