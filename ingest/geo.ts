import { unwatchFile, watchFile } from 'node:fs';
import { createRequire } from 'node:module';
import type { Config } from '../config/index.ts';
import { NETWORK_KINDS, type NetworkKind, type TokenwatchError } from '../core/index.ts';
import { createCache } from './cache.ts';
import {
  countryOf,
  type GeoDatabase,
  type GeoRecord,
  type Located,
  locatedAt,
  type NetworkList,
  openDatabase,
  openList,
} from './geo-files.ts';
import { normalizeIp } from './ip.ts';
import { networkKindOf } from './network-kind.ts';
import { createRanges, parseRangeList } from './network-ranges.ts';

export type { GeoDatabase } from './geo-files.ts';
export { normalizeIp } from './ip.ts';

/** Place is what is known of an address: ISO 3166-1 alpha-2 or '', the autonomous system number or 0, and what kind of network it is. */
export interface Place {
  readonly country: string;
  readonly asn: number;
  readonly networkKind: NetworkKind | '';
  /** Degrees; 0 without coordinates, and so is accuracyKm, which is never 0 with them. */
  readonly latitude: number;
  readonly longitude: number;
  /** Radius around them in which two of three addresses are, as the database's publisher says. */
  readonly accuracyKm: number;
}

/** Geo answers where an address is. */
export interface Geo {
  /** lookup is cached; unknown, private and unreadable addresses are nowhere. */
  lookup(ip: string): Place;
  /** databases that are open, with their age in days at `now`. */
  databases(now: number): (GeoDatabase & { readonly ageDays: number })[];
  /** lists that are open, with the number of their ranges; those of `geo.egress` are not among them. */
  lists(): { readonly kind: NetworkKind; readonly path: string; readonly count: number }[];
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

const BUNDLED = '@ip-location-db/geo-whois-asn-country-mmdb/geo-whois-asn-country.mmdb';
const OLD_AFTER_DAYS = 90;
const DAY_MS = 86_400_000;
const NO_COORDINATES: Located = Object.freeze({ latitude: 0, longitude: 0, accuracyKm: 0 });
const NOWHERE: Place = Object.freeze({ country: '', asn: 0, networkKind: '', ...NO_COORDINATES });

/** openGeo opens the configured databases, or the bundled country database where neither country nor city is configured. */
export async function openGeo(paths: Config['geo'], options: GeoOptions = {}): Promise<Geo> {
  const databases: Awaited<ReturnType<typeof openDatabase>>[] = [];
  async function add(role: GeoDatabase['role'], path: string, bundled: boolean): Promise<void> {
    databases.push(await openDatabase(role, path, bundled));
  }
  if (paths.country !== null) await add('country', paths.country, false);
  if (paths.city !== null) await add('city', paths.city, false);
  if (paths.asn !== null) await add('asn', paths.asn, false);
  if (paths.country === null && paths.city === null) {
    await add('country', createRequire(import.meta.url).resolve(BUNDLED), true);
  }
  // In the order of NETWORK_KINDS: the first list that has an address decides.
  const lists: NetworkList[] = [];
  for (const kind of NETWORK_KINDS)
    for (const path of paths.networks[kind] ?? []) lists.push(await openList(kind, path));
  const egress = createRanges(parseRangeList(paths.egress.join('\n')));
  const places = createCache<Place>(options.cacheLimit ?? 100_000);

  function kindOf(address: string, asn: number, organisation: string): NetworkKind | '' {
    if (egress.has(address)) return 'egress';
    return lists.find(({ ranges }) => ranges.has(address))?.kind ?? networkKindOf(asn, organisation);
  }

  function find(ip: string): Place {
    const address = normalizeIp(ip);
    if (address === '') return NOWHERE;
    // An organisation's own way out may well have a private address.
    if (LOCAL.has(address)) return egress.has(address) ? { ...NOWHERE, networkKind: 'egress' } : NOWHERE;
    let country = '';
    let asn = 0;
    let organisation = '';
    let located: Located | null = null;
    for (const { reader } of databases) {
      const record = reader.get(address) as GeoRecord | null;
      if (record === null) continue;
      if (country === '') country = countryOf(record);
      located ??= locatedAt(record);
      if (asn !== 0) continue;
      asn = record.autonomous_system_number ?? 0;
      organisation = record.autonomous_system_organization ?? '';
    }
    const networkKind = kindOf(address, asn, organisation);
    if (country === '' && asn === 0 && networkKind === '' && located === null) return NOWHERE;
    return { country, asn, networkKind, ...(located ?? NO_COORDINATES) };
  }

  async function attempt(read: () => Promise<void>): Promise<void> {
    try {
      await read();
      places.clear();
    } catch (error) {
      // Opening throws nothing else; a half-copied file is read again at its next change.
      options.onError?.(error as TokenwatchError);
    }
  }

  const files = [
    ...databases.map(({ info: { role, path, bundled } }, index) => ({
      path,
      bundled,
      reload: () =>
        attempt(async () => {
          databases[index] = await openDatabase(role, path, bundled);
        }),
    })),
    ...lists.map(({ kind, path }, index) => ({
      path,
      bundled: false,
      reload: () =>
        attempt(async () => {
          lists[index] = await openList(kind, path);
        }),
    })),
  ];
  const watchers = files.map(({ path, bundled, reload }) => {
    const listener = () => void reload();
    if (options.watchMs && !bundled) watchFile(path, { interval: options.watchMs, persistent: false }, listener);
    return { path, listener };
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
    lists: () => lists.map(({ kind, path, ranges }) => ({ kind, path, count: ranges.count })),
    warning(now) {
      return withAge(now)
        .filter(({ ageDays }) => ageDays > OLD_AFTER_DAYS)
        .map(warningOf)
        .join(' ');
    },
    async reload() {
      await Promise.all(files.map((file) => file.reload()));
    },
    close() {
      for (const { path, listener } of watchers) unwatchFile(path, listener);
    },
  };
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
const LOCAL = createRanges(
  parseRangeList(
    `0.0.0.0/8
     10.0.0.0/8
     100.64.0.0/10
     127.0.0.0/8
     169.254.0.0/16
     172.16.0.0/12
     192.168.0.0/16
     224.0.0.0/3
     ::/127
     fc00::/7
     fe80::/10
     ff00::/8`,
  ),
);
