import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { mailOf } from '../../alerts/channels/email.ts';
import { escapeWithin, renderSlack, SLACK_LIMITS } from '../../alerts/channels/slack.ts';
import { BODY_LIMIT_BYTES, renderWebhook } from '../../alerts/channels/webhook.ts';
import { escapeHtml, renderHtml } from '../../alerts/html.ts';
import { renderAlert, renderText } from '../../alerts/index.ts';
import { block, odds, pairsOf, valueText } from '../../alerts/words.ts';
import type { Alert } from '../../core/index.ts';
import { oneLine } from '../../core/index.ts';
import { alertOf, detection, geoDetection, HOUR, hostileAlert, issuedTokens, ownerDetection, T0 } from './samples.ts';

const golden = (name: string) => `../../fixtures/golden/${name}`;
const samples: [string, () => Alert, 'first' | 'worse' | 'resolved'][] = [
  ['alert-first', () => alertOf(detection()), 'first'],
  ['alert-worse', () => alertOf(detection(), geoDetection()), 'worse'],
  ['alert-owner', () => alertOf(ownerDetection({ state: 'learning' })), 'first'],
  ['alert-issued', () => ({ ...alertOf(detection()), issued: issuedTokens(9) }), 'first'],
  ['alert-resolved', () => ({ ...alertOf(detection()), status: 'resolved' }), 'resolved'],
];

describe.each(samples)('%s reads as it was approved', (name, alert, reason) => {
  const message = renderAlert(alert(), reason);
  it('as text', () => expect(renderText(message)).toMatchFileSnapshot(golden(`${name}.txt`)));
  it('as HTML', () => expect(renderHtml(message)).toMatchFileSnapshot(golden(`${name}.html`)));
  it('in Slack', () =>
    expect(`${JSON.stringify(renderSlack(message), null, 2)}\n`).toMatchFileSnapshot(golden(`${name}.slack.json`)));
  it('as a webhook', () =>
    expect(`${JSON.stringify(JSON.parse(renderWebhook(message, T0 + HOUR)), null, 2)}\n`).toMatchFileSnapshot(
      golden(`${name}.webhook.json`),
    ));
});

describe('hostile and huge content from logs', () => {
  const message = renderAlert(hostileAlert(), 'first');

  it('stays within what Slack takes, and mentions and links nobody', () => {
    const slack = renderSlack(message);
    const texts: string[] = [];
    const collect = (value: unknown) => {
      if (typeof value !== 'object' || value === null) return;
      const { type, text } = value as { type?: unknown; text?: unknown };
      if (type === 'mrkdwn' || type === 'plain_text') texts.push(text as string);
      for (const child of Object.values(value)) collect(child);
    };
    collect(slack.blocks);
    expect(slack.blocks.length).toBeLessThanOrEqual(SLACK_LIMITS.blocks);
    expect(texts.length).toBeGreaterThan(5);
    for (const text of [...texts, slack.text]) {
      expect(text.length).toBeLessThanOrEqual(SLACK_LIMITS.section);
      expect(text.length).toBeGreaterThan(0);
      expect(text).not.toMatch(/[<>]|&(?!amp;|lt;|gt;)/);
    }
    expect(JSON.stringify(slack.blocks).length).toBeLessThanOrEqual(SLACK_LIMITS.total);
    expect((slack.blocks[0] as unknown as { text: { text: string } }).text.text.length).toBeLessThanOrEqual(150);
    expect(texts.at(-1)).toContain('tokenwatch alerts ack');
  });

  it('cannot end a code block in Slack early', () => {
    const slack = JSON.stringify(
      renderSlack(renderAlert(alertOf(detection({ sql: 'SELECT 1 -- ```\n<!here>' })), 'first')),
    );
    expect(slack).toContain("```SELECT 1 -- '''\\n&lt;!here&gt;```");
  });

  it('opens no tag and no attribute in HTML', () => {
    const html = renderHtml(message);
    expect(html).not.toContain('<img');
    expect(html).toContain('&lt;img src=x onerror=alert(1)&gt;');
    expect(html.match(/<script|javascript:|https?:/g) ?? []).not.toContain('<script');
    expect(html).not.toMatch(/<a[\s>]/);
  });

  it('leaves no control character, reading-direction trick or half character in any form', () => {
    for (const text of [renderText(message), renderHtml(message), message.subject]) {
      expect(text).not.toMatch(/[^\P{Cc}\n]|[\u202a-\u202e\u2066-\u2069]|\p{Surrogate}/u);
    }
    expect(message.subject).not.toContain('\n');
  });

  it('cannot add a header to a mail', () => {
    const mail = mailOf(message, { from: 'tokenwatch@example.org', to: ['oncall@example.org'] }, 'ntf_1');
    expect(mail.subject).not.toMatch(/[\r\n]/);
    for (const value of Object.values(mail.headers)) expect(value).not.toMatch(/[\r\n]/);
  });

  it('keeps a webhook small, says what is left out, and is whole JSON', () => {
    const body = renderWebhook(message, T0);
    expect(Buffer.byteLength(body)).toBeLessThanOrEqual(BODY_LIMIT_BYTES);
    const { data } = JSON.parse(body) as { data: { omitted: string; id: string; title: string } };
    expect(data.omitted).toContain(`/v1/alerts/${message.alert.id}`);
  });

  it('keeps the finding that speaks for the alert when a webhook has no room for all', () => {
    const many = Array.from({ length: 200 }, (_, i) => detection({ id: `det_${i}`, surprise: 2, at: T0 + i }));
    const lead = geoDetection({ at: T0 });
    const { data } = JSON.parse(renderWebhook(renderAlert(alertOf(...many, lead), 'first'), T0)) as {
      data: { detections: { id: string }[] };
    };
    expect(data.detections[0]?.id).toBe(lead.id);
    expect(data.detections.length).toBeGreaterThan(1);
  });
});

describe('words', () => {
  it.each([
    [0, 'nothing unusual'],
    [1, 'about 1 in 10'],
    [2.5, 'about 1 in 320'],
    [5.4, 'about 1 in 250,000'],
    [8.9, 'about 1 in 790,000,000'],
    [40, 'less than 1 in a billion'],
    [Number.NaN, 'nothing unusual'],
  ])('a surprise of %d is %s', (surprise, words) => {
    expect(odds(surprise)).toBe(words);
  });

  it('says how much of a list is not shown', () => {
    expect(valueText(['a', 'b', 'c', 'd', 'e', 'f', 'g'])).toBe('a, b, c, d, e and 2 others');
    expect(valueText({ state: 'known', history_days: 28, missing: '', peers: [] })).toBe(
      'state known, history days 28',
    );
    expect(pairsOf({ at_most: 3, shared_by: [], note: '' })).toEqual([{ label: 'at most', value: '3' }]);
  });

  const anyText = fc.string({ unit: 'binary', maxLength: 400 });
  it('one line is one line of at most the asked length, whatever it is made of', () => {
    fc.assert(
      fc.property(anyText, fc.integer({ min: 1, max: 80 }), (text, limit) => {
        const line = oneLine(text, limit);
        expect(line.length).toBeLessThanOrEqual(limit);
        expect(line).not.toMatch(/[\p{Cc}\p{Zl}\p{Zp}]/u);
      }),
    );
  });

  it('escaping for Slack keeps within the limit and breaks neither entity nor character', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom('&', '<', '>', 'a', '😀') }),
        fc.integer({ min: 5, max: 60 }),
        (text, limit) => {
          const fitted = escapeWithin(text, limit);
          expect(fitted.length).toBeLessThanOrEqual(limit);
          expect(fitted).toMatch(/^(?:&amp;|&lt;|&gt;|a|😀)*…?$/u);
        },
      ),
    );
  });

  it('escaping for HTML leaves nothing that ends a text or an attribute', () => {
    fc.assert(fc.property(anyText, (text) => void expect(escapeHtml(text)).not.toMatch(/[<>"']/)));
  });

  it('a block keeps its lines and drops everything else that controls', () => {
    expect(block('SELECT 1\r\n\tFROM x\u001b[0m\u0000', 100)).toBe('SELECT 1\n\tFROM x[0m');
  });
});
