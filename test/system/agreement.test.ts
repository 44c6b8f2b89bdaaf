import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runBacktest } from '../../cli/backtest-run.ts';
import { type Service, startService } from '../../cli/service.ts';
import { loadConfig } from '../../config/index.ts';
import { createLogger, systemClock } from '../../core/index.ts';
import { type AttackKind, type NativeEvent, simulate, writeNdjson } from '../../fixtures/index.ts';
import { openStore } from '../../store/index.ts';
import { settled } from '../kit/settled.ts';
import { rows, testStoreFolder } from '../kit/store.ts';

/** A Thursday evening, long ago: only event time may matter. */
const END_MS = Date.UTC(2026, 9, 15, 18);

const ATTACKS: readonly AttackKind[] = [
  'theft-new-country',
  'enumeration-fast',
  'denied-probing',
  'dormant-use',
  'issuance-burst',
  'mass-revocation',
  'refused-probing',
];

const fleet = simulate({
  seed: 7,
  owners: 6,
  tokens: 24,
  historyDays: 12,
  liveDays: 2,
  endMs: END_MS,
  callsPerTokenDay: 40,
  attacks: ATTACKS,
  changes: ['deploy', 'rotation', 'region-failover', 'backfill'],
});

const folder = mkdtempSync(join(tmpdir(), 'tokenwatch-agreement-'));
const file = join(folder, 'fleet.ndjson.gz');
const log = createLogger('silent');
const config = {
  ...loadConfig({ env: { TOKENWATCH_LISTEN: '127.0.0.1:0', TOKENWATCH_DATA: testStoreFolder() }, cwd: folder }),
  alerts: { maxAgeMs: null, budget: null, channels: {}, routes: [] },
};

/** Found is what both sides must agree on, in one comparable line. */
type Found = string;

let live: Found[];
let service: Service;
beforeAll(() => writeNdjson(fleet, file));
afterAll(async () => {
  await service?.close();
  rmSync(folder, { recursive: true, force: true });
});

function found(
  detections: readonly { id: string; detector: string; severity: string; subject: string; window: string }[],
) {
  return detections
    .map(({ id, detector, severity, subject, window }) => [id, detector, severity, subject, window].join(' '))
    .sort();
}

async function post(events: readonly NativeEvent[]): Promise<void> {
  const response = await fetch(`${service.url}/v1/events`, {
    method: 'POST',
    headers: { authorization: `Bearer ${service.accessKey}` },
    body: events.map((event) => JSON.stringify(event)).join('\n'),
  });
  expect(await response.json()).toMatchObject({ accepted: events.length, rejected: 0 });
}

async function liveDetections(): Promise<Found[]> {
  const detections = await rows(
    service.store,
    `SELECT id, detector, severity, concat(owner, '/', ifNull(lineage, '-'), '/', ifNull(token, '-')) AS subject,
            concat(toString(toUnixTimestamp64Milli(window_from)), '..', toString(toUnixTimestamp64Milli(window_to))) AS window
     FROM detections FINAL`,
  );
  return found(detections as unknown as Parameters<typeof found>[0]);
}

test('the live service and a backtest find the same in the same events, late ones among them', async () => {
  // The service's clock follows the events, as in life: only then does it count what was met within a day.
  let now = END_MS - 14 * 86_400_000;
  service = await startService(config, { log, database: 'live', clock: { now: () => now } });
  const counts: number[] = [];
  const { tally } = service.queues.shared;
  service.queues.shared.tally = async (...asked) => {
    const counted = await tally(...asked);
    counts.push(...(counted?.values() ?? []));
    return counted;
  };
  // Sizes unlike each other: whole days at first, then hours, then whatever arrives within minutes of the attacks.
  let batch: NativeEvent[] = [];
  let number = 0;
  const sizes = [1_500, 300, 800, 100, 40, 37];
  for (const event of fleet.events()) {
    batch.push(event);
    now = Math.max(now, Date.parse(event.time));
    if (batch.length < (sizes[number % sizes.length] as number)) continue;
    await post(batch);
    // Now and then the detectors keep up, now and then several requests are judged together.
    if (number % 3 !== 0) await settled(service);
    batch = [];
    number++;
  }
  await post(batch);
  await settled(service);
  live = await liveDetections();

  const store = await openStore(
    { dataDir: config.dataDir, store: { url: null, retention: { eventsMs: null } } },
    { log, clock: systemClock, database: 'backtest' },
  );
  const backtest = await runBacktest({
    files: [file],
    format: 'auto',
    config,
    store,
    clock: systemClock,
    log,
    stdin: Readable.from([]),
    signal: new AbortController().signal,
    onProgress: () => {},
  });
  await store.close();

  expect(backtest.rejected).toBe(0);
  expect(number).toBeGreaterThan(6);
  const judged = found(
    backtest.detections.map(({ id, detector, severity, subject, window }) => ({
      id,
      detector,
      severity,
      subject: `${subject.owner}/${subject.lineage ?? '-'}/${subject.token ?? '-'}`,
      window: `${window.from}..${window.to}`,
    })),
  );
  expect(live).toEqual(judged);
  // Agreeing on nothing would prove nothing: most attacks are among what was found.
  const detectors = new Set(backtest.detections.map(({ detector }) => detector));
  expect([...detectors].sort()).toEqual(
    expect.arrayContaining(['churn-rate', 'endpoint-spread', 'geo-novelty', 'lifecycle-novelty', 'refused-calls']),
  );
  // And some were not looked at, because they had met too little.
  expect(counts.filter((count) => count < 3).length).toBeGreaterThan(0);
}, 300_000);
