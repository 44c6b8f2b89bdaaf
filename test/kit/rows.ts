import type { LifecycleRow, UsageRow } from '../../store/index.ts';

/** usageRow is one call, a plain GET from one place, but for what a test says of it. */
export function usageRow(fields: Partial<UsageRow> & Pick<UsageRow, 'time'>): UsageRow {
  return {
    ...{ receivedAt: fields.time, id: '', token: 'tok', lineage: 'tok', owner: 'acme', endpoint: 'GET /v1' },
    ...{ method: 'GET', status: 200, ip: '198.51.100.7', country: 'DE', asn: 64500, networkKind: '', latitude: 0 },
    ...{ longitude: 0, accuracyKm: 0, userAgent: 'cron/1.0', bytes: 1, durationMs: 1, requestId: '', attributes: '' },
    ...{ source: 'native', ...fields },
  };
}

/** lifecycleRow is one issue of a token, of which nothing is known but what a test says. */
export function lifecycleRow(fields: Partial<LifecycleRow> & Pick<LifecycleRow, 'time'>): LifecycleRow {
  return {
    ...{ receivedAt: fields.time, id: '', action: 'issued', token: 'tok', lineage: 'tok', owner: 'acme' },
    ...{ replaces: '', issuedBy: '', issuerLineage: '', requestedAt: null, expiresAt: null, effectiveAt: null },
    ...{ fingerprint: '', scopes: [], reason: '', config: '', ip: '', country: '', asn: 0, networkKind: '' },
    ...{ userAgent: '', requestId: '', attributes: '', source: 'native', ...fields },
  };
}
