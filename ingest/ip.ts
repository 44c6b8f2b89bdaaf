import { isIP } from 'node:net';
import { createCache } from './cache.ts';

/** ipv4Number is a dotted IPv4 address as its 32 bits, -1 for any other text: also for one with leading zeros, which some read as octal. */
export function ipv4Number(text: string): number {
  let number = 0;
  let part = -1;
  let dots = 0;
  for (let i = 0; ; i++) {
    const code = text.charCodeAt(i);
    if (code >= 0x30 && code <= 0x39) {
      if (part === 0) return -1;
      part = (part < 0 ? 0 : part * 10) + code - 0x30;
      if (part > 255) return -1;
    } else {
      if (part < 0) return -1;
      number = number * 256 + part;
      part = -1;
      // NaN, past the last character.
      if (!(code >= 0)) return dots === 3 ? number : -1;
      if (code !== 0x2e || ++dots > 3) return -1;
    }
  }
}

/** Addresses repeat far more than they vary, and checking one costs more than finding it again. */
const known = createCache<string>(20_000);
const LONGEST_ADDRESS = 64;

/**
 * normalizeIp is the canonical text of an IPv4 or IPv6 address, '' for anything else. A port (`1.2.3.4:5678`,
 * `[2001:db8::1]:443`), brackets and an IPv6 zone go; an IPv4-mapped IPv6 address becomes the IPv4 address.
 */
export function normalizeIp(text: string): string {
  if (ipv4Number(text) >= 0) return text;
  if (text === '' || text.length > LONGEST_ADDRESS) return '';
  const hit = known.get(text);
  if (hit !== undefined) return hit;
  const address = normalize(text.trim());
  known.set(text, address);
  return address;
}

function normalize(text: string): string {
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
