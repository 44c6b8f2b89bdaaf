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
