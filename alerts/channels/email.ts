import { createTransport } from 'nodemailer';
import type { EmailChannelConfig } from '../../config/index.ts';
import { severityRank, TokenwatchError } from '../../core/index.ts';
import { renderHtml } from '../html.ts';
import type { RenderedAlert } from '../render.ts';
import { renderText } from '../text.ts';
import { type Channel, SEND_TIMEOUT_MS } from './contract.ts';

/** createEmail makes a channel that sends mail by SMTP, one message to all recipients. */
export function createEmail(name: string, config: EmailChannelConfig): Channel {
  if (!URL.canParse(config.smtp) || !/^smtps?:$/.test(new URL(config.smtp).protocol)) {
    throw new TokenwatchError('channel_bad_url', 'config', `alerts.channels.${name}.smtp is not an SMTP address.`, {
      fix: 'Use smtp://host:port or smtps://host:port, with user:password@ before the host where needed.',
    });
  }
  const server = new URL(config.smtp).host;
  const transport = createTransport({
    url: config.smtp,
    connectionTimeout: SEND_TIMEOUT_MS,
    greetingTimeout: SEND_TIMEOUT_MS,
    socketTimeout: SEND_TIMEOUT_MS,
    // Texts come from logs: nothing in them may make us read a file or fetch an address.
    disableFileAccess: true,
    disableUrlAccess: true,
  });
  return {
    name,
    type: 'email',
    target: `${config.to.join(', ')} by ${server}`,
    async send(message, { idempotencyKey }) {
      try {
        const { rejected } = await transport.sendMail(mailOf(message, config, idempotencyKey));
        return { note: rejected.length === 0 ? '' : `refused for ${rejected.map(String).join(', ')}` };
      } catch (error) {
        throw mailError(name, server, error);
      }
    },
  };
}

/** mailOf is one message as nodemailer takes it; the same notification gives the same Message-ID, so that a repeat can be told. */
export function mailOf(message: RenderedAlert, config: Pick<EmailChannelConfig, 'from' | 'to'>, notification: string) {
  const domain = domainOf(config.from);
  // Every message about an alert answers the same never-sent root, so that mail readers show them as one thread.
  const root = `<${message.alert.id}@${domain}>`;
  const urgent = message.reason !== 'resolved' && severityRank(message.alert.severity) >= severityRank('high');
  return {
    from: config.from,
    to: [...config.to],
    subject: message.subject,
    text: renderText(message),
    html: renderHtml(message),
    messageId: `<${notification}@${domain}>`,
    inReplyTo: root,
    references: root,
    priority: urgent ? ('high' as const) : ('normal' as const),
    headers: {
      'Auto-Submitted': 'auto-generated',
      'X-Auto-Response-Suppress': 'All',
      'List-Id': `Tokenwatch alerts <alerts.tokenwatch.${domain}>`,
      'X-Tokenwatch-Alert': message.alert.id,
      'X-Tokenwatch-Severity': message.alert.severity,
      'X-Tokenwatch-Reason': message.reason,
    },
  };
}

function domainOf(from: string): string {
  return /@([A-Za-z0-9.-]+)>?\s*$/.exec(from)?.[1] ?? 'tokenwatch.invalid';
}

/** mailError sorts what nodemailer throws: a 4xx reply or a lost connection may pass, a 5xx reply or a refused login will not. */
function mailError(channel: string, server: string, error: unknown): TokenwatchError {
  const { code, responseCode } = error as { code?: unknown; responseCode?: unknown };
  const what = `Channel ${channel}: mail by ${server}`;
  if (code === 'EAUTH' || responseCode === 535 || responseCode === 530) {
    return new TokenwatchError('channel_unauthorized', 'config', `${what} was refused: the login is not accepted.`, {
      fix: `Check the user and password in alerts.channels.${channel}.smtp.`,
    });
  }
  if (typeof responseCode === 'number' && responseCode >= 500) {
    return new TokenwatchError('channel_refused', 'poison', `${what} was refused with ${responseCode}.`, {
      fix: `Check alerts.channels.${channel}.from and .to, and what the mail server says about them.`,
    });
  }
  if (typeof responseCode === 'number' && responseCode >= 400) {
    return new TokenwatchError('channel_unavailable', 'transient', `${what} was put off with ${responseCode}.`);
  }
  if (code === 'EENVELOPE' || code === 'EMESSAGE') {
    return new TokenwatchError(
      'channel_refused',
      'poison',
      `${what} could not be sent: no valid sender or recipient.`,
      {
        fix: `Check alerts.channels.${channel}.from and .to.`,
      },
    );
  }
  return new TokenwatchError(
    'channel_unreachable',
    'transient',
    `${what} failed (${typeof code === 'string' ? code : 'connection lost'}).`,
    { fix: 'Check that the mail server is up and can be reached from here.' },
  );
}
