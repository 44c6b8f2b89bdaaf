import { afterAll, beforeAll, expect, test } from 'vitest';
import { encodeLifecycle, encodeUsage, type LifecycleRow, type UsageRow } from '../../store/index.ts';
import { detection, geoDetection, HOUR, MINUTE, ownerDetection, T0 } from '../alerts/samples.ts';
import { rows } from '../kit/store.ts';
import { openService, type Service } from './service.ts';

const DAY = 24 * HOUR;

let service: Service;
beforeAll(async () => {
  service = await openService(T0 + 2 * DAY);
});
afterAll(() => service.close());

let serial = 0;
function call(time: number, lineage: string, fields: Partial<UsageRow> = {}): string {
  return encodeUsage({
    ...{ time, receivedAt: time, id: `e${serial++}`, token: lineage, lineage, owner: 'acme' },
    ...{
      endpoint: 'GET /v1/home',
      method: 'GET',
      status: 200,
      ip: '203.0.113.9',
      country: 'DE',
      asn: 0,
      networkKind: '',
      latitude: 0,
      longitude: 0,
      accuracyKm: 0,
    },
    ...{ networkKind: '' as const, latitude: 0, longitude: 0, accuracyKm: 0 },
    ...{ userAgent: 'app/1.0', bytes: 1, durationMs: 1, requestId: '', attributes: '', source: 'native' },
    ...fields,
  });
}

function issue(time: number, token: string): string {
  const step: LifecycleRow = {
    ...{ time, receivedAt: time, id: token, action: 'issued', token, lineage: token, owner: 'acme', replaces: '' },
    ...{ requestedAt: null, expiresAt: null, effectiveAt: null, fingerprint: '', scopes: [], reason: '', config: '' },
    ...{ ip: '', country: '', userAgent: '', requestId: '', attributes: '', source: 'native' },
    ...{ issuedBy: '', issuerLineage: '', asn: 0, networkKind: '' as const },
  };
  return encodeLifecycle(step);
}

/** A token at home for a month, then a stranger who looks around before the finding's window and goes on after it. */
async function stolen(lineage: string): Promise<string> {
  const strange = { country: 'BR', ip: '198.51.100.7', userAgent: 'curl/8.5' };
  await service.store.insert(
    'events',
    [
      call(T0 - 28 * DAY, lineage),
      call(T0 - 30 * MINUTE, lineage, strange),
      call(T0 - 3 * MINUTE, lineage, { ...strange, endpoint: 'GET /v1/admin' }),
      call(T0 + 5 * HOUR, lineage, { ...strange, endpoint: 'GET /v1/later' }),
      call(T0 + 30 * HOUR, lineage, { ...strange, endpoint: 'GET /v1/much-later' }),
    ],
    '',
  );
  const subject = { token: lineage, lineage, owner: 'acme' };
  await service.found(detection({ id: `det_${lineage}`, subject }));
  const { json } = await service.call('GET', `/v1/alerts?token=${lineage}`);
  return json.alerts[0].id;
}

async function resolve(id: string, body: unknown) {
  service.clock.at += 1_000;
  return service.call('POST', `/v1/alerts/${id}/resolve`, { body: JSON.stringify(body), type: 'application/json' });
}

const learnt = (alert: string) =>
  rows(
    service.store,
    'SELECT facet, value, verdict, amount, ends_at FROM feedback WHERE alert = {alert:String} ORDER BY recorded_at, facet, value',
    { alert },
  );

test('an alert resolved as expected teaches what was met around its windows, and until when', async () => {
  const id = await stolen('tok_expected');
  const answer = await resolve(id, { as: 'expected', until: '2027-01-01T00:00:00Z', note: 'a new partner' });
  expect(answer.json).toMatchObject({ id, status: 'resolved', resolved_as: 'expected' });
  expect((await service.call('GET', `/v1/alerts/${id}`)).json.resolved_as).toBe('expected');
  const word = { verdict: 'expected', ends_at: '2027-01-01 00:00:00.000' };
  expect(await learnt(id)).toEqual([
    { facet: 'client', value: 'curl', amount: 4, ...word },
    { facet: 'country', value: 'BR', amount: 4, ...word },
    { facet: 'endpoint', value: 'GET /v1/admin', amount: 1, ...word },
    { facet: 'network', value: '198.51', amount: 4, ...word },
  ]);
  const [said] = await rows(service.store, 'SELECT status, resolved_as FROM alerts WHERE id = {id:String}', { id });
  expect(said).toEqual({ status: 'resolved', resolved_as: 'expected' });
});

test('an alert resolved as malicious takes in a day after its windows, and since a given time everything', async () => {
  const id = await stolen('tok_malicious');
  expect((await resolve(id, { as: 'malicious' })).json).toMatchObject({ resolved_as: 'malicious' });
  const endpoints = async () =>
    (await learnt(id)).filter(({ facet }) => facet === 'endpoint').map(({ value, verdict }) => `${verdict} ${value}`);
  expect(await endpoints()).toEqual(['malicious GET /v1/admin', 'malicious GET /v1/later']);
  await resolve(id, { as: 'malicious', since: new Date(T0 - 40 * DAY).toISOString() });
  expect((await endpoints()).slice(2)).toEqual([
    'malicious GET /v1/admin',
    'malicious GET /v1/home',
    'malicious GET /v1/later',
  ]);
});

test('the last word on an alert counts; resolving without one leaves it', async () => {
  const id = await stolen('tok_corrected');
  await resolve(id, { as: 'malicious' });
  expect((await resolve(id, { as: 'expected' })).json).toMatchObject({ status: 'resolved', resolved_as: 'expected' });
  expect((await resolve(id, {})).json).toMatchObject({ status: 'resolved', resolved_as: 'expected' });
  expect((await service.call('GET', `/v1/alerts/${id}`)).json.resolved_as).toBe('expected');
  // Also what was met hours after the finding, which only the first word reached.
  const verdicts = await rows(
    service.store,
    `SELECT value, argMax(verdict, recorded_at) AS verdict FROM feedback WHERE alert = {id:String} AND facet = 'endpoint'
     GROUP BY value ORDER BY value`,
    { id },
  );
  expect(verdicts).toEqual(['GET /v1/admin', 'GET /v1/later'].map((value) => ({ value, verdict: 'expected' })));
});

test('a later word on an alert leaves alone what another alert has spoken of since', async () => {
  const id = await stolen('tok_twice');
  await resolve(id, { as: 'malicious' });
  const subject = { token: 'tok_twice', lineage: 'tok_twice', owner: 'acme' };
  const later = detection({
    id: 'det_twice_later',
    subject,
    at: T0 + 5 * HOUR,
    window: { from: T0 + 5 * HOUR, to: T0 + 5 * HOUR },
  });
  await service.found(later);
  const { json } = await service.call('GET', '/v1/alerts?token=tok_twice&status=open');
  await resolve(json.alerts[0].id, { as: 'malicious' });
  await resolve(id, { as: 'expected' });
  const verdicts = await rows(
    service.store,
    `SELECT value, argMax(verdict, recorded_at) AS verdict FROM feedback WHERE lineage = 'tok_twice' AND facet = 'endpoint'
     GROUP BY value ORDER BY value`,
  );
  expect(verdicts.slice(0, 2)).toEqual([
    { value: 'GET /v1/admin', verdict: 'expected' },
    { value: 'GET /v1/later', verdict: 'malicious' },
  ]);
});

test('an alert that is resolved without a verdict teaches nothing', async () => {
  await service.found(geoDetection({ id: 'det_plain', subject: { token: 'tok_p', lineage: 'tok_p', owner: 'acme' } }));
  const { json } = await service.call('GET', '/v1/alerts?token=tok_p');
  expect((await resolve(json.alerts[0].id, { note: 'looked at it' })).json).toMatchObject({ resolved_as: null });
  expect(await learnt(json.alerts[0].id)).toEqual([]);
});

test('an alert about churn teaches the whole burst, to its last step', async () => {
  const steps = [-3, -2, -1, 0, 20, 100, 500].map((minutes) => T0 + minutes * MINUTE);
  await service.store.insert(
    'lifecycle',
    steps.map((time, i) => issue(time, `tok_burst_${i}`)),
    '',
  );
  const burst = { observed: { step: 'issued', tokens: 4 }, expected: { window: 'an hour' } };
  await service.found(ownerDetection({ id: 'det_burst', ...burst, window: { from: T0 - 3 * MINUTE, to: T0 } }));
  const { json } = await service.call('GET', '/v1/alerts?owner=acme&limit=200');
  const alert = json.alerts.find(({ lineage }: { lineage: unknown }) => lineage === null);
  await resolve(alert.id, { as: 'expected' });
  const found = await rows(
    service.store,
    'SELECT lineage, facet, value, amount, toUnixTimestamp64Milli(first_seen) - {t:Int64} AS first, toUnixTimestamp64Milli(last_seen) - {t:Int64} AS last FROM feedback WHERE alert = {alert:String}',
    { alert: alert.id, t: T0 },
  );
  expect(found.map((row) => ({ ...row, first: Number(row.first), last: Number(row.last) }))).toEqual([
    { lineage: '', facet: 'steps-hour', value: 'issued', amount: 4, first: -3 * MINUTE, last: 100 * MINUTE },
  ]);
});
