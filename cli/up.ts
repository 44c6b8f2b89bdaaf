import { findConfigFile } from '../config/index.ts';
import {
  CONFIG_OPTION,
  type Command,
  configOf,
  type Invocation,
  type Io,
  listOption,
  textOption,
  usageError,
} from './command.ts';
import { DETECTOR_PARAMS } from './detector-params.ts';
import { ROLES, type Role, type Service, startService } from './service.ts';

/** up runs the service until it is told to end. */
export const up: Command = {
  usage: 'up',
  about: 'Run the service: receive events, judge them, page people',
  options: [
    { flags: '--role <role>', about: `Run only this part, may be repeated: ${ROLES.join(', ')}` },
    CONFIG_OPTION,
  ],
  examples: ['tokenwatch up', 'tokenwatch up --role detect --role alert'],
  async run(invocation, io) {
    const config = configOf(invocation, io, DETECTOR_PARAMS);
    const given = io.env.TOKENWATCH_ACCESS_KEY;
    const service = await startService(config, {
      roles: rolesOf(invocation),
      accessKey: given === undefined || given === '' ? null : given,
    });
    io.out.write(greeting(service, configFile(invocation, io)));
    await ended(io.signal);
    io.err.write('stopping: finishing what is under way\n');
    await service.close();
    if (service.store.computing()) endNow(io);
    return 0;
  },
};

/** endNow ends a process whose engine computes a query that nothing can stop: an exit in order would wait for it. */
function endNow(io: Io): void {
  io.err.write('stopped, but for a query that cannot be broken off: ending at once\n');
  process.kill(process.pid, 'SIGKILL');
}

/** rolesOf is the roles that were asked for, all when none was. */
export function rolesOf({ options }: Invocation): readonly Role[] {
  const asked = listOption(options, 'role').flatMap((list) => list.split(','));
  for (const role of asked) {
    if (!(ROLES as readonly string[]).includes(role)) {
      throw usageError(`there is no role "${role}"`, `The roles are: ${ROLES.join(', ')}.`);
    }
  }
  return asked.length === 0 ? ROLES : ROLES.filter((role) => asked.includes(role));
}

/** greeting says where the service is, with which key, how to send the first event, and where to look next. */
export function greeting(service: Service, file: string | null): string {
  const { url, config, roles } = service;
  const keyFile = `${config.dataDir}/access-key`;
  const lines = [
    '',
    `Tokenwatch listens at ${url}${roles.length === ROLES.length ? '' : ` (${roles.join(', ')})`}`,
    `  configuration  ${file ?? 'defaults (no tokenwatch.yaml here)'}`,
    `  events         ${config.store.url === null ? `embedded ClickHouse in ${config.dataDir}` : 'ClickHouse of CLICKHOUSE_URL or store.url'}`,
    `  queues         ${config.queue.url === null ? `private Redis in ${config.dataDir}` : 'Redis of REDIS_URL or queue.url'}`,
    `  alerts go to   ${Object.keys(config.alerts.channels).join(', ') || 'nobody yet: add channels to tokenwatch.yaml'}`,
    ...service.warnings.map((warning) => `  note           ${warning}`),
  ];
  // The key is shown once; afterwards the file is where it is, so that a terminal's history does not keep it.
  let key = '$TOKENWATCH_ACCESS_KEY';
  if (service.accessKeyIsNew) {
    key = service.accessKey as string;
    lines.push('', `Access key, shown this once and kept in ${keyFile}:`, `  ${key}`);
  } else if (service.accessKey !== null && !service.accessKeyIsGiven) {
    key = `$(cat '${keyFile}')`;
    lines.push(`  access key     in ${keyFile}`);
  }
  if (roles.includes('ingest')) {
    lines.push(
      '',
      'Send a first event:',
      `  curl -sS ${url}/v1/events -H "Authorization: Bearer ${key}" -H 'Content-Type: application/json' \\`,
      `    -d '{"time":"'$(date -u +%Y-%m-%dT%H:%M:%SZ)'","token":"tok_1","owner":"acme","method":"GET","path":"/v1/users/42","status":200,"ip":"203.0.113.9"}'`,
    );
  }
  lines.push(
    '',
    'Then, in another terminal:',
    '  npx tokenwatch sql "SELECT * FROM events ORDER BY received_at DESC LIMIT 5"',
    '  npx tokenwatch alerts list',
    '  npx tokenwatch import YOUR-LOG-FILE',
    '',
  );
  return `${lines.join('\n')}\n`;
}

function configFile(invocation: Invocation, io: Io): string | null {
  const file = textOption(invocation.options, 'config');
  return findConfigFile({ ...(file === null ? {} : { file }), env: io.env, cwd: io.cwd });
}

function ended(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
