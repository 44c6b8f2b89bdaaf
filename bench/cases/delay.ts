import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { benchFleet, type NativeEvent } from '../../fixtures/index.ts';
import { planAttacks } from '../attacks.ts';
import { bodiesOf, eventsOf, take } from '../bodies.ts';
import { type Client, inParallel } from '../client.ts';
import type { BenchCase, Figure } from '../contract.ts';
import { startService, untilJudged } from '../service.ts';
import { median, quantile, random } from '../statistics.ts';

const ROWS_PER_BODY = 5_000;
const EVENTS_PER_SECOND = 2_000;
const TICK_MS = 50;
const WARM_UP_MS = 5_000;
/** An attack whose page is not there after this long counts as missed. */
const PATIENCE_MS = 15_000;

const CONFIG = (url: string) => `alerts:
  channels:
    bench: { type: webhook, url: "${url}", allow_private_network: true }
`;

/** Days before today on which the fleet made the same calls. */
const PAST_DAYS = [30, 24, 18, 12, 6, 2];
const DAY_MS = 86_400_000;

function* moved(events: readonly NativeEvent[], fromMs: number, run: string): Generator<NativeEvent, void, undefined> {
  for (const [i, event] of events.entries())
    yield { ...event, time: new Date(fromMs + (i * 1000) / EVENTS_PER_SECOND).toISOString(), id: `${event.id}-${run}` };
}

function* daysBefore(events: readonly NativeEvent[], nowMs: number): Generator<NativeEvent, void, undefined> {
  for (const days of PAST_DAYS) yield* moved(events, nowMs - days * DAY_MS, `${days}d`);
}

/** delay measures from the POST that holds an attack's first telling event to the webhook's arrival, under steady traffic. */
export const delay: BenchCase = {
  id: 'delay',
  title:
    'from the POST of the first telling event to the webhook, under 2,000 events/s over tokens with 30 days of history',
  async run({ quick, folder, say }) {
    const tokens = quick ? 500 : 10_000;
    const count = quick ? 8 : 80;
    const measureMs = quick ? 6_000 : 60_000;
    const draw = random(5);

    /** Attacked tokens that no page has come for, with what to call when it does. */
    const waiting = new Map<string, (at: number) => void>();
    let pages = 0;
    const receiver = createServer((request, response) => {
      const arrived: Buffer[] = [];
      request.on('data', (chunk: Buffer) => arrived.push(chunk));
      request.on('end', () => {
        const at = performance.now();
        response.writeHead(204).end();
        pages++;
        const { data } = JSON.parse(Buffer.concat(arrived).toString('utf8')) as { data: { token: string | null } };
        const token = data.token ?? '';
        waiting.get(token)?.(at);
        waiting.delete(token);
      });
    });
    await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve));
    const { port } = receiver.address() as AddressInfo;
    const service = await startService(folder, CONFIG(`http://127.0.0.1:${port}/hook`));

    const loadedFrom = Date.now();
    const fleet = benchFleet({ seed: 2, endMs: loadedFrom + 3_600_000, tokens });
    const attacks = planAttacks(fleet.tokens, draw, count);
    say(`loading 30 days of ${tokens} tokens`);
    const runMs = WARM_UP_MS + measureMs;
    // What a token does now it has done before: the same calls on earlier days are its history, so that nothing but the attacks is new.
    const shapes = [...eventsOf(fleet.steady(loadedFrom, EVENTS_PER_SECOND, (EVENTS_PER_SECOND * runMs) / 1000))];
    const history = attacks.watch(daysBefore(shapes, loadedFrom));
    let bodies = 0;
    await inParallel(bodiesOf(history, ROWS_PER_BODY), 3, async (body) => {
      await service.client.deliver(body);
      if (++bodies % 40 === 0) say(`${bodies * ROWS_PER_BODY} events loaded`);
    });
    await untilJudged(service);

    const before = await meansOf(service.client);
    say(`steady traffic, ${count} attacks within ${measureMs / 1000} s`);
    const began = performance.now();
    const beganMs = Date.now();
    const perTick = (EVENTS_PER_SECOND * TICK_MS) / 1000;
    const steady = bodiesOf(moved(shapes, beganMs, 'now'), perTick);
    const starts = attacks.pick().map((attack) => ({ attack, atMs: WARM_UP_MS + draw() * measureMs }));
    starts.sort((a, b) => a.atMs - b.atMs);
    const delays = { walk: [] as number[], country: [] as number[] };
    const answers: number[] = [];
    const sent: Promise<unknown>[] = [];
    let missed = 0;
    let ticks = 0;
    let refused = 0;
    for (;;) {
      const elapsed = performance.now() - began;
      if (elapsed >= runMs && starts.length === 0) break;
      while (starts.length > 0 && (starts[0] as { atMs: number }).atMs <= elapsed) {
        const { attack } = starts.shift() as (typeof starts)[number];
        const body = attack.body(Date.now());
        const sentAt = performance.now();
        const page = new Promise<void>((resolve) => {
          const late = setTimeout(() => {
            missed++;
            waiting.delete(attack.token);
            resolve();
          }, PATIENCE_MS);
          waiting.set(attack.token, (at) => {
            delays[attack.kind].push(at - sentAt);
            clearTimeout(late);
            resolve();
          });
        });
        sent.push(page, service.client.deliver(body));
      }
      while (ticks * TICK_MS <= elapsed) {
        const [body] = take(steady, 1);
        ticks++;
        if (body === undefined) break;
        const sentAt = performance.now();
        sent.push(
          service.client.deliver(body).then((again) => {
            refused += again;
            answers.push(performance.now() - sentAt);
          }),
        );
      }
      const next = Math.min(ticks * TICK_MS, starts[0]?.atMs ?? Number.POSITIVE_INFINITY);
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, next - (performance.now() - began))));
    }
    const seconds = (performance.now() - began) / 1000;
    await Promise.all(sent);
    const after = await meansOf(service.client);
    await service.stop();
    await new Promise<void>((resolve) => {
      receiver.close(() => resolve());
      receiver.closeAllConnections();
    });

    const all = [...delays.walk, ...delays.country];
    const figure = (name: string, value: number, below?: number): Figure => ({
      name,
      value,
      unit: 'ms',
      ...(below === undefined ? {} : { bar: { kind: 'below', value: below } }),
    });
    return {
      figures: [
        figure('delay p50', median(all), 500),
        figure('delay p99', quantile(all, 0.99), 1_000),
        figure('delay, greatest', Math.max(...all)),
        figure('delay p50, walk over endpoints', median(delays.walk)),
        figure('delay p50, new country', median(delays.country)),
        { name: 'attacks paged', value: all.length, unit: '', bar: { kind: 'exactly', value: all.length + missed } },
        figure('answer to steady POSTs p50', median(answers)),
        figure('answer to steady POSTs p99', quantile(answers, 0.99)),
      ],
      notes: [
        `${delays.walk.length} walks over 12 endpoints in one POST, ${delays.country.length} thieves in a new country who try 3 endpoints, at random moments of ${measureMs / 1000} s; ${bodies * ROWS_PER_BODY} events of history.`,
        `Meanwhile an insert took ${meanBetween(before.insert, after.insert)}, a run of all detectors ${meanBetween(before.detect, after.detect)}.`,
        `Traffic was ${Math.round((answers.length * perTick) / seconds)} events/s in POSTs of ${perTick}, ${refused} of them told to come again; ${pages} messages reached the receiver.`,
      ],
    };
  },
};

interface Sum {
  readonly seconds: number;
  readonly count: number;
}

/** meansOf is how often and how long the service has inserted and judged so far, by its own metrics. */
async function meansOf(client: Client): Promise<{ readonly insert: Sum; readonly detect: Sum }> {
  const sum = async (name: string): Promise<Sum> => ({
    seconds: await client.metric(`${name}_sum`, []),
    count: await client.metric(`${name}_count`, []),
  });
  return { insert: await sum('tokenwatch_insert_seconds'), detect: await sum('tokenwatch_detect_seconds') };
}

function meanBetween(before: Sum, after: Sum): string {
  const count = after.count - before.count;
  return `${Math.round(((after.seconds - before.seconds) / count) * 1000)} ms (mean of ${count})`;
}
