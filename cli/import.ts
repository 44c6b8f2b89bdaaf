import { plural, systemClock } from '../core/index.ts';
import { FORMATS, type ImportProgress, type ImportResult, importFiles } from '../ingest/index.ts';
import { accessKeyOf, apiOf } from './api.ts';
import { CONFIG_OPTION, type Command, configOf, textOption, URL_OPTION, usageError } from './command.ts';
import { createProgress } from './ui/progress.ts';
import { duration, plain, skippedWords, thousands } from './ui/words.ts';

const SHOWN_ERRORS = 10;

/** importCommand sends log files to a running instance. */
export const importCommand: Command = {
  usage: 'import <...files>',
  about: 'Send log files (plain or .gz, - is stdin) to a running instance',
  options: [
    { flags: '--format <name>', about: `auto, ${FORMATS.map(({ name }) => name).join(', ')}`, preset: 'auto' },
    CONFIG_OPTION,
    URL_OPTION,
  ],
  examples: ['tokenwatch import access.ndjson.gz', 'zcat old/*.gz | tokenwatch import -'],
  async run(invocation, io) {
    const format = textOption(invocation.options, 'format') as string;
    const formats = ['auto', ...FORMATS.map(({ name }) => name)];
    if (!formats.includes(format))
      throw usageError(`there is no format "${format}"`, `The formats are: ${formats.join(', ')}.`);
    const api = apiOf(invocation, io);
    // Before the first file is read: an instance that is not there should not look like one that is busy.
    await api.send({ method: 'GET', path: '/healthz' });
    const progress = createProgress('importing', io.err, () => performance.now());
    const result = await importFiles({
      files: invocation.args,
      url: api.url,
      key: accessKeyOf(configOf(invocation, io), io),
      format,
      clock: systemClock,
      stdin: io.input,
      signal: io.signal,
      onProgress: (state) =>
        progress.update({
          done: state.bytesRead,
          total: state.bytesTotal,
          count: state.lines,
          unit: 'lines',
          note: noteOf(state),
        }),
    }).finally(() => progress.finish());
    io.out.write(importReport(result));
    return result.accepted === 0 && result.rejected > 0 ? 1 : 0;
  },
};

/** importReport says what became of all lines, with the first that were refused. */
export function importReport(result: ImportResult): string {
  const { accepted, rejected, skipped, lines, seconds, errors } = result;
  const counts = [`${thousands(accepted)} accepted`, `${thousands(rejected)} rejected`];
  if (skipped > 0) counts.push(skippedWords(result));
  const report = [`${plural(lines, 'line')} in ${duration(seconds * 1000)}: ${counts.join(', ')}`];
  for (const { file, line, code, message } of errors.slice(0, SHOWN_ERRORS))
    report.push(`  ${file}:${line}: ${message} (${code})`);
  if (rejected > SHOWN_ERRORS) {
    report.push(
      `  ... all of them: tokenwatch sql "SELECT * FROM rejected_events ORDER BY received_at DESC LIMIT 100"`,
    );
  }
  return plain(`${report.join('\n')}\n`);
}

function noteOf({ rejected, waiting }: ImportProgress): string {
  const parts = rejected > 0 ? [`${thousands(rejected)} rejected`] : [];
  if (waiting !== null) parts.push(`waiting ${duration(waiting.ms)}: ${waiting.reason}`);
  return parts.join(', ');
}
