import { Agent, request } from 'node:http';

/** Answer is what the service said to a request. */
export interface Answer {
  readonly status: number;
  readonly body: string;
}

/** Client talks to a running service as a shipper and an analyst do. */
export interface Client {
  /** postEvents sends NDJSON; rejects when the connection breaks. */
  postEvents(body: Uint8Array): Promise<Answer>;
  /** deliver sends NDJSON until it is stored, as a shipper does; returns how often it was refused. */
  deliver(body: Uint8Array): Promise<number>;
  /** sql asks one question; the rows of the answer. */
  sql(query: string): Promise<Record<string, unknown>[]>;
  /** metric is the sum of those of a metric's series that have all the labels, such as `queue="detect"`. */
  metric(name: string, labels: readonly string[]): Promise<number>;
  close(): void;
}

const RETRY_MS = 50;

/** createClient makes a client over kept-alive connections. */
export function createClient(service: { readonly url: string; readonly key: string }): Client {
  const agent = new Agent({ keepAlive: true });
  const call = (method: string, path: string, type: string, body: Uint8Array): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const headers = {
        authorization: `Bearer ${service.key}`,
        'content-type': type,
        'content-length': String(body.length),
      };
      const sent = request(`${service.url}${path}`, { method, agent, headers }, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') }),
        );
        response.on('error', reject);
      });
      sent.on('error', reject);
      sent.end(body);
    });
  const postEvents = (body: Uint8Array) => call('POST', '/v1/events', 'application/x-ndjson', body);
  return {
    postEvents,
    async deliver(body) {
      for (let refused = 0; ; refused++) {
        const answer = await postEvents(body);
        if (answer.status === 200) return refused;
        if (answer.status !== 503)
          throw new Error(`the service answered ${answer.status}: ${answer.body.slice(0, 300)}`);
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    },
    async sql(query) {
      const answer = await call('POST', '/v1/sql', 'text/plain', Buffer.from(`${query} FORMAT JSONEachRow`));
      if (answer.status !== 200) throw new Error(`${query}: ${answer.status} ${answer.body.slice(0, 300)}`);
      return answer.body
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as Record<string, unknown>);
    },
    async metric(name, labels) {
      const answer = await call('GET', '/metrics', 'text/plain', new Uint8Array());
      let sum = 0;
      for (const line of answer.body.split('\n'))
        if (
          (line.startsWith(`${name} `) || line.startsWith(`${name}{`)) &&
          labels.every((label) => line.includes(label))
        )
          sum += Number(line.slice(line.lastIndexOf(' ')));
      return sum;
    },
    close: () => agent.destroy(),
  };
}

/** inParallel hands items to `width` workers, each taking the next when it is done. */
export async function inParallel<T>(
  items: Iterable<T>,
  width: number,
  work: (item: T, index: number) => Promise<unknown>,
): Promise<void> {
  const source = items[Symbol.iterator]();
  let index = 0;
  await Promise.all(
    Array.from({ length: width }, async () => {
      for (let next = source.next(); !next.done; next = source.next()) await work(next.value, index++);
    }),
  );
}
