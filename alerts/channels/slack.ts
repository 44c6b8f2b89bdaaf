import { setTimeout as wait } from 'node:timers/promises';
import type { SlackChannelConfig } from '../../config/index.ts';
import { TokenwatchError } from '../../core/index.ts';
import { RetryLater } from '../../queues/index.ts';
import { moreOf, type RenderedAlert, type RenderedFinding } from '../render.ts';
import { evidenceText } from '../text.ts';
import type { Pair } from '../words.ts';
import { type Channel, type ChannelDeps, TAKEN } from './contract.ts';
import { post, redactedUrl } from './http.ts';
import { Pace } from './pace.ts';

/** Slack's limits: the first three documented, the total found by others to be about 13,200. Counted after escaping. */
export const SLACK_LIMITS = { blocks: 50, header: 150, section: 3_000, total: 12_000 } as const;

/** Slack takes about one message a second for one channel, and may disable an app that keeps on sending more. */
const MESSAGE_INTERVAL_MS = 1_000;

/** A longer wait gives the worker back and is taken up later, at the cost of one of the message's tries. */
const WAIT_HERE_MS = 3_000;

/** createSlack makes a channel that posts to a Slack incoming webhook. */
export function createSlack(name: string, config: SlackChannelConfig, { clock }: ChannelDeps): Channel {
  const pace = new Pace(MESSAGE_INTERVAL_MS);
  return {
    name,
    type: 'slack',
    target: redactedUrl(config.url),
    async send(message, { idempotencyKey, signal }) {
      const waitMs = pace.waitFor(idempotencyKey, clock.now());
      if (waitMs > WAIT_HERE_MS) throw new RetryLater(`Channel ${name}: Slack takes one message a second.`, waitMs);
      if (waitMs > 0) {
        await wait(waitMs, undefined, { signal }).catch((error) => {
          throw new TokenwatchError('channel_stopped', 'transient', `Channel ${name}: stopped.`, { cause: error });
        });
        pace.release(idempotencyKey);
      }
      await post({
        channel: name,
        url: config.url,
        allowPrivateNetwork: config.allowPrivateNetwork,
        headers: { 'content-type': 'application/json; charset=utf-8', 'user-agent': 'tokenwatch' },
        body: JSON.stringify(renderSlack(message)),
        signal,
        now: clock.now(),
      });
      return TAKEN;
    },
  };
}

type Block = Readonly<Record<string, unknown>> & { readonly type: string };

/** SlackMessage is the body of an incoming webhook: blocks, and the text that notifications show. */
export interface SlackMessage {
  readonly text: string;
  readonly blocks: readonly Block[];
  readonly unfurl_links: false;
  readonly unfurl_media: false;
}

/** renderSlack writes a message in Block Kit, what happened first; details are left out from the end when it would be too long. */
export function renderSlack(message: RenderedAlert): SlackMessage {
  const ends = [divider(), section(nextSteps(message))];
  const opening = [
    {
      type: 'header',
      text: { type: 'plain_text', text: escapeWithin(message.subject, SLACK_LIMITS.header), emoji: false },
    },
    section(escapeWithin(message.lead, SLACK_LIMITS.section)),
    { type: 'context', elements: [mrkdwn(escapeWithin(message.why, 500))] },
    {
      type: 'section',
      fields: message.facts
        .slice(0, 10)
        .map(({ label, value }) => mrkdwn(`*${escapeWithin(label, 100)}*\n${escapeWithin(value, 1_500)}`)),
    },
  ];
  const details = message.findings.map((finding, index) => findingBlocks(finding, index, message.findings.length));

  // Whole findings go, the last one first; with none left what remains is far below the limit.
  for (let shown = details.length; ; shown--) {
    const left = message.moreFindings + details.length - shown;
    const more = left > 0 ? [{ type: 'context', elements: [mrkdwn(moreOf(left, 'finding'))] }] : [];
    const blocks = [...opening, ...details.slice(0, shown).flat(), ...more, ...ends];
    const fits = blocks.length <= SLACK_LIMITS.blocks && JSON.stringify(blocks).length <= SLACK_LIMITS.total;
    if (!fits && shown > 0) continue;
    return {
      text: escapeWithin(`${message.subject}: ${message.lead}`, SLACK_LIMITS.section),
      blocks,
      unfurl_links: false,
      unfurl_media: false,
    };
  }
}

function findingBlocks(finding: RenderedFinding, index: number, count: number): Block[] {
  const heading = count === 1 ? finding.detector : `${index + 1}. ${finding.title} (${finding.detector})`;
  const lines = [`*${escapeWithin(heading, 400)}*`];
  if (finding.summary !== '') lines.push(escapeWithin(finding.summary, 600));
  lines.push(
    `Chance: ${escapeWithin(finding.odds, 200)}`,
    `When: ${finding.window}`,
    ...figures('Seen', finding.seen),
    ...figures('Expected', finding.expected),
  );
  const blocks = [divider(), section(lines.join('\n'))];
  if (finding.evidence !== null) blocks.push(section(code(evidenceText(finding.evidence), 2_000)));
  // Long queries are for the mail and the console; half a query helps nobody.
  if (finding.sql !== '' && finding.sql.length <= 1_200) blocks.push(section(code(finding.sql, 2_500)));
  return blocks;
}

function figures(head: string, pairs: readonly Pair[]): string[] {
  if (pairs.length === 0) return [];
  return [`${head}: ${escapeWithin(pairs.map(({ label, value }) => `${label} ${value}`).join('; '), 600)}`];
}

function nextSteps({ advice, issued, actions }: RenderedAlert): string {
  const commands = actions.map(
    ({ label, command }) => `${escapeWithin(label, 100)}: \`${escapeWithin(command, 200)}\``,
  );
  const also = issued === '' ? [] : [escapeWithin(issued, 1_500)];
  return [`*What to do:* ${escapeWithin(advice, 600)}`, ...also, ...commands].join('\n');
}

function code(text: string, limit: number): string {
  // A backtick would end the code block early and let the rest be read as markup.
  return `\`\`\`${escapeWithin(text.replaceAll('`', "'"), limit)}\`\`\``;
}

function section(text: string): Block {
  return { type: 'section', text: mrkdwn(text) };
}

function divider(): Block {
  return { type: 'divider' };
}

function mrkdwn(text: string) {
  // Verbatim: names and addresses in log content are not turned into links or mentions.
  return { type: 'mrkdwn', text, verbatim: true };
}

/** escapeWithin escapes text for Slack and cuts it so that the escaped form has at most `limit` characters, never inside an entity. */
export function escapeWithin(text: string, limit: number): string {
  const escaped: string[] = [];
  let length = 0;
  let keep = 0;
  for (const character of text) {
    const piece = ENTITIES[character] ?? character;
    length += piece.length;
    if (length > limit) return `${escaped.slice(0, keep).join('')}…`;
    escaped.push(piece);
    // Room for the ellipsis in case what follows does not fit.
    if (length < limit) keep = escaped.length;
  }
  return escaped.join('');
}

const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;' };
