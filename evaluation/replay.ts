import { loadConfig } from '../config/index.ts';
import { createLogger, createMetrics, type Detection } from '../core/index.ts';
import { DETECTORS, openJudge, scopeOf } from '../detectors/index.ts';
import { formatNamed, openIngest } from '../ingest/index.ts';
import { type BatchEntry, createMemoryQueues } from '../queues/index.ts';
import { openStore, type Store, type TableName } from '../store/index.ts';

/** LOOK_LEVELS are the surprises at which calibration counts looks. */
export const LOOK_LEVELS = [1, 2, 3, 4] as const;

/** A severity per level, so that an episode is reported once per level that it reaches. */
const LEVEL_PARAMS = Object.fromEntries(
  (['low', 'medium', 'high', 'critical'] as const).map((severity, i) => [severity, LOOK_LEVELS[i] as number]),
);

/** ReplayOptions say what is judged, and where its store may be. */
export interface ReplayOptions {
  /** An empty folder that nobody else uses. */
  readonly folder: string;
  readonly format: string;
  /** Findings before this event time, epoch milliseconds, teach and page nobody. */
  readonly liveMs: number;
  /** Also find what surprises at LOOK_LEVELS, far below what pages. */
  readonly looks: boolean;
}

/** Replay feeds events to a Tokenwatch of its own, in this process, at the pace and with the clock of the events. */
export interface Replay {
  /** take reads a piece of a log that arrives at `atMs`; `judged` false: it only teaches. */
  take(
    piece: AsyncIterable<Uint8Array>,
    atMs: number,
    judged: boolean,
  ): Promise<{ accepted: number; rejected: number }>;
  readonly store: Store;
  /** Everything found so far, as the live service would have stored it. */
  detections(): readonly Detection[];
  /** What surprised at LOOK_LEVELS; empty unless asked for. */
  surprises(): readonly Detection[];
  close(): Promise<void>;
}

/** Rows that are gathered for one insert while nothing is judged. */
const INSERT_ROWS = 50_000;

/** openReplay opens the real receivers, store and detectors over a folder, with queues in memory. */
export async function openReplay(options: ReplayOptions): Promise<Replay> {
  const { folder, liveMs } = options;
  const log = createLogger('error');
  let nowMs = 0;
  const clock = { now: () => nowMs };
  const store = await openStore(
    { dataDir: folder, store: { url: null, retention: { eventsMs: null } } },
    { log, clock },
  );
  const config = loadConfig({ env: {}, cwd: folder });
  const judge = openJudge({ config: { detectors: {} }, store, log });
  const measure = openJudge({
    config: { detectors: Object.fromEntries(DETECTORS.map(({ id }) => [id, { enabled: true, params: LEVEL_PARAMS }])) },
    store,
    log,
  });
  const found = new Map<string, Detection>();
  const surprising = new Map<string, Detection>();
  let open = new Map<TableName, string[]>();
  let rows = 0;
  let entries: BatchEntry[] = [];
  let blocks = 0;

  const flush = async (judged: boolean): Promise<void> => {
    const [tables, stored] = [open, entries];
    open = new Map();
    entries = [];
    rows = 0;
    const block = ++blocks;
    await Promise.all([...tables].map(([table, lines]) => store.insert(table, lines, `block ${block}`)));
    if (!judged || stored.length === 0) return;
    const scope = scopeOf(stored, liveMs, null, nowMs);
    // The first finding of an id stands, as in the live service.
    for (const one of await judge(scope)) if (!found.has(one.id)) found.set(one.id, one);
    if (!options.looks) return;
    for (const one of await measure(scope)) if (!surprising.has(one.id)) surprising.set(one.id, one);
  };
  const ingest = await openIngest({
    // Nobody waits for an answer: a batch leaves at once, a piece may be as long as it likes.
    config: { ...config, ingest: { ...config.ingest, lingerMs: 0, bodyLimitBytes: Number.MAX_SAFE_INTEGER } },
    store: {
      insert: async (table, lines) => {
        const gathered = open.get(table) ?? [];
        open.set(table, gathered);
        for (const line of lines) gathered.push(line);
        rows += lines.length;
      },
    },
    queues: createMemoryQueues(async (entry) => {
      entries.push(entry);
    }),
    clock,
    log,
    metrics: createMetrics(),
  });

  return {
    store,
    detections: () => [...found.values()],
    surprises: () => [...surprising.values()],
    take: async (body, atMs, judged) => {
      nowMs = atMs;
      const format = formatNamed(options.format);
      const outcome = await ingest.ingest({ body, encoding: undefined, format, sender: 'evaluation' });
      if (outcome.failure !== null) throw outcome.failure;
      if (judged || rows >= INSERT_ROWS) await flush(judged);
      return { accepted: outcome.accepted, rejected: outcome.rejected };
    },
    close: async () => {
      await ingest.close();
      await store.close();
    },
  };
}
