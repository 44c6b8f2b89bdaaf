import { unwatchFile, watchFile } from 'node:fs';
import { createRequire } from 'node:module';
import { BlockList, isIPv6 } from 'node:net';
import { open, type Reader } from 'maxmind';
import type { Config } from '../config/index.ts';
import { errorText, TokenwatchError } from '../core/index.ts';
import { createCache } from './cache.ts';
import { normalizeIp } from './ip.ts';

export { normalizeIp } from './ip.ts';

/** Place is where an address is registered: ISO 3166-1 alpha-2 or '', and the autonomous system number or 0. */
export interface Place {
  readonly country: string;
  readonly asn: number;
}

/** GeoDatabase describes one opened database file. */
export interface GeoDatabase {
  readonly role: 'country' | 'city' | 'asn';
  /** As its publisher calls it. */
  readonly name: string;
  readonly path: string;
  /** Epoch milliseconds. */
  readonly builtAt: number;
  /** The one that comes with Tokenwatch. */
  readonly bundled: boolean;
}

/** Geo answers where an address is. */
export interface Geo {
  /** lookup is cached; unknown, private and unreadable addresses are nowhere. */
  lookup(ip: string): Place;
  /** databases that are open, with their age in days at `now`. */
  databases(now: number): (GeoDatabase & { readonly ageDays: number })[];
  /** warning about databases that are too old at `now`, with what to do; '' when all are fresh. */
  warning(now: number): string;
  /** reload reads again the files that changed; done by itself when `watchMs` is set. */
  reload(): Promise<void>;
  close(): void;
}

/** GeoOptions say how the files are kept. */
export interface GeoOptions {
  /** How often files are looked at for a change; 0: never. */
  readonly watchMs?: number;
  /** Places that are remembered. */
  readonly cacheLimit?: number;
  /** Told when a changed file cannot be read: the one before it stays in use. */
  readonly onError?: (error: TokenwatchError) => void;
}

/** The record shapes in use: MaxMind's nested one, and the flat one of ip-location-db and others. */
interface GeoRecord {
  readonly country?: { readonly iso_code?: string } | string;
  readonly registered_country?: { readonly iso_code?: string };
  readonly country_code?: string;
  readonly autonomous_system_number?: number;
}

type GeoReader = Reader<never>;

const BUNDLED = '@ip-location-db/geo-whois-asn-country-mmdb/geo-whois-asn-country.mmdb';
const OLD_AFTER_DAYS = 90;
const DAY_MS = 86_400_000;
const NOWHERE: Place = Object.freeze({ country: '', asn: 0 });

/** openGeo opens the configured databases, or the bundled country database where neither country nor city is configured. */
export async function openGeo(paths: Config['geo'], options: GeoOptions = {}): Promise<Geo> {
  const databases: { info: GeoDatabase; reader: GeoReader }[] = [];
  async function add(role: GeoDatabase['role'], path: string, bundled: boolean): Promise<void> {
    databases.push(await openDatabase(role, path, bundled));
  }
  if (paths.country !== null) await add('country', paths.country, false);
  if (paths.city !== null) await add('city', paths.city, false);
  if (paths.asn !== null) await add('asn', paths.asn, false);
  if (paths.country === null && paths.city === null) {
    await add('country', createRequire(import.meta.url).resolve(BUNDLED), true);
  }
  const places = createCache<Place>(options.cacheLimit ?? 100_000);

  function find(ip: string): Place {
    const address = normalizeIp(ip);
    if (address === '' || isLocal(address)) return NOWHERE;
    let country = '';
    let asn = 0;
    for (const { reader } of databases) {
      const record = reader.get(address) as GeoRecord | null;
      if (record === null) continue;
      if (country === '') country = countryOf(record);
      if (asn === 0) asn = record.autonomous_system_number ?? 0;
    }
    return country === '' && asn === 0 ? NOWHERE : { country, asn };
  }

  async function reloadOne(index: number): Promise<void> {
    const { role, path, bundled } = (databases[index] as (typeof databases)[number]).info;
    try {
      databases[index] = await openDatabase(role, path, bundled);
      places.clear();
    } catch (error) {
      // openDatabase throws nothing else; a half-copied file is read again at its next change.
      options.onError?.(error as TokenwatchError);
    }
  }

  const watchers = databases.map(({ info }, index) => {
    const listener = () => void reloadOne(index);
    if (options.watchMs && !info.bundled)
      watchFile(info.path, { interval: options.watchMs, persistent: false }, listener);
    return { path: info.path, listener };
  });

  const withAge = (now: number) =>
    databases.map(({ info }) => ({ ...info, ageDays: Math.max(0, Math.floor((now - info.builtAt) / DAY_MS)) }));

  return {
    lookup(ip) {
      if (ip === '') return NOWHERE;
      const known = places.get(ip);
      if (known !== undefined) return known;
      const place = find(ip);
      places.set(ip, place);
      return place;
    },
    databases: withAge,
    warning(now) {
      return withAge(now)
        .filter(({ ageDays }) => ageDays > OLD_AFTER_DAYS)
        .map(warningOf)
        .join(' ');
    },
    async reload() {
      await Promise.all(databases.map((_database, index) => reloadOne(index)));
    },
    close() {
      for (const { path, listener } of watchers) unwatchFile(path, listener);
    },
  };
}

async function openDatabase(role: GeoDatabase['role'], path: string, bundled: boolean) {
  try {
    const reader = (await open(path)) as GeoReader;
    // A file that is cut off may still have readable metadata; a lookup walks its tree.
    reader.get('8.8.8.8');
    const { databaseType, buildEpoch } = reader.metadata;
    const info: GeoDatabase = { role, name: databaseType, path, builtAt: new Date(buildEpoch).getTime(), bundled };
    return { info, reader };
  } catch (cause) {
    const file = path.slice(Math.max(path.lastIndexOf('/'), path.lastIndexOf('\\')) + 1);
    const fix = bundled
      ? 'Run the set-up again (npm ci), or set geo.country in tokenwatch.yaml to an .mmdb file of your own.'
      : `Check geo.${role} in tokenwatch.yaml: it must be a readable, unpacked MaxMind DB file (.mmdb).`;
    throw new TokenwatchError(
      'geo_database_unreadable',
      'config',
      `geo.${role}: the database ${bundled ? `${file} that comes with Tokenwatch` : path} cannot be read: ${errorText(cause)}`,
      { fix, cause },
    );
  }
}

function countryOf(record: GeoRecord): string {
  if (typeof record.country === 'string') return record.country;
  return record.country?.iso_code ?? record.country_code ?? record.registered_country?.iso_code ?? '';
}

function warningOf({ role, name, path, bundled, ageDays }: GeoDatabase & { readonly ageDays: number }): string {
  if (bundled) {
    return (
      `The bundled geo database is ${ageDays} days old, and addresses move: some countries will be wrong. ` +
      'Get a fresh one, for example a free GeoLite2-Country and GeoLite2-ASN from MaxMind (kept up to date by their ' +
      'geoipupdate), and set geo.country and geo.asn in tokenwatch.yaml.'
    );
  }
  return (
    `The geo database ${name} (geo.${role}, ${path}) is ${ageDays} days old. Replace the file by a fresh one, for ` +
    "example with MaxMind's geoipupdate; it is read again by itself."
  );
}

/** Addresses that nobody is registered for: private, loopback, link-local, shared, documentation aside. */
const LOCAL = new BlockList();
for (const [net, prefix] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.168.0.0', 16],
  ['224.0.0.0', 3],
] as const) {
  LOCAL.addSubnet(net, prefix, 'ipv4');
}
for (const [net, prefix] of [
  ['::', 127],
  ['fc00::', 7],
  ['fe80::', 10],
  ['ff00::', 8],
] as const) {
  LOCAL.addSubnet(net, prefix, 'ipv6');
}

function isLocal(address: string): boolean {
  return LOCAL.check(address, isIPv6(address) ? 'ipv6' : 'ipv4');
}
