import type { Arrival, NativeEvent } from '../fixtures/index.ts';

/** bodiesOf puts events into NDJSON bodies of `rows` lines, the last one shorter. */
export function* bodiesOf(events: Iterable<NativeEvent>, rows: number): Generator<Buffer, void, undefined> {
  let lines: string[] = [];
  for (const event of events) {
    lines.push(JSON.stringify(event));
    if (lines.length < rows) continue;
    yield Buffer.from(`${lines.join('\n')}\n`);
    lines = [];
  }
  if (lines.length > 0) yield Buffer.from(`${lines.join('\n')}\n`);
}

/** eventsOf takes the events out of arrivals. */
export function* eventsOf(arrivals: Iterable<Arrival>): Generator<NativeEvent, void, undefined> {
  for (const { event } of arrivals) yield event;
}

/** take gives the next `count` of a generator and leaves it open for more. */
export function take<T>(source: Iterator<T>, count: number): T[] {
  const taken: T[] = [];
  while (taken.length < count) {
    const next = source.next();
    if (next.done) break;
    taken.push(next.value);
  }
  return taken;
}
