import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRedactor } from '../../ingest/redact.ts';
import { createTemplates, type TemplateOptions, type Templates } from '../../ingest/templates.ts';
import type { SharedState } from '../../queues/index.ts';
import { createSharedState } from '../kit/shared-state.ts';

function templates(shared: SharedState = createSharedState(), options: Partial<TemplateOptions> = {}): Templates {
  return createTemplates(shared, { redactor: createRedactor('test key'), ...options });
}

async function endpointsOf(paths: readonly string[], of = templates(), now = 0): Promise<string[]> {
  const endpoints = await of.prepare(paths, now);
  return paths.map((_, index) => endpoints.of(index, ''));
}

const range = (count: number) => Array.from({ length: count }, (_, i) => i);
/** word is a different plain word for every number: no digits, so its shape proves nothing. */
const word = (n: number) =>
  `w${[...n.toString(26)].map((digit) => 'abcdefghijklmnopqrstuvwxyz'[Number.parseInt(digit, 26)]).join('')}`;

describe('the shape of a segment makes it variable', () => {
  it.each([
    ['/v1/users/42', '/v1/users/{id}'],
    ['/v1/users/42/', '/v1/users/{id}'],
    ['//v1///users/-7?x=1#y', '/v1/users/{id}'],
    ['https://api.example/v1/users/42', '/v1/users/{id}'],
    ['https://api.example', '/'],
    ['/', '/'],
    ['v1/users', '/v1/users'],
    ['/o/3f2b8c1e-9d4a-4f6b-8a7c-1e2d3c4b5a69', '/o/{uuid}'],
    ['/c/9f86d081884c7d65', '/c/{hex}'],
    ['/c/deadbeef', '/c/deadbeef'],
    ['/k/dGhpcy5pcyBhIHRlc3Q1', '/k/{token}'],
    ['/k/01ARZ3NDEKTSV4RRFFQ69G5FAV', '/k/{token}'],
    ['/k/i-0dbc91f429e48eeed', '/k/{token}'],
    ['/u/anna@example.org', '/u/{email}'],
    ['/u/anna%40example.org', '/u/{email}'],
    ['/d/2026-11-22', '/d/{date}'],
    ['/d/2026-11', '/d/{date}'],
    [`/x/${'long-words-'.repeat(7)}`, '/x/{long}'],
    ['/f/123.json', '/f/{id}.json'],
    ['/f/report.json', '/f/report.json'],
    ['/f/a%2Fb', '/f/{var}'],
    ['/f/two%20words', '/f/{var}'],
    ['/f/%zz', '/f/{var}'],
    ['/users;jsessionid=ABC/7', '/users/{id}'],
    ['/v1/users/{id}', '/v1/users/{id}'],
    ['/v1/files/{id}.json', '/v1/files/{id}.json'],
    ['/v1/users/:id', '/v1/users/:id'],
    ['/v2/oauth2-callback', '/v2/oauth2-callback'],
    ['/v1/getUserPreferencesV2', '/v1/getUserPreferencesV2'],
    ['/größe', '/größe'],
  ])('%s is %s', async (path, expected) => {
    expect(await endpointsOf([path])).toEqual([expected]);
  });

  it('and the method goes before it; without a path there is no endpoint', async () => {
    const endpoints = await templates().prepare(['/v1/users/42', '', '/v1/users/43'], 0);
    expect(endpoints.of(0, 'GET')).toBe('GET /v1/users/{id}');
    expect(endpoints.of(2, 'PUT')).toBe('PUT /v1/users/{id}');
    expect(endpoints.of(0, 'GET')).toBe('GET /v1/users/{id}');
    expect(endpoints.of(1, 'GET')).toBe('');
  });
});

describe('a segment that has many siblings is variable', () => {
  const names = range(60).map((n) => `/v1/users/${word(n)}/posts`);

  it('from the batch on in which they prove to be many', async () => {
    const of = templates();
    expect(await endpointsOf(names.slice(0, 49), of)).toContain('/v1/users/wb/posts');
    expect(new Set(await endpointsOf(names.slice(49), of))).toEqual(new Set(['/v1/users/{var}/posts']));
    expect(await endpointsOf(['/v1/users/wb/posts', '/v1/teams/wb'], of)).toEqual([
      '/v1/users/{var}/posts',
      '/v1/teams/wb',
    ]);
  });

  it('on every process, also on one that met few of them', async () => {
    const shared = createSharedState();
    const [one, other] = [templates(shared), templates(shared)];
    await one.prepare(names.slice(0, 30), 0);
    await other.prepare(names.slice(25, 55), 0);
    expect(await endpointsOf(names.slice(25, 55), other)).toEqual(range(30).map(() => '/v1/users/{var}/posts'));
    // The one that learned nothing new hears of it within a second.
    expect(await endpointsOf(names.slice(0, 30), one, 1_000)).toEqual(range(30).map(() => '/v1/users/{var}/posts'));
  });

  it('after a restart, without meeting them all again', async () => {
    const shared = createSharedState();
    await templates(shared).prepare(names, 0);
    expect(await endpointsOf(['/v1/users/zoe/posts'], templates(shared))).toEqual(['/v1/users/{var}/posts']);
    const known = createSharedState();
    await templates(known).prepare(names.slice(0, 40), 0);
    expect(await endpointsOf(names.slice(40, 60), templates(known))).toEqual(
      range(20).map(() => '/v1/users/{var}/posts'),
    );
  });

  it('later at the top, where an API has its resources', async () => {
    const resources = range(120).map((n) => `/v1/${word(n)}`);
    expect(await endpointsOf(resources)).toEqual(resources);
    const scanned = range(250).map((n) => `/v1/${word(n)}`);
    expect(new Set(await endpointsOf(scanned))).toEqual(new Set(['/v1/{var}']));
  });
});

it('two processes that share their state agree on every path, in whatever order they meet them', async () => {
  const segment = fc.constantFrom('v1', 'users', 'a', 'b', 'c', 'd', 'e', 'f', '42', 'x@y.example');
  const path = fc.array(segment, { minLength: 1, maxLength: 5 }).map((parts) => `/${parts.join('/')}`);
  const batch = fc.array(path, { minLength: 1, maxLength: 10 });
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(fc.boolean(), batch), { maxLength: 8 }), batch, async (batches, last) => {
      const shared = createSharedState();
      const options = { childrenLimit: 3, topChildrenLimit: 4, prefixLimit: 12 };
      const [one, other] = [templates(shared, options), templates(shared, options)];
      let now = 0;
      for (const [first, paths] of batches) {
        now += 400;
        await (first ? one : other).prepare(paths, now);
      }
      const expected = await endpointsOf(last, one, now + 1_000);
      expect(await endpointsOf(last, other, now + 2_000)).toEqual(expected);
      expect(await endpointsOf(last, templates(shared, options), now + 3_000)).toEqual(expected);
    }),
  );
});

it('a credential in a path reaches neither the endpoint nor the shared state, and is counted at every call', async () => {
  const shared = createSharedState();
  const seen: string[] = [];
  const spying: SharedState = {
    ...shared,
    countDistinct(name, groups, limit) {
      seen.push(JSON.stringify([...groups]));
      return shared.countDistinct(name, groups, limit);
    },
  };
  const redactor = createRedactor('test key');
  const of = createTemplates(spying, { redactor });
  const secret = 'ghp_abcdefghijklmnopqrstuvwxyzABCDEFGHIJ';
  const paths = [`/hooks/${secret}/x`, `/hooks/ghp%5F${secret.slice(4)}/x`, '/cb?access_token=hunter2hunter2'];
  const endpoints = await of.prepare(paths, 0);
  expect(paths.map((_, index) => endpoints.of(index, ''))).toEqual(['/hooks/{secret}/x', '/hooks/{secret}/x', '/cb']);
  expect(seen.join()).not.toContain(secret.slice(4));
  expect(redactor.replaced).toBe(3);
  endpoints.of(0, 'GET');
  expect(redactor.replaced).toBe(4);
});

it('any text is a path, its endpoint is short, and templating it again changes nothing', async () => {
  const paths = fc.array(fc.oneof(fc.webPath(), fc.string({ unit: 'binary', maxLength: 300 })), {
    minLength: 1,
    maxLength: 5,
  });
  await fc.assert(
    fc.asyncProperty(paths, async (found) => {
      for (const endpoint of await endpointsOf(found)) {
        expect(endpoint.length).toBeLessThanOrEqual(300);
        if (endpoint !== '') expect(endpoint.startsWith('/')).toBe(true);
        expect(await endpointsOf([endpoint])).toEqual([endpoint]);
      }
    }),
  );
});

it('endpoints that were found before another batch proved their prefix variable say so too', async () => {
  const of = templates();
  const early = await of.prepare(['/v1/users/anna/posts'], 0);
  expect(early.of(0, 'GET')).toBe('GET /v1/users/anna/posts');
  await of.prepare(
    range(60).map((n) => `/v1/users/${word(n)}/posts`),
    1,
  );
  expect(early.of(0, 'GET')).toBe('GET /v1/users/{var}/posts');
});

it('known paths cost no call to the shared state, and news are asked for once a second', async () => {
  const shared = createSharedState();
  const of = templates(shared);
  await of.prepare(['/v1/a', '/v1/b'], 10_000);
  const before = { ...shared.calls };
  await of.prepare(['/v1/a', '/v1/b'], 10_999);
  expect(shared.calls).toEqual(before);
  await of.prepare(['/v1/a'], 11_000);
  expect(shared.calls).toEqual({ ...before, setSince: before.setSince + 2 });
});

it('a million different paths leave a few endpoints and a bounded memory', async () => {
  const shared = createSharedState();
  const of = templates(shared, { prefixLimit: 500 });
  const found = new Set<string>();
  const words = range(1_000).map(word);
  for (let batch = 0; batch < 200; batch++) {
    const paths = range(5_000).map((i) => {
      const n = batch * 5_000 + i;
      return `/${words[n % 211]}/${words[n % 97]}/${words[n % 1_000]}-${words[Math.floor(n / 1_000)]}`;
    });
    const endpoints = await of.prepare(paths, batch * 100);
    if (batch >= 10) for (let i = 0; i < paths.length; i += 10) found.add(endpoints.of(i, 'GET'));
  }
  expect([...found]).toEqual(['GET /{var}/{var}/{var}']);
  expect((await shared.setSince('templates:prefixes', 0)).members.length).toBeLessThanOrEqual(500);
});
