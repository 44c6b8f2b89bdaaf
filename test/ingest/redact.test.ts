import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRedactor } from '../../ingest/redact.ts';

const ALPHANUMERIC = [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789'];
const random = (length: number) =>
  fc.array(fc.constantFrom(...ALPHANUMERIC), { minLength: length, maxLength: length }).map((chars) => chars.join(''));
const from = (prefix: string, length: number) => random(length).map((rest) => prefix + rest);

/** Secrets whose issuer made them recognisable: found wherever they stand. */
const shaped = fc.oneof(
  ...['ghp_', 'gho_', 'ghu_', 'ghs_', 'ghr_'].map((prefix) => from(prefix, 36)),
  from('github_pat_', 60),
  ...['sk_live_', 'sk_test_', 'rk_live_', 'whsec_'].map((prefix) => from(prefix, 24)),
  from('xoxb-123456789012-', 24),
  from('glpat-', 20),
  from('npm_', 36),
  from('AIza', 35),
  from('zpka_', 40),
  from('unkey_', 24),
  from('tw_', 32),
  fc.tuple(random(30), random(60), random(43)).map(([head, body, signature]) => `eyJ${head}.eyJ${body}.${signature}`),
);
/** Secrets that only their surroundings give away. */
const plain = random(40);

const before = fc.constantFrom(
  '',
  ' ',
  '/v1/',
  '/v1/x?a=b&q=',
  'curl/8.5 (',
  'Authorization: Bearer ',
  '{"a":"',
  'x=',
  '"',
);
const after = fc.constantFrom('', ' ', '/items', '&b=1', ')', '"}', ', and more', '#x');

const surroundings = fc.constantFrom(
  (s: string) => `/cb?access_token=${s}&x=1`,
  (s: string) => `/cb?state=1&code=${s}`,
  (s: string) => `?api_key=${s}`,
  (s: string) => `/x?key=${s}#f`,
  (s: string) => `/x?X-Amz-Signature=${s}`,
  (s: string) => `/x?sig=${s}`,
  (s: string) => `password=${s}`,
  (s: string) => `aws_secret_access_key = ${s}`,
  (s: string) => `x-api-key: ${s}`,
  (s: string) => `Authorization: Bearer ${s}`,
  (s: string) => `authorization: Basic ${Buffer.from(`user:${s}`).toString('base64')}`,
  (s: string) => `https://deploy:${s}@git.example/x`,
  (s: string) => `postgres://u:${s}@db:5432/app`,
  (s: string) => `Set-Cookie: session=${s}; HttpOnly`,
  (s: string) => `{"password":"${s}"`,
  (s: string) => `"{\\"client_secret\\":\\"${s}\\"}"`,
);

const redactor = () => createRedactor('test key');

describe('a credential never survives', () => {
  it('when its own shape tells, wherever it stands', () => {
    fc.assert(
      fc.property(shaped, before, after, (secret, head, tail) => {
        const r = redactor();
        for (const clean of [r.text(head + secret + tail), r.line(head + secret + tail)]) {
          expect(clean).not.toContain(secret);
          expect(clean).toMatch(/fp_[0-9a-f]{16}/);
        }
        expect(r.token(secret)).toMatch(/^fp_[0-9a-f]{16}$/);
        expect(JSON.stringify(r.attributes({ a: [{ b: head + secret + tail }] }))).not.toContain(secret);
        expect(JSON.stringify(r.attributes({ [secret]: 1 }))).not.toContain(secret);
      }),
    );
  });

  it('when only its surroundings tell', () => {
    fc.assert(
      fc.property(plain, surroundings, (secret, surround) => {
        const r = redactor();
        const text = surround(secret);
        expect(r.text(text)).not.toContain(secret);
        expect(r.text(text)).not.toContain(Buffer.from(`user:${secret}`).toString('base64'));
        expect(r.line(text)).not.toContain(secret);
        expect(r.replaced).toBeGreaterThan(0);
      }),
    );
  });

  it('under the name of a secret field, at any depth and in any type', () => {
    const names = fc.constantFrom(
      'authorization',
      'Authorization',
      'cookie',
      'set-cookie',
      'password',
      'user_password',
      'secret',
      'clientSecret',
      'api_key',
      'x-api-key',
      'http.request.header.x-api-key',
      'sessionToken',
      'secretAccessKey',
    );
    fc.assert(
      fc.property(names, plain, (name, secret) => {
        const r = redactor();
        for (const value of [secret, [secret], { inner: secret }, { a: [{ b: secret }] }]) {
          expect(JSON.stringify(r.attributes({ x: { [name]: value } }))).not.toContain(secret);
          expect(r.line(JSON.stringify({ time: 'never', [name]: value }))).not.toContain(secret);
        }
        expect(JSON.stringify(r.attributes({ h: [{ name, value: secret }] }))).not.toContain(secret);
        expect(JSON.stringify(r.attributes({ h: [[name, secret]] }))).not.toContain(secret);
      }),
    );
  });

  it('in a refused line whose token field holds it, whole or cut off', () => {
    const secret = 'q8Xv2LmN4pR7tY1wZ3bC5dF9gH6jK0sA';
    expect(redactor().line(`{"token":"${secret}","time":"x"}`)).not.toContain(secret);
    expect(redactor().line(`{"token":"${secret}","time":`)).not.toContain(secret);
    expect(redactor().line('{"password":"hunter2 is long')).not.toContain('hunter2');
    expect(redactor().line('{"token":"tok_9f2","time":"x"}')).toBe('{"token":"tok_9f2","time":"x"}');
  });

  it('as a private key', () => {
    const pem = '-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7\nabc\n-----END RSA PRIVATE KEY-----';
    expect(redactor().text(`key ${pem} end`)).toMatch(/^key fp_[0-9a-f]{16} end$/);
    expect(redactor().line(JSON.stringify({ note: pem }))).not.toContain('MIIE');
    expect(redactor().text(pem.slice(0, 45))).not.toContain('MIIE');
  });
});

describe('what is no credential', () => {
  it.each([
    'tok_9f2',
    'key_abc',
    'AKIAIOSFODNN7EXAMPLE',
    'ASIATFQR7NSCSHSEVYP5',
    'acme',
    'curl/8.5',
    'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36',
    'aws-sdk-go/1.44.162 (go1.19.4; darwin; arm64)',
    'GET /v1/users/{id}',
    '/v1/users/42?page=2&sort=asc',
    'secretsmanager.amazonaws.com:GetSecretValue',
    'arn:aws:secretsmanager:us-east-1:123837392027:secret:db-AbCdEf',
    'POST /v1/password:reset',
    'bearer token expired',
    'Basic authentication failed',
    'task-list-of-many-items-without-end',
    'X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20261122',
    'b0f6b3a0-5a3e-4b5c-9d0e-0f6b3a05a3e4',
  ])('%s stays as it is', (text) => {
    const r = redactor();
    expect(r.text(text)).toBe(text);
    expect(r.token(text)).toBe(text);
    expect(r.attributes({ note: text, token: text })).toEqual({ note: text, token: text });
    expect(r.replaced).toBe(0);
  });

  it('keeps the very object when there is nothing to replace', () => {
    const attributes = { a: 1, b: { c: ['x', null, true] } };
    expect(redactor().attributes(attributes)).toBe(attributes);
  });
});

describe('a fingerprint', () => {
  it('is the same for the same secret wherever it stood, and another under another key', () => {
    const secret = `ghp_${'a1B2'.repeat(9)}`;
    const r = redactor();
    const print = r.token(secret);
    expect(r.token(`Bearer ${secret}`)).toBe(print);
    expect(r.text(`x ${secret} y`)).toBe(`x ${print} y`);
    expect(r.attributes({ Authorization: `Bearer ${secret}` })).toEqual({ Authorization: print });
    expect(createRedactor('another key').token(secret)).not.toBe(print);
  });

  it('is not replaced again', () => {
    fc.assert(
      fc.property(fc.oneof(shaped, plain), surroundings, (secret, surround) => {
        const once = redactor().text(surround(secret));
        expect(redactor().text(once)).toBe(once);
      }),
    );
  });

  it('is counted every time, also when the text was met before', () => {
    const r = redactor();
    for (let i = 0; i < 3; i++) r.text(`/x?token=${'s'.repeat(10)}`);
    expect(r.replaced).toBe(3);
  });
});

it('hostile text of the largest size is read in one go', () => {
  for (const unit of ['eyJ', 'bearer ', '://a:', 'secret', '-----BEGIN ', 'tw_', '?token', '"key":"', '\\"']) {
    const text = unit.repeat(Math.ceil(8192 / unit.length));
    expect(redactor().line(text).length).toBeLessThanOrEqual(2_000);
  }
});
