import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { guardedLookup, isPublicAddress } from '../../alerts/channels/addresses.ts';
import type { Channel, SendContext } from '../../alerts/channels/contract.ts';
import { MAX_RETRY_AFTER_MS, redactedUrl, retryAfterMs, verdictOf } from '../../alerts/channels/http.ts';
import { createChannel } from '../../alerts/channels/index.ts';
import { Pace } from '../../alerts/channels/pace.ts';
import { renderAlert } from '../../alerts/index.ts';
import type { ChannelConfig } from '../../config/index.ts';
import { systemClock, type TokenwatchError } from '../../core/index.ts';
import { RetryLater } from '../../queues/index.ts';
import { type SmtpReceiver, startSmtpReceiver } from '../kit/smtp.ts';
import { startWebhookReceiver, type WebhookReceiver } from '../kit/webhook.ts';
import { alertOf, detection, geoDetection, T0 } from './samples.ts';

const message = renderAlert(alertOf(detection()), 'first');
const context: SendContext = { idempotencyKey: 'ntf_abc', signal: new AbortController().signal, attempt: 1 };
const make = (config: ChannelConfig): Channel => createChannel('soc', config, { clock: systemClock });
const newSecret = () => `whsec_${randomBytes(24).toString('base64')}`;

/** failure is what a send throws. */
async function failure(channel: Channel): Promise<unknown> {
  return channel.send(message, context).then(
    () => {
      throw new Error('the send was expected to fail');
    },
    (error: unknown) => error,
  );
}

let receiver: WebhookReceiver;
beforeAll(async () => {
  receiver = await startWebhookReceiver();
});
afterAll(() => receiver.close());

const webhook = (fields: Partial<Extract<ChannelConfig, { type: 'webhook' }>> = {}) =>
  make({ type: 'webhook', url: receiver.url, secrets: [], allowPrivateNetwork: true, ...fields });

describe('webhook', () => {
  it('is signed so that the Standard Webhooks library accepts it, with every secret of a change-over', async () => {
    const [fresh, old] = [newSecret(), newSecret()];
    const before = receiver.requests.length;
    await webhook({ secrets: [fresh, old] }).send(message, context);
    const { headers, body, method } = receiver.requests[before]!;
    expect(method).toBe('POST');
    expect(headers['webhook-id']).toBe('ntf_abc');
    expect(headers['content-type']).toBe('application/json');
    const signed = headers as Record<string, string>;
    expect(signed['webhook-signature']?.split(' ')).toHaveLength(2);
    for (const secret of [fresh, old]) {
      expect(new Webhook(secret).verify(body, signed)).toMatchObject({
        type: 'alert.first',
        data: { id: message.alert.id, reason: 'first', severity: 'high', token: 'tok_9f2' },
      });
    }
    expect(() => new Webhook(newSecret()).verify(body, signed)).toThrow();
    expect(() => new Webhook(fresh).verify(`${body} `, signed)).toThrow();
  });

  it('sends the same id on every try', async () => {
    const before = receiver.requests.length;
    receiver.answer({ status: 500 });
    const channel = webhook();
    await failure(channel);
    await channel.send(message, { ...context, attempt: 2 });
    expect(receiver.requests.slice(before).map((r) => r.headers['webhook-id'])).toEqual(['ntf_abc', 'ntf_abc']);
  });

  it('refuses a secret that is none, without quoting it', () => {
    expect(() => webhook({ secrets: ['whsec_!!not base64!!'] })).toThrowError(
      /secret is not a Standard Webhooks secret/,
    );
    try {
      webhook({ secrets: ['whsec_!!not base64!!'] });
    } catch (error) {
      expect(String(error)).not.toContain('not base64');
    }
  });

  const kinds: [number, string][] = [
    [200, 'done'],
    [202, 'done'],
    [204, 'done'],
    [301, 'config'],
    [302, 'config'],
    [307, 'config'],
    [400, 'poison'],
    [401, 'config'],
    [403, 'config'],
    [404, 'poison'],
    [408, 'transient'],
    [410, 'config'],
    [413, 'poison'],
    [422, 'poison'],
    [425, 'transient'],
    [429, 'transient'],
    [500, 'transient'],
    [502, 'transient'],
    [503, 'transient'],
    [504, 'transient'],
  ];
  it.each(kinds)('an answer of %d is treated as %s, and no redirect is followed', async (status, kind) => {
    const before = receiver.requests.length;
    receiver.answer({ status, headers: { location: receiver.url } });
    const channel = webhook();
    if (kind === 'done') await channel.send(message, context);
    else expect(await failure(channel)).toMatchObject({ kind, message: expect.stringContaining(` ${status}`) });
    expect(receiver.requests.length - before).toBe(1);
  });

  it('gives every status code a meaning', () => {
    fc.assert(
      fc.property(fc.integer({ min: 200, max: 599 }), (status) => {
        expect(verdictOf(status) === 'done').toBe(status < 300);
        if (status >= 500) expect(verdictOf(status)).toBe('retry');
      }),
    );
  });

  it('comes back when the receiver says so', async () => {
    receiver.answer({ status: 429, headers: { 'retry-after': '7' } });
    const error = await failure(webhook());
    expect(error).toBeInstanceOf(RetryLater);
    expect((error as RetryLater).retryAfterMs).toBe(7_000);
  });

  it('tries again after a connection that was cut', async () => {
    receiver.answer('hang up');
    expect(await failure(webhook())).toMatchObject({ kind: 'transient', code: 'channel_unreachable' });
  });

  it('tries again when the process stops in the middle', async () => {
    const signal = AbortSignal.abort();
    await expect(webhook().send(message, { ...context, signal })).rejects.toMatchObject({ kind: 'transient' });
  });

  it('shows nothing of its address but the host, in errors and in the log', async () => {
    const channel = webhook({ url: `${receiver.url}?key=hidden` });
    expect(channel.target).toBe(redactedUrl(receiver.url));
    expect(channel.target).not.toMatch(/secret|hidden/);
    for (const answer of [
      { status: 500 },
      { status: 403, body: 'your very-secret-path is wrong' },
      'hang up',
    ] as const) {
      receiver.answer(answer);
      expect(String(await failure(channel))).not.toMatch(/secret|hidden/);
    }
    const gone = webhook({ url: 'http://user:hidden@127.0.0.1:1/very-secret-path' });
    expect(String(await failure(gone))).toContain('ECONNREFUSED');
    expect(String(await failure(gone))).not.toMatch(/secret|hidden/);
  });
});

describe('Retry-After', () => {
  it.each<[string | undefined, number | null]>([
    ['0', 0],
    ['120', 120_000],
    ['1.5', 1_500],
    [' 3 ', 3_000],
    ['999999999', MAX_RETRY_AFTER_MS],
    [new Date(T0 - 123 + 30_000).toUTCString(), 29_877],
    [new Date(T0 - 90_000).toUTCString(), 0],
    ['Sun, 01 Jan 2125 00:00:00 GMT', MAX_RETRY_AFTER_MS],
    ['-5', null],
    ['soon', null],
    ['', null],
    [undefined, null],
  ])('%s is %s ms', (header, wait) => {
    expect(retryAfterMs(header, T0)).toBe(wait);
  });
});

describe('what a channel may reach', () => {
  it.each([
    '127.0.0.1',
    '10.1.2.3',
    '172.16.0.1',
    '172.31.255.255',
    '192.168.1.1',
    '169.254.169.254',
    '100.64.0.1',
    '0.0.0.0',
    '224.0.0.1',
    '255.255.255.255',
    '::',
    '::1',
    'fe80::1',
    'fe80::1%eth0',
    'fd00:ec2::254',
    'fec0::1',
    'ff02::1',
    '::ffff:127.0.0.1',
    '::ffff:a9fe:a9fe',
    '64:ff9b::10.0.0.1',
    '2002:7f00:1::',
    '2001:db8::1',
    '100::1',
    'not an address',
  ])('%s is not public', (address) => {
    expect(isPublicAddress(address)).toBe(false);
  });

  it.each(['93.184.216.34', '172.32.0.1', '2606:2800:220:1::1', '::ffff:93.184.216.34', '64:ff9b::5db8:d822'])(
    '%s is public',
    (address) => {
      expect(isPublicAddress(address)).toBe(true);
    },
  );

  it.each(['127.0.0.1', 'localhost', '[::1]', '[::ffff:127.0.0.1]', '2130706433', '0x7f.1', '0177.0.0.1'])(
    'nothing is sent to %s unless the operator allows it',
    async (host) => {
      const before = receiver.requests.length;
      const { port } = new URL(receiver.url);
      const error = await failure(webhook({ url: `http://${host}:${port}/`, allowPrivateNetwork: false }));
      expect(error).toMatchObject({ code: 'channel_target_refused', kind: 'config' });
      expect((error as TokenwatchError).fix).toContain('alerts.channels.soc.allow_private_network');
      expect(receiver.requests.length).toBe(before);
    },
  );

  it('connects to the addresses that were checked, in both forms in which Node asks', async () => {
    const ask = (all: boolean, allow: boolean) =>
      new Promise<unknown>((resolve) =>
        guardedLookup('soc', allow)('localhost', { all, family: 4 }, (error, address) => resolve(error ?? address)),
      );
    expect(await ask(false, true)).toBe('127.0.0.1');
    expect(await ask(true, true)).toEqual([{ address: '127.0.0.1', family: 4 }]);
    expect(await ask(true, false)).toMatchObject({ code: 'channel_target_refused' });
  });

  it('sends to http and https only', async () => {
    expect(await failure(webhook({ url: 'ftp://example.org/x' }))).toMatchObject({ code: 'channel_bad_url' });
    expect(await failure(webhook({ url: 'nonsense' }))).toMatchObject({ code: 'channel_bad_url' });
  });
});

describe('slack', () => {
  const slack = () => make({ type: 'slack', url: receiver.url, allowPrivateNetwork: true });

  it('posts blocks and a text for the notification', async () => {
    const before = receiver.requests.length;
    await slack().send(message, context);
    const body = JSON.parse(receiver.requests[before]!.body) as { text: string; blocks: unknown[] };
    expect(body.text).toContain('[high] tok_9f2 called 6 endpoints it never touched');
    expect(body.blocks.length).toBeGreaterThan(3);
  });

  it('passes on the one word that Slack gives as a reason', async () => {
    receiver.answer({ status: 404, body: 'channel_is_archived' });
    expect(await failure(slack())).toMatchObject({
      kind: 'poison',
      message: expect.stringContaining('channel_is_archived'),
    });
  });

  it('gives each message a slot, one a second, and keeps it until the message comes back', () => {
    const pace = new Pace(1_000);
    expect(pace.waitFor('a', T0)).toBe(0);
    expect(pace.waitFor('b', T0)).toBe(1_000);
    expect(pace.waitFor('c', T0 + 100)).toBe(1_900);
    expect(pace.waitFor('b', T0 + 500)).toBe(500);
    expect(pace.waitFor('b', T0 + 1_000)).toBe(0);
    expect(pace.waitFor('d', T0 + 2_500)).toBe(500);
    expect(pace.waitFor('c', T0 + 2_500)).toBe(0);
    expect(pace.waitFor('e', T0 + 60_000)).toBe(0);
  });
});

describe('email', () => {
  let smtp: SmtpReceiver;
  beforeEach(async () => {
    smtp = await startSmtpReceiver();
    return () => smtp.close();
  });
  const email = (fields: Partial<Extract<ChannelConfig, { type: 'email' }>> = {}) =>
    make({
      type: 'email',
      smtp: smtp.url,
      from: 'Tokenwatch <tokenwatch@example.org>',
      to: ['oncall@example.org'],
      ...fields,
    });
  const header = (raw: string, name: string) =>
    new RegExp(`^${name}: (.*(?:\r\n[ \t].*)*)`, 'im').exec(raw)?.[1]?.replace(/\r\n[ \t]+/g, ' ');

  it('arrives with text and HTML, a subject that says it all, and no automatic answers asked for', async () => {
    const delivery = await email().send(message, context);
    expect(delivery.note).toBe('');
    const { raw, from, to } = smtp.mails[0]!;
    expect([from, to]).toEqual(['tokenwatch@example.org', ['oncall@example.org']]);
    expect(header(raw, 'Subject')).toBe('[high] tok_9f2 called 6 endpoints it never touched');
    expect(header(raw, 'Content-Type')).toContain('multipart/alternative');
    expect(raw).toContain('Content-Type: text/plain');
    expect(raw).toContain('Content-Type: text/html');
    expect(header(raw, 'Auto-Submitted')).toBe('auto-generated');
    expect(header(raw, 'Message-ID')).toBe('<ntf_abc@example.org>');
    expect(header(raw, 'X-Priority')).toContain('1');
  });

  it('is one thread per alert, and the same message again has the same id', async () => {
    const worse = renderAlert(alertOf(detection(), geoDetection()), 'worse');
    const channel = email();
    await channel.send(message, context);
    await channel.send(worse, { ...context, idempotencyKey: 'ntf_def' });
    await channel.send(message, context);
    const headers = smtp.mails.map(({ raw }) => [header(raw, 'References'), header(raw, 'In-Reply-To')]);
    const root = `<${message.alert.id}@example.org>`;
    expect(headers).toEqual([
      [root, root],
      [root, root],
      [root, root],
    ]);
    expect(smtp.mails.map(({ raw }) => header(raw, 'Message-ID'))).toEqual([
      '<ntf_abc@example.org>',
      '<ntf_def@example.org>',
      '<ntf_abc@example.org>',
    ]);
  });

  it.each([
    [421, 'transient'],
    [451, 'transient'],
    [550, 'poison'],
    [554, 'poison'],
  ])('an SMTP reply of %d is %s', async (code, kind) => {
    smtp.refuse(code);
    expect(await failure(email())).toMatchObject({ kind });
    expect(smtp.mails).toHaveLength(0);
  });

  it('says which of several addresses was refused', async () => {
    smtp.refuseAddress('left@example.org');
    const delivery = await email({ to: ['oncall@example.org', 'left@example.org'] }).send(message, context);
    expect(delivery.note).toBe('refused for left@example.org');
    expect(smtp.mails[0]?.to).toEqual(['oncall@example.org']);
  });

  it('stops at a login that is refused, and never shows the password', async () => {
    const locked = await startSmtpReceiver({ user: 'mailer', password: 'right' });
    try {
      const wrong = email({ smtp: `smtp://mailer:hidden@127.0.0.1:${locked.port}` });
      expect(wrong.target).toBe(`oncall@example.org by 127.0.0.1:${locked.port}`);
      const error = await failure(wrong);
      expect(error).toMatchObject({ kind: 'config', code: 'channel_unauthorized' });
      expect(String(error)).not.toContain('hidden');
      await email({ smtp: `smtp://mailer:right@127.0.0.1:${locked.port}` }).send(message, context);
      expect(locked.mails).toHaveLength(1);
    } finally {
      await locked.close();
    }
  });

  it('tries again when nothing listens', async () => {
    const error = await failure(email({ smtp: 'smtp://127.0.0.1:1' }));
    expect(error).toMatchObject({ kind: 'transient', code: 'channel_unreachable' });
  });

  it('refuses an address that is not SMTP', () => {
    expect(() => email({ smtp: 'https://user:hidden@mail.example' })).toThrowError(/smtp is not an SMTP address/);
  });
});
