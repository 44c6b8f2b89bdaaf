import type { LookupAddress, LookupOptions } from 'node:dns';
import { lookup } from 'node:dns/promises';
import { BlockList, isIP, isIPv4, type LookupFunction } from 'node:net';
import { TokenwatchError } from '../../core/index.ts';

/**
 * Addresses that are not public: a webhook URL may be chosen by someone who must not reach them through us. From the IANA
 * special-purpose registries (RFC 6890 and its updates); the link-local range holds the clouds' metadata services.
 */
const NOT_PUBLIC = new BlockList();
for (const [network, prefix] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4],
] as const) {
  NOT_PUBLIC.addSubnet(network, prefix, 'ipv4');
}
/** Outside 2000::/3 nothing is public, but for translated IPv4, which is judged as such; inside it these are not. */
for (const [network, prefix] of [
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
] as const) {
  NOT_PUBLIC.addSubnet(network, prefix, 'ipv6');
}

const GLOBAL_UNICAST = new BlockList();
GLOBAL_UNICAST.addSubnet('2000::', 3, 'ipv6');

/** isPublicAddress tells whether an IP address belongs to the internet at large; false for what is no address. */
export function isPublicAddress(address: string): boolean {
  if (isIPv4(address)) return !NOT_PUBLIC.check(address, 'ipv4');
  if (isIP(address) !== 6 || address.includes('%')) return false;
  const embedded = embeddedIpv4(address);
  if (embedded !== null) return isPublicAddress(embedded);
  return GLOBAL_UNICAST.check(address, 'ipv6') && !NOT_PUBLIC.check(address, 'ipv6');
}

/** embeddedIpv4 is the IPv4 address inside an IPv4-mapped (::ffff:0:0/96) or NAT64 (64:ff9b::/96) one, else null. */
function embeddedIpv4(address: string): string | null {
  // The URL parser writes IPv6 in one canonical form: lower case, hexadecimal, compressed.
  const canonical = new URL(`http://[${address}]/`).hostname.slice(1, -1);
  const match = /^(?:::ffff:|64:ff9b::)(?:([0-9a-f]{1,4}):)?([0-9a-f]{1,4})$/.exec(canonical);
  if (match === null) return null;
  const high = Number.parseInt(match[1] ?? '0', 16);
  const low = Number.parseInt(match[2] ?? '0', 16);
  return [high >> 8, high & 255, low >> 8, low & 255].join('.');
}

/** refusedAddress is the error for a target that is not on the public internet. */
export function refusedAddress(channel: string, host: string): TokenwatchError {
  return new TokenwatchError(
    'channel_target_refused',
    'config',
    `Channel ${channel}: ${host} is not a public address, so nothing was sent.`,
    { fix: `Set alerts.channels.${channel}.allow_private_network: true if that is meant to be reached.` },
  );
}

/**
 * guardedLookup resolves names for one channel and hands on only addresses that may be connected to, so that what was
 * checked is what is connected to, whatever the name says a moment later.
 */
export function guardedLookup(channel: string, allowPrivateNetwork: boolean): LookupFunction {
  return (host, options, callback) => {
    resolve(host, options, channel, allowPrivateNetwork).then(
      (addresses) => {
        const first = addresses[0] as LookupAddress;
        if (options.all) callback(null, addresses);
        else callback(null, first.address, first.family);
      },
      (error: NodeJS.ErrnoException) => callback(error, '', 0),
    );
  };
}

async function resolve(host: string, options: LookupOptions, channel: string, allowPrivateNetwork: boolean) {
  const found = await lookup(host, { ...options, all: true });
  const allowed = allowPrivateNetwork ? found : found.filter(({ address }) => isPublicAddress(address));
  if (allowed.length === 0) throw refusedAddress(channel, host);
  return allowed;
}
