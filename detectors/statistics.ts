import { gammaln } from 'simple-statistics';

/** Largest surprise that is reported: beyond it the model, not the chance, is the limit. */
const MAX_SURPRISE = 50;

/** logBeta is ln B(a, b) for a, b > 0. */
function logBeta(a: number, b: number): number {
  return gammaln(a) + gammaln(b) - gammaln(a + b);
}

/**
 * log10IncompleteBeta is log10 of the regularised incomplete beta function I_x(a, b) for 0 < x < 1 and a, b > 0, exact
 * far into the tail. Continued fraction of Abramowitz & Stegun 26.5.8 by Lentz's method.
 */
export function log10IncompleteBeta(x: number, a: number, b: number): number {
  if (x <= 0) return Number.NEGATIVE_INFINITY;
  if (x >= 1) return 0;
  const front = a * Math.log(x) + b * Math.log1p(-x) - logBeta(a, b);
  // The fraction converges fast on this side of the mean; on the other the complement does, and nothing is lost near 1.
  if (x > (a + 1) / (a + b + 2)) {
    const complement = Math.exp(front - Math.log(b)) * betaFraction(1 - x, b, a);
    return Math.log1p(-Math.min(complement, 1)) / Math.LN10;
  }
  return (front - Math.log(a) + Math.log(betaFraction(x, a, b))) / Math.LN10;
}

function betaFraction(x: number, a: number, b: number): number {
  const tiny = 1e-300;
  let c = 1;
  let d = 1 - ((a + b) * x) / (a + 1);
  d = 1 / (Math.abs(d) < tiny ? tiny : d);
  let result = d;
  for (let m = 1; m <= 500; m++) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 + even * d;
    c = 1 + even / c;
    d = 1 / (Math.abs(d) < tiny ? tiny : d);
    c = Math.abs(c) < tiny ? tiny : c;
    result *= d * c;
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 + odd * d;
    c = 1 + odd / c;
    d = 1 / (Math.abs(d) < tiny ? tiny : d);
    c = Math.abs(c) < tiny ? tiny : c;
    const step = d * c;
    result *= step;
    if (Math.abs(step - 1) < 1e-12) break;
  }
  return result;
}

/** Gamma is a belief about a rate: `shape` events seen in `exposure` units of time, prior included. */
export interface Gamma {
  readonly shape: number;
  readonly exposure: number;
}

/** A count discounted to less than this is none: the fraction below loses itself in rounding there. */
const NEGLIGIBLE_COUNT = 1e-6;

/**
 * surpriseOfCount is -log10 of the chance of `count` or more events in `window` units when the rate is only known as
 * `rate` says: the Gamma-Poisson predictive, a negative binomial, whose tail is P(K >= k) = I_{w/(w+exposure)}(k, shape).
 * `count` may be a fraction (discounted events); 0 or less surprises nobody.
 */
export function surpriseOfCount(count: number, window: number, rate: Gamma): number {
  if (count <= NEGLIGIBLE_COUNT || window <= 0) return 0;
  const x = window / (window + rate.exposure);
  return Math.min(MAX_SURPRISE, Math.max(0, -log10IncompleteBeta(x, count, rate.shape)));
}

/** expectedCount is the mean of the same predictive. */
export function expectedCount(window: number, rate: Gamma): number {
  return (rate.shape / rate.exposure) * window;
}

/** upperCount is the smallest count whose surprise reaches `surprise`: the end of the interval in which counts are normal. */
export function upperCount(window: number, rate: Gamma, surprise: number): number {
  let high = 1;
  while (surpriseOfCount(high, window, rate) < surprise && high < 1e6) high *= 2;
  let low = Math.floor(high / 2);
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (surpriseOfCount(middle, window, rate) < surprise) low = middle;
    else high = middle;
  }
  return high;
}

/** countInterval holds at least `probability` of the counts: what lies below `from`, and what lies above `to`, has at most half of the rest each. */
export function countInterval(window: number, rate: Gamma, probability: number): { from: number; to: number } {
  const tail = (1 - probability) / 2;
  return {
    from: upperCount(window, rate, -Math.log10(1 - tail)) - 1,
    to: upperCount(window, rate, -Math.log10(tail)) - 1,
  };
}

/**
 * fitGamma is the prior that a fleet's own counts suggest: method of moments for Poisson counts whose rates vary from
 * member to member (mean m, and Var(n) = mu + mu^2/shape with mu = m * exposure). Bounded, so that a few odd members
 * cannot make it certain of anything.
 */
export function fitGamma(
  members: readonly { readonly count: number; readonly exposure: number }[],
  bounds: GammaBounds,
): Gamma {
  let count = 0;
  let exposure = 0;
  for (const member of members) {
    count += member.count;
    exposure += member.exposure;
  }
  // Half an event: a fleet that never met anything new is not proof that it cannot.
  const mean = (count + 0.5) / (exposure + 1);
  let squares = 0;
  let excess = 0;
  for (const member of members) {
    const mu = mean * member.exposure;
    squares += mu * mu;
    excess += (member.count - mu) ** 2 - mu;
  }
  const shape = clamp(excess > 0 ? squares / excess : bounds.shape[1], bounds.shape);
  return { shape, exposure: clamp(shape / mean, bounds.exposure) };
}

/** GammaBounds keep a fitted prior from being surer, or less sure, than its members can tell. */
export interface GammaBounds {
  readonly shape: readonly [number, number];
  readonly exposure: readonly [number, number];
}

function clamp(value: number, [low, high]: readonly [number, number]): number {
  return Math.min(high, Math.max(low, value));
}

/** Beta is a belief about a share: as if `hits` of `hits + misses` had been seen. */
export interface Beta {
  readonly hits: number;
  readonly misses: number;
}

/** A term this much smaller than the sum so far changes nothing. */
const NEGLIGIBLE_TERM = 1e-17;

/**
 * surpriseOfShare is -log10 of the chance of `hits` or more of `of` when the share is only known as `belief` says: the tail of the
 * beta-binomial, P(X = i) = C(n, i) B(i + a, n - i + b) / B(a, b), summed from `hits` on by the ratio of its terms (Skellam 1948). Whole
 * numbers; none of anything surprises nobody.
 */
export function surpriseOfShare(hits: number, of: number, { hits: a, misses: b }: Beta): number {
  if (hits <= 0 || hits > of) return 0;
  const chooseLog = gammaln(of + 1) - gammaln(hits + 1) - gammaln(of - hits + 1);
  let term = 1;
  let sum = 1;
  for (let i = hits; i < of; i++) {
    const ratio = ((of - i) / (i + 1)) * ((i + a) / (of - i - 1 + b));
    term *= ratio;
    sum += term;
    if (ratio < 1 && term < sum * NEGLIGIBLE_TERM) break;
  }
  const log = chooseLog + logBeta(hits + a, of - hits + b) - logBeta(a, b) + Math.log(sum);
  return Math.min(MAX_SURPRISE, Math.max(0, -log / Math.LN10));
}

/** shareInterval holds at least `probability` of the counts of hits of `of`, as countInterval does of counts. */
export function shareInterval(of: number, belief: Beta, probability: number): { from: number; to: number } {
  const tail = (1 - probability) / 2;
  return {
    from: upperShare(of, belief, -Math.log10(1 - tail)) - 1,
    to: upperShare(of, belief, -Math.log10(tail)) - 1,
  };
}

/** upperShare is the smallest number of hits of `of` whose surprise reaches `surprise`; one more than all where none does. */
export function upperShare(of: number, belief: Beta, surprise: number): number {
  let [low, high] = [0, of + 1];
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (surpriseOfShare(middle, of, belief) < surprise) low = middle;
    else high = middle;
  }
  return high;
}
