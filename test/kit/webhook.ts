import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Received is one request that a receiver got, whole. */
export interface Received {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** Answer is what a receiver says to a request. */
export interface Answer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** WebhookReceiver is a real HTTP server that keeps what it gets. */
export interface WebhookReceiver {
  readonly url: string;
  readonly requests: readonly Received[];
  /** answer scripts the next answers, in order; then 200 again. `hang up` ends the connection, `hang` leaves it without an answer. */
  answer(...answers: (Answer | 'hang up' | 'hang')[]): void;
  /** until resolves once `count` requests are there. */
  until(count: number): Promise<readonly Received[]>;
  close(): Promise<void>;
}

/** startWebhookReceiver listens on a free loopback port. */
export async function startWebhookReceiver(): Promise<WebhookReceiver> {
  const requests: Received[] = [];
  const scripted: (Answer | 'hang up' | 'hang')[] = [];
  let waiting: { count: number; resolve: () => void }[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const { method = '', url: path = '', headers } = request;
      requests.push({ method, path, headers, body: Buffer.concat(chunks).toString('utf8') });
      const answer = scripted.shift() ?? { status: 200 };
      if (answer === 'hang up') request.socket.destroy();
      else if (answer !== 'hang') response.writeHead(answer.status, answer.headers).end(answer.body ?? '');
      for (const { resolve } of waiting.filter(({ count }) => count <= requests.length)) resolve();
      waiting = waiting.filter(({ count }) => count > requests.length);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/hook/very-secret-path`,
    requests,
    answer: (...answers) => void scripted.push(...answers),
    until: async (count) => {
      if (requests.length < count) await new Promise<void>((resolve) => waiting.push({ count, resolve }));
      return requests;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
