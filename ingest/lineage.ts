import type { SharedState } from '../queues/index.ts';

/** Link says that `child` took over from `parent`. */
export interface Link {
  readonly child: string;
  readonly parent: string;
}

/**
 * Lineages knows which tokens replaced one another. The lineage of a token is the first token of its chain; a token that
 * replaced nobody is its own. Links are shared, so every process and every restart answers the same.
 */
export interface Lineages {
  /** prepare hears of other processes' links and adds these; once per batch, before `of`. */
  prepare(links: readonly Link[]): Promise<void>;
  /** of is the lineage of a token. */
  of(token: string): string;
  /** size is the number of links that this process knows. */
  size(): number;
}

const LINKS = 'lineages';

/** createLineages makes the lineages of one process over `shared`. */
export function createLineages(shared: SharedState): Lineages {
  /** Every token that replaced another, and the first token of its chain. */
  const roots = new Map<string, string>();
  /** The tokens of a chain by its first token, so that a link found late moves them all. */
  const chains = new Map<string, string[]>();
  let version = 0;

  const of = (token: string): string => roots.get(token) ?? token;

  /** A token has one predecessor, the first that was said; a link that would close a circle says nothing. */
  function refused({ child, parent }: Link): boolean {
    return child === '' || parent === '' || roots.has(child) || of(parent) === child;
  }

  function apply(link: Link): void {
    if (refused(link)) return;
    const root = of(link.parent);
    const moved = [link.child, ...(chains.get(link.child) ?? [])];
    chains.delete(link.child);
    for (const token of moved) roots.set(token, root);
    const chain = chains.get(root);
    if (chain === undefined) chains.set(root, moved);
    else for (const token of moved) chain.push(token);
  }

  /** Links are only ever applied in the order of the shared set: that makes every process refuse the same ones. */
  async function refresh(): Promise<void> {
    const news = await shared.setSince(LINKS, version);
    for (const member of news.members) {
      const [child, parent] = JSON.parse(member) as [string, string];
      apply({ child, parent });
    }
    version = news.version;
  }

  async function prepare(links: readonly Link[]): Promise<void> {
    await refresh();
    const members = links.filter((link) => !refused(link)).map(({ child, parent }) => JSON.stringify([child, parent]));
    if (members.length === 0) return;
    await shared.setAdd(LINKS, members);
    await refresh();
  }

  return { prepare, of, size: () => roots.size };
}
