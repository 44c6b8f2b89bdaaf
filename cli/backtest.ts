import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PAGING_SEVERITIES } from '../alerts/index.ts';
import {
  type Alert,
  createLogger,
  issuedSentence,
  plural,
  systemClock,
  toApiAlert,
  toApiIssued,
} from '../core/index.ts';
import { FORMATS } from '../ingest/index.ts';
import { openStore } from '../store/index.ts';
import { type BacktestResult, runBacktest } from './backtest-run.ts';
import { readInThread } from './backtest-thread.ts';
import { CONFIG_OPTION, type Command, configOf, textOption, usageError } from './command.ts';
import { DETECTOR_PARAMS } from './detector-params.ts';
import { createProgress } from './ui/progress.ts';
import { duration, plain, skippedWords, table, thousands } from './ui/words.ts';

const SHOWN_ERRORS = 10;
const SHOWN_SUBJECTS = 10;
const DAY_MS = 86_400_000;

/** backtest judges log files as the live service would have, and pages nobody. */
export const backtest: Command = {
  usage: 'backtest <...files>',
  about: 'Judge log files as if they came in live: what would have been paged, and why',
  options: [
    { flags: '--format <name>', about: `auto, ${FORMATS.map(({ name }) => name).join(', ')}`, preset: 'auto' },
    { flags: '--json', about: 'One alert a line on standard output, in the shape of the API' },
    CONFIG_OPTION,
  ],
  examples: ['tokenwatch backtest last-month.ndjson.gz', 'tokenwatch backtest --json *.gz | jq .summary'],
  async run(invocation, io) {
    const format = textOption(invocation.options, 'format') as string;
    const formats = ['auto', ...FORMATS.map(({ name }) => name)];
    if (!formats.includes(format))
      throw usageError(`there is no format "${format}"`, `The formats are: ${formats.join(', ')}.`);
    const config = configOf(invocation, io, DETECTOR_PARAMS);
    const log = createLogger(config.log.level);
    const folder = await mkdtemp(join(tmpdir(), 'tokenwatch-backtest-'));
    const began = performance.now();
    try {
      const store = openStore(
        // Always the embedded engine: a backtest leaves nothing behind.
        { dataDir: folder, store: { url: null, retention: { eventsMs: null } } },
        { log, clock: systemClock },
      );
      const progress = createProgress('judging', io.err, () => performance.now());
      try {
        const result = await runBacktest({
          files: invocation.args,
          format,
          config,
          store,
          clock: systemClock,
          log,
          stdin: io.input,
          signal: io.signal,
          read: readInThread(config.log.level),
          onProgress: (state) =>
            progress.update({
              done: state.bytesRead,
              total: state.bytesTotal,
              count: state.events,
              unit: 'events',
              note: state.detections > 0 ? plural(state.detections, 'finding') : '',
            }),
        }).finally(() => progress.finish());
        if (invocation.options.json === true)
          for (const alert of result.alerts) io.out.write(`${JSON.stringify(toApiAlert(alert))}\n`);
        else io.out.write(backtestReport(result, performance.now() - began));
        return result.accepted === 0 && result.rejected > 0 ? 1 : 0;
      } finally {
        await store.then(({ close }) => close());
      }
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
};

/** backtestReport says how loud the files would have been: alerts by day, detector and owner, and the worst with their reasons. */
export function backtestReport(result: BacktestResult, elapsedMs: number): string {
  const { accepted, rejected, skipped, span } = result;
  const paged = result.alerts.filter((alert) => PAGING_SEVERITIES.includes(alert.severity));
  const quiet = result.alerts.length - paged.length;
  const counts = [`${plural(accepted + rejected + skipped, 'line')} read`];
  if (rejected > 0) counts.push(`${thousands(rejected)} rejected`);
  if (skipped > 0) counts.push(skippedWords(result));
  const lines = [`${counts.join(', ')} in ${duration(elapsedMs)}`];
  for (const { file, line, code, message } of result.errors.slice(0, SHOWN_ERRORS))
    lines.push(`  ${file}:${line}: ${message} (${code})`);
  if (span !== null) lines.push(`events from ${minute(span[0])} to ${minute(span[1])} UTC`);
  lines.push(
    '',
    `${plural(paged.length, 'alert')} would have paged${quiet > 0 ? `, ${thousands(quiet)} more would only have been recorded` : ''}`,
  );
  if (paged.length > 0) {
    lines.push(
      '',
      'by day',
      ...columns(
        tally(paged, (alert) => [new Date(alert.openedAt).toISOString().slice(0, 10)]).sort((a, b) =>
          a[0] < b[0] ? -1 : 1,
        ),
      ),
    );
    lines.push('by detector', ...columns(tally(paged, (alert) => alert.detectors)));
    lines.push('by owner', ...columns(tally(paged, (alert) => [alert.subject.owner]).slice(0, SHOWN_SUBJECTS)));
    lines.push(`top ${Math.min(SHOWN_SUBJECTS, paged.length)}`);
    for (const alert of worst(paged).slice(0, SHOWN_SUBJECTS)) {
      lines.push(
        `  ${alert.severity.toUpperCase()}  ${minute(alert.openedAt)}  ${alert.title}`,
        `    ${alert.summary}`,
      );
      const issued = issuedSentence(toApiIssued(alert.issued));
      if (issued !== '') lines.push(`    ${issued}`);
    }
  }
  if (paged.length === 0 && accepted > 0 && span !== null && span[1] - span[0] < 5 * DAY_MS)
    lines.push(
      '',
      'The files span less than five days: most tokens were still being learnt. Give a longer history for a fair judgement.',
    );
  return plain(`${lines.join('\n')}\n`);
}

function worst(alerts: readonly Alert[]): Alert[] {
  const surprise = (alert: Alert) => Math.max(...alert.detections.map((detection) => detection.surprise));
  const rank = (alert: Alert) => PAGING_SEVERITIES.indexOf(alert.severity);
  return [...alerts].sort((a, b) => rank(b) - rank(a) || surprise(b) - surprise(a));
}

function tally(alerts: readonly Alert[], keysOf: (alert: Alert) => readonly string[]): [string, number][] {
  const counts = new Map<string, number>();
  for (const alert of alerts) for (const key of keysOf(alert)) counts.set(key, (counts.get(key) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
}

function columns(rows: readonly [string, number][]): string[] {
  const most = Math.max(...rows.map(([, count]) => count));
  const width = Math.min(30, most);
  return table(
    rows.map(([name, count]) => [
      `  ${name}`,
      '█'.repeat(Math.max(1, Math.round((count / most) * width))),
      String(count),
    ]),
  )
    .trimEnd()
    .split('\n');
}

function minute(time: number): string {
  return new Date(time).toISOString().slice(0, 16).replace('T', ' ');
}
