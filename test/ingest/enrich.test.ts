import { beforeEach, describe, expect, it } from 'vitest';
import type { LifecycleEvent, TokenEvent, UsageEvent } from '../../core/index.ts';
import { createEnricher, type Enricher } from '../../ingest/enrich.ts';
import { formatNamed } from '../../ingest/formats/index.ts';
import { openGeo } from '../../ingest/geo.ts';
import { createLineages } from '../../ingest/lineage.ts';
import { createRedactor, type Redactor } from '../../ingest/redact.ts';
import { createTemplates } from '../../ingest/templates.ts';
import { createSharedState } from '../kit/shared-state.ts';

const NOW = Date.UTC(2026, 10, 22, 12);
const SECRET = 'ghp_abcdefghijklmnopqrstuvwxyzABCDEFGHIJ';
const base = { time: '2026-11-22T01:02:03.123Z', token: 'tok_9f2' };
let redactor: Redactor;
let enricher: Enricher;

beforeEach(async () => {
  const shared = createSharedState();
  redactor = createRedactor('test key');
  enricher = createEnricher({
    redactor,
    templates: createTemplates(shared, { redactor }),
    geo: await openGeo({ country: null, city: null, asn: null, networks: {}, egress: [] }),
    lineages: createLineages(shared),
  });
});

function eventOf(record: Record<string, unknown>, format = 'native'): TokenEvent {
  const parsed = formatNamed(format)?.parse(record, NOW);
  if (parsed?.kind !== 'events') throw new Error(JSON.stringify(parsed));
  return parsed.events[0] as TokenEvent;
}
async function usageRow(record: Record<string, unknown>, format = 'native') {
  const event = eventOf(record, format) as UsageEvent;
  const endpoints = await enricher.prepare([event], NOW);
  const batch = { receivedAt: NOW, idFallback: 'fallback', source: format };
  return enricher.enrichUsage(event, endpoints.of(0, event.method), batch);
}
async function lifecycleRow(record: Record<string, unknown>) {
  const event = eventOf(record) as LifecycleEvent;
  await enricher.prepare([event], NOW);
  return enricher.enrichLifecycle(event, { receivedAt: NOW, idFallback: 'fallback', source: 'native' });
}

describe('a usage row', () => {
  it('has endpoint, place and lineage', async () => {
    const fields = { method: 'GET', path: '/v1/users/42?x=1', status: 200, ip: '8.8.8.8', owner: 'acme', plan: 'pro' };
    expect(await usageRow({ ...base, ...fields })).toEqual({
      time: Date.UTC(2026, 10, 22, 1, 2, 3, 123),
      receivedAt: NOW,
      id: 'fallback',
      token: 'tok_9f2',
      lineage: 'tok_9f2',
      owner: 'acme',
      endpoint: 'GET /v1/users/{id}',
      method: 'GET',
      status: 200,
      ip: '8.8.8.8',
      country: 'US',
      asn: 0,
      networkKind: '',
      latitude: 0,
      longitude: 0,
      accuracyKm: 0,
      userAgent: '',
      bytes: 0,
      durationMs: 0,
      requestId: '',
      attributes: '{"plan":"pro"}',
      source: 'native',
    });
  });

  it('keeps the source’s id, and the endpoint that a source names itself', async () => {
    expect(await usageRow({ ...base, id: 'e1', endpoint: 'GET /v1/users/42' })).toMatchObject({
      id: 'e1',
      endpoint: 'GET /v1/users/42',
    });
    const record = {
      eventTime: base.time,
      eventSource: 'secretsmanager.amazonaws.com',
      eventName: 'GetSecretValue',
      userIdentity: { type: 'IAMUser', accessKeyId: 'AKIAIOSFODNN7EXAMPLE', userName: 'alice' },
    };
    expect(await usageRow(record, 'cloudtrail')).toMatchObject({
      token: 'AKIAIOSFODNN7EXAMPLE',
      endpoint: 'secretsmanager.amazonaws.com:GetSecretValue',
      source: 'cloudtrail',
    });
  });
});

it('the lineage of a token survives its rotation', async () => {
  const rotated = await lifecycleRow({ ...base, action: 'rotated', token: 'tok_new', replaces: 'tok_9f2' });
  expect(rotated).toMatchObject({ token: 'tok_new', lineage: 'tok_9f2', replaces: 'tok_9f2' });
  expect((await usageRow({ ...base, token: 'tok_new' })).lineage).toBe('tok_9f2');
});

it('the lineage of a raw secret is its fingerprint', async () => {
  await lifecycleRow({ ...base, action: 'rotated', token: 'tok_new', replaces: SECRET });
  const { lineage } = await usageRow({ ...base, token: 'tok_new' });
  expect(lineage).toBe(redactor.token(SECRET));
});

it('who asked for an issue is the token, and of the lineage, that its own calls have', async () => {
  await lifecycleRow({ ...base, action: 'rotated', token: SECRET, replaces: 'tok_9f2' });
  const { token, lineage } = await usageRow({ ...base, token: SECRET });
  const issued = await lifecycleRow({ ...base, action: 'issued', token: 'tok_child', issued_by: SECRET });
  expect(issued).toMatchObject({ issuedBy: token, issuerLineage: lineage });
  expect(lineage).toBe('tok_9f2');
  const unknown = await lifecycleRow({ ...base, action: 'issued', token: 'tok_child' });
  expect(unknown).toMatchObject({ issuedBy: '', issuerLineage: '' });
});

describe('a credential is stored in no column', () => {
  const anywhere = {
    id: SECRET,
    token: SECRET,
    owner: `team ${SECRET}`,
    ip: SECRET,
    user_agent: `curl ${SECRET}`,
    request_id: SECRET,
    note: [{ deep: `x ${SECRET}` }],
    headers: { Authorization: `Bearer ${SECRET}` },
    [SECRET]: 1,
  };

  it.each([{ method: SECRET, path: `/hooks/${SECRET}/x?token=${SECRET}` }, { endpoint: `GET /hooks/${SECRET}` }])(
    'of a usage row: %j',
    async (fields) => {
      const row = JSON.stringify(await usageRow({ ...base, ...anywhere, ...fields })).toLowerCase();
      expect(row).not.toContain(SECRET.toLowerCase());
      expect(row).toContain('fp_');
    },
  );

  it('of a lifecycle row', async () => {
    const row = await lifecycleRow({
      ...base,
      ...anywhere,
      action: 'config_changed',
      replaces: SECRET,
      issued_by: SECRET,
      fingerprint: SECRET,
      scopes: [SECRET],
      reason: `leaked ${SECRET}`,
      config: { key: 'client_secret', from: 'correct horse', to: SECRET },
    });
    expect(JSON.stringify(row)).not.toContain(SECRET);
    expect(row.config).not.toContain('correct horse');
    expect(JSON.parse(row.config)).toMatchObject({ key: 'client_secret', approved: null });
  });
});
