import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { backtestFleet } from '../../fixtures/index.ts';
import type { BenchCase } from '../contract.ts';
import { peakRssBytes, track } from '../processes.ts';
import { environmentOf, PROGRAM } from '../service.ts';
import { median, spreadOf } from '../statistics.ts';

const SEED = 7;
/** The same file on every run. */
const END_MS = Date.UTC(2026, 9, 1);
const LOOK_MS = 20;

/** backtest measures `tokenwatch backtest` on a file and on its first quarter. */
export const backtest: BenchCase = {
  id: 'backtest',
  title: 'a log file of 200 tokens over 21 days, judged after the fact',
  async run({ quick, folder, say }) {
    const events = quick ? 80_000 : 1_000_000;
    const runs = quick ? 1 : 3;
    const whole = join(folder, 'whole.ndjson');
    const quarter = join(folder, 'quarter.ndjson');
    say(`writing a file of ${events} events`);
    const written = writeFiles([
      { file: quarter, events: events / 4 },
      { file: whole, events },
    ]);
    const small = await judge(quarter, folder);
    const times: number[] = [];
    let large: Run = { seconds: Number.NaN, peakRss: null, alerts: 0 };
    for (let i = 0; i < runs; i++) {
      large = await judge(whole, folder);
      times.push(large.seconds);
      say(`run ${i + 1} of ${runs}: ${large.seconds.toFixed(1)} s`);
    }
    return {
      figures: [
        { name: `${(events / 4).toLocaleString('en-US')} events`, value: small.seconds, unit: 's' },
        {
          name: `${events.toLocaleString('en-US')} events`,
          value: median(times),
          unit: 's',
          spread: spreadOf(times),
          bar: { kind: 'below', value: 20 },
        },
        ...(small.peakRss === null || large.peakRss === null
          ? []
          : [
              { name: 'peak memory at a quarter', value: small.peakRss / 1e6, unit: 'MB' },
              { name: 'peak memory at the whole', value: large.peakRss / 1e6, unit: 'MB' },
              {
                name: 'memory, whole / quarter',
                value: large.peakRss / small.peakRss,
                unit: '',
                bar: { kind: 'below', value: 1.5 } as const,
              },
            ]),
      ],
      notes: [`The file held ${written} events; ${large.alerts} alerts. Times include the start of the program.`],
    };
  },
};

interface Run {
  readonly seconds: number;
  readonly peakRss: number | null;
  readonly alerts: number;
}

async function judge(file: string, folder: string): Promise<Run> {
  const began = performance.now();
  const child = track(
    spawn(process.execPath, [PROGRAM, 'backtest', file, '--json'], {
      cwd: folder,
      env: environmentOf(folder),
      stdio: ['ignore', 'pipe', 'inherit'],
    }),
  );
  let peakRss: number | null = null;
  const watch = setInterval(() => {
    peakRss = peakRssBytes(child.pid as number) ?? peakRss;
  }, LOOK_MS);
  let alerts = 0;
  child.stdout.on('data', (chunk: Buffer) => {
    for (const byte of chunk) if (byte === 0x0a) alerts++;
  });
  const [code] = await once(child, 'close');
  clearInterval(watch);
  if (code !== 0) throw new Error(`backtest ended with ${code}`);
  return { seconds: (performance.now() - began) / 1000, peakRss, alerts };
}

/** writeFiles writes the fleet's first events to each file and returns how many the longest got. */
function writeFiles(files: readonly { readonly file: string; readonly events: number }[]): number {
  const open = files.map(({ file, events }) => ({ fd: openSync(file, 'w'), events }));
  const longest = Math.max(...files.map(({ events }) => events));
  let written = 0;
  for (const hour of backtestFleet(SEED, END_MS).arrivalsByHour()) {
    const lines = hour.map(({ event }) => `${JSON.stringify(event)}\n`);
    for (const { fd, events } of open) if (written < events) writeSync(fd, lines.slice(0, events - written).join(''));
    written += lines.length;
    if (written >= longest) break;
  }
  for (const { fd } of open) closeSync(fd);
  return Math.min(written, longest);
}
