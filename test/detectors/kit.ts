import { join } from 'node:path';
import { Readable } from 'node:stream';
import { type Lesson, teach } from '../../alerts/feedback.ts';
import { encodeLogEntry } from '../../alerts/rows.ts';
import { type BacktestResult, runBacktest } from '../../cli/backtest-run.ts';
import { type Config, loadConfig } from '../../config/index.ts';
import { createLogger, type Detection, systemClock } from '../../core/index.ts';
import { storeDetections } from '../../detectors/findings.ts';
import type { Store } from '../../store/index.ts';
import { writeMmdb } from '../kit/mmdb.ts';
import { testStoreFolder } from '../kit/store.ts';

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

/** Call is what a test says of one call; the rest is at home. */
export interface Call {
  readonly at: number;
  readonly token: string;
  readonly path: string;
  readonly owner?: string;
  readonly status?: number;
  readonly ip?: string;
  readonly client?: string;
}

/** HOME_IP is where tokens live, ABROAD_IP is in another country, NEARBY_IP in another network of the same. */
export const HOME_IP = '3.14.7.9';
export const NEARBY_IP = '137.81.7.9';
export const ABROAD_IP = '189.53.7.9';

/** cityDatabase writes a city database that knows Berlin, Tokyo and the addresses above, each within 20 km, and returns its path. */
export function cityDatabase(): string {
  const path = join(testStoreFolder(), 'city.mmdb');
  const city = (iso_code: string, latitude: number, longitude: number) => ({
    country: { iso_code },
    location: { latitude, longitude, accuracy_radius: 20 },
  });
  const records = {
    '198.51.100.0/24': city('DE', 52.5167, 13.4),
    '192.0.2.0/24': city('JP', 35.6897, 139.6895),
    '3.14.0.0/16': city('US', 39.9625, -83.0061),
    '137.81.0.0/16': city('US', 39.9625, -83.0061),
    '189.53.0.0/16': city('BR', -23.5475, -46.6361),
  };
  writeMmdb(path, 'GeoLite2-City', records, Date.UTC(2026, 9, 1));
  return path;
}

/** callEvent is a call as a native event. */
export function callEvent({
  at,
  token,
  path,
  owner = 'acme',
  status = 200,
  ip = HOME_IP,
  client = 'cron',
}: Call): object {
  const time = new Date(at).toISOString();
  return {
    time,
    token,
    owner,
    method: 'GET',
    path,
    status,
    ip,
    user_agent: `${client}/1.0`,
    id: `${owner} ${token} ${at} ${path}`,
  };
}

/** habit is one call to each path in every hour of [from, to). */
export function habit(
  token: string,
  paths: readonly string[],
  from: number,
  to: number,
  rest: Partial<Call> = {},
): Call[] {
  const calls: Call[] = [];
  for (let hour = from; hour < to; hour += HOUR)
    for (const [i, path] of paths.entries()) calls.push({ at: hour + (i + 1) * MINUTE, token, path, ...rest });
  return calls;
}

/** taught stores detections, makes them an alert and resolves it with a lesson; what people say later comes with a later `now`. */
export async function taught(
  store: Store,
  alert: string,
  detections: readonly Detection[],
  lesson: Partial<Lesson> & Pick<Lesson, 'verdict'>,
  now: number,
): Promise<void> {
  await storeDetections(store, detections, now);
  const folded = detections.map(({ id, detector, subject, severity, window }) =>
    encodeLogEntry({
      ...{ recordedAt: now, alert, kind: 'opened', subjectKey: '', subject, detection: id, detectionTime: window.to },
      ...{ severity, status: 'open', note: '', by: '', resolvedAs: null, needed: 0, detector, detectedAt: now },
    }),
  );
  await store.insert('alert_log', folded, `${alert} ${now}`);
  await teach(store, alert, { until: null, since: null, ...lesson }, { note: '', by: 'test', now });
}

/** Runs over one store: each has deduplication tokens of its own. */
let runs = 0;

/** judged runs events, by time, through receivers, store and detectors; what a run before stored is still there. */
export async function judged(
  store: Store,
  events: readonly object[],
  geo: Partial<Config['geo']> = {},
): Promise<BacktestResult> {
  const config = loadConfig({ env: { TOKENWATCH_DATA: testStoreFolder() }, cwd: testStoreFolder() });
  const timeOf = (event: object) => Date.parse((event as { time: string }).time);
  const sorted = [...events].sort((a, b) => timeOf(a) - timeOf(b));
  const run = ++runs;
  const result = await runBacktest({
    files: ['-'],
    format: 'native',
    config: { ...config, geo: { ...config.geo, ...geo } },
    store: { ...store, insert: (table, rows, token) => store.insert(table, rows, `run ${run} ${token}`) },
    clock: systemClock,
    log: createLogger('silent'),
    stdin: Readable.from(sorted.map((event) => `${JSON.stringify(event)}\n`)).map((line) => Buffer.from(line)),
    signal: new AbortController().signal,
    onProgress: () => {},
  });
  if (result.rejected > 0) throw new Error(`rejected: ${JSON.stringify(result.errors)}`);
  return result;
}

/** asPrinted runs the SQL of a finding as an analyst would, and returns its one row. */
export async function asPrinted(store: Store, sql: string): Promise<Record<string, unknown>> {
  const { body } = await store.analyse(sql, { defaultFormat: 'JSONEachRow', maxRows: 1_000, timeoutMs: 10_000 });
  const [row, ...more] = body.toString().trim().split('\n');
  if (row === undefined || more.length > 0) throw new Error(`${more.length + 1} rows of ${sql}`);
  return JSON.parse(row) as Record<string, unknown>;
}

/** plain makes a number a number, whether the engine quotes it or calls it a truth. */
export function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain);
  return typeof value === 'boolean' || (typeof value === 'string' && /^\d+$/.test(value)) ? Number(value) : value;
}
