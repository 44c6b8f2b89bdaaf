import { readFile } from 'node:fs/promises';
import { open, type Reader } from 'maxmind';
import { errorText, type NetworkKind, TokenwatchError } from '../core/index.ts';
import { createRanges, type NetworkRanges, parseRangeList } from './network-ranges.ts';

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

/** NetworkList describes one range list. */
export interface NetworkList {
  readonly kind: NetworkKind;
  readonly path: string;
  readonly ranges: NetworkRanges;
}

/** The record shapes in use: MaxMind's nested one, and the flat one of ip-location-db and others. */
export interface GeoRecord {
  readonly country?: { readonly iso_code?: string } | string;
  readonly registered_country?: { readonly iso_code?: string };
  readonly country_code?: string;
  readonly location?: Coordinates & { readonly accuracy_radius?: number };
  readonly latitude?: unknown;
  readonly longitude?: unknown;
  readonly autonomous_system_number?: number;
  readonly autonomous_system_organization?: string;
}

interface Coordinates {
  readonly latitude?: unknown;
  readonly longitude?: unknown;
}

/** Located is where a record says that an address is, degrees and kilometres; accuracyKm is never 0. */
export interface Located {
  readonly latitude: number;
  readonly longitude: number;
  readonly accuracyKm: number;
}

/** What a database that names no radius is taken for. */
const UNSAID_ACCURACY_KM = 200;
const MAX_ACCURACY_KM = 20_000;

/** countryOf is the country that a record names, '' when none. */
export function countryOf(record: GeoRecord): string {
  if (typeof record.country === 'string') return record.country;
  return record.country?.iso_code ?? record.country_code ?? record.registered_country?.iso_code ?? '';
}

/** locatedAt is the place that a record names, null when it names none or one that is not on earth. */
export function locatedAt(record: GeoRecord): Located | null {
  const { latitude, longitude }: Coordinates = record.location ?? record;
  if (typeof latitude !== 'number' || typeof longitude !== 'number') return null;
  if (!(Math.abs(latitude) <= 90 && Math.abs(longitude) <= 180)) return null;
  const radius = record.location?.accuracy_radius;
  const accuracyKm = typeof radius === 'number' && radius > 0 ? Math.ceil(radius) : UNSAID_ACCURACY_KM;
  return { latitude, longitude, accuracyKm: Math.min(MAX_ACCURACY_KM, accuracyKm) };
}

/** openDatabase opens a database file. Throws geo_database_unreadable. */
export async function openDatabase(role: GeoDatabase['role'], path: string, bundled: boolean) {
  try {
    const reader = (await open(path)) as Reader<never>;
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

/** openList reads a range list. Throws geo_list_unreadable, which names the line at fault. */
export async function openList(kind: NetworkKind, path: string): Promise<NetworkList> {
  try {
    return { kind, path, ranges: createRanges(parseRangeList(await readFile(path, 'utf8'))) };
  } catch (cause) {
    throw new TokenwatchError(
      'geo_list_unreadable',
      'config',
      `geo.networks.${kind}: the list ${path} cannot be read: ${errorText(cause)}`,
      {
        fix: 'It must be a text file with an address range a line, such as 203.0.113.0/24; # begins a comment.',
        cause,
      },
    );
  }
}
