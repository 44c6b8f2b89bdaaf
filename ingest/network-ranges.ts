import { isIP } from 'node:net';
import { ipv4Number, normalizeIp } from './ip.ts';

/** NetworkRanges is a set of address ranges. */
export interface NetworkRanges {
  /** has tells whether an address, written as normalizeIp writes it, lies in one of them. */
  has(address: string): boolean;
  /** How many ranges were read, before those that touch became one. */
  readonly count: number;
}

/** A published list of a large relay has some 300,000 ranges. */
const MAX_RANGES = 2_000_000;

/** IPv4 stands where RFC 4291 maps it, ::ffff:0:0/96, so that one order holds both families. */
const MAPPED = 0xffff_0000_0000n;
const FOUR = 1n << 32n;
const BITS = 128;

/** addressNumber is an address, written as normalizeIp writes it, as its 128 bits. */
export function addressNumber(address: string): bigint {
  const four = ipv4Number(address);
  if (four >= 0) return MAPPED + BigInt(four);
  const [head = '', tail] = address.split('::');
  const groups = (text: string | undefined) => (text === undefined || text === '' ? [] : text.split(':'));
  const [first, last] = [groups(head), groups(tail)];
  const all = [...first, ...Array<string>(8 - first.length - last.length).fill('0'), ...last];
  return BigInt(`0x${all.map((group) => group.padStart(4, '0')).join('')}`);
}

/** parseRange reads `203.0.113.0/24`, `2001:db8::/48` or one address as its first and last number; null for anything else. */
export function parseRange(text: string): readonly [from: bigint, to: bigint] | null {
  const match = /^([0-9a-fA-F:.]+)(?:\/(\d{1,3}))?$/.exec(text);
  const family = isIP(match?.[1] ?? '');
  if (match === null || family === 0) return null;
  const width = family === 4 ? 32 : BITS;
  const prefix = match[2] === undefined ? width : Number(match[2]);
  if (prefix > width) return null;
  const address = normalizeIp(match[1] as string);
  // An IPv4-mapped range is written with the prefix of its 128 bits; an IPv4 one stands there with 96 more.
  const size = 1n << BigInt(width - prefix);
  const number = addressNumber(address);
  const from = number - (number % size);
  return [from, from + size - 1n];
}

/** createRanges makes a set of ranges; those that touch or overlap become one. */
export function createRanges(ranges: readonly (readonly [from: bigint, to: bigint])[]): NetworkRanges {
  const merged: [from: bigint, to: bigint][] = [];
  for (const [from, to] of [...ranges].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))) {
    const last = merged.at(-1);
    if (last === undefined || from > last[1] + 1n) merged.push([from, to]);
    else if (to > last[1]) last[1] = to;
  }
  const starts = merged.map(([from]) => from);
  const ends = merged.map(([, to]) => to);
  // Most addresses are IPv4, and for those plain numbers do: the part of the ranges that is mapped.
  const mapped = merged.filter(([from, to]) => to >= MAPPED && from < MAPPED + FOUR);
  const fourStarts = mapped.map(([from]) => Number(from > MAPPED ? from - MAPPED : 0n));
  const fourEnds = mapped.map(([, to]) => Number((to < MAPPED + FOUR ? to : MAPPED + FOUR - 1n) - MAPPED));
  return {
    count: ranges.length,
    has(address) {
      const four = ipv4Number(address);
      return four >= 0 ? covers(fourStarts, fourEnds, four) : covers(starts, ends, addressNumber(address));
    },
  };
}

/** covers tells whether a number lies in one of some ranges, given by their starts in order and their ends. */
function covers<N extends number | bigint>(starts: readonly N[], ends: readonly N[], number: N): boolean {
  let [low, high] = [0, starts.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((starts[middle] as N) <= number) low = middle + 1;
    else high = middle;
  }
  return low > 0 && (ends[low - 1] as N) >= number;
}

/**
 * parseRangeList reads a list: a range or address a line; what follows a comma, white space or # is not read, so that published
 * lists with further columns can be used as they are. Throws a RangeError that names the first line that is neither.
 */
export function parseRangeList(text: string): (readonly [from: bigint, to: bigint])[] {
  const ranges: (readonly [from: bigint, to: bigint])[] = [];
  for (const [index, line] of text.split('\n').entries()) {
    const word = line
      .replace(/^\uFEFF/, '')
      .trim()
      .split(/[\s,;#]/, 1)[0] as string;
    if (word === '') continue;
    const range = parseRange(word);
    if (range === null)
      throw new RangeError(
        `line ${index + 1} is no address range such as 203.0.113.0/24: ${JSON.stringify(word.slice(0, 60))}`,
      );
    if (ranges.length === MAX_RANGES) throw new RangeError(`it has more than ${MAX_RANGES} ranges`);
    ranges.push(range);
  }
  return ranges;
}
