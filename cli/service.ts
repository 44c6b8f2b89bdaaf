import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import Fastify, { type FastifyInstance } from 'fastify';
import { openAlerts } from '../alerts/index.ts';
import type { Config } from '../config/index.ts';
import { clientErrorHandler, frameworkErrors, openConsole } from '../console/index.ts';
import {
  type Clock,
  createLogger,
  createMetrics,
  errorText,
  type Logger,
  makeDataFolder,
  systemClock,
  TokenwatchError,
} from '../core/index.ts';
import { openDetectors, thresholdsOf } from '../detectors/index.ts';
import { createKeys, FIRST_KEY_FILE, type Ingest, openIngest } from '../ingest/index.ts';
import { openQueues, type Queues } from '../queues/index.ts';
import { openStore, type Store } from '../store/index.ts';
import { baseUrl } from './api.ts';
import { version } from './version.ts';

/** Role is one part of the product that a process can run; every role may run in any number of processes. */
export type Role = (typeof ROLES)[number];

/** ROLES lists every role; one process runs all of them unless told otherwise. */
export const ROLES = ['ingest', 'detect', 'alert', 'console'] as const;

/** ServiceOptions are what a start does not take from the configuration. */
export interface ServiceOptions {
  /** All when not given. */
  readonly roles?: readonly Role[];
  /** The operator's own access key; null or absent: one is made on first start. */
  readonly accessKey?: string | null;
  readonly log?: Logger;
  readonly clock?: Clock;
  /** Names that keep several installations on one ClickHouse and Redis apart; for tests and benchmarks. */
  readonly database?: string;
  readonly queuePrefix?: string;
}

/** Service is a running Tokenwatch. */
export interface Service {
  readonly url: string;
  /** A key with all scopes: the given one, or the one in `<data>/access-key`; null when neither is known here. */
  readonly accessKey: string | null;
  /** The key was made by this start and has never been shown. */
  readonly accessKeyIsNew: boolean;
  /** The operator chose the key. */
  readonly accessKeyIsGiven: boolean;
  readonly config: Config;
  readonly roles: readonly Role[];
  readonly store: Store;
  readonly queues: Queues;
  /** Takes events in without HTTP; null without the role. */
  readonly ingest: Ingest | null;
  /** What the operator should know though nothing is broken, e.g. an old geo database. */
  readonly warnings: readonly string[];
  /** close ends from the outside in: no new requests, running work finished, what is open stored, connections closed. */
  close(deadlineMs?: number): Promise<void>;
}

const CLOSE_DEADLINE_MS = 10_000;

/** Messages that are still being sent when a service closes may take this long; then their jobs are left to the next start. */
const SEND_GRACE_MS = 2_000;

/** A sender that trickles its body holds a connection for no longer than this. */
const REQUEST_TIMEOUT_MS = 300_000;

/** Requests with a body that is kept in memory as a whole, which are all but `POST /v1/events`. */
const SMALL_BODY_BYTES = 1024 * 1024;

/** startService opens everything that the roles need, in order, and listens. What was opened is closed again when a later part fails. */
export async function startService(config: Config, options: ServiceOptions = {}): Promise<Service> {
  const roles = options.roles ?? ROLES;
  const log = options.log ?? createLogger(config.log.level);
  const clock = options.clock ?? systemClock;
  const metrics = createMetrics();
  const opened: ClosingStep[] = [];
  try {
    makeDataFolder(config.dataDir);
    const store = await openStore(config, {
      log,
      clock,
      ...(options.database === undefined ? {} : { database: options.database }),
    });
    opened.push({ what: 'store', close: () => store.close() });
    const prefix = options.queuePrefix;
    const queues = await openQueues(config, { log, clock, ...(prefix === undefined ? {} : { prefix }) });
    opened.push({ what: 'queues', close: (deadlineMs) => queues.close(deadlineMs) });

    const keys = createKeys(store, clock);
    const given = options.accessKey ?? null;
    const parts = { config, store, queues, clock, log, metrics };

    const ingest = roles.includes('ingest') ? await openIngest({ ...parts, history: store }) : null;
    if (ingest !== null) opened.push({ what: 'ingest', close: () => ingest.close() });
    const alerts = openAlerts({ ...parts, thresholds: thresholdsOf(config.detectors) });
    opened.push({
      what: 'alerts',
      // Not awaited: sends that finish by themselves may, while the queues wait for their jobs.
      close: async () => void setTimeout(() => alerts.stop(), SEND_GRACE_MS).unref(),
    });
    const detectors = roles.includes('detect') ? openDetectors(parts) : null;
    await queues.startWorkers((workers) => {
      detectors?.register(workers);
      if (roles.includes('alert')) alerts.register(workers);
    });

    const app = Fastify({
      logger: false,
      bodyLimit: SMALL_BODY_BYTES,
      forceCloseConnections: 'idle',
      frameworkErrors: frameworkErrors(log),
      clientErrorHandler,
      requestTimeout: REQUEST_TIMEOUT_MS,
    });
    opened.push({ what: 'http', close: (deadlineMs) => withDeadline(app.close(), deadlineMs) });
    const console = openConsole({ ...parts, alerts, keys, version: version() });
    if (roles.includes('console')) console.routes(app, keys.authenticate);
    else console.health(app);
    await ingest?.routes(app, keys.authenticate);
    const url = await listen(app, config.listen);
    // Only now: a key that a failed start made would never be shown.
    const made = await keys.ensureFirstKey({ dataDir: config.dataDir, given });

    const geoWarning = ingest?.geoWarning() ?? '';
    log.info({ url, roles }, 'Tokenwatch is up.');
    let closing: Promise<void> | null = null;
    return {
      url,
      accessKey: given ?? made ?? keptKey(config.dataDir),
      accessKeyIsNew: made !== null,
      accessKeyIsGiven: given !== null,
      config,
      roles,
      store,
      queues,
      ingest,
      warnings: geoWarning === '' ? [] : [geoWarning],
      close: (deadlineMs = CLOSE_DEADLINE_MS) => {
        closing ??= closeAll(opened, deadlineMs, log);
        return closing;
      },
    };
  } catch (error) {
    await closeAll(opened, CLOSE_DEADLINE_MS, log);
    throw error;
  }
}

/** ClosingStep ends one part. */
export interface ClosingStep {
  readonly what: string;
  close(deadlineMs: number): Promise<unknown>;
}

/** closeAll ends parts in the reverse order of their opening; each gets its turn, whatever became of the one before. */
export async function closeAll(opened: readonly ClosingStep[], deadlineMs: number, log: Logger): Promise<void> {
  for (const { what, close } of opened.toReversed()) {
    try {
      await withDeadline(close(deadlineMs), deadlineMs + SEND_GRACE_MS);
    } catch (error) {
      log.warn({ part: what, error: errorText(error) }, 'A part did not close as it should.');
    }
  }
}

async function withDeadline(work: Promise<unknown>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done within ${ms} ms`)), ms);
  });
  try {
    await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

async function listen(app: FastifyInstance, { host, port }: Config['listen']): Promise<string> {
  try {
    await app.listen({ host, port });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new TokenwatchError(
      'listen_failed',
      'config',
      `cannot listen on ${host}:${port}: ${code ?? errorText(error)}`,
      {
        fix:
          code === 'EADDRINUSE'
            ? 'Something listens there already, perhaps another Tokenwatch: stop it, or set TOKENWATCH_LISTEN to another address.'
            : 'Set TOKENWATCH_LISTEN, or `listen` in the configuration, to an address of this machine.',
        cause: error,
      },
    );
  }
  return baseUrl({ host, port: (app.server.address() as AddressInfo).port });
}

function keptKey(dataDir: string): string | null {
  try {
    return readFileSync(join(dataDir, FIRST_KEY_FILE), 'utf8').trim();
  } catch {
    return null;
  }
}
