/** Lineage names one: owners choose the ids of their tokens, and two of them may choose the same. */
export interface Lineage {
  readonly owner: string;
  readonly lineage: string;
}

/** isSame tells whether two name the same lineage. */
export function isSame(a: Lineage, b: Lineage): boolean {
  return a.owner === b.owner && a.lineage === b.lineage;
}

/** lineageKey is a lineage and its owner as one text. */
export function lineageKey({ owner, lineage }: Lineage): string {
  return `${owner}\n${lineage}`;
}

/** unique leaves each lineage once. */
export function unique<L extends Lineage>(lineages: readonly L[]): L[] {
  return [...new Map(lineages.map((one) => [lineageKey(one), one])).values()];
}

/** LineageNames are the parameters of a query about lineages. */
export interface LineageNames extends Record<string, unknown> {
  owners: string[];
  lineages: string[];
}

/** namesOf names lineages; others of the same names are named with them. */
export function namesOf(of: readonly Lineage[]): LineageNames {
  return {
    owners: [...new Set(of.map(({ owner }) => owner))],
    lineages: [...new Set(of.map(({ lineage }) => lineage))],
  };
}

/** Lineages, or owners, asked about in one query: a release touches thousands, and an engine takes only so much in one field. */
const SLICE = 250;

/** sliced asks about things some at a time. */
export async function sliced<T, R>(
  of: readonly T[],
  ask: (slice: readonly T[]) => Promise<R[]>,
  size = SLICE,
): Promise<R[]> {
  const rows: R[] = [];
  for (let i = 0; i < of.length; i += size) for (const row of await ask(of.slice(i, i + size))) rows.push(row);
  return rows;
}

/** askedOf asks about lineages by their names, each once; answers about others of the same names are left out. */
export async function askedOf<R extends Lineage>(
  of: readonly Lineage[],
  ask: (names: LineageNames) => Promise<R[]>,
  size = SLICE,
): Promise<R[]> {
  const about = async (slice: readonly Lineage[]) => {
    const keys = new Set(slice.map(lineageKey));
    return (await ask(namesOf(slice))).filter((row) => keys.has(lineageKey(row)));
  };
  return sliced(unique(of), about, size);
}

/** grouped is rows by a key, in their order. */
export function grouped<T, K>(rows: readonly T[], keyOf: (row: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  for (const row of rows) {
    const group = groups.get(keyOf(row));
    if (group) group.push(row);
    else groups.set(keyOf(row), [row]);
  }
  return groups;
}
