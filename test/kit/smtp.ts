import type { AddressInfo } from 'node:net';
import { SMTPServer } from 'smtp-server';

/** ReceivedMail is one message as it came over SMTP. */
export interface ReceivedMail {
  readonly from: string;
  readonly to: readonly string[];
  /** Headers and body, lines ended by CRLF. */
  readonly raw: string;
}

/** SmtpReceiver is a real SMTP server that keeps what it gets. */
export interface SmtpReceiver {
  readonly url: string;
  readonly port: number;
  readonly mails: readonly ReceivedMail[];
  /** refuse makes the next messages fail with these SMTP reply codes, at RCPT TO. */
  refuse(...codes: number[]): void;
  /** refuseAddress refuses one recipient always, with 550. */
  refuseAddress(address: string): void;
  close(): Promise<void>;
}

/** startSmtpReceiver listens on a free loopback port; with `login`, only that user and password may send. */
export async function startSmtpReceiver(login?: { user: string; password: string }): Promise<SmtpReceiver> {
  const mails: ReceivedMail[] = [];
  const codes: number[] = [];
  const refused = new Set<string>();
  const reply = (code: number) => Object.assign(new Error('as the test asks'), { responseCode: code });
  const server = new SMTPServer({
    authOptional: login === undefined,
    allowInsecureAuth: true,
    disabledCommands: login === undefined ? ['AUTH', 'STARTTLS'] : ['STARTTLS'],
    onAuth: ({ username, password }, _session, done) => {
      if (username === login?.user && password === login?.password) done(null, { user: username });
      else done(reply(535));
    },
    onRcptTo: ({ address }, _session, done) => {
      const code = refused.has(address) ? 550 : codes.shift();
      if (code === undefined) done();
      else done(reply(code));
    },
    onData: (stream, session, done) => {
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => {
        const { mailFrom, rcptTo } = session.envelope;
        mails.push({
          from: mailFrom === false ? '' : mailFrom.address,
          to: rcptTo.map(({ address }) => address),
          raw: Buffer.concat(chunks).toString('utf8'),
        });
        done();
      });
    },
  });
  // A client that hangs up is part of what is tested.
  server.on('error', () => {});
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.server.address() as AddressInfo;
  return {
    url: `smtp://127.0.0.1:${port}`,
    port,
    mails,
    refuse: (...next) => void codes.push(...next),
    refuseAddress: (address) => void refused.add(address),
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
}
