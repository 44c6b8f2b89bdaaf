import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { PAGING_SEVERITIES } from '../alerts/index.ts';
import type { Config } from '../config/index.ts';
import { type ApiAlert, createLogger, plural, systemClock, TokenwatchError } from '../core/index.ts';
import { type AttackTruth, demoFleet } from '../fixtures/index.ts';
import { importFiles } from '../ingest/index.ts';
import { stopPrivateRedis } from '../queues/index.ts';
import { CONFIG_OPTION, type Command, configOf, type Io } from './command.ts';
import { type DemoReceiver, type Page, startReceiver } from './demo-receiver.ts';
import { DETECTOR_PARAMS } from './detector-params.ts';
import { importReport } from './import.ts';
import { type Service, startService } from './service.ts';
import { pageReport } from './ui/page-report.ts';
import { createProgress } from './ui/progress.ts';
import { duration, plain, thousands } from './ui/words.ts';

const DAY_MS = 86_400_000;
/** Lines of one request; a shipper's usual batch. */
const REQUEST_LINES = 5_000;
/** Everything posted is judged and sent when nothing has moved for this long. */
const QUIET_MS = 1_500;
const SETTLE_LIMIT_MS = 120_000;
/** Pages of a user's own log that are printed in full. */
const SHOWN_PAGES = 10;

/** demo starts the whole product on embedded engines, feeds it a log, and shows whom it pages and why. */
export const demo: Command = {
  usage: 'demo [...files]',
  about: 'Start everything, replay a log with three attacks in it (or your own files), and show the pages',
  options: [
    { flags: '--exit', about: 'Stop after the pages; exit code 0 only if they are the right ones' },
    CONFIG_OPTION,
  ],
  examples: ['npm run demo', 'npm run demo -- --exit', 'npm run demo -- access.ndjson.gz'],
  async run(invocation, io) {
    const began = performance.now();
    const config = configOf(invocation, io, DETECTOR_PARAMS);
    const secret = `whsec_${randomBytes(32).toString('base64')}`;
    const shown: Page[] = [];
    const receiver = await startReceiver(secret, (page) => {
      // The first word about a subject is the page; what follows makes it stronger and is counted.
      if (page.reason === 'first') shown.push(page);
    });
    const own = invocation.args.length > 0;
    let service: Service | null = null;
    try {
      io.err.write('starting the embedded ClickHouse, a private Redis, the receivers, detectors and alerting\n');
      const dataDir = join(config.dataDir, 'demo');
      // A demo that was killed leaves its Redis running, which nobody could reach without the socket in this folder.
      await stopPrivateRedis(dataDir);
      await rm(dataDir, { recursive: true, force: true });
      service = await startService(demoConfig(config, dataDir, receiver, own), {
        log: createLogger(io.env.TOKENWATCH_LOG ?? 'error'),
      });
      io.err.write(`started in ${duration(performance.now() - began)}, listening at ${service.url}\n`);
      const right = own
        ? await showFiles(service, receiver, invocation.args, io)
        : await showFleet(service, receiver, io);
      if (invocation.options.exit === true) return right ? 0 : 1;
      io.out.write(whereNext(service, dataDir));
      await ended(io.signal);
      io.err.write('stopping\n');
      return 0;
    } finally {
      await service?.close();
      await receiver.close();
    }
  },
};

/** The demo pages for what happened in the past, keeps everything, and touches neither the operator's data nor channels. */
function demoConfig(config: Config, dataDir: string, receiver: DemoReceiver, own: boolean): Config {
  return {
    ...config,
    dataDir,
    store: { url: null, retention: { eventsMs: null } },
    queue: { url: null },
    alerts: {
      // The fleet's last day may page; four weeks before it only teach. In a file of the user's everything may page.
      maxAgeMs: own ? null : DAY_MS + 10 * 60_000,
      budget: null,
      channels: {
        demo: { type: 'webhook', url: receiver.url, secrets: [receiver.secret], allowPrivateNetwork: true },
      },
      routes: [],
    },
  };
}

async function showFleet(service: Service, receiver: DemoReceiver, io: Io): Promise<boolean> {
  const fleet = demoFleet(systemClock.now());
  io.err.write(
    `\na made-up company of ${plural(fleet.tokens.length, 'token')}: four quiet weeks, then a day with three attacks among deploys, a rotation and a failover\n`,
  );
  await post(service, fleet.lines({ toMs: fleet.liveMs }), 'learning four weeks', io);
  await settled(service);
  const began = performance.now();
  await post(service, fleet.lines({ fromMs: fleet.liveMs }), 'the day of the attacks', io);
  await settled(service);
  const alerts = await pagedAlerts(service);
  io.err.write(`judged and paged in ${duration(performance.now() - began)}\n`);
  io.out.write(`\n${plural(alerts.length, 'page')} went out to the webhook:\n\n`);
  for (const alert of alerts) io.out.write(`${pageReport(alert)}\n`);
  return verdict(alerts, fleet.truth.attacks, receiver, io);
}

async function showFiles(service: Service, receiver: DemoReceiver, files: readonly string[], io: Io): Promise<boolean> {
  const progress = createProgress('reading', io.err, () => performance.now());
  const result = await importFiles({
    files,
    url: service.url,
    key: service.accessKey as string,
    format: 'auto',
    clock: systemClock,
    stdin: io.input,
    signal: io.signal,
    onProgress: ({ bytesRead, bytesTotal, lines, rejected }) =>
      progress.update({
        done: bytesRead,
        total: bytesTotal,
        count: lines,
        unit: 'lines',
        note: rejected > 0 ? `${thousands(rejected)} rejected` : '',
      }),
  }).finally(() => progress.finish());
  io.out.write(importReport(result));
  await settled(service);
  const alerts = await pagedAlerts(service);
  io.out.write(
    `\n${plural(alerts.length, 'alert')} would have paged${alerts.length > SHOWN_PAGES ? `; the first ${SHOWN_PAGES}` : ''}:\n\n`,
  );
  for (const alert of alerts.slice(0, SHOWN_PAGES)) io.out.write(`${pageReport(alert)}\n`);
  if (alerts.length === 0)
    io.out.write('Tokens are learnt for five days before they are judged: a longer log says more.\n');
  // Every alert that pages must have reached the receiver.
  const reached = new Set(receiver.pages.map((page) => page.alert.id));
  return result.accepted > 0 && alerts.every((alert) => reached.has(alert.id));
}

/** post sends lines over HTTP, as a shipper would, and says how far it is. */
async function post(service: Service, lines: Iterable<string>, title: string, io: Io): Promise<void> {
  const progress = createProgress(title, io.err, () => performance.now());
  let sent = 0;
  let body: string[] = [];
  const send = async () => {
    if (body.length === 0) return;
    const response = await fetch(`${service.url}/v1/events`, {
      method: 'POST',
      headers: { authorization: `Bearer ${service.accessKey}`, 'content-type': 'application/x-ndjson' },
      body: body.join(''),
      signal: io.signal,
    });
    const answer = (await response.json()) as { accepted?: number; rejected?: number };
    if (response.status !== 200 || answer.rejected !== 0)
      throw new TokenwatchError(
        'demo_refused',
        'bug',
        `the service answered ${response.status} to the demo's events: ${JSON.stringify(answer).slice(0, 300)}`,
      );
    sent += body.length;
    body = [];
    progress.update({ done: sent, total: null, count: sent, unit: 'events', note: '' });
  };
  for (const line of lines) {
    body.push(line);
    if (body.length >= REQUEST_LINES) await send();
  }
  await send();
  progress.finish();
}

/** settled waits until nothing waits to be judged, folded or sent. */
async function settled(service: Service): Promise<void> {
  const until = performance.now() + SETTLE_LIMIT_MS;
  let quietSince = performance.now();
  while (performance.now() < until) {
    const depths = await service.queues.depths();
    const moving = depths.some(({ state, jobs }) => (state === 'waiting' || state === 'active') && jobs > 0);
    if (moving || (await service.queues.batches.size()) > 0) quietSince = performance.now();
    else if (performance.now() - quietSince >= QUIET_MS) return;
    await delay(50);
  }
  throw new TokenwatchError(
    'demo_unsettled',
    'bug',
    `the detectors were still busy after ${duration(SETTLE_LIMIT_MS)}`,
    {
      fix: 'Run it again with TOKENWATCH_LOG=info to see what is slow.',
    },
  );
}

async function pagedAlerts(service: Service): Promise<ApiAlert[]> {
  const response = await fetch(`${service.url}/v1/alerts?severity=${PAGING_SEVERITIES.join(',')}&limit=200`, {
    headers: { authorization: `Bearer ${service.accessKey}` },
  });
  const { alerts } = (await response.json()) as { alerts: ApiAlert[] };
  const whole = await Promise.all(
    alerts.map(async ({ id }) => {
      const one = await fetch(`${service.url}/v1/alerts/${id}`, {
        headers: { authorization: `Bearer ${service.accessKey}` },
      });
      return (await one.json()) as ApiAlert;
    }),
  );
  return whole.sort((a, b) => (a.opened_at < b.opened_at ? -1 : 1));
}

/** verdict compares the pages with what the fleet really did. */
function verdict(
  alerts: readonly ApiAlert[],
  attacks: readonly AttackTruth[],
  receiver: DemoReceiver,
  io: Io,
): boolean {
  const reached = new Set(receiver.pages.map((page) => page.alert.id));
  const about = (alert: ApiAlert, attack: AttackTruth) =>
    attack.subject.lineage === null
      ? alert.token === null && alert.owner === attack.subject.owner
      : alert.lineage === attack.subject.lineage;
  const caught = attacks.filter((attack) => alerts.some((alert) => about(alert, attack) && reached.has(alert.id)));
  const false_ = alerts.filter((alert) => !attacks.some((attack) => about(alert, attack)));
  for (const attack of attacks) {
    const alert = alerts.find((one) => about(one, attack));
    const after = alert === undefined ? null : Math.max(0, Date.parse(alert.opened_at) - attack.firstEventMs);
    io.out.write(
      plain(`${after === null ? 'MISSED ' : 'caught '} ${attack.kind}: ${attack.description}${foundAfter(after)}\n`),
    );
  }
  for (const alert of false_) io.out.write(plain(`FALSE   ${alert.title}\n`));
  const right = caught.length === attacks.length && false_.length === 0;
  io.out.write(
    right ? '\nAll three attacks were paged, and nothing else.\n' : '\nThis is not what should have been paged.\n',
  );
  return right;
}

/** foundAfter says how far into an attack, by event time, its first telling event was; null: nothing told of it. */
function foundAfter(ms: number | null): string {
  if (ms === null) return '';
  return ms === 0 ? '; its first event told' : `; told of by what happened ${duration(ms)} into it`;
}

function whereNext(service: Service, dataDir: string): string {
  return [
    '',
    `Tokenwatch stays up at ${service.url} until you press Ctrl-C. In another terminal:`,
    `  export TOKENWATCH_DATA='${dataDir}'`,
    '  npx tokenwatch alerts list',
    '  npx tokenwatch alerts show ID',
    `  npx tokenwatch sql "SELECT token, state, calls FROM tokens ORDER BY calls DESC LIMIT 10"`,
    `  npm start                 # for your own logs; npm run demo -- YOUR-FILE judges one first`,
    '',
    '',
  ].join('\n');
}

function ended(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
