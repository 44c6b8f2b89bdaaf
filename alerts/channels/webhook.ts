import { Webhook } from 'standardwebhooks';
import type { WebhookChannelConfig } from '../../config/index.ts';
import { type ApiAlert, cut, TokenwatchError, toApiAlert } from '../../core/index.ts';
import { leadOf } from '../policy.ts';
import type { RenderedAlert } from '../render.ts';
import { type Channel, type ChannelDeps, TAKEN } from './contract.ts';
import { post, redactedUrl } from './http.ts';

/** BODY_LIMIT_BYTES is the size that the Standard Webhooks specification asks senders to stay under. */
export const BODY_LIMIT_BYTES = 20_000;

/** What was issued is cut first, so that findings have room: `count` says how many there are. */
const ISSUED_LIMIT_BYTES = 5_000;

/** createWebhook makes a channel that speaks Standard Webhooks 1.0: signed JSON with an id that stays the same over retries. */
export function createWebhook(name: string, config: WebhookChannelConfig, { clock }: ChannelDeps): Channel {
  const signers = config.secrets.map((secret) => signerOf(name, secret));
  return {
    name,
    type: 'webhook',
    target: redactedUrl(config.url),
    async send(message, { idempotencyKey, signal }) {
      const now = clock.now();
      const body = renderWebhook(message, now);
      const headers: Record<string, string> = {
        'content-type': 'application/json',
        'user-agent': 'tokenwatch',
        'webhook-id': idempotencyKey,
        'webhook-timestamp': String(Math.floor(now / 1000)),
      };
      if (signers.length > 0) {
        headers['webhook-signature'] = signers
          .map((signer) => signer.sign(idempotencyKey, new Date(now), body))
          .join(' ');
      }
      await post({
        channel: name,
        url: config.url,
        allowPrivateNetwork: config.allowPrivateNetwork,
        headers,
        body,
        signal,
        now,
      });
      return TAKEN;
    },
  };
}

/** WebhookData is the alert as the API shows it, why it is sent, and what was left out to keep the message small. */
export type WebhookData = ApiAlert & { readonly reason: string; readonly omitted?: string };

/** renderWebhook writes the body: `{type, timestamp, data}`, evidence left out first when it would be too large. */
export function renderWebhook({ alert, reason }: RenderedAlert, now: number): string {
  const whole = toApiAlert(alert);
  const { issued } = whole;
  const tokens = issued.tokens.slice(0, fitting(issued.tokens, ISSUED_LIMIT_BYTES));
  const api: ApiAlert = { ...whole, issued: { ...issued, tokens } };
  const bodyOf = (data: Partial<WebhookData>) =>
    JSON.stringify({
      type: `alert.${reason}`,
      timestamp: new Date(now).toISOString(),
      data: { ...api, ...data, reason },
    });
  const omitted = `The message was kept small: GET /v1/alerts/${api.id} has everything.`;

  const room = BODY_LIMIT_BYTES - Buffer.byteLength(bodyOf({ detections: [], omitted }));
  if (fitting(api.detections, room) === api.detections.length) return bodyOf({});
  for (const rows of [10, 3, 0]) {
    const detections = api.detections.map((d) => ({ ...d, evidence: d.evidence.slice(0, rows) }));
    if (fitting(detections, room) === detections.length) return bodyOf({ detections, omitted });
  }
  // Still too large, so not all of them: the one that speaks for the alert, then the newest, figures and SQL left out.
  const lead = leadOf(alert.detections)?.id;
  const ranked = api.detections
    .toReversed()
    .sort((a, b) => Number(b.id === lead) - Number(a.id === lead))
    .map((d) => ({ ...d, observed: {}, expected: {}, sql: '', evidence: [] }));
  const title = cut(api.title, TEXT_LIMIT);
  const summary = cut(api.summary, TEXT_LIMIT);
  const left = BODY_LIMIT_BYTES - Buffer.byteLength(bodyOf({ title, summary, detections: [], omitted }));
  return bodyOf({ title, summary, detections: ranked.slice(0, fitting(ranked, left)), omitted });
}

const TEXT_LIMIT = 1_000;

/** fitting counts how many of the first items fit into so many bytes of JSON; what comes after them is not even written. */
function fitting(items: readonly object[], roomBytes: number): number {
  let left = roomBytes;
  const end = items.findIndex((item) => {
    left -= Buffer.byteLength(JSON.stringify(item)) + 1;
    return left < 0;
  });
  return end === -1 ? items.length : end;
}

function signerOf(channel: string, secret: string): Webhook {
  try {
    return new Webhook(secret);
  } catch {
    // The library's message is not passed on: it may quote the secret.
    throw new TokenwatchError(
      'channel_bad_secret',
      'config',
      `alerts.channels.${channel}.secret is not a Standard Webhooks secret.`,
      { fix: 'Use whsec_ followed by 24 to 64 random bytes in base64.' },
    );
  }
}
