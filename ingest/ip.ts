import { isIP } from 'node:net';
import { createCache } from './cache.ts';

/** Addresses repeat far more than they vary, and checking one costs more than finding it again. */
const known = createCache<string>(20_000);
const LONGEST_ADDRESS = 64;

/**
 * normalizeIp is the canonical text of an IPv4 or IPv6 address, '' for anything else. A port (`1.2.3.4:5678`,
 * `[2001:db8::1]:443`), brackets and an IPv6 zone go; an IPv4-mapped IPv6 address becomes the IPv4 address.
 */
export function normalizeIp(text: string): string {
  if (text === '' || text.length > LONGEST_ADDRESS) return '';
  const hit = known.get(text);
  if (hit !== undefined) return hit;
  const address = normalize(text.trim());
  known.set(text, address);
  return address;
}

function normalize(text: string): string {
  if (isIP(text) === 4) return text;
  const bare = withoutPort(text);
  const family = isIP(bare);
  if (family === 4) return bare;
  if (family === 0) return '';
  // The URL parser is the runtime's own RFC 5952 writer; it knows no zones, and an address's zone means nothing elsewhere.
  const canonical = new URL(`http://[${bare.split('%')[0]}]/`).hostname.slice(1, -1);
  const mapped = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(canonical);
  if (mapped === null) return canonical;
  const high = Number.parseInt(mapped[1] as string, 16);
  const low = Number.parseInt(mapped[2] as string, 16);
  return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
}

function withoutPort(text: string): string {
  if (text.startsWith('[')) {
    const end = text.indexOf(']');
    if (end < 0 || !/^(?::\d{1,5})?$/.test(text.slice(end + 1))) return text;
    return text.slice(1, end);
  }
  const colon = text.indexOf(':');
  // One colon only: IPv4 with a port. More: an IPv6 address, which needs brackets to carry one.
  if (colon < 0 || colon !== text.lastIndexOf(':') || !/^\d{1,5}$/.test(text.slice(colon + 1))) return text;
  return text.slice(0, colon);
}
