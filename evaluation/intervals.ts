import { gammaln } from 'simple-statistics';

/** Interval is the range in which the true value lies with 95 % confidence. */
export interface Interval {
  readonly low: number;
  readonly high: number;
}

/** The 97.5 % quantile of the normal distribution. */
const Z = 1.959963984540054;
const TAIL = 0.025;

/** wilson is the interval of a share seen as `hits` of `of` (Wilson 1927); the whole range when nothing was seen. */
export function wilson(hits: number, of: number): Interval {
  if (of === 0) return { low: 0, high: 1 };
  const share = hits / of;
  const spread = Z * Math.sqrt((share * (1 - share)) / of + (Z * Z) / (4 * of * of));
  const scale = 1 + (Z * Z) / of;
  const middle = share + (Z * Z) / (2 * of);
  return {
    low: hits === 0 ? 0 : Math.max(0, (middle - spread) / scale),
    high: hits === of ? 1 : Math.min(1, (middle + spread) / scale),
  };
}

/** poissonAtMost is the chance of `count` or fewer where `mean` are expected. */
export function poissonAtMost(count: number, mean: number): number {
  if (mean <= 0) return 1;
  let sum = 0;
  for (let k = 0; k <= count; k++) sum += Math.exp(k * Math.log(mean) - mean - gammaln(k + 1));
  return Math.min(1, sum);
}

/**
 * binomialAtLeast is the chance of `hits` or more of `of`, each of which happens with that chance: the exact sum, each term
 * from the one before it, over the tail that is the smaller one.
 */
export function binomialAtLeast(hits: number, of: number, chance: number): number {
  if (hits <= 0 || chance >= 1) return 1;
  if (hits > of || chance <= 0) return 0;
  const odds = chance / (1 - chance);
  const upper = hits > of * chance;
  const from = upper ? hits : hits - 1;
  let logarithm = from * Math.log(chance) + (of - from) * Math.log1p(-chance);
  for (let i = 1; i <= from; i++) logarithm += Math.log((of - from + i) / i);
  let term = Math.exp(logarithm);
  let sum = 0;
  for (let k = from; term > sum * Number.EPSILON; k += upper ? 1 : -1) {
    sum += term;
    term *= upper ? ((of - k) / (k + 1)) * odds : k / (of - k + 1) / odds;
  }
  return Math.min(1, upper ? sum : 1 - sum);
}

/** poissonInterval is the exact interval of the mean behind a count (Garwood 1936). */
export function poissonInterval(count: number): Interval {
  return {
    low: count === 0 ? 0 : meanWhere((mean) => poissonAtMost(count - 1, mean) > 1 - TAIL, count),
    high: meanWhere((mean) => poissonAtMost(count, mean) > TAIL, count),
  };
}

/** The mean up to which `holds`, which is true for small means and false for large ones. */
function meanWhere(holds: (mean: number) => boolean, count: number): number {
  let low = 0;
  let high = count + 10 + 10 * Math.sqrt(count + 1);
  for (let i = 0; i < 100; i++) {
    const middle = (low + high) / 2;
    if (holds(middle)) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/** quantileOf is the value below which the share `q` of the values lies, by the nearest rank; null for no values. */
export function quantileOf(values: readonly number[], q: number): number | null {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] ?? null;
}
