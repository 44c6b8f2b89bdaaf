import type { SharedState } from '../queues/index.ts';
import { createCache } from './cache.ts';
import type { Redactor } from './redact.ts';
import { createPathReader, isPlaceholder, type ReadPath } from './segments.ts';

/**
 * Templates turns raw paths into endpoints: `GET`, `/v1/users/42?x=1` gives `GET /v1/users/{id}`. A segment is variable
 * because of its shape (segments.ts), or because its prefix has proved to have many children: `/v1/users/anna` becomes
 * `/v1/users/{var}`. What has been learned is shared state, so every process and every restart answers the same.
 */
export interface Templates {
  /** prepare learns from a batch's paths, once per batch and before `endpoint`; touches shared state only for what is new, and at most once a second to hear of others. */
  prepare(paths: readonly string[], now: number): Promise<void>;
  /** endpoint of one call; '' without a path. */
  endpoint(method: string, path: string): string;
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
  /** Raw paths whose endpoint is remembered in this process. */
  readonly cacheLimit?: number;
}

const WILD = 'templates:wild';
const PREFIXES = 'templates:prefixes';
const CHILDREN = 'templates:children';
const SYNC_MS = 1_000;
/** Nodes that this process keeps; beyond it they are forgotten and, being counted, asked for again. */
const NODES_LIMIT = 100_000;
const CACHED_PATH_LENGTH = 512;
const TEMPLATE_LIMIT = 260;

interface Entry {
  readonly template: string;
  /** Credentials that were replaced in the path. */
  readonly replaced: number;
  /** The last method asked for, and its endpoint: a path is nearly always called with one. */
  method: string;
  endpoint: string;
}

/** Node is a known prefix; the literal children that it has are those that the shared state has counted. */
interface Node {
  readonly prefix: string;
  /** It has so many children that they are one variable. */
  wild: boolean;
  /** The template ends here, whatever follows: it is long enough. */
  readonly end: boolean;
  readonly children: Map<string, Node>;
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
  const cache = createCache<Entry>(options.cacheLimit ?? 50_000);
  const wild = new Set<string>();
  const prefixes = new Set<string>();
  let nodes = 0;
  let root = nodeAt('', false);
  let wildVersion = 0;
  let prefixVersion = 0;
  let syncedAt = Number.NEGATIVE_INFINITY;

  function nodeAt(prefix: string, end: boolean): Node {
    nodes++;
    return { prefix, wild: wild.has(prefix), end, children: new Map() };
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
      cache.clear();
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

  async function prepare(paths: readonly string[], now: number): Promise<void> {
    if (now - syncedAt >= SYNC_MS || now < syncedAt) await sync(now);
    if (nodes > NODES_LIMIT) {
      nodes = 0;
      root = nodeAt('', false);
    }
    // What turns wild in this batch also changes those of its paths that were known before: those are read again.
    for (let before = -1; before !== wild.size; ) {
      before = wild.size;
      const fresh = new Map<string, ReadPath>();
      for (const path of paths) {
        if (path !== '' && !fresh.has(path) && cache.get(path) === undefined) fresh.set(path, readPath(path));
      }
      if (fresh.size > 0) await settle(fresh);
    }
  }

  /** settle learns level by level, because whether a segment is variable decides under which prefix the next one is counted. */
  async function settle(fresh: ReadonlyMap<string, ReadPath>): Promise<void> {
    for (;;) {
      const unknown = new Map<Node, Set<string>>();
      for (const [path, { segments, replaced }] of fresh) {
        const at = walk(segments);
        if (!('node' in at)) {
          const template = at === root ? '/' : at.prefix;
          if (path.length <= CACHED_PATH_LENGTH)
            cache.set(path, { template, replaced, method: '', endpoint: template });
          continue;
        }
        const names = unknown.get(at.node) ?? new Set<string>();
        unknown.set(at.node, names);
        // More than the limit prove nothing more.
        if (names.size < mostChildren) names.add(at.child);
      }
      if (unknown.size === 0) return;
      await learn(unknown);
    }
  }

  function endpoint(method: string, path: string): string {
    if (path === '') return '';
    const entry = cache.get(path);
    if (entry === undefined) {
      const { segments, replaced } = readPath(path);
      redactor.count(replaced);
      const template = templateOf(segments);
      return method === '' ? template : `${method} ${template}`;
    }
    if (entry.replaced > 0) redactor.count(entry.replaced);
    if (entry.method !== method) {
      entry.method = method;
      entry.endpoint = method === '' ? entry.template : `${method} ${entry.template}`;
    }
    return entry.endpoint;
  }

  /** templateOf a path that was not prepared, or is forgotten again: what is known decides, the rest is taken as it reads. */
  function templateOf(segments: readonly string[]): string {
    const at = walk(segments);
    if (!('node' in at)) return at === root ? '/' : at.prefix;
    const { prefix } = at.node;
    const depth = prefix.split('/').length - 1;
    const whole = `${prefix}/${segments.slice(depth).join('/')}`;
    return whole.length > TEMPLATE_LIMIT ? `${whole.slice(0, whole.lastIndexOf('/', TEMPLATE_LIMIT))}/{rest}` : whole;
  }

  return { prepare, endpoint };
}
