import { writeFileSync } from 'node:fs';
import { isIP } from 'node:net';

/** MmdbValue is what a record of a test database may hold; numbers are doubles unless they are whole. */
export type MmdbValue = string | number | { readonly [key: string]: MmdbValue };

interface Node {
  readonly children: [Node | number | null, Node | number | null];
}

/**
 * writeMmdb writes a MaxMind DB file (format 2.0, IPv6 tree, 24-bit records) with a record a range: `{'203.0.113.0/24': {...}}`.
 * Ranges must not overlap. Source: https://maxmind.github.io/MaxMind-DB/
 */
export function writeMmdb(
  path: string,
  type: string,
  records: Readonly<Record<string, MmdbValue>>,
  builtAt: number,
): void {
  const root: Node = { children: [null, null] };
  const data: Buffer[] = [];
  let dataBytes = 0;
  for (const [range, record] of Object.entries(records)) {
    const encoded = encode(record);
    insert(root, bitsOf(range), dataBytes);
    data.push(encoded);
    dataBytes += encoded.length;
  }
  const nodes: Node[] = [];
  number(root, nodes);
  const ids = new Map(nodes.map((node, id) => [node, id]));
  const tree = Buffer.alloc(nodes.length * 6);
  for (const [id, { children }] of nodes.entries())
    for (const [side, child] of children.entries()) {
      const value =
        child === null ? nodes.length : typeof child === 'number' ? nodes.length + 16 + child : (ids.get(child) ?? 0);
      tree.writeUIntBE(value, id * 6 + side * 3, 3);
    }
  const metadata = encode({
    binary_format_major_version: 2,
    binary_format_minor_version: 0,
    build_epoch: Math.floor(builtAt / 1000),
    database_type: type,
    ip_version: 6,
    node_count: nodes.length,
    record_size: 24,
  });
  writeFileSync(
    path,
    Buffer.concat([tree, Buffer.alloc(16), ...data, Buffer.from('\xab\xcd\xefMaxMind.com', 'latin1'), metadata]),
  );
}

/** An IPv4 range stands at ::/96, where readers look for it. */
function bitsOf(range: string): number[] {
  const [address = '', prefix = ''] = range.split('/');
  if (isIP(address) === 4) {
    const bits = address.split('.').flatMap((byte) => binary(Number(byte), 8));
    return [...Array<number>(96).fill(0), ...bits].slice(0, 96 + Number(prefix || 32));
  }
  const [head = '', tail = ''] = address.split('::');
  const groups = (text: string) => (text === '' ? [] : text.split(':'));
  const missing = 8 - groups(head).length - groups(tail).length;
  const all = [...groups(head), ...Array<string>(missing).fill('0'), ...groups(tail)];
  return all.flatMap((group) => binary(Number.parseInt(group, 16), 16)).slice(0, Number(prefix || 128));
}

function binary(value: number, width: number): number[] {
  return Array.from({ length: width }, (_, i) => (value >> (width - 1 - i)) & 1);
}

function insert(root: Node, bits: readonly number[], offset: number): void {
  let node = root;
  for (const bit of bits.slice(0, -1)) {
    const side = bit as 0 | 1;
    const child = node.children[side];
    if (typeof child === 'number') throw new RangeError('ranges of a test database overlap');
    const next: Node = child ?? { children: [null, null] };
    node.children[side] = next;
    node = next;
  }
  node.children[bits.at(-1) as 0 | 1] = offset;
}

function number(node: Node, nodes: Node[]): void {
  nodes.push(node);
  for (const child of node.children) if (child !== null && typeof child !== 'number') number(child, nodes);
}

function encode(value: MmdbValue): Buffer {
  if (typeof value === 'string') {
    const text = Buffer.from(value);
    return Buffer.concat([control(2, text.length), text]);
  }
  if (typeof value === 'number') {
    const bytes = Buffer.alloc(Number.isInteger(value) && value >= 0 ? 4 : 8);
    if (bytes.length === 4) bytes.writeUInt32BE(value);
    else bytes.writeDoubleBE(value);
    return Buffer.concat([control(bytes.length === 4 ? 6 : 3, bytes.length), bytes]);
  }
  const entries = Object.entries(value);
  return Buffer.concat([control(7, entries.length), ...entries.flatMap(([key, item]) => [encode(key), encode(item)])]);
}

/** A type and a size of at most 284, which is what a test needs. */
function control(type: number, size: number): Buffer {
  if (size > 284) throw new RangeError('a value of a test database is too long');
  return size < 29 ? Buffer.from([(type << 5) | size]) : Buffer.from([(type << 5) | 29, size - 29]);
}
