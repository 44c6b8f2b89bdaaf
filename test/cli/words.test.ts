import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { backtestReport } from '../../cli/backtest.ts';
import { importReport } from '../../cli/import.ts';
import { withFormat } from '../../cli/sql.ts';
import { alertReport } from '../../cli/ui/alert-report.ts';
import { pageReport } from '../../cli/ui/page-report.ts';
import { progressLine } from '../../cli/ui/progress.ts';
import { reportError } from '../../cli/ui/report-error.ts';
import { duration, plain, table } from '../../cli/ui/words.ts';
import { plural, TokenwatchError, toApiAlert } from '../../core/index.ts';
import { alertOf, detection, issuedTokens } from '../alerts/samples.ts';

describe('what goes to a terminal', () => {
  test('cannot move its cursor, whatever an attacker put into a log', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what must not be there.
        return !/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/.test(plain(text));
      }),
    );
    expect(plain('a\x1b[31mb\rc\td\n')).toBe('a[31mbc\td\n');
  });

  test('is lined up in columns', () => {
    expect(
      table([
        ['id', 'what'],
        ['al_1', 'x'],
        ['a', 'longer'],
      ]),
    ).toBe('id    what\nal_1  x\na     longer\n');
    expect(table([])).toBe('');
  });

  test.each([
    [900, '900 ms'],
    [4_200, '4.2 s'],
    [200_000, '3 min 20 s'],
    [7_500_000, '2 h 5 min'],
  ])('%d milliseconds are %s', (ms, text) => expect(duration(ms)).toBe(text));

  test('counts with its noun', () => {
    expect([plural(1, 'line'), plural(1234, 'line')]).toEqual(['1 line', '1,234 lines']);
  });
});

describe('progress', () => {
  const work = { done: 25, total: 100, count: 5_000, unit: 'lines', note: '3 rejected' };

  test('on a terminal is a bar with the rate, what was refused, and the time left', () => {
    expect(progressLine('importing', work, 10_000, { bar: true, ended: false })).toBe(
      'importing ██████░░░░░░░░░░░░░░░░░░  25 %  5,000 lines, 500/s, 3 rejected, 30.0 s left',
    );
  });

  test('elsewhere is a plain line', () => {
    expect(progressLine('importing', work, 10_000, { bar: false, ended: false })).toBe(
      'importing  25 %  5,000 lines, 500/s, 3 rejected, 30.0 s left',
    );
  });

  test('at the end says how long it took', () => {
    expect(progressLine('importing', { ...work, done: 100 }, 10_000, { bar: true, ended: true })).toBe(
      'importing  5,000 lines, 500/s, 3 rejected, in 10.0 s',
    );
  });

  test('of unknown length promises no end', () => {
    expect(progressLine('importing', { ...work, total: null }, 10_000, { bar: true, ended: false })).toBe(
      'importing  5,000 lines, 500/s, 3 rejected',
    );
  });
});

describe('an error', () => {
  const error = new TokenwatchError('store_down', 'transient', 'ClickHouse does not answer', {
    fix: 'Start it.',
    cause: new Error('ECONNREFUSED'),
  });

  test('is its message, the fix and the code, without a stack', () => {
    expect(reportError(error, false)).toBe('error: ClickHouse does not answer\n  Start it.\n  (store_down)\n');
    expect(reportError('odd', false)).toBe('error: odd\n');
  });

  test('has its stack and cause when debugging', () => {
    expect(reportError(error, true)).toMatch(/store_down[\s\S]*at [\s\S]*caused by: Error: ECONNREFUSED/);
  });
});

describe('a query', () => {
  test.each([
    ['SELECT 1', 'SELECT 1\nFORMAT TSV'],
    ['SELECT 1 ; ', 'SELECT 1\nFORMAT TSV'],
    ['SELECT 1 -- why', 'SELECT 1 -- why\nFORMAT TSV'],
    ['SELECT 1 format JSON;', 'SELECT 1 format JSON'],
    ["SELECT 'format x' AS a", "SELECT 'format x' AS a\nFORMAT TSV"],
  ])('%j is sent as %j', (query, sent) => expect(withFormat(query, 'TSV')).toBe(sent));
});

test('an import ends with what became of every line, and where the refused ones are', () => {
  const errors = Array.from({ length: 12 }, (_, i) => ({
    file: 'a.log',
    line: i + 1,
    code: 'bad_json' as const,
    message: 'no JSON',
  }));
  const report = importReport({
    accepted: 1_500,
    rejected: 12,
    skipped: 3,
    skippedBy: { no_token: 1, service_call: 2 },
    lines: 1_515,
    seconds: 2,
    errors,
  });
  const lines = report.trimEnd().split('\n');
  expect(lines[0]).toBe(
    "1,515 lines in 2.0 s: 1,500 accepted, 12 rejected, 3 skipped (2 made by AWS services on somebody's behalf, 1 without a token)",
  );
  expect(lines[1]).toBe('  a.log:1: no JSON (bad_json)');
  expect(lines).toHaveLength(12);
  expect(lines[11]).toContain('rejected_events');
});

test('a backtest counts every line that it read, and says why it passed lines over', () => {
  const counts = { accepted: 1_500, rejected: 12, skipped: 3, skippedBy: { service_call: 2, no_token: 1 } };
  const report = backtestReport({ ...counts, alerts: [], detections: [], errors: [], span: null }, 2_000);
  expect(report.split('\n')[0]).toBe(
    "1,515 lines read, 12 rejected, 3 skipped (2 made by AWS services on somebody's behalf, 1 without a token) in 2.0 s",
  );
});

describe('an alert whose token issued others', () => {
  const alert = toApiAlert({ ...alertOf(detection()), issued: issuedTokens(3) });

  test('says in every report what else must be revoked', () => {
    const line =
      '  It has issued 3 tokens since (1 used, 1 revoked): tok_child_0 (acme-jobs), tok_child_1 (acme-jobs) - revoke them too.\n';
    expect(pageReport(alert)).toContain(line);
    expect(alertReport(alert)).toContain(
      `${line}    tok_child_0  acme-jobs  issued 2026-11-22T01:02:03.123Z  last used 2026-11-22T02:02:03.123Z
    tok_child_1  acme-jobs  issued 2026-11-22T01:03:03.123Z  not used yet
    tok_child_2  acme-jobs  issued 2026-11-22T01:04:03.123Z  revoked 2026-11-22T02:02:03.123Z\n`,
    );
  });

  test('and nothing where it issued none', () => {
    const alone = toApiAlert(alertOf(detection()));
    expect(pageReport(alone) + alertReport(alone)).not.toContain('issued');
  });
});
