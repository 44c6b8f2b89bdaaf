import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { simulate } from '../../fixtures/index.ts';
import { bodiesOf, eventsOf, take } from '../bodies.ts';
import { inParallel } from '../client.ts';
import type { BenchCase } from '../contract.ts';
import { openEncoder } from '../encode.ts';
import type { EngineAnswer, EngineQuestion, Via } from '../engine-process.ts';
import { startHelper } from '../processes.ts';
import { startService, untilJudged } from '../service.ts';
import { median, spreadOf } from '../statistics.ts';

const ROWS_PER_BODY = 5_000;
/** The engine has two cores' worth of work with two inserts at once; a sender keeps more on the way, because each is also decoded and judged. */
const INSERTS_AT_ONCE = 2;
const REQUESTS_AT_ONCE = 4;
/** Event time of the measured events: as dense as it would be at such a rate. */
const EVENTS_PER_SECOND = 20_000;
const WAYS: readonly Via[] = ['store', 'engine'];
const MEMORY_BAR_MB = 1_500;

/** ingest measures the engine's raw limit and the service on the same machine in turns, so that both see the same noise. */
export const ingest: BenchCase = {
  id: 'ingest',
  title: 'events until stored over HTTP, against the same rows inserted by the engine alone',
  async run({ quick, folder, say }) {
    const rounds = quick ? 2 : 5;
    const bodiesPerTurn = quick ? 2 : 12;
    const tokens = quick ? 50 : 400;
    const turns = (rounds + 1) * (WAYS.length + 1);
    const events = turns * bodiesPerTurn * ROWS_PER_BODY;

    const endMs = Date.now();
    // History enough to know most habits: a fleet in which everything is new would have the detectors do little else.
    const fleet = simulate({
      seed: 1,
      owners: tokens / 10,
      tokens,
      historyDays: 30,
      liveDays: 1 / 24,
      endMs,
      callsPerTokenDay: 20,
      disorder: false,
    });
    const measured = bodiesOf(
      eventsOf(fleet.steady(endMs - (events / EVENTS_PER_SECOND) * 1000 - 60_000, EVENTS_PER_SECOND, events)),
      ROWS_PER_BODY,
    );
    const encoder = await openEncoder();
    const engine = startHelper<EngineQuestion, EngineAnswer>('engine-process');
    const raw = async (bodies: readonly Buffer[], via: Via): Promise<number> => {
      const file = join(folder, 'rows');
      const rows = await encoder.encode(bodies, file);
      const dataDir = join(folder, 'engine');
      const question = {
        ask: 'insert',
        dataDir,
        file,
        rowsPerBlock: ROWS_PER_BODY,
        via,
        width: INSERTS_AT_ONCE,
      } as const;
      const ms = (await engine.ask(question)) as number;
      rmSync(file);
      return (rows / ms) * 1000;
    };
    const service = await startService(folder);
    let refused = 0;
    const post = async (bodies: readonly Buffer[]): Promise<number> => {
      const began = performance.now();
      await inParallel(bodies, REQUESTS_AT_ONCE, async (body) => {
        refused += await service.client.deliver(body);
      });
      return ((bodies.length * ROWS_PER_BODY) / (performance.now() - began)) * 1000;
    };

    say('loading 30 days of history on both sides');
    const history = [...bodiesOf(fleet.events({ toMs: fleet.liveMs }), ROWS_PER_BODY)];
    await post(history);
    await raw(history, 'store');
    await untilJudged(service);

    const rates = { store: [] as number[], engine: [] as number[], service: [] as number[] };
    // The first round warms up both sides and is not counted.
    for (let round = 0; round <= rounds; round++) {
      for (const via of WAYS) {
        const rate = await raw(take(measured, bodiesPerTurn), via);
        if (round > 0) rates[via].push(rate);
      }
      const rate = await post(take(measured, bodiesPerTurn));
      if (round > 0) rates.service.push(rate);
      say(`round ${round} of ${rounds}: ${Math.round(rate)} events/s`);
      await untilJudged(service);
    }
    const peak = service.peakRss();
    const [row] = await service.client.sql('SELECT count() AS stored FROM events');
    await service.stop();
    await engine.end();
    await encoder.close();

    const best: Via = median(rates.store) > median(rates.engine) ? 'store' : 'engine';
    const ratios = rates.service.map((rate, i) => rate / (rates[best][i] as number));
    const sent = (rounds + 1) * bodiesPerTurn * ROWS_PER_BODY;
    return {
      figures: [
        { name: 'raw limit', value: median(rates[best]), unit: 'rows/s', spread: spreadOf(rates[best]) },
        { name: 'ingest', value: median(rates.service), unit: 'events/s', spread: spreadOf(rates.service) },
        {
          name: 'ingest / raw limit',
          value: median(ratios),
          unit: '',
          spread: spreadOf(ratios),
          bar: { kind: 'at least', value: 0.4 },
        },
        ...(peak === null
          ? []
          : [
              {
                name: 'peak memory of the service',
                value: peak / 1e6,
                unit: 'MB',
                bar: { kind: 'below', value: MEMORY_BAR_MB } as const,
              },
            ]),
      ],
      notes: [
        `The raw limit is the faster of the store's own insert (${Math.round(median(rates.store))} rows/s) and the engine's rawInsert (${Math.round(median(rates.engine))} rows/s), ${INSERTS_AT_ONCE} at once.`,
        `${rounds} rounds of ${bodiesPerTurn * ROWS_PER_BODY} events in bodies of ${ROWS_PER_BODY}; ${row?.stored} events stored at the end, ${sent} of them in the rounds; ${refused} requests were told to come again.`,
      ],
    };
  },
};
