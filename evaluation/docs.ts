import { calibrationNotes, delayNotes } from './notes.ts';
import { delayPlot, qualityPlot, recallPlot } from './plots.ts';
import { markdownTable, missesOf, type Report, realText, type Table, tablesOf } from './report.ts';
import { scoresOf } from './scores.ts';

/** FIGURES_BEGIN and FIGURES_END enclose what the command writes into docs/evaluation/README.md. */
export const FIGURES_BEGIN = '<!-- figures: written by `npm run evaluate -- --docs` -->';
/** FIGURES_END ends what the command writes. */
export const FIGURES_END = '<!-- end of figures -->';

/** figuresMarkdown is the generated part of docs/evaluation/README.md. */
export function figuresMarkdown(report: Report): string {
  const misses = missesOf(report);
  const scores = scoresOf(report.outcomes);
  const [overall, byKind, besideThePlainRule, calibration] = tablesOf(report) as [Table, Table, Table, Table];
  const set = (table: Table, ...notes: readonly string[]) => [markdownTable(table).trimEnd(), ...notes];
  return [
    runText(report),
    '![Recall by kind of attack](recall.svg)',
    '![Time to alert](delay.svg)',
    '![Precision and recall beside a plain rule](quality.svg)',
    ...set(overall),
    ...set(byKind, ...delayNotes(scores)),
    ...set(besideThePlainRule),
    ...set(calibration, ...calibrationNotes(scores)),
    '### Every miss and every false page',
    misses.length === 0 ? 'None.' : misses.map((miss) => `- ${miss}`).join('\n'),
    ...(report.real === null
      ? []
      : [
          '### Real input',
          realText(report.real)
            .map((text, i) => (i === 0 ? `${text}\n` : `- ${text}`))
            .join('\n'),
        ]),
  ].join('\n\n');
}

/** runText says what a report rests on. */
export function runText({ outcomes, quick }: Report): string {
  const fleets = [...new Set(outcomes.map(({ scenario }) => scenario.tokens))].sort((a, b) => a - b);
  const parts = fleets.map((tokens) => {
    const of = outcomes.filter(({ scenario }) => scenario.tokens === tokens);
    const seeds = (kind: string) =>
      of
        .filter(({ scenario }) => scenario.kind === kind)
        .map(({ scenario }) => scenario.seed)
        .sort((a, b) => a - b);
    const events = of.reduce((sum, one) => sum + one.events, 0);
    return (
      `${tokens.toLocaleString('en-US')} tokens: ${events.toLocaleString('en-US')} events, ` +
      `attacks with seeds ${seeds('attacks').join(', ') || 'none'}, calm weeks with seeds ${seeds('calm').join(', ') || 'none'}`
    );
  });
  return `${parts.join('; ')}.${quick ? ' A quick run: the figures mean little.' : ''}`;
}

/** withFigures puts generated text between the markers of a page; throws when they are not there. */
export function withFigures(page: string, figures: string): string {
  const begin = page.indexOf(FIGURES_BEGIN);
  const end = page.indexOf(FIGURES_END);
  if (begin < 0 || end < begin) throw new Error(`the page has no "${FIGURES_BEGIN}" with "${FIGURES_END}" after it`);
  return `${page.slice(0, begin + FIGURES_BEGIN.length)}\n\n${figures}\n\n${page.slice(end)}`;
}

/** docsOf are the files of docs/evaluation/ that follow from a report, by name; README.md is changed between its markers. */
export function docsOf(report: Report, readme: string): Readonly<Record<string, string>> {
  const scores = scoresOf(report.outcomes);
  return {
    'recall.svg': recallPlot(scores),
    'delay.svg': delayPlot(report.outcomes),
    'quality.svg': qualityPlot(scores),
    'results.json': `${JSON.stringify(report, null, 1)}\n`,
    'README.md': withFigures(readme, figuresMarkdown(report)),
  };
}
