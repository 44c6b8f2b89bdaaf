import { copyFileSync, existsSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { TokenwatchError } from '../../core/index.ts';
import { normalizeIp, openGeo } from '../../ingest/geo.ts';
import { writeMmdb } from '../kit/mmdb.ts';

const NONE = { country: null, city: null, asn: null, networks: {}, egress: [] };
const BUNDLED = createRequire(import.meta.url).resolve(
  '@ip-location-db/geo-whois-asn-country-mmdb/geo-whois-asn-country.mmdb',
);
const DAY_MS = 86_400_000;
const directory = mkdtempSync(join(tmpdir(), 'tokenwatch-geo-'));
afterAll(() => rmSync(directory, { recursive: true }));

describe('an address', () => {
  it.each([
    ['203.0.113.9', '203.0.113.9'],
    [' 203.0.113.9 ', '203.0.113.9'],
    ['203.0.113.9:5678', '203.0.113.9'],
    ['::ffff:203.0.113.9', '203.0.113.9'],
    ['::FFFF:cb00:7109', '203.0.113.9'],
    ['[::ffff:203.0.113.9]:443', '203.0.113.9'],
    ['[2001:DB8::1]:443', '2001:db8::1'],
    ['[2001:db8::1]', '2001:db8::1'],
    ['2001:0db8:0:0:0:0:0:1', '2001:db8::1'],
    ['fe80::1%eth0', 'fe80::1'],
    ['', ''],
    ['-', ''],
    ['unknown', ''],
    ['999.1.2.3', ''],
    ['1.2.3', ''],
    ['203.0.113.9:http', ''],
    ['[2001:db8::1', ''],
    ['[2001:db8::1]x', ''],
    ['ec2.amazonaws.com', ''],
    ['1'.repeat(100), ''],
  ])('%s is written %s', (text, expected) => {
    expect(normalizeIp(text)).toBe(expected);
    expect(normalizeIp(text)).toBe(expected);
  });
});

describe('with nothing configured, the bundled database', () => {
  it('knows the country of well-known addresses', async () => {
    const geo = await openGeo(NONE);
    expect(geo.lookup('8.8.8.8')).toMatchObject({ country: 'US', asn: 0, networkKind: '', accuracyKm: 0 });
    expect(geo.lookup('8.8.8.8')).toMatchObject({ country: 'US', asn: 0, networkKind: '', accuracyKm: 0 });
    expect(geo.lookup('::ffff:8.8.8.8').country).toBe('US');
    expect(geo.lookup('2001:4860:4860::8888').country).toBe('US');
    expect(geo.lookup('193.0.6.139').country).toBe('NL');
    geo.close();
  });

  it.each([
    '',
    'x',
    '10.0.0.1',
    '127.0.0.1',
    '192.168.10.20',
    '100.64.0.1',
    '::1',
    'fd00::1',
    'fe80::1%eth0',
    '::ffff:10.0.0.1',
  ])('places %s nowhere', async (ip) => {
    const geo = await openGeo(NONE);
    expect(geo.lookup(ip)).toEqual({
      country: '',
      asn: 0,
      networkKind: '',
      latitude: 0,
      longitude: 0,
      accuracyKm: 0,
    });
  });

  it('says how old it is, and warns after 90 days how to get a fresh one', async () => {
    const geo = await openGeo(NONE);
    const [database] = geo.databases(0);
    expect(database).toMatchObject({ role: 'country', path: BUNDLED, bundled: true, ageDays: 0 });
    const builtAt = database?.builtAt as number;
    expect(new Date(builtAt).getUTCFullYear()).toBeGreaterThanOrEqual(2026);
    expect(geo.databases(builtAt + 91 * DAY_MS)[0]?.ageDays).toBe(91);
    expect(geo.warning(builtAt + 90 * DAY_MS)).toBe('');
    expect(geo.warning(builtAt + 91 * DAY_MS)).toMatch(/91 days old.*geo\.country/);
  });
});

describe('a configured database', () => {
  it('that is missing, cut off or something else is one clear error of the configuration', async () => {
    const garbage = join(directory, 'garbage.mmdb');
    writeFileSync(garbage, 'not a database');
    const cut = join(directory, 'cut.mmdb');
    copyFileSync(BUNDLED, cut);
    truncateSync(cut, 1_000_000);
    for (const country of [join(directory, 'missing.mmdb'), garbage, cut, directory]) {
      const error = await openGeo({ ...NONE, country }).then(
        () => null,
        (thrown) => thrown,
      );
      expect(error).toBeInstanceOf(TokenwatchError);
      expect(error).toMatchObject({ code: 'geo_database_unreadable', kind: 'config' });
      expect(error.message).toContain(country);
      expect(error.fix).toContain('geo.country');
    }
  });

  it('is read again when it changes, and stays in use when the new file is broken', async () => {
    const path = join(directory, 'changing.mmdb');
    copyFileSync(BUNDLED, path);
    const errors: TokenwatchError[] = [];
    const geo = await openGeo({ ...NONE, country: path }, { onError: (error) => errors.push(error) });
    writeFileSync(path, 'half a file');
    await geo.reload();
    expect(errors.map(({ code }) => code)).toEqual(['geo_database_unreadable']);
    expect(geo.lookup('8.8.8.8').country).toBe('US');
    copyFileSync(BUNDLED, path);
    await geo.reload();
    expect(errors).toHaveLength(1);
    expect(geo.lookup('193.0.6.139').country).toBe('NL');
  });

  it('is watched without being asked', async () => {
    const path = join(directory, 'watched.mmdb');
    copyFileSync(BUNDLED, path);
    const seen = new Promise<TokenwatchError>((onError) => {
      void openGeo({ ...NONE, country: path }, { watchMs: 20, onError }).then(async (geo) => {
        writeFileSync(path, 'half a file');
        await seen;
        geo.close();
      });
    });
    expect((await seen).code).toBe('geo_database_unreadable');
  });
});

describe('the network of an address', () => {
  const asn = join(directory, 'asn.mmdb');
  const city = join(directory, 'city.mmdb');
  const vpn = join(directory, 'vpn.txt');
  const relay = join(directory, 'relay.csv');
  writeMmdb(
    asn,
    'GeoLite2-ASN',
    {
      '198.51.100.0/24': { autonomous_system_number: 16509, autonomous_system_organization: 'AMAZON-02' },
      '203.0.113.0/24': { autonomous_system_number: 64500, autonomous_system_organization: 'Example Móvil S.A.' },
      '192.0.2.0/24': { autonomous_system_number: 64501, autonomous_system_organization: 'Example Telecom' },
      '2001:db8::/32': { autonomous_system_number: 64502, autonomous_system_organization: 'Example University' },
    },
    Date.UTC(2026, 10, 1),
  );
  writeMmdb(
    city,
    'GeoLite2-City',
    {
      '198.51.100.0/25': {
        country: { iso_code: 'SE' },
        location: { latitude: 58.4167, longitude: 15.6167, accuracy_radius: 76 },
      },
      '198.51.100.128/25': { country: { iso_code: 'SE' }, location: { latitude: 91.5, longitude: 15.6167 } },
      '203.0.113.0/24': { country_code: 'JP', latitude: 35.5, longitude: -139.5 },
    },
    Date.UTC(2026, 10, 1),
  );
  writeFileSync(vpn, '\ufeff# a VPN of ours\r\n192.0.2.0/25\r\n\r\n2001:db8:1::/48 # and its IPv6\r\n');
  writeFileSync(relay, '192.0.2.64/26,US,US-CA,Los Angeles,\n');
  const paths = {
    ...NONE,
    asn,
    city,
    networks: { vpn: [vpn], relay: [relay] },
    egress: ['198.51.100.7', '10.0.0.0/8'],
  };

  it('has the kind that a list says, else its number, else its name; a way out of one’s own wins', async () => {
    const geo = await openGeo(paths);
    const kindOf = (ip: string) => geo.lookup(ip).networkKind;
    expect(kindOf('198.51.100.8')).toBe('hosting');
    expect(kindOf('203.0.113.9')).toBe('mobile');
    expect(kindOf('2001:db8::1')).toBe('business');
    expect(kindOf('2001:db8:1::1')).toBe('vpn');
    expect(kindOf('192.0.2.9')).toBe('vpn');
    expect(kindOf('192.0.2.65')).toBe('relay');
    expect(kindOf('192.0.2.200')).toBe('');
    expect(geo.lookup('198.51.100.7')).toMatchObject({ country: 'SE', asn: 16509, networkKind: 'egress' });
    expect(geo.lookup('10.1.2.3')).toMatchObject({ country: '', networkKind: 'egress' });
    expect(geo.lists()).toEqual([
      { kind: 'relay', path: relay, count: 1 },
      { kind: 'vpn', path: vpn, count: 2 },
    ]);
  });

  it('has the coordinates of a city database with their radius, a cautious one where none is said', async () => {
    const geo = await openGeo(paths);
    expect(geo.lookup('198.51.100.8')).toMatchObject({ latitude: 58.4167, longitude: 15.6167, accuracyKm: 76 });
    expect(geo.lookup('203.0.113.9')).toMatchObject({
      country: 'JP',
      latitude: 35.5,
      longitude: -139.5,
      accuracyKm: 200,
    });
    // Nowhere on earth is nowhere.
    expect(geo.lookup('198.51.100.200')).toMatchObject({ country: 'SE', latitude: 0, longitude: 0, accuracyKm: 0 });
  });

  it('is told by the list as it is now, and by the one before while the new one is broken', async () => {
    const list = join(directory, 'changing.txt');
    writeFileSync(list, '192.0.2.200\n');
    const errors: TokenwatchError[] = [];
    const geo = await openGeo({ ...paths, networks: { vpn: [list] } }, { onError: (error) => errors.push(error) });
    expect(geo.lookup('192.0.2.200').networkKind).toBe('vpn');
    writeFileSync(list, '192.0.2.200\nhalf a li');
    await geo.reload();
    expect(geo.lookup('192.0.2.200').networkKind).toBe('vpn');
    expect(errors.map(({ code, message }) => [code, message.replace(list, 'FILE')])).toEqual([
      [
        'geo_list_unreadable',
        'geo.networks.vpn: the list FILE cannot be read: line 2 is no address range such as 203.0.113.0/24: "half"',
      ],
    ]);
    writeFileSync(list, '192.0.2.201\n');
    await geo.reload();
    expect(geo.lookup('192.0.2.200').networkKind).toBe('');
    expect(geo.lookup('192.0.2.201').networkKind).toBe('vpn');
  });

  it('stops the start when a list is missing', async () => {
    const opened = openGeo({ ...paths, networks: { hosting: [join(directory, 'missing.txt')] } });
    await expect(opened).rejects.toMatchObject({ code: 'geo_list_unreadable', kind: 'config' });
  });
});

const MAXMIND = new URL('../../../shared/geo/', import.meta.url);
const file = (name: string) => fileURLToPath(new URL(name, MAXMIND));
describe.skipIf(!existsSync(MAXMIND))('MaxMind’s test databases', () => {
  it('give country from a city database and the network from an ASN database', async () => {
    const geo = await openGeo({
      ...NONE,
      city: file('GeoLite2-City-Test.mmdb'),
      asn: file('GeoLite2-ASN-Test.mmdb'),
    });
    expect(geo.databases(Date.now()).map(({ name }) => name)).toEqual(['GeoLite2-City', 'GeoLite2-ASN']);
    expect(geo.lookup('81.2.69.142').country).toBe('GB');
    expect(geo.lookup('89.160.20.112')).toMatchObject({
      country: 'SE',
      asn: 29518,
      networkKind: '',
      latitude: 58.4167,
      accuracyKm: 76,
    });
    expect(geo.lookup('1.128.0.0').asn).toBe(1221);
  });

  it('give country from a country database', async () => {
    const geo = await openGeo({ ...NONE, country: file('GeoIP2-Country-Test.mmdb') });
    expect(geo.lookup('81.2.69.160').country).toBe('GB');
    expect(geo.lookup('2001:218::').country).toBe('JP');
  });
});
