import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Webhook } from 'standardwebhooks';
import type { ApiAlert } from '../core/index.ts';

/** Page is one message that reached the demo's receiver, its signature checked. */
export interface Page {
  readonly reason: string;
  readonly alert: ApiAlert;
}

/** DemoReceiver is a webhook on this machine that stands for a team's own. */
export interface DemoReceiver {
  readonly url: string;
  readonly secret: string;
  readonly pages: readonly Page[];
  close(): Promise<void>;
}

/** startReceiver listens on a free loopback port and hands every signed page to `onPage`. */
export async function startReceiver(secret: string, onPage: (page: Page) => void): Promise<DemoReceiver> {
  const webhook = new Webhook(secret);
  const pages: Page[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const body = Buffer.concat(chunks).toString('utf8');
      try {
        webhook.verify(body, request.headers as Record<string, string>);
      } catch {
        response.writeHead(401).end();
        return;
      }
      response.writeHead(204).end();
      const { data } = JSON.parse(body) as { data: ApiAlert & { reason: string } };
      const page = { reason: data.reason, alert: data };
      pages.push(page);
      onPage(page);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/tokenwatch`,
    secret,
    pages,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
