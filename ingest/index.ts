import type { FastifyInstance } from 'fastify';
import type { Config } from '../config/index.ts';
import { type Authenticate, type Clock, errorText, type Logger, type Registry, randomToken } from '../core/index.ts';
import { HINTS, type Queues } from '../queues/index.ts';
import type { LineStore, Store } from '../store/index.ts';
import { createAhead } from './ahead.ts';
import { createBatcher } from './batcher.ts';
import { createEnricher } from './enrich.ts';
import { openGeo } from './geo.ts';
import { createHeldBytes } from './held-bytes.ts';
import { registerRoutes } from './http.ts';
import { createLineages } from './lineage.ts';
import { createIngestMetrics } from './metrics.ts';
import { createNews } from './news.ts';
import { isUrgent } from './part.ts';
import { createPipeline, type Pipeline } from './pipeline.ts';
import { createReader } from './reader.ts';
import { createRedactor } from './redact.ts';
import { createSink } from './sink.ts';
import { createTemplates } from './templates.ts';

export { followedUp } from './arrivals.ts';
export { FORMATS, formatNamed, type LogFormat } from './formats/index.ts';
export { type Geo, type GeoDatabase, openGeo } from './geo.ts';
export type { IngestAnswer } from './http.ts';
export { type ImportFileOptions, type ImportProgress, type ImportResult, importFiles } from './import.ts';
export { type AccessKey, createKeys, FIRST_KEY_FILE, type IssuedKey, type Keys } from './keys.ts';
export { createNews } from './news.ts';
export type { IngestOutcome, IngestRequest } from './pipeline.ts';
export { addCounts, type LineCounts, type LineError, NO_LINES } from './result.ts';

/** IngestContext is what the receivers of a process are opened with. */
export interface IngestContext {
  readonly config: Pick<Config, 'ingest' | 'geo'>;
  readonly store: LineStore;
  /** What is known already, to tell news from habits; without it the batches do not say who met something new. */
  readonly history?: Pick<Store, 'read'>;
  readonly queues: Pick<Queues, 'batches' | 'requests' | 'shared'>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Registry;
  /** How often the lease is renewed and left batches are looked for. */
  readonly tendMs?: number;
}

/** Ingest is the door of the receivers. */
export interface Ingest {
  /** routes adds `POST /v1/events` to a server. */
  routes(app: FastifyInstance, authenticate: Authenticate): Promise<void>;
  /** ingest takes a body in without HTTP: for tests, the demo, a file on the same machine. */
  readonly ingest: Pipeline['ingest'];
  /** geoWarning says that a geo database is too old, '' when all are fresh. */
  geoWarning(): string;
  /** close stores what is open, then stops. */
  close(): Promise<void>;
}

/** Under this name the installation keeps the key of its credential fingerprints. */
const REDACTION_KEY = 'redaction-key';

/** Twice within a lease, so that one missed renewal does not end it. */
const TEND_MS = 5_000;

/** First meetings of so late before a start are looked at again. */
const UNJUDGED_MS = 2 * 3_600_000;

/** Coalesced batches that are stored at once. */
const STORES_AT_ONCE = 2;

/** openIngest makes the receivers of one process, and stores batches that a process left behind. */
export async function openIngest(context: IngestContext): Promise<Ingest> {
  const { config, store, queues, clock, log } = context;
  const redactor = createRedactor(await queues.shared.setOnce(REDACTION_KEY, randomToken(32)));
  await queues.shared.tallyAnew(HINTS, clock.now());
  const geo = await openGeo(config.geo, {
    watchMs: 60_000,
    onError: (error) => log.warn({ code: error.code, error: error.message }, error.fix),
  });
  const held = createHeldBytes(config.ingest.bufferLimitBytes);
  const lineages = createLineages(queues.shared);
  const news = context.history === undefined ? null : createNews();
  const metrics = createIngestMetrics(context.metrics, {
    bufferedBytes: () => held.bytes,
    redacted: () => redactor.replaced,
    lineages: lineages.size,
    remembered: () => news?.size() ?? 0,
  });
  const enricher = createEnricher({
    redactor,
    templates: createTemplates(queues.shared, { redactor }),
    geo,
    lineages,
  });
  const sink = createSink({ store, queues, news, log, metrics });
  const ahead = createAhead({ requests: queues.requests, sink, held, news, log, owner: randomToken(9) });
  const batcher = createBatcher({
    rows: config.ingest.batchRows,
    bytes: config.ingest.batchBytes,
    lingerMs: config.ingest.lingerMs,
    storesAtOnce: STORES_AT_ONCE,
    urgent: isUrgent,
    clock,
    store: ahead.store,
  });
  const pipeline = createPipeline({
    config: config.ingest,
    requests: queues.requests,
    reader: createReader({ enricher, redactor, news, log }),
    sink,
    batcher,
    held,
    clock,
    log,
    metrics,
  });

  const failed = (error: unknown): void =>
    log.warn({ error: errorText(error) }, 'Batches written ahead could not be looked after; tried again soon.');
  let tending: Promise<void> | null = null;
  const tend = (): Promise<void> => {
    tending ??= ahead
      .tend()
      .catch(failed)
      .finally(() => {
        tending = null;
      });
    return tending;
  };
  // Meanwhile everything is news, which only costs the detectors a look.
  const stopped = new AbortController();
  const warmed =
    context.history === undefined
      ? null
      : news
          ?.warm(context.history, clock.now() - UNJUDGED_MS, stopped.signal)
          .catch((error) =>
            log.warn({ error: errorText(error) }, 'What tokens are known for is learnt from new calls.'),
          );
  await ahead.renew();
  await tend();
  const timer = setInterval(() => {
    // Apart, because tending may wait for a slow store for longer than the lease lasts.
    ahead.renew().catch(failed);
    void tend();
  }, context.tendMs ?? TEND_MS);
  timer.unref();

  return {
    routes: (app, authenticate) => registerRoutes(app, { pipeline, authenticate, log, metrics }),
    ingest: pipeline.ingest,
    geoWarning: () => geo.warning(clock.now()),
    async close() {
      clearInterval(timer);
      stopped.abort();
      await warmed;
      await batcher.flush();
      await pipeline.idle();
      await tending;
      await ahead.leave().catch(failed);
      geo.close();
    },
  };
}
