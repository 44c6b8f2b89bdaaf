import type { ApiAlert } from '../core/index.ts';
import { type Api, apiOf } from './api.ts';
import {
  CONFIG_OPTION,
  type Command,
  type Invocation,
  type Io,
  listOption,
  textOption,
  URL_OPTION,
  usageError,
} from './command.ts';
import { alertReport, standing } from './ui/alert-report.ts';
import { plain, table } from './ui/words.ts';

const ACTIONS = 'list, show, ack, resolve';

/** alerts shows alerts of a running instance, and takes a person's word on them. */
export const alerts: Command = {
  usage: 'alerts <action> [id]',
  about: `Handle alerts: ${ACTIONS}`,
  options: [
    { flags: '--status <list>', about: 'list: open, acknowledged, resolved' },
    { flags: '--severity <list>', about: 'list: info, low, medium, high, critical' },
    { flags: '--token <id>', about: 'list: alerts about this token or lineage' },
    { flags: '--owner <name>', about: 'list: alerts about this owner' },
    {
      flags: '--since <time>',
      about: 'list: last seen at or after, such as 2026-11-22T00:00:00Z; resolve: stolen since',
    },
    { flags: '--limit <n>', about: 'list: at most so many', preset: 50 },
    { flags: '--note <text>', about: 'ack, resolve: what to remember' },
    { flags: '--as <verdict>', about: 'resolve: expected (learn it) or malicious (never learn it)' },
    { flags: '--until <time>', about: 'resolve: until when it is expected, such as 2027-01-01T00:00:00Z' },
    { flags: '--json', about: 'Print what the API answered' },
    CONFIG_OPTION,
    URL_OPTION,
  ],
  examples: [
    'tokenwatch alerts list --status open',
    'tokenwatch alerts ack al_4f2c --note "asked the owner"',
    'tokenwatch alerts resolve al_4f2c --as expected',
  ],
  async run(invocation, io) {
    const [action, id] = invocation.args;
    if (action === 'list') return list(invocation, io);
    if (action !== 'show' && action !== 'ack' && action !== 'resolve') {
      throw usageError(`alerts cannot "${action}"`, `It can: ${ACTIONS}.`);
    }
    if (id === undefined)
      throw usageError(`which alert? alerts ${action} needs its id`, 'See the ids with: tokenwatch alerts list');
    const api = apiOf(invocation, io);
    const path = `/v1/alerts/${encodeURIComponent(id)}`;
    const alert =
      action === 'show'
        ? await api.json<ApiAlert>({ method: 'GET', path })
        : await change(api, path, action, invocation);
    const json = invocation.options.json === true;
    io.out.write(
      json
        ? `${JSON.stringify(alert)}\n`
        : action === 'show'
          ? alertReport(alert)
          : `${alert.id} is ${standing(alert)}\n`,
    );
    return 0;
  },
};

async function change(api: Api, path: string, action: 'ack' | 'resolve', invocation: Invocation): Promise<ApiAlert> {
  const verb = action === 'ack' ? 'acknowledge' : 'resolve';
  const body: Record<string, string> = { note: textOption(invocation.options, 'note') ?? '' };
  if (action === 'resolve')
    for (const name of ['as', 'until', 'since']) {
      const value = textOption(invocation.options, name);
      if (value !== null) body[name] = value;
    }
  return api.json<ApiAlert>({ method: 'POST', path: `${path}/${verb}`, body: JSON.stringify(body) });
}

async function list(invocation: Invocation, io: Io): Promise<number> {
  const query = new URLSearchParams();
  for (const name of ['status', 'severity', 'token', 'owner', 'since', 'limit']) {
    const value = listOption(invocation.options, name).join(',');
    if (value !== '') query.set(name, value);
  }
  const page = await apiOf(invocation, io).json<{ alerts: ApiAlert[]; next: string | null }>({
    method: 'GET',
    path: `/v1/alerts?${query}`,
  });
  if (invocation.options.json === true) {
    for (const alert of page.alerts) io.out.write(`${JSON.stringify(alert)}\n`);
    return 0;
  }
  if (page.alerts.length === 0) {
    io.err.write('no alerts\n');
    return 0;
  }
  const rows = page.alerts.map((a) => [
    a.id,
    a.held_back === null ? a.status : `${a.status}, held back`,
    a.severity,
    a.last_seen.slice(0, 16).replace('T', ' '),
    a.owner,
    a.title,
  ]);
  io.out.write(plain(table([['id', 'status', 'severity', 'last seen', 'owner', 'what'], ...rows])));
  if (page.next !== null) io.err.write('there are more: --limit, --since or another filter shows them\n');
  return 0;
}
