import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { isIP } from 'node:net';
import { TokenwatchError } from '../../core/index.ts';
import { RetryLater } from '../../queues/index.ts';
import { guardedLookup, isPublicAddress, refusedAddress } from './addresses.ts';
import { SEND_TIMEOUT_MS } from './contract.ts';

/** Verdict is what an HTTP answer means for a message. */
export type Verdict = 'done' | 'retry' | 'unauthorized' | 'gone' | 'redirected' | 'refused';

/** verdictOf is the one table of HTTP status codes for all channels; after the Standard Webhooks specification. */
export function verdictOf(status: number): Verdict {
  if (status >= 200 && status < 300) return 'done';
  if (status === 408 || status === 425 || status === 429 || status >= 500) return 'retry';
  if (status === 401 || status === 403) return 'unauthorized';
  if (status === 410) return 'gone';
  if (status >= 300 && status < 400) return 'redirected';
  return 'refused';
}

/** MAX_RETRY_AFTER_MS bounds what a receiver may ask for. */
export const MAX_RETRY_AFTER_MS = 3_600_000;

/** retryAfterMs reads a Retry-After header: seconds or an HTTP date (RFC 9110, 10.2.3); null when there is none that makes sense. */
export function retryAfterMs(header: string | undefined, now: number): number | null {
  const value = header?.trim() ?? '';
  if (/^\d{1,9}(\.\d+)?$/.test(value)) return Math.min(Math.ceil(Number(value) * 1000), MAX_RETRY_AFTER_MS);
  // Only the form that HTTP writes: Date.parse alone would take "-5" for a month.
  if (!/^[A-Z][a-z]{2},? .*GMT$/.test(value)) return null;
  const at = Date.parse(value);
  return Number.isNaN(at) ? null : Math.min(Math.max(at - now, 0), MAX_RETRY_AFTER_MS);
}

/** redactedUrl is a URL's origin: what follows it may be the secret, as in Slack's. */
export function redactedUrl(url: string): string {
  return URL.canParse(url) ? `${new URL(url).origin}/…` : '(not a URL)';
}

/** Post is one HTTP message. */
export interface Post {
  readonly channel: string;
  readonly url: string;
  readonly allowPrivateNetwork: boolean;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly signal: AbortSignal;
  /** Wall time, for a Retry-After that is a date. */
  readonly now: number;
}

/** post sends one message and throws unless the receiver took it; redirects are not followed. */
export async function post(message: Post): Promise<void> {
  const answer = await exchange(message);
  judge(message, answer);
}

/** Answer is what of an HTTP response matters. */
interface Answer {
  readonly status: number;
  readonly retryAfter: string | undefined;
  /** The body when it is one short word, as Slack's reasons are; '' otherwise: an echo could hold anything. */
  readonly word: string;
}

function judge({ channel, url, now }: Post, { status, retryAfter, word }: Answer): void {
  const said = `${status}${word === '' ? '' : ` ${word}`}`;
  const what = `Channel ${channel}: ${redactedUrl(url)} answered ${said}`;
  switch (verdictOf(status)) {
    case 'done':
      return;
    case 'retry': {
      const wait = retryAfterMs(retryAfter, now);
      if (wait !== null) throw new RetryLater(`${what} and asks to come back in ${Math.ceil(wait / 1000)} s.`, wait);
      throw new TokenwatchError('channel_unavailable', 'transient', `${what}.`);
    }
    case 'unauthorized':
      throw new TokenwatchError('channel_unauthorized', 'config', `${what}: it does not accept our credentials.`, {
        fix: `Check the URL and secret of alerts.channels.${channel}.`,
      });
    case 'gone':
      throw new TokenwatchError('channel_gone', 'config', `${what}: it wants no more messages.`, {
        fix: `Give alerts.channels.${channel} a new URL, or remove it.`,
      });
    case 'redirected':
      throw new TokenwatchError('channel_redirected', 'config', `${what}: redirects are not followed.`, {
        fix: `Set alerts.channels.${channel}.url to the final address.`,
      });
    case 'refused':
      throw new TokenwatchError('channel_refused', 'poison', `${what}: it does not take this message.`, {
        fix: `Check that the URL of alerts.channels.${channel} is the receiver that is meant.`,
      });
  }
}

async function exchange(message: Post): Promise<Answer> {
  const { channel } = message;
  const url = URL.canParse(message.url) ? new URL(message.url) : null;
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
    throw new TokenwatchError(
      'channel_bad_url',
      'config',
      `Channel ${channel}: its URL is not an http or https address.`,
      {
        fix: `Set alerts.channels.${channel}.url.`,
      },
    );
  }
  const host = url.hostname.replace(/^\[|\]$/g, '');
  // A literal address is connected to without being looked up, so the lookup's guard does not see it.
  if (!message.allowPrivateNetwork && isIP(host) !== 0 && !isPublicAddress(host)) throw refusedAddress(channel, host);

  const signal = AbortSignal.any([message.signal, AbortSignal.timeout(SEND_TIMEOUT_MS)]);
  try {
    return await new Promise<Answer>((resolve, reject) => {
      const request = (url.protocol === 'https:' ? httpsRequest : httpRequest)(url, {
        method: 'POST',
        headers: { ...message.headers, 'content-length': Buffer.byteLength(message.body) },
        lookup: guardedLookup(channel, message.allowPrivateNetwork),
        agent: false,
        signal,
      });
      request.on('error', reject);
      request.on('response', (response) => answerOf(response).then(resolve, reject));
      request.end(message.body);
    });
  } catch (error) {
    if (error instanceof TokenwatchError) throw error;
    throw new TokenwatchError(
      'channel_unreachable',
      'transient',
      `Channel ${channel}: ${redactedUrl(message.url)} could not be reached (${reachCode(error)}).`,
      { fix: 'Check that the receiver is up and its name resolves from here.' },
    );
  }
}

const WORD_LIMIT_BYTES = 100;

async function answerOf(response: IncomingMessage): Promise<Answer> {
  const { statusCode = 0, headers } = response;
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      size += chunk.length;
      // The status said it all; a body without end must not hold the message.
      if (size > WORD_LIMIT_BYTES) break;
    }
  } catch {
    // The status has arrived: whether the receiver took the message is known.
  }
  const body = Buffer.concat(chunks).toString('utf8').trim();
  return { status: statusCode, retryAfter: headers['retry-after'], word: /^[a-z_]{2,64}$/.test(body) ? body : '' };
}

/** reachCode names a network failure without repeating its message, which may quote the address. */
function reachCode(error: unknown): string {
  const { code, name } = error as { code?: unknown; name?: unknown };
  if (name === 'AbortError' || name === 'TimeoutError') return `no answer within ${SEND_TIMEOUT_MS / 1000} s`;
  if (error instanceof AggregateError && error.errors.length > 0) return reachCode(error.errors[0]);
  return typeof code === 'string' ? code : 'network error';
}
