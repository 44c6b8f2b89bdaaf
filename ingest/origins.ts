import type { UsageRow } from '../store/index.ts';

/** Origin is what tells from where, and with what client, somebody made a call or took a step. */
export type Origin = Pick<UsageRow, 'ip' | 'country' | 'asn' | 'networkKind' | 'userAgent'>;

/** kindOf is the kind of network, `other` where the network is known and nothing tells its kind. */
function kindOf({ networkKind, asn }: Origin): string {
  return networkKind === '' && asn !== 0 ? 'other' : networkKind;
}

/** networkOf is the autonomous system, else the address's prefix; the organisation's own way out is one network. */
export function networkOf({ asn, ip, networkKind }: Origin): string {
  if (networkKind === 'egress') return 'egress';
  if (asn !== 0) return `AS${asn}`;
  const separator = ip.includes(':') ? ':' : '.';
  const second = ip.indexOf(separator, ip.indexOf(separator) + 1);
  return second < 0 ? ip : ip.slice(0, second);
}

/** clientOf is the product that a user agent names first. */
export function clientOf({ userAgent }: Pick<Origin, 'userAgent'>): string {
  const slash = userAgent.indexOf('/');
  return slash < 0 ? userAgent : userAgent.slice(0, slash);
}

/** placesOf is the country and the kind of network of a call, the organisation's own way out as a place of its own. */
export function placesOf(row: Origin): { readonly country: string; readonly kind: string } {
  return { country: row.networkKind === 'egress' ? 'egress' : row.country, kind: kindOf(row) };
}
