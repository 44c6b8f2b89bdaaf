import { simulate } from '../../fixtures/index.ts';
import { bodiesOf } from '../bodies.ts';
import { inParallel } from '../client.ts';
import type { BenchCase } from '../contract.ts';
import { type RunningService, startService } from '../service.ts';
import { random } from '../statistics.ts';

const ROWS_PER_BODY = 500;
const SENDERS = 4;
const RETRY_MS = 50;
/** A shipper gives up on an answer after this long and sends again. */
const PATIENCE_MS = 10_000;
const DAY_MS = 86_400_000;

/** crash kills the service at random moments while senders retry, and counts what is stored. */
export const crash: BenchCase = {
  id: 'crash',
  title: 'acknowledged events under SIGKILL at random moments, senders retrying',
  async run({ quick, folder, say }) {
    const events = quick ? 5_000 : 100_000;
    const kills = quick ? 2 : 12;
    const draw = random(11);
    const endMs = Date.now();
    const fleet = simulate({ seed: 3, owners: 20, tokens: 200, historyDays: 1, liveDays: 1 / 24, endMs });
    // No id of their own: what tells a retry's rows from new ones is the product's doing.
    const bodies = [...bodiesOf(withoutIds(fleet.steady(endMs - DAY_MS / 48, events / 600, events)), ROWS_PER_BODY)];

    let service: RunningService | null = await startService(folder);
    let acknowledged = 0;
    let retries = 0;
    let done = false;
    const deliver = async (body: Buffer): Promise<void> => {
      for (; ; retries++) {
        const answer = await answerOf(service, body);
        if (answer === 200) break;
        if (answer !== null && answer !== 503) throw new Error(`the service answered ${answer}`);
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
      acknowledged += ROWS_PER_BODY;
    };
    const sending = inParallel(bodies, SENDERS, deliver).finally(() => {
      done = true;
    });
    sending.catch(() => {});

    // Each kill waits for its share of the events, so that the kills are spread over the whole run, and then for a random moment.
    let killed = 0;
    for (; killed < kills && !done; killed++) {
      const share = (events * (killed + 0.5)) / kills;
      while (acknowledged < share && !done) await new Promise((resolve) => setTimeout(resolve, 5));
      await new Promise((resolve) => setTimeout(resolve, draw() * 150));
      const dying: RunningService = service;
      service = null;
      await dying.kill();
      service = await startService(folder);
      say(`${acknowledged} of ${events} events acknowledged, killed ${killed + 1} times`);
    }
    await sending;
    const [row] = await service.client.sql(
      "SELECT count() AS stored, uniqExact(request_id) AS distinct FROM events WHERE request_id LIKE 'crash-%'",
    );
    const [rollup] = await service.client.sql('SELECT sum(calls) AS calls FROM token_hourly');
    await service.stop();
    return {
      figures: [
        { name: 'acknowledged', value: acknowledged, unit: 'events', bar: { kind: 'exactly', value: events } },
        { name: 'stored', value: Number(row?.stored), unit: 'events', bar: { kind: 'exactly', value: events } },
        { name: 'different', value: Number(row?.distinct), unit: 'events', bar: { kind: 'exactly', value: events } },
        {
          name: 'counted by the rollups',
          value: Number(rollup?.calls),
          unit: 'events',
          bar: { kind: 'exactly', value: events },
        },
      ],
      notes: [`Killed ${killed} times; ${SENDERS} senders sent ${retries} requests again.`],
    };
  },
};

function* withoutIds(arrivals: Iterable<{ readonly event: object }>) {
  let number = 0;
  for (const { event } of arrivals) yield { ...event, id: undefined, request_id: `crash-${number++}` } as never;
}

/** answerOf is the status of the answer, null when there was none. */
async function answerOf(service: RunningService | null, body: Buffer): Promise<number | null> {
  if (service === null) return null;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<null>((resolve) => {
    timer = setTimeout(() => resolve(null), PATIENCE_MS);
  });
  try {
    return await Promise.race([
      service.client.postEvents(body).then(
        ({ status }) => status,
        () => null,
      ),
      late,
    ]);
  } finally {
    clearTimeout(timer);
  }
}
