/** Bar is what a figure has to reach. */
export interface Bar {
  readonly kind: 'at least' | 'below' | 'exactly';
  readonly value: number;
}

/** Figure is one measured number. */
export interface Figure {
  readonly name: string;
  readonly value: number;
  /** '' for a plain ratio. */
  readonly unit: string;
  /** Least and greatest of the runs that `value` is the median of. */
  readonly spread?: readonly [least: number, greatest: number];
  readonly bar?: Bar;
}

/** CaseResult is what a case measured. */
export interface CaseResult {
  readonly figures: readonly Figure[];
  /** What a reader of the figures must know about this run. */
  readonly notes: readonly string[];
}

/** BenchContext is what a case works with. */
export interface BenchContext {
  /** Small sizes: shows that the case works; its figures mean little. */
  readonly quick: boolean;
  /** A folder of the case's own, removed after it. */
  readonly folder: string;
  /** say tells the person who waits what is going on. */
  say(text: string): void;
}

/** BenchCase is one benchmark. */
export interface BenchCase {
  readonly id: string;
  readonly title: string;
  run(context: BenchContext): Promise<CaseResult>;
}

/** meets tells whether a figure reaches its bar; one without a bar does. */
export function meets({ value, bar }: Figure): boolean {
  if (bar === undefined) return true;
  if (bar.kind === 'at least') return value >= bar.value;
  if (bar.kind === 'below') return value < bar.value;
  return value === bar.value;
}
