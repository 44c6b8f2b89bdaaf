import { foldDetections } from '../../alerts/index.ts';
import type { Alert, Detection, Issued, IssuedToken } from '../../core/index.ts';
import { encodeLifecycle, type LifecycleRow } from '../../store/index.ts';

/** T0 is when the samples begin. */
export const T0 = Date.parse('2026-11-22T01:02:03.123Z');
export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;

/** detection makes a detection about tok_9f2 of acme at T0, but for what `fields` say. */
export function detection(fields: Partial<Detection> & { at?: number } = {}): Detection {
  const { at = T0, ...rest } = fields;
  return {
    id: 'det_1',
    detector: 'endpoint-spread',
    subject: { token: 'tok_9f2', lineage: 'tok_9f2', owner: 'acme' },
    severity: 'high',
    title: 'tok_9f2 called 6 endpoints it never touched',
    summary:
      'tok_9f2 called 6 endpoints within 4 minutes that it had not called in 28 days; on an average day it meets 0.02 new ones.',
    window: { from: at - 4 * MINUTE, to: at },
    observed: { new_endpoints: 6, calls: 41, denied: 3 },
    expected: { new_endpoints: 0.021, known_endpoints: 9 },
    surprise: 5.4,
    state: 'known',
    evidence: [
      {
        time: '2026-11-22T00:58:10.001Z',
        endpoint: 'GET /v1/admin/users',
        status: 200,
        ip: '203.0.113.9',
        country: 'BR',
      },
      {
        time: '2026-11-22T00:58:44.310Z',
        endpoint: 'GET /v1/admin/keys',
        status: 403,
        ip: '203.0.113.9',
        country: 'BR',
      },
      { time: '2026-11-22T00:59:02.750Z', endpoint: 'POST /v1/exports', status: 200, ip: '203.0.113.9', country: 'BR' },
      {
        time: '2026-11-22T01:00:31.004Z',
        endpoint: 'GET /v1/exports/{id}',
        status: 200,
        ip: '203.0.113.9',
        country: 'BR',
      },
      { time: '2026-11-22T01:01:15.900Z', endpoint: 'GET /v1/billing', status: 403, ip: '203.0.113.9', country: 'BR' },
      {
        time: '2026-11-22T01:02:03.123Z',
        endpoint: 'DELETE /v1/users/{id}',
        status: 403,
        ip: '203.0.113.9',
        country: 'BR',
      },
    ],
    sql: "SELECT endpoint, min(time) AS first_seen, count() AS calls\nFROM events\nWHERE lineage = 'tok_9f2' AND time >= '2026-11-22 00:58:03'\nGROUP BY endpoint\nORDER BY first_seen",
    ...rest,
  };
}

/** geoDetection is another detector's finding about the same token, two minutes later. */
export function geoDetection(fields: Partial<Detection> & { at?: number } = {}): Detection {
  return detection({
    id: 'det_2',
    detector: 'geo-novelty',
    severity: 'critical',
    title: 'tok_9f2 was used from Brazil for the first time',
    summary: 'tok_9f2 was used from BR; in 28 days it was only used from DE and NL.',
    observed: { country: 'BR', calls: 41 },
    expected: { countries: ['DE', 'NL'] },
    surprise: 6.1,
    evidence: [{ country: 'BR', calls: 41, first_seen: '2026-11-22T00:58:10.001Z' }],
    sql: "SELECT country, count() FROM events WHERE lineage = 'tok_9f2' GROUP BY country",
    at: T0 + 2 * MINUTE,
    ...fields,
  });
}

/** ownerDetection is a finding about an owner rather than a token. */
export function ownerDetection(fields: Partial<Detection> & { at?: number } = {}): Detection {
  return detection({
    id: 'det_3',
    detector: 'churn-rate',
    subject: { token: null, lineage: null, owner: 'acme' },
    severity: 'medium',
    title: 'acme issued 140 tokens in an hour',
    summary: 'acme issued 140 tokens in an hour; on a Sunday night it issues 0 to 3.',
    observed: { issued: 140 },
    expected: { issued: 1.2 },
    surprise: 12.4,
    evidence: [],
    ...fields,
  });
}

/** alertOf folds detections of one subject into their alert. */
export function alertOf(...detections: Detection[]): Alert {
  const alerts = foldDetections(detections);
  if (alerts.length !== 1) throw new Error(`expected one alert, got ${alerts.length}`);
  return alerts[0] as Alert;
}

/** issuedTokens makes what a token issued: a minute apart, the first in use, every third revoked. */
export function issuedTokens(count: number, fields: Partial<IssuedToken> = {}): Issued {
  const tokens = Array.from({ length: count }, (_, i) => ({
    token: `tok_child_${i}`,
    owner: 'acme-jobs',
    issuedBy: 'tok_9f2',
    at: T0 + i * MINUTE,
    expiresAt: null,
    lastUsed: i === 0 ? T0 + HOUR : null,
    revokedAt: i % 3 === 2 ? T0 + HOUR : null,
    ...fields,
  }));
  const revoked = tokens.filter(({ revokedAt }) => revokedAt !== null).length;
  return { count, used: tokens.filter(({ lastUsed }) => lastUsed !== null).length, revoked, tokens };
}

/** HOSTILE is text as an attacker may put it into a path or a user agent. */
export const HOSTILE =
  '<!channel> <https://evil.example|click> & <img src=x onerror=alert(1)> "quoted" \'single\' ```code``` *bold* \u202egnp.exe \u001b[31mred\r\nBcc: victim@example.org\u0000 \ud800 end';

/** hostileAlert is an alert in which everything that comes from logs is hostile, and there is very much of it. */
export function hostileAlert(): Alert {
  const long = `${HOSTILE} `.repeat(200);
  const all = Array.from({ length: 40 }, (_, index) =>
    detection({
      id: `det_${index}`,
      detector: `detector-${index % 6}`,
      subject: { token: HOSTILE, lineage: HOSTILE, owner: HOSTILE },
      title: long,
      summary: long,
      observed: Object.fromEntries(Array.from({ length: 30 }, (_, key) => [`${HOSTILE}${key}`, long])),
      expected: { nested: { deep: [long, long] }, nothing: null },
      evidence: Array.from({ length: 500 }, () => ({
        endpoint: long,
        agent: HOSTILE,
        a: 1,
        b: true,
        c: null,
        d: long,
      })),
      sql: `SELECT '${long}'`,
      at: T0 + index * MINUTE,
    }),
  );
  return { ...alertOf(...all), issued: issuedTokens(20, { token: `${HOSTILE}${long}`, owner: long, revokedAt: null }) };
}

/** issueLine is a row of `lifecycle`: `issuedBy` asked for `token` at T0, but for what `fields` say. */
export function issueLine(token: string, issuedBy: string, fields: Partial<LifecycleRow> = {}): string {
  return encodeLifecycle({
    ...{ time: T0, receivedAt: T0, id: `${token} ${fields.action}`, action: 'issued', token, lineage: token },
    ...{
      owner: 'acme',
      replaces: '',
      issuedBy,
      issuerLineage: issuedBy,
      asn: 0,
      networkKind: '',
      requestedAt: null,
      expiresAt: null,
    },
    ...{ effectiveAt: null, fingerprint: '', scopes: [], reason: '', config: '', ip: '', country: '' },
    ...{ userAgent: '', requestId: '', attributes: '', source: 'native', ...fields },
  });
}
