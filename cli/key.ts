import { parseDuration } from '../config/index.ts';
import { SCOPES, systemClock } from '../core/index.ts';
import { apiOf } from './api.ts';
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
import { plain, table } from './ui/words.ts';

const ACTIONS = 'issue, list, rotate, revoke';

/** ApiKey is an access key as `/v1/keys` shows it; `key` only where it was just made. */
interface ApiKey {
  readonly id: string;
  readonly name: string;
  readonly scopes: readonly string[];
  readonly status: string;
  readonly created_at: string;
  readonly expires_at: string | null;
  readonly key?: string;
}

/** key manages the access keys of a running instance. */
export const key: Command = {
  usage: 'key <action> [id]',
  about: `Manage access keys: ${ACTIONS}`,
  options: [
    { flags: '--name <name>', about: 'issue: who or what the key is for' },
    { flags: '--scope <list>', about: `issue: of ${SCOPES.join(', ')}; separated by commas`, preset: 'ingest' },
    { flags: '--expires <duration>', about: 'issue: when it ends, such as 90d (default: never)' },
    { flags: '--grace <duration>', about: 'rotate: how long the old key still works', preset: '1h' },
    { flags: '--json', about: 'Print what the API answered' },
    CONFIG_OPTION,
    URL_OPTION,
  ],
  examples: ['tokenwatch key issue --name gateway --scope ingest', 'tokenwatch key rotate 1f3a9c2e --grace 24h'],
  async run(invocation, io) {
    const [action, id] = invocation.args;
    switch (action) {
      case 'issue':
        return issue(invocation, io);
      case 'list':
        return list(invocation, io);
      case 'rotate':
      case 'revoke':
        if (id === undefined)
          throw usageError(`which key? key ${action} needs its id`, 'See the ids with: tokenwatch key list');
        return action === 'rotate' ? rotate(id, invocation, io) : revoke(id, invocation, io);
      default:
        throw usageError(`key cannot "${action}"`, `It can: ${ACTIONS}.`);
    }
  },
};

async function issue(invocation: Invocation, io: Io): Promise<number> {
  const name = textOption(invocation.options, 'name');
  if (name === null) throw usageError('what is the key for? key issue needs --name', 'Such as --name gateway.');
  const scopes = listOption(invocation.options, 'scope').flatMap((list) => list.split(','));
  const expires = textOption(invocation.options, 'expires');
  const expiresAt =
    expires === null ? null : new Date(systemClock.now() + durationOf('--expires', expires)).toISOString();
  const body = JSON.stringify({ name, scopes, expires_at: expiresAt });
  showNew(await apiOf(invocation, io).json<ApiKey>({ method: 'POST', path: '/v1/keys', body }), invocation, io);
  return 0;
}

async function rotate(id: string, invocation: Invocation, io: Io): Promise<number> {
  const grace = textOption(invocation.options, 'grace') as string;
  const body = JSON.stringify({ grace_seconds: durationOf('--grace', grace) / 1000 });
  const path = `/v1/keys/${encodeURIComponent(id)}/rotate`;
  showNew(await apiOf(invocation, io).json<ApiKey>({ method: 'POST', path, body }), invocation, io);
  io.err.write(`the old key ${id} works for another ${grace}\n`);
  return 0;
}

async function revoke(id: string, invocation: Invocation, io: Io): Promise<number> {
  const path = `/v1/keys/${encodeURIComponent(id)}`;
  const revoked = await apiOf(invocation, io).json<ApiKey>({ method: 'DELETE', path });
  io.out.write(
    invocation.options.json === true
      ? `${JSON.stringify(revoked)}\n`
      : `${revoked.id} (${plain(revoked.name)}) is revoked\n`,
  );
  return 0;
}

async function list(invocation: Invocation, io: Io): Promise<number> {
  const { keys } = await apiOf(invocation, io).json<{ keys: ApiKey[] }>({ method: 'GET', path: '/v1/keys' });
  if (invocation.options.json === true) {
    for (const one of keys) io.out.write(`${JSON.stringify(one)}\n`);
    return 0;
  }
  const day = (time: string | null) => (time === null ? 'never' : time.slice(0, 16).replace('T', ' '));
  const rows = keys.map((one) => [
    one.id,
    one.status,
    one.scopes.join(','),
    day(one.created_at),
    day(one.expires_at),
    one.name,
  ]);
  io.out.write(plain(table([['id', 'status', 'scopes', 'created', 'expires', 'name'], ...rows])));
  return 0;
}

/** The key goes to stdout alone, so that it can be piped into a secret store without being seen. */
function showNew(issued: ApiKey, invocation: Invocation, io: Io): void {
  if (invocation.options.json === true) {
    io.out.write(`${JSON.stringify(issued)}\n`);
    return;
  }
  io.err.write(`key ${issued.id} (${plain(issued.name)}: ${issued.scopes.join(', ')}), shown this once:\n`);
  io.out.write(`${issued.key}\n`);
}

function durationOf(flag: string, text: string): number {
  const ms = parseDuration(text);
  if (ms === null) throw usageError(`${flag} ${text} is not a duration`, 'Such as 30m, 24h or 90d.');
  return ms;
}
