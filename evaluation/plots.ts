import type { AttackKind } from '../fixtures/index.ts';
import type { Interval } from './intervals.ts';
import type { ScenarioOutcome } from './outcome.ts';
import { durationText, GOALS } from './report.ts';
import { type Quality, type Scores, SLOW_KINDS } from './scores.ts';

/** Colours that read on white and on dark paper alike, and apart for eyes that do not tell red from green. */
const INK = '#57606a';
const GRID = '#d0d7de';
const OURS = '#0969da';
const OTHER = '#bc4c00';
const THIRD = '#8250df';
const FONT = 'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif"';

const escaped = (text: string) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');

interface Label {
  readonly at: readonly [x: number, y: number];
  readonly text: string;
  readonly anchor?: 'start' | 'middle' | 'end';
  readonly colour?: string;
  readonly size?: number;
  readonly bold?: boolean;
}

function label({ at: [x, y], text, anchor = 'start', colour = INK, size = 12, bold = false }: Label): string {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}" fill="${colour}" font-size="${size}"${bold ? ' font-weight="600"' : ''}>${escaped(text)}</text>`;
}

function line(x1: number, y1: number, x2: number, y2: number, colour = GRID, more = ''): string {
  return `<line x1="${x1.toFixed(1)}" y1="${y1.toFixed(1)}" x2="${x2.toFixed(1)}" y2="${y2.toFixed(1)}" stroke="${colour}" ${more}/>`;
}

function picture(width: number, height: number, title: string, parts: readonly string[]): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${escaped(title)}" ${FONT}>`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    label({ at: [16, 26], text: title, colour: '#24292f', size: 15, bold: true }),
    ...parts,
    '</svg>',
    '',
  ].join('\n');
}

/** recallPlot draws the recall of each kind of attack with its interval, and the goals. */
export function recallPlot({ byKind, detectors }: Scores): string {
  const rows = [
    { name: 'all attacks', recall: detectors.recall },
    ...byKind.filter(({ recall }) => recall.of > 0).map(({ kind, recall }) => ({ name: kind, recall })),
  ];
  const [left, right, top, step] = [240, 620, 62, 28];
  const bottom = top + rows.length * step;
  const lowest = Math.min(0.5, ...rows.map(({ recall }) => Math.floor(recall.interval.low * 10) / 10));
  const x = (share: number) => left + ((share - lowest) / (1 - lowest)) * (right - left);
  const ticks = Array.from({ length: Math.round((1 - lowest) * 10) + 1 }, (_, i) => lowest + i / 10);
  return picture(740, bottom + 46, 'Recall by kind of attack, with 95 % intervals', [
    ...ticks.flatMap((tick) => [
      line(x(tick), top - 8, x(tick), bottom),
      label({ at: [x(tick), bottom + 18], text: tick.toFixed(1), anchor: 'middle' }),
    ]),
    line(x(GOALS.recallOfKind), top - 8, x(GOALS.recallOfKind), bottom, OTHER, 'stroke-dasharray="4 4"'),
    label({
      at: [x(GOALS.recallOfKind), top - 14],
      text: `goal for each kind ${GOALS.recallOfKind}`,
      anchor: 'middle',
      colour: OTHER,
    }),
    ...rows.flatMap(({ name, recall: { share, interval, hits, of } }, i) => {
      const y = top + i * step + step / 2;
      const mean = share ?? 0;
      return [
        label({ at: [left - 14, y + 4], text: name, anchor: 'end', bold: i === 0 }),
        line(x(interval.low), y, x(interval.high), y, OURS, 'stroke-width="2"'),
        line(x(interval.low), y - 4, x(interval.low), y + 4, OURS, 'stroke-width="2"'),
        line(x(interval.high), y - 4, x(interval.high), y + 4, OURS, 'stroke-width="2"'),
        `<circle cx="${x(mean).toFixed(1)}" cy="${y.toFixed(1)}" r="5" fill="${OURS}"/>`,
        label({ at: [right + 20, y + 4], text: `${hits} of ${of}` }),
      ];
    }),
    label({ at: [(left + right) / 2, bottom + 38], text: 'share of attacks that paged', anchor: 'middle' }),
  ]);
}

const SLOW_COLOURS = [OTHER, THIRD];
const DELAY_TICKS_MS = [1_000, 10_000, 60_000, 600_000, 3_600_000, 14_400_000, 86_400_000, 6 * 86_400_000];

/** delayPlot draws, for fast attacks and each of the slow kinds, which share of all attacks had paged after how long. */
export function delayPlot(outcomes: readonly ScenarioOutcome[]): string {
  const attacks = outcomes.flatMap((outcome) => outcome.attacks);
  const [left, right, top, bottom] = [70, 690, 50, 330];
  const [leastMs, mostMs] = [100, 8 * 86_400_000];
  const x = (ms: number) =>
    left + (Math.log(Math.max(ms, leastMs) / leastMs) / Math.log(mostMs / leastMs)) * (right - left);
  const y = (share: number) => bottom - share * (bottom - top);
  const curve = (ofKind: (kind: AttackKind) => boolean, colour: string): string => {
    const of = attacks.filter(({ kind }) => ofKind(kind));
    const delays = of
      .map(({ delayMs }) => delayMs)
      .filter((delay) => delay !== null)
      .sort((a, b) => a - b);
    let path = `M ${x(0)} ${y(0)}`;
    delays.forEach((delay, i) => {
      path += ` H ${x(delay).toFixed(1)} V ${y((i + 1) / of.length).toFixed(1)}`;
    });
    return `<path d="${path} H ${right}" fill="none" stroke="${colour}" stroke-width="2.5"/>`;
  };
  return picture(740, 384, 'Time to alert: share of attacks paged after so long, in event time', [
    ...[0, 0.25, 0.5, 0.75, 1].flatMap((share) => [
      line(left, y(share), right, y(share)),
      label({ at: [left - 10, y(share) + 4], text: `${share * 100} %`, anchor: 'end' }),
    ]),
    ...DELAY_TICKS_MS.flatMap((ms) => [
      line(x(ms), top, x(ms), bottom),
      label({ at: [x(ms), bottom + 18], text: tickText(ms), anchor: 'middle' }),
    ]),
    curve((kind) => !SLOW_KINDS.includes(kind), OURS),
    ...SLOW_KINDS.map((slow, i) => curve((kind) => kind === slow, SLOW_COLOURS[i] ?? OTHER)),
    label({ at: [left, bottom + 18], text: 'at once', anchor: 'middle' }),
    label({ at: [left + 10, top + 16], text: 'fast attacks', colour: OURS, bold: true }),
    ...SLOW_KINDS.map((slow, i) =>
      label({ at: [left + 10, top + 36 + 20 * i], text: slow, colour: SLOW_COLOURS[i] ?? OTHER, bold: true }),
    ),
    label({
      at: [(left + right) / 2, bottom + 42],
      text: 'after the first event of the attack',
      anchor: 'middle',
    }),
  ]);
}

function tickText(ms: number): string {
  return ms >= 86_400_000 ? `${ms / 86_400_000} d` : durationText(ms).replace(/\.0 /, ' ');
}

/** qualityPlot draws precision over recall of the detectors, and of the plain rule beside them. */
export function qualityPlot(scores: Pick<Scores, 'detectors' | 'plain'>): string {
  const [left, right, top, bottom] = [80, 500, 50, 400];
  const x = (share: number) => left + share * (right - left);
  const y = (share: number) => bottom - share * (bottom - top);
  const cross = ({ recall, precision }: Quality, colour: string, text: string): string[] => {
    const [r, p] = [recall.share ?? 0, precision.share ?? 0];
    const bar = ({ low, high }: Interval, along: 'x' | 'y') =>
      along === 'x'
        ? line(x(low), y(p), x(high), y(p), colour, 'stroke-width="2"')
        : line(x(r), y(low), x(r), y(high), colour, 'stroke-width="2"');
    return [
      bar(recall.interval, 'x'),
      bar(precision.interval, 'y'),
      `<circle cx="${x(r).toFixed(1)}" cy="${y(p).toFixed(1)}" r="6" fill="${colour}"/>`,
      label({ at: [x(r) - 12, y(p) + 24], text, anchor: 'end', colour, bold: true }),
    ];
  };
  const goal = `<rect x="${x(GOALS.recall).toFixed(1)}" y="${y(1).toFixed(1)}" width="${(x(1) - x(GOALS.recall)).toFixed(1)}" height="${(y(GOALS.precision) - y(1)).toFixed(1)}" fill="${OURS}" fill-opacity="0.15"/>`;
  return picture(560, 456, 'Precision and recall, beside a plain rule', [
    ...[0, 0.2, 0.4, 0.6, 0.8, 1].flatMap((share) => [
      line(left, y(share), right, y(share)),
      line(x(share), top, x(share), bottom),
      label({ at: [left - 10, y(share) + 4], text: share.toFixed(1), anchor: 'end' }),
      label({ at: [x(share), bottom + 18], text: share.toFixed(1), anchor: 'middle' }),
    ]),
    goal,
    ...cross(scores.plain, OTHER, 'plain rule'),
    ...cross(scores.detectors, OURS, 'Tokenwatch'),
    label({
      at: [(left + right) / 2, bottom + 42],
      text: 'recall: share of attacks that paged (shaded: the goal)',
      anchor: 'middle',
    }),
    `<text transform="translate(24 ${(top + bottom) / 2}) rotate(-90)" text-anchor="middle" fill="${INK}" font-size="12">precision: share of pages that were true</text>`,
  ]);
}
