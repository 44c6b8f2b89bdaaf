import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type { BenchCase } from '../contract.ts';
import type { FactsAnswer, FactsQuestion } from '../facts-process.ts';
import { startHelper } from '../processes.ts';
import { median, spreadOf } from '../statistics.ts';

const DAYS = 30;
const SHOWN_QUERIES = 6;
/** From one batch to the next: five thousand events a second. */
const PACE_MS = 1_000;
const EVENTS_PER_TOKEN_DAY = 2;

/** facts measures what the detectors ask of the engine for one batch, over a large fleet. */
export const facts: BenchCase = {
  id: 'facts',
  title: "all detectors' facts for a batch that touches 5,000 of 100,000 tokens with 30 days of history",
  async run({ quick, folder, say }) {
    const tokens = quick ? 5_000 : 100_000;
    const touched = quick ? 500 : 5_000;
    const batches = quick ? 3 : 20;
    say(`loading ${tokens} tokens by SQL`);
    const fleet = {
      ...{ dataDir: join(folder, 'data'), tokens, owners: tokens / 10, days: DAYS },
      ...{ eventsPerTokenDay: EVENTS_PER_TOKEN_DAY, endMs: Date.now() },
    };
    const loader = startHelper<FactsQuestion, FactsAnswer>('facts-process');
    const { events } = await loader.ask({ ask: 'load', ...fleet });
    await loader.end();
    // A process of its own: what loading left in the memory of the first is no part of a service.
    const helper = startHelper<FactsQuestion, FactsAnswer>('facts-process');
    await helper.ask({ ask: 'open', ...fleet });
    const runs: FactsAnswer[] = [];
    const judge = async (count: number, paceMs: number) => {
      for (let nth = 0; nth < count; nth++) {
        const due = setTimeout(paceMs);
        runs.push(await helper.ask({ ask: 'batch', number: runs.length, tokens: touched }));
        await due;
      }
    };
    // The first one of a day also fits the fleet's prior, and is told apart.
    await judge(1 + batches, PACE_MS);
    await judge(batches, 0);
    await helper.end();
    const [first, ...rest] = runs as [FactsAnswer, ...FactsAnswer[]];
    const [counted, crowded] = [rest.slice(0, batches), rest.slice(batches).map((run) => run.engineMs)];
    const engine = counted.map((run) => run.engineMs);
    const names = [...new Set(counted.flatMap((run) => Object.keys(run.queries)))];
    const costs = names
      .map((name) => ({ name, ms: median(counted.map((run) => run.queries[name] ?? 0)) }))
      .sort((a, b) => b.ms - a.ms);
    const whole = counted.map((run) => run.wholeMs);
    return {
      figures: [
        {
          name: 'engine time of a batch',
          value: median(engine),
          unit: 'ms',
          spread: spreadOf(engine),
          bar: { kind: 'below', value: 100 },
        },
        { name: 'with transport and judgement', value: median(whole), unit: 'ms', spread: spreadOf(whole) },
        { name: 'engine time, batches back to back', value: median(crowded), unit: 'ms', spread: spreadOf(crowded) },
        { name: 'engine time of the first batch of a day', value: first.engineMs, unit: 'ms' },
      ],
      notes: [
        `${events} events of history, loaded by another process and merged before the first batch; ${batches} batches of ${touched} events, each of another token, one every ${PACE_MS / 1_000} s, and as many without a pause, beside whose merges the detectors then ask; ${runs.reduce((sum, run) => sum + run.detections, 0)} detections.`,
        `Slowest queries of a batch, side by side: ${costs
          .slice(0, SHOWN_QUERIES)
          .map(({ name, ms }) => `${name} ${ms.toFixed(1)} ms`)
          .join(', ')}.`,
      ],
    };
  },
};
