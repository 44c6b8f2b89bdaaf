import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createDeliver } from '../../alerts/deliver.ts';
import type { LogEntry } from '../../alerts/history.ts';
import { createChannel, findIssued } from '../../alerts/index.ts';
import { ISSUED_NAMED, ISSUES_DEPTH, type Issue, withIssued } from '../../alerts/issued.ts';
import { findAlert } from '../../alerts/load.ts';
import { createAlertMetrics } from '../../alerts/metrics.ts';
import { createOpenings } from '../../alerts/openings.ts';
import { encodeLogEntry } from '../../alerts/rows.ts';
import type { ChannelConfig } from '../../config/index.ts';
import {
  type ApiAlert,
  createLogger,
  createMetrics,
  type Detection,
  issuedSentence,
  systemClock,
  toApiIssued,
} from '../../core/index.ts';
import { storeDetections } from '../../detectors/findings.ts';
import type { Store } from '../../store/index.ts';
import { openTestStore, rows } from '../kit/store.ts';
import { startWebhookReceiver } from '../kit/webhook.ts';
import { alertOf, detection, HOUR, issuedTokens, issueLine, MINUTE, ownerDetection, T0 } from './samples.ts';

const BEGAN = detection().window.from;

function issue(token: string, issuedBy: string, fields: Partial<Issue> = {}): Issue {
  const times = { at: T0, expiresAt: null, lastUsed: null, revokedAt: null };
  return { token, lineage: token, owner: 'acme', issuedBy, issuerLineage: issuedBy, ...times, ...fields };
}

describe('what an alert’s tokens issued', () => {
  const named = (issues: Issue[], ...found: Detection[]) =>
    withIssued([alertOf(...(found.length > 0 ? found : [detection()]))], issues)[0]!.issued;

  it('is what any token of the lineage issued, and what that issued in turn, three steps far', () => {
    const chain = ['a', 'b', 'c', 'd'].map((token, i) => issue(token, ['tok_older', 'a', 'b', 'c'][i]!));
    const issues = [{ ...chain[0]!, issuerLineage: 'tok_9f2' }, ...chain.slice(1), issue('x', 'somebody')];
    expect(ISSUES_DEPTH).toBe(3);
    expect(named(issues).tokens.map(({ token, issuedBy }) => `${issuedBy} ${token}`)).toEqual([
      'tok_older a',
      'a b',
      'b c',
    ]);
  });

  it('begins with the first finding’s window, and leaves out the token that is to be revoked anyway', () => {
    const later = detection({ id: 'det_2', at: T0 + HOUR });
    const issues = [
      issue('before', 'tok_9f2', { at: BEGAN - 1 }),
      issue('at once', 'tok_9f2', { at: BEGAN }),
      issue('tok_9f2', 'tok_9f1', { issuerLineage: 'tok_9f2' }),
    ];
    expect(named(issues, later, detection()).tokens.map(({ token }) => token)).toEqual(['at once']);
  });

  it('ends where tokens issue one another in a circle', () => {
    expect(named([issue('a', 'tok_9f2'), issue('b', 'a'), issue('a', 'b')]).count).toBe(2);
  });

  it('counts all, and names first what is in use, then what may be, last what is revoked', () => {
    const many = Array.from({ length: 40 }, (_, i) => issue(`t${i}`, 'tok_9f2', { at: T0 + i, revokedAt: T0 + HOUR }));
    const live = issue('live', 'tok_9f2', { at: T0 + HOUR });
    const used = issue('used', 'tok_9f2', { at: T0 + 2 * HOUR, lastUsed: T0 + 3 * HOUR });
    const issued = named([...many, live, used]);
    expect(issued).toMatchObject({ count: 42, used: 1, revoked: 40 });
    expect(issued.tokens.map(({ token }) => token).slice(0, 3)).toEqual(['used', 'live', 't0']);
    expect(issued.tokens).toHaveLength(ISSUED_NAMED);
  });

  it('is nothing for an alert about an owner', () => {
    expect(named([issue('a', '')], ownerDetection())).toEqual({ count: 0, used: 0, revoked: 0, tokens: [] });
  });
});

describe('the line about it', () => {
  const line = (...args: Parameters<typeof issuedTokens>) => issuedSentence(toApiIssued(issuedTokens(...args)));
  it.each([
    [line(0), ''],
    [
      line(1, { lastUsed: null, owner: '' }),
      'It has issued 1 token since: tok_child_0 (owner unknown) - revoke it too.',
    ],
    [
      line(3),
      'It has issued 3 tokens since (1 used, 1 revoked): tok_child_0 (acme-jobs), tok_child_1 (acme-jobs) - revoke them too.',
    ],
    [line(2, { lastUsed: null, revokedAt: T0 }), 'It has issued 2 tokens since (2 revoked).'],
  ])('%s', (said, expected) => expect(said).toBe(expected));

  it('names five and counts the others', () => {
    expect(line(14)).toMatch(
      /\(1 used, 4 revoked\): (tok_child_\d+ \(acme-jobs\),? ){5}and 5 others - revoke them too\.$/,
    );
  });
});

describe('in the store', () => {
  let store: Store;
  beforeAll(async () => {
    store = await openTestStore();
  });
  afterEach(() => rows(store, 'TRUNCATE TABLE lifecycle'));
  afterAll(() => store.close());

  const used = (token: string, time: number) =>
    rows(
      store,
      `INSERT INTO events (time, received_at, id, token, lineage, owner)
       SELECT fromUnixTimestamp64Milli({time:Int64}), now(), {token:String}, {token:String}, {token:String}, 'acme'`,
      { token, time },
    );

  /** logged puts an alert about tok_9f2 and its finding into the store. */
  async function logged() {
    const { id, subject } = alertOf(detection());
    const entry: LogEntry = {
      ...{ recordedAt: T0, alert: id, kind: 'opened', subjectKey: 'lineage:tok_9f2', subject, detection: 'det_1' },
      ...{ detectionTime: T0, severity: 'high', status: 'open', note: '', by: '', resolvedAs: null, needed: 0 },
      ...{ detector: 'endpoint-spread', detectedAt: T0 },
    };
    await storeDetections(store, [detection()], T0);
    await store.insert('alert_log', [encodeLogEntry(entry)], '');
    return alertOf(detection());
  }

  it('it is found with its use and its end, of any alert, stored or not', async () => {
    const alert = await logged();
    const again = issueLine('tok_child', 'tok_9f2', { owner: 'jobs', expiresAt: T0 + 9 * HOUR });
    await store.insert(
      'lifecycle',
      [
        again,
        issueLine('tok_early', 'tok_9f2', { time: BEGAN - 1 }),
        issueLine('tok_heir', 'tok_1', { issuerLineage: 'tok_9f2', action: 'rotated', lineage: 'tok_9f2' }),
        issueLine('tok_grandchild', 'tok_child', { time: T0 + MINUTE }),
        issueLine('tok_grandchild', '', { time: T0 + HOUR, action: 'revoked' }),
        issueLine('tok_other', 'tok_8'),
        issueLine('tok_unknown', ''),
      ],
      'one',
    );
    // A shipper regrouped its lines: the row is there twice until parts are merged.
    await store.insert('lifecycle', [again], 'two');
    await used('tok_child', T0 + 2 * HOUR);

    const [found] = await findIssued(store, [alert, alertOf(ownerDetection())]);
    const token = { owner: 'acme', issuedBy: 'tok_9f2', at: T0, expiresAt: null, lastUsed: null, revokedAt: null };
    expect(found?.issued).toEqual({
      count: 3,
      used: 1,
      revoked: 1,
      tokens: [
        { ...token, token: 'tok_child', owner: 'jobs', expiresAt: T0 + 9 * HOUR, lastUsed: T0 + 2 * HOUR },
        { ...token, token: 'tok_heir', issuedBy: 'tok_1' },
        { ...token, token: 'tok_grandchild', issuedBy: 'tok_child', at: T0 + MINUTE, revokedAt: T0 + HOUR },
      ],
    });
    expect(await findAlert(store, alert.id)).toEqual(found);
  });

  it('a message says it', async () => {
    const alert = await logged();
    await store.insert('lifecycle', [issueLine('tok_session', 'tok_9f2', { owner: 'jobs' })], '');
    const receiver = await startWebhookReceiver();
    const webhook: ChannelConfig = { type: 'webhook', url: receiver.url, secrets: [], allowPrivateNetwork: true };
    const deliver = createDeliver({
      store,
      config: { maxAgeMs: null, budget: null, channels: { soc: webhook }, routes: [] },
      channels: new Map([['soc', createChannel('soc', webhook, { clock: systemClock })]]),
      openings: createOpenings(),
      now: () => T0,
      signal: new AbortController().signal,
      log: createLogger('silent'),
      metrics: createAlertMetrics(createMetrics()),
    });
    await deliver({ id: 'ntf_1', alert: alert.id, channel: 'soc', reason: 'first' }, 1);
    await receiver.close();
    const { data } = JSON.parse(receiver.requests[0]?.body ?? '') as { data: ApiAlert };
    expect(data.issued).toMatchObject({ count: 1, tokens: [{ token: 'tok_session', owner: 'jobs', last_used: null }] });
  });

  it('one query tells that there is nothing', async () => {
    const alert = alertOf(detection());
    const asked: string[] = [];
    const counting: Pick<Store, 'read'> = {
      read: (query, params) => {
        asked.push(query.name);
        return store.read(query, params);
      },
    };
    expect(await findIssued(counting, [alert])).toEqual([alert]);
    expect(await findIssued(counting, [alertOf(ownerDetection())])).toHaveLength(1);
    expect(asked).toEqual(['alerts.issues_of']);
  });
});
