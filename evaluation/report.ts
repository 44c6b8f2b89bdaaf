import { plural } from '../core/index.ts';
import type { ScenarioOutcome } from './outcome.ts';
import type { PlainRule } from './plain-rule.ts';
import type { RealInput } from './real-input.ts';
import { LOOK_LEVELS } from './replay.ts';
import { scenarioName } from './scenarios.ts';
import {
  brokenLevels,
  type Delays,
  type Excess,
  f1Of,
  type Rate,
  type Scores,
  type Share,
  SLOW_KINDS,
  scoresOf,
} from './scores.ts';

/** Report is one run of the command: what a results file holds. */
export interface Report {
  readonly quick: boolean;
  readonly outcomes: readonly ScenarioOutcome[];
  /** The plain rule that the outcomes were compared with. */
  readonly rule: PlainRule;
  /** Null when no real log was given. */
  readonly real: RealInput | null;
}

/** Table is a heading, columns and rows, to be set for a terminal or as Markdown. */
export interface Table {
  readonly title: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** GOALS are what the detectors are held to. */
export const GOALS = {
  recall: 0.95,
  recallOfKind: 0.85,
  precision: 0.9,
  falsePages: 5,
  fastMs: 60_000,
  slowMs: 4 * 3_600_000,
} as const;

/** shareText writes a share as `0.97 (0.95 to 0.98)`. */
export function shareText({ share, interval, hits, of }: Share): string {
  if (share === null) return '-';
  return `${share.toFixed(3)} (${interval.low.toFixed(3)} to ${interval.high.toFixed(3)}), ${hits} of ${of}`;
}

/** rateText writes a rate as `1.2 (0.4 to 2.8)`. */
export function rateText({ rate, interval, pages }: Rate): string {
  if (rate === null) return '-';
  return `${rate.toFixed(1)} (${interval.low.toFixed(1)} to ${interval.high.toFixed(1)}), ${plural(pages, 'page')}`;
}

/** durationText writes milliseconds as people say them. */
export function durationText(ms: number | null): string {
  if (ms === null) return '-';
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;
  if (ms < 3_600_000) return `${(ms / 60_000).toFixed(ms < 600_000 ? 1 : 0)} min`;
  return `${(ms / 3_600_000).toFixed(1)} h`;
}

function verdict(value: number | null, met: (value: number) => boolean): string {
  return value === null ? '-' : met(value) ? 'met' : 'missed';
}

const median = ({ medianMs, p90Ms }: Delays) => `${durationText(medianMs)}, nine in ten within ${durationText(p90Ms)}`;

/** tablesOf are the figures of a report: overall by fleet, by kind, calibration, and the plain rule beside. */
export function tablesOf(report: Report): Table[] {
  const fleets = [...new Set(report.outcomes.map(({ scenario }) => scenario.tokens))].sort((a, b) => a - b);
  const scores = [
    ...fleets.map((tokens) => ({
      name: `${tokens.toLocaleString('en-US')} tokens`,
      scores: scoresOf(report.outcomes.filter(({ scenario }) => scenario.tokens === tokens)),
    })),
    ...(fleets.length > 1 ? [{ name: 'all', scores: scoresOf(report.outcomes) }] : []),
  ];
  const all = scoresOf(report.outcomes);
  return [overall(scores), byKind(all), besideThePlainRule(all, report.rule), calibration(all)];
}

function overall(scores: readonly { name: string; scores: Scores }[]): Table {
  const rows: [string, string, (one: Scores) => string, (one: Scores) => string][] = [
    [
      'recall of attacks',
      `at least ${GOALS.recall}`,
      ({ detectors }) => shareText(detectors.recall),
      ({ detectors }) => verdict(detectors.recall.share, (value) => value >= GOALS.recall),
    ],
    [
      'precision of paging alerts',
      `at least ${GOALS.precision}`,
      ({ detectors }) => shareText(detectors.precision),
      ({ detectors }) => verdict(detectors.precision.share, (value) => value >= GOALS.precision),
    ],
    [
      'false pages a week per 1,000 tokens',
      `at most ${GOALS.falsePages}`,
      ({ detectors }) => rateText(detectors.falsePages),
      ({ detectors }) => verdict(detectors.falsePages.rate, (value) => value <= GOALS.falsePages),
    ],
    [
      'time to alert, fast attacks',
      'median under 60 s',
      ({ fast }) => median(fast),
      ({ fast }) => verdict(fast.medianMs, (value) => value < GOALS.fastMs),
    ],
    [
      'time to alert, slow attacks',
      'median under 4 h',
      ({ slow, byKind }) => `${median(slow)} (${slowKindsText(byKind)})`,
      ({ slow }) => verdict(slow.medianMs, (value) => value < GOALS.slowMs),
    ],
  ];
  return {
    title: 'Overall (95 % intervals)',
    columns: ['', 'goal', ...scores.map(({ name }) => name)],
    rows: rows.map(([name, goal, text, met]) => [
      name,
      goal,
      ...scores.map(({ scores }) => `${text(scores)}: ${met(scores)}`),
    ]),
  };
}

/** The median of each slow kind alone. */
function slowKindsText(byKind: Scores['byKind']): string {
  return byKind
    .filter(({ kind }) => SLOW_KINDS.includes(kind))
    .map(({ kind, delays }) => `${kind} ${durationText(delays.medianMs)}`)
    .join(', ');
}

function byKind({ byKind, fast, slow }: Scores): Table {
  const paceOf = (name: string, { medianMs, p90Ms }: Delays, goalMs: number) => [
    name,
    ...['', ''],
    durationText(medianMs),
    durationText(p90Ms),
    verdict(medianMs, (value) => value < goalMs),
    '',
  ];
  return {
    title: `Recall and time to alert by kind of attack (goal: recall of at least ${GOALS.recallOfKind} each)`,
    columns: [
      'attack',
      'recall',
      '',
      'first event to alert: median',
      'nine in ten within',
      'under 60 s (slow kinds: 4 h)',
      'median since it could be told and was judged',
    ],
    rows: [
      ...byKind
        .filter(({ recall }) => recall.of > 0)
        .map(({ kind, recall, delays, afterTelling }) => [
          kind,
          shareText(recall),
          verdict(recall.share, (value) => value >= GOALS.recallOfKind),
          durationText(delays.medianMs),
          durationText(delays.p90Ms),
          verdict(delays.medianMs, (value) => value < (SLOW_KINDS.includes(kind) ? GOALS.slowMs : GOALS.fastMs)),
          durationText(afterTelling.medianMs),
        ]),
      paceOf('all fast attacks', fast, GOALS.fastMs),
      paceOf('all slow attacks', slow, GOALS.slowMs),
    ],
  };
}

/** ruleText says a plain rule in words. */
export function ruleText({ endpoints, country, steps }: PlainRule): string {
  return (
    `more than ${endpoints} new endpoints in an hour${country ? ', or any new country' : ''}, ` +
    `or more than ${steps} tokens issued or revoked in an hour`
  );
}

function besideThePlainRule({ detectors, plain }: Scores, rule: PlainRule): Table {
  return {
    title: 'Beside a plain rule',
    columns: ['', 'recall', 'precision', 'F1', 'false pages a week per 1,000 tokens'],
    rows: [['Tokenwatch', detectors] as const, [ruleText(rule), plain] as const].map(([name, quality]) => [
      name,
      shareText(quality.recall),
      shareText(quality.precision),
      f1Of(quality).toFixed(3),
      rateText(quality.falsePages),
    ]),
  };
}

function calibration({ calibration }: Scores): Table {
  return {
    title: 'Calibration: looks at harmless subjects that reached a surprise, as a share of all looks',
    columns: [
      'detector',
      'looks',
      ...LOOK_LEVELS.map((level) => `${level} (chance: ${(10 ** -level).toFixed(level)})`),
      'compatible with chance',
    ],
    rows: calibration.map((row) => [
      row.detector,
      row.looks.toLocaleString('en-US'),
      ...row.shares.map(({ share, hits }) => (share === null ? '-' : `${share.toPrecision(2)} (${hits})`)),
      row.looks === 0 ? '-' : promiseText(brokenLevels(row)),
    ]),
  };
}

function promiseText(broken: readonly Excess[]): string {
  if (broken.length === 0) return 'yes';
  return `no: above it at ${broken.map(({ level, chance }) => `${level} (${chanceText(chance)})`).join(' and ')}`;
}

/** chanceText writes a small chance as `p = 0.037`. */
export function chanceText(chance: number): string {
  return chance < 0.0001 ? 'p < 0.0001' : `p = ${chance.toPrecision(2)}`;
}

/** textTable sets a table for a terminal. */
export function textTable({ title, columns, rows }: Table): string {
  const all = [columns, ...rows];
  const widths = columns.map((_, i) => Math.max(...all.map((row) => (row[i] ?? '').length)));
  const line = (row: readonly string[]) =>
    row
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd();
  return `${title}\n${all.map((row) => `  ${line(row)}`).join('\n')}\n`;
}

/** markdownTable sets a table as Markdown. */
export function markdownTable({ title, columns, rows }: Table): string {
  const line = (row: readonly string[]) => `| ${row.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return `### ${title}\n\n${[line(columns), line(columns.map(() => '---')), ...rows.map(line)].join('\n')}\n`;
}

/** missesOf says every miss and every false page of a report in words. */
export function missesOf(report: Report): string[] {
  return report.outcomes.flatMap((outcome) => [
    ...outcome.attacks
      .filter(({ delayMs }) => delayMs === null)
      .map(
        ({ kind, description, heard }) =>
          `missed ${kind} (${scenarioName(outcome.scenario)}): ${description}. Heard: ${heard.join('; ') || 'nothing'}`,
      ),
    ...outcome.pages
      .filter(({ trueFor }) => trueFor.length === 0)
      .map(
        ({ tokenKind, severity, detectors, surprise, summary, observed, during }) =>
          `false page (${scenarioName(outcome.scenario)}), ${severity} ${surprise} by ${detectors.join(', ')} about ${tokenKind}: ${summary}${Object.keys(observed).length > 0 ? ` ${JSON.stringify(observed)}` : ''}` +
          `${during.length > 0 ? ` During ${during.join('; ')}` : ''}`,
      ),
  ]);
}

/** realText says what was made of a real log. */
export function realText({ accepted, rejected, principals, tokens }: RealInput): string[] {
  const alerted = principals.filter(({ alerts }) => alerts.length > 0);
  const named = principals.filter(({ alerts, namedWith }) => alerts.length === 0 && namedWith.length > 0);
  const verdictOf = ({ alerts, namedWith }: RealInput['principals'][number]) => {
    if (alerts.length > 0) return alerts.join('; ');
    return namedWith.length > 0
      ? `no alert of its own, named on that of ${namedWith.join(', ')} among what its token issued`
      : 'not alerted';
  };
  return [
    `${accepted} events read (${rejected} refused) of ${plural(principals.length, 'principal')} and ${plural(tokens, 'token')}: ` +
      `${alerted.length} alerted, ${named.length} more named on their alerts.`,
    ...principals
      .filter(({ events, alerts, byAttackTool }) => alerts.length > 0 || byAttackTool > 0 || events >= 10)
      .map(
        (principal) =>
          `${principal.owner}: ${plural(principal.events, 'event')} (${principal.byAttackTool} by the attack tool itself), ${plural(principal.tokens, 'token')}, ${plural(principal.endpoints, 'endpoint')}: ${verdictOf(principal)}`,
      ),
  ];
}
