import { apiOf, refusal } from './api.ts';
import { CONFIG_OPTION, type Command, textOption, URL_OPTION, usageError } from './command.ts';

/** sql runs an analyst's query on a running instance, read-only. */
export const sql: Command = {
  usage: 'sql <query>',
  about: 'Ask the event store in SQL (read-only)',
  options: [
    {
      flags: '--format <name>',
      about: 'Any ClickHouse format: PrettyCompact, JSONEachRow, CSVWithNames, Markdown, ...',
    },
    CONFIG_OPTION,
    URL_OPTION,
  ],
  examples: [
    'tokenwatch sql "SELECT owner, count() FROM events GROUP BY owner ORDER BY 2 DESC LIMIT 10"',
    'tokenwatch sql "SELECT * FROM token_countries" --format CSVWithNames > countries.csv',
  ],
  async run(invocation, io) {
    const format = textOption(invocation.options, 'format') ?? (io.out.isTTY ? 'PrettyCompact' : 'TSVWithNames');
    if (!/^[A-Za-z0-9]{1,64}$/.test(format)) {
      throw usageError(
        `"${format}" is not the name of a format`,
        'Such as --format PrettyCompact or --format JSONEachRow.',
      );
    }
    const body = withFormat(invocation.args[0] as string, format);
    const api = apiOf(invocation, io);
    const answer = await api.send({ method: 'POST', path: '/v1/sql', body, contentType: 'text/plain' });
    if (answer.status !== 200) throw refusal(answer, api.url);
    io.out.write(answer.body.endsWith('\n') || answer.body === '' ? answer.body : `${answer.body}\n`);
    return 0;
  },
};

/** withFormat asks for a format unless the query names one itself. The new line keeps it out of a comment at the end. */
export function withFormat(query: string, format: string): string {
  const bare = query.replace(/[\s;]+$/, '');
  return /\bFORMAT\s+[A-Za-z0-9]+$/i.test(bare) ? bare : `${bare}\nFORMAT ${format}`;
}
