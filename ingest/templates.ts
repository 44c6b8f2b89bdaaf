import type { SharedState } from '../queues/index.ts';
import type { Redactor } from './redact.ts';
import { createPathReader, isPlaceholder, type ReadPath } from './segments.ts';

/**
 * Templates turns raw paths into endpoints: `GET`, `/v1/users/42?x=1` gives `GET /v1/users/{id}`. A segment is variable
 * because of its shape (segments.ts), or because its prefix has proved to have many children: `/v1/users/anna` becomes
 * `/v1/users/{var}`. What has been learned is shared state, so every process and every restart answers the same.
 */
export interface Templates {
  /** prepare learns from a batch's paths and finds their endpoints; touches shared state only for what is new, and at most once a second to hear of others. */
  prepare(paths: readonly string[], now: number): Promise<Endpoints>;
}

/** Endpoints are those of a batch's paths. */
export interface Endpoints {
  /** of is the endpoint of a call with this method and the path that stands at `index`; '' for an empty one. */
  of(index: number, method: string): string;
}

/** TemplateOptions bound what is kept. */
export interface TemplateOptions {
  readonly redactor: Pick<Redactor, 'text' | 'count' | 'replaced'>;
  /** A prefix with this many different children is variable. */
  readonly childrenLimit?: number;
  /** The same at the top (`/`, `/v1`, `/api/v2`), where many children are many resources. */
  readonly topChildrenLimit?: number;
  /** Prefixes under which literal segments are learned, over all processes; below others, they are variable at once. */
  readonly prefixLimit?: number;
}

const WILD = 'templates:wild';
const PREFIXES = 'templates:prefixes';
const CHILDREN = 'templates:children';
const SYNC_MS = 1_000;
/** Nodes that this process keeps; beyond it they are forgotten and, being counted, asked for again. */
const NODES_LIMIT = 100_000;
const TEMPLATE_LIMIT = 260;

/** Node is a known prefix; the literal children that it has are those that the shared state has counted. */
interface Node {
  readonly prefix: string;
  /** It has so many children that they are one variable. */
  wild: boolean;
  /** The template ends here, whatever follows: it is long enough. */
  readonly end: boolean;
  readonly children: Map<string, Node>;
  /** The last method that a path ending here was called with, and the endpoint with it: nearly always it is the same one again. */
  method: string;
  endpoint: string;
}

/** Unknown is the first literal of a path that nobody has counted yet, under its prefix. */
interface Unknown {
  readonly node: Node;
  readonly child: string;
}

/** createTemplates makes the templating of one process; `shared` is what all processes learn together. */
export function createTemplates(shared: SharedState, options: TemplateOptions): Templates {
  const { redactor } = options;
  const childrenLimit = options.childrenLimit ?? 50;
  const topChildrenLimit = options.topChildrenLimit ?? 200;
  const mostChildren = Math.max(childrenLimit, topChildrenLimit);
  const prefixLimit = options.prefixLimit ?? 20_000;
  const readPath = createPathReader(redactor);
  const wild = new Set<string>();
  const prefixes = new Set<string>();
  let nodes = 0;
  let root = nodeAt('', false);
  let wildVersion = 0;
  let prefixVersion = 0;
  let syncedAt = Number.NEGATIVE_INFINITY;

  function nodeAt(prefix: string, end: boolean): Node {
    nodes++;
    return {
      prefix,
      wild: wild.has(prefix),
      end,
      children: new Map(),
      method: '',
      endpoint: prefix === '' ? '/' : prefix,
    };
  }

  function childOf(node: Node, segment: string): Node {
    const known = node.children.get(segment);
    if (known !== undefined) return known;
    const prefix = `${node.prefix}/${segment}`;
    const child = prefix.length > TEMPLATE_LIMIT ? nodeAt(`${node.prefix}/{rest}`, true) : nodeAt(prefix, false);
    node.children.set(segment, child);
    return child;
  }

  async function sync(now: number): Promise<void> {
    const [newWild, newPrefixes] = await Promise.all([
      shared.setSince(WILD, wildVersion),
      shared.setSince(PREFIXES, prefixVersion),
    ]);
    for (const prefix of newPrefixes.members) prefixes.add(prefix);
    prefixVersion = newPrefixes.version;
    turnWild(newWild.members);
    wildVersion = newWild.version;
    syncedAt = now;
  }

  function turnWild(found: readonly string[]): void {
    for (const prefix of found) {
      if (wild.has(prefix)) continue;
      wild.add(prefix);
      let node: Node | undefined = root;
      for (const segment of prefix.split('/').slice(1)) node = node?.children.get(segment);
      if (node === undefined) continue;
      node.wild = true;
      node.children.clear();
    }
  }

  function walk(segments: readonly string[]): Node | Unknown {
    let node = root;
    for (const segment of segments) {
      const known = node.children.get(segment);
      if (known !== undefined) node = known;
      else if (isPlaceholder(segment)) node = childOf(node, segment);
      else if (node.wild || (prefixes.size >= prefixLimit && !prefixes.has(node.prefix))) node = childOf(node, '{var}');
      else return { node, child: segment };
      if (node.end) return node;
    }
    return node;
  }

  /** At the top are `/`, versions and the like, where many children are many resources. */
  function isTop(prefix: string): boolean {
    return /^(?:\/(?:v\d+\w*|api|rest))*$/.test(prefix);
  }

  /** learn counts new children under their nodes; each is known, or its node is wild, when it returns. */
  async function learn(found: ReadonlyMap<Node, ReadonlySet<string>>): Promise<void> {
    const fresh: string[] = [];
    for (const { prefix } of found.keys()) if (!prefixes.has(prefix)) fresh.push(prefix);
    fresh.length = Math.min(fresh.length, Math.max(0, prefixLimit - prefixes.size));
    if (fresh.length > 0) await shared.setAdd(PREFIXES, fresh);
    for (const prefix of fresh) prefixes.add(prefix);

    const newWild: string[] = [];
    for (const top of [true, false]) {
      const groups = new Map<string, readonly string[]>();
      for (const [{ prefix }, names] of found) {
        if (prefixes.has(prefix) && isTop(prefix) === top) groups.set(prefix, [...names]);
      }
      if (groups.size === 0) continue;
      const limit = top ? topChildrenLimit : childrenLimit;
      const sizes = await shared.countDistinct(CHILDREN, groups, limit);
      for (const [node, names] of found) {
        const size = sizes.get(node.prefix);
        if (size === undefined) continue;
        if (size >= limit) newWild.push(node.prefix);
        else for (const name of names) childOf(node, name);
      }
    }
    if (newWild.length === 0) return;
    await shared.setAdd(WILD, newWild);
    turnWild(newWild);
  }

  async function prepare(paths: readonly string[], now: number): Promise<Endpoints> {
    if (now - syncedAt >= SYNC_MS || now < syncedAt) await sync(now);
    if (nodes > NODES_LIMIT) {
      nodes = 0;
      root = nodeAt('', false);
    }
    const read = paths.map(readPath);
    let ends: Node[] = [];
    let wildBefore = -1;
    // What turns wild in this batch also changes those of its paths that were known before: those are looked at again.
    while (wildBefore !== wild.size) {
      wildBefore = wild.size;
      ends = await settle(read);
    }
    const replaced = new Map<number, number>();
    read.forEach((path, index) => {
      if (path.replaced > 0) replaced.set(index, path.replaced);
    });
    return {
      of(index, method) {
        const path = paths[index] as string;
        if (path === '') return '';
        redactor.count(replaced.get(index) ?? 0);
        // Another batch proved a prefix to be variable meanwhile.
        if (wild.size !== wildBefore) return withMethod(method, templateOf(readPath(path).segments));
        const end = ends[index] as Node;
        if (end.method !== method) {
          end.method = method;
          end.endpoint = withMethod(method, templateAt(end));
        }
        return end.endpoint;
      },
    };
  }

  /** settle finds where each path ends. It learns level by level, because whether a segment is variable decides under which prefix the next one is counted. */
  async function settle(read: readonly ReadPath[]): Promise<Node[]> {
    for (;;) {
      const ends: Node[] = [];
      const unknown = new Map<Node, Set<string>>();
      for (const { segments } of read) {
        const at = walk(segments);
        if (!('node' in at)) {
          ends.push(at);
          continue;
        }
        const names = unknown.get(at.node) ?? new Set<string>();
        unknown.set(at.node, names);
        // More than the limit prove nothing more.
        if (names.size < mostChildren) names.add(at.child);
      }
      if (unknown.size === 0) return ends;
      await learn(unknown);
    }
  }

  /** templateOf a path that was not prepared, or is forgotten again: what is known decides, the rest is taken as it reads. */
  function templateOf(segments: readonly string[]): string {
    const at = walk(segments);
    if (!('node' in at)) return templateAt(at);
    const { prefix } = at.node;
    const depth = prefix.split('/').length - 1;
    const whole = `${prefix}/${segments.slice(depth).join('/')}`;
    return whole.length > TEMPLATE_LIMIT ? `${whole.slice(0, whole.lastIndexOf('/', TEMPLATE_LIMIT))}/{rest}` : whole;
  }

  return { prepare };
}

/** templateAt is the template of the paths that end at a node. */
function templateAt({ prefix }: Node): string {
  return prefix === '' ? '/' : prefix;
}

function withMethod(method: string, template: string): string {
  return method === '' ? template : `${method} ${template}`;
}
