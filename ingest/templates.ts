import type { SharedState } from '../queues/index.ts';
import { createCache } from './cache.ts';
import type { Redactor } from './redact.ts';
import { isTooLong, segmentsOf } from './segments.ts';

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
/** Children that this process knows to be counted; beyond it they are forgotten and asked for again. */
const KNOWN_CHILDREN_LIMIT = 100_000;
const CACHED_PATH_LENGTH = 512;

interface Entry {
  readonly template: string;
  /** Credentials that were replaced in the path. */
  readonly replaced: number;
  /** The last method asked for, and its endpoint: a path is nearly always called with one. */
  method: string;
  endpoint: string;
}

interface Unknown {
  readonly prefix: string;
  readonly child: string;
}

/** createTemplates makes the templating of one process; `shared` is what all processes learn together. */
export function createTemplates(shared: SharedState, options: TemplateOptions): Templates {
  const { redactor } = options;
  const childrenLimit = options.childrenLimit ?? 50;
  const topChildrenLimit = options.topChildrenLimit ?? 200;
  const mostChildren = Math.max(childrenLimit, topChildrenLimit);
  const prefixLimit = options.prefixLimit ?? 20_000;
  const cache = createCache<Entry>(options.cacheLimit ?? 50_000);
  const wild = new Set<string>();
  const prefixes = new Set<string>();
  const children = new Map<string, Set<string>>();
  let knownChildren = 0;
  let wildVersion = 0;
  let prefixVersion = 0;
  let syncedAt = Number.NEGATIVE_INFINITY;

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
    let changed = false;
    for (const prefix of found) {
      if (wild.has(prefix)) continue;
      wild.add(prefix);
      knownChildren -= children.get(prefix)?.size ?? 0;
      children.delete(prefix);
      changed = true;
    }
    if (changed) cache.clear();
  }

  /** walk builds the template, or stops at the first literal that nobody has counted yet; `guess` takes it as literal. */
  function walk(segments: readonly string[], guess: boolean): string | Unknown {
    let prefix = '';
    for (const segment of segments) {
      if (segment.charCodeAt(0) === 0x7b) prefix += `/${segment}`;
      else if (wild.has(prefix)) prefix += '/{var}';
      else if (guess || children.get(prefix)?.has(segment)) prefix += `/${segment}`;
      else if (prefixes.size >= prefixLimit && !prefixes.has(prefix)) prefix += '/{var}';
      else return { prefix, child: segment };
      if (isTooLong(prefix)) return `${prefix.slice(0, prefix.lastIndexOf('/'))}/{rest}`;
    }
    return prefix === '' ? '/' : prefix;
  }

  function limitOf(prefix: string): number {
    return /^(?:\/(?:v\d+\w*|api|rest|\{\w+\}))*$/.test(prefix) && !prefix.endsWith('}')
      ? topChildrenLimit
      : childrenLimit;
  }

  /** learn counts new children under their prefixes; both are known, or the prefix is wild, when it returns. */
  async function learn(found: ReadonlyMap<string, ReadonlySet<string>>): Promise<void> {
    const fresh: string[] = [];
    for (const prefix of found.keys()) if (!prefixes.has(prefix)) fresh.push(prefix);
    const room = Math.max(0, prefixLimit - prefixes.size);
    if (fresh.length > 0 && room > 0) await shared.setAdd(PREFIXES, fresh.slice(0, room));
    for (const prefix of fresh.slice(0, room)) prefixes.add(prefix);

    const counted = new Map<string, Map<string, readonly string[]>>([
      ['top', new Map()],
      ['deep', new Map()],
    ]);
    for (const [prefix, names] of found) {
      if (!prefixes.has(prefix)) continue;
      counted.get(limitOf(prefix) === topChildrenLimit ? 'top' : 'deep')?.set(prefix, [...names]);
    }
    const newWild: string[] = [];
    for (const [kind, groups] of counted) {
      if (groups.size === 0) continue;
      const limit = kind === 'top' ? topChildrenLimit : childrenLimit;
      const sizes = await shared.countDistinct(CHILDREN, groups, limit);
      for (const [prefix, names] of groups) {
        if ((sizes.get(prefix) ?? 0) >= limit) newWild.push(prefix);
        else remember(prefix, names);
      }
    }
    if (newWild.length === 0) return;
    await shared.setAdd(WILD, newWild);
    turnWild(newWild);
  }

  function remember(prefix: string, names: readonly string[]): void {
    const known = children.get(prefix) ?? new Set<string>();
    children.set(prefix, known);
    knownChildren -= known.size;
    for (const name of names) known.add(name);
    knownChildren += known.size;
  }

  /** read splits a path, and says how many credentials it held. */
  function read(path: string): { readonly segments: readonly string[]; readonly replaced: number } {
    const before = redactor.replaced;
    const segments = segmentsOf(path, redactor.text);
    const replaced = redactor.replaced - before;
    // Counted when a call is made with it, as often as it is made.
    redactor.count(-replaced);
    return { segments, replaced };
  }

  async function prepare(paths: readonly string[], now: number): Promise<void> {
    if (now - syncedAt >= SYNC_MS || now < syncedAt) await sync(now);
    const fresh = new Map<string, ReturnType<typeof read>>();
    for (const path of paths) {
      if (path !== '' && !fresh.has(path) && cache.get(path) === undefined) fresh.set(path, read(path));
    }
    if (fresh.size === 0) return;
    if (knownChildren > KNOWN_CHILDREN_LIMIT) {
      children.clear();
      knownChildren = 0;
    }
    // Level by level: whether a segment is variable decides under which prefix the next one is counted.
    for (;;) {
      const unknown = new Map<string, Set<string>>();
      for (const { segments } of fresh.values()) {
        const at = walk(segments, false);
        if (typeof at === 'string') continue;
        const names = unknown.get(at.prefix) ?? new Set<string>();
        unknown.set(at.prefix, names);
        // More than the limit prove nothing more.
        if (names.size < mostChildren) names.add(at.child);
      }
      if (unknown.size === 0) break;
      await learn(unknown);
    }
    for (const [path, { segments, replaced }] of fresh) {
      if (path.length > CACHED_PATH_LENGTH) continue;
      const template = walk(segments, false) as string;
      cache.set(path, { template, replaced, method: '', endpoint: template });
    }
  }

  function endpoint(method: string, path: string): string {
    if (path === '') return '';
    const entry = cache.get(path);
    if (entry === undefined) {
      const { segments, replaced } = read(path);
      redactor.count(replaced);
      // A path that was not prepared, or is forgotten again: what is known decides, the rest is taken as it reads.
      const known = walk(segments, false);
      const template = typeof known === 'string' ? known : (walk(segments, true) as string);
      return method === '' ? template : `${method} ${template}`;
    }
    if (entry.replaced > 0) redactor.count(entry.replaced);
    if (entry.method !== method) {
      entry.method = method;
      entry.endpoint = method === '' ? entry.template : `${method} ${entry.template}`;
    }
    return entry.endpoint;
  }

  return { prepare, endpoint };
}
