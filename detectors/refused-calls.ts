import { plural } from '../core/index.ts';
import { DAY_MS, HOUR_MS, learningState } from './baseline.ts';
import { defineDetector, episodeOf, type Finding, type Params } from './contract.ts';
import { EXAMPLE_END } from './examples.ts';
import { baselineSentences, bothEnds, learningAt, sqlLineage } from './explain.ts';
import { peersAt, tokenAt } from './novelty.ts';
import { burstStart, seenBefore, shareBefore } from './refusal-habits.ts';
import { LEAST_REFUSED, type RefusalFacts, type RefusedCall, refusalFacts, WINDOWS_MS } from './refusals.ts';
import { shared } from './signals.ts';
import { type Beta, shareInterval, surpriseOfShare, upperShare } from './statistics.ts';
import { duration, gradeOf, rounded, severityOf, sqlText, sqlTime } from './words.ts';

const PARAMS = {
  low: { default: 3, unit: 'surprise', about: 'recorded from here on, pages nobody' },
  medium: { default: 4, unit: 'surprise', about: 'pages from here on' },
  high: { default: 7, unit: 'surprise', about: 'high severity from here on' },
  critical: { default: 15, unit: 'surprise', about: 'critical severity from here on' },
  min_refused: {
    default: 5,
    unit: 'calls',
    about: 'fewer refused calls than this in a window are never a burst; 5 at least',
  },
  young: {
    default: 6,
    unit: 'surprise',
    about: 'a token without a baseline is judged by what tokens are refused in general, and reported from here on',
  },
} as const;

type Knobs = Params<keyof typeof PARAMS>;

/** One of two windows is chosen. */
const LOOKS_PENALTY = Math.log10(WINDOWS_MS.length);

const INTERVAL_PROBABILITY = 0.9;

/** Seen is one window of refused calls up to one of them, and what is usual for it. */
interface Seen {
  readonly windowMs: number;
  /** Where the window's calls begin among the refused ones. */
  readonly from: number;
  readonly of: number;
  /** Refused calls that nothing else explains. */
  readonly unexplained: number;
  readonly share: Beta;
  readonly surprise: number;
}

/** Sliding is a window that moves over the refused calls: where it begins, and how many of them each endpoint has. */
interface Sliding {
  readonly windowMs: number;
  from: number;
  readonly counts: Map<string, number>;
}

/** slide moves a window to the next refused call. */
function slide(window: Sliding, refused: readonly RefusedCall[], index: number): void {
  const { windowMs, counts } = window;
  const { endpoint, time } = refused[index] as RefusedCall;
  counts.set(endpoint, (counts.get(endpoint) ?? 0) + 1);
  for (
    let first = refused[window.from];
    first !== undefined && first.time <= time - windowMs;
    first = refused[window.from]
  ) {
    const left = (counts.get(first.endpoint) ?? 0) - 1;
    if (left === 0) counts.delete(first.endpoint);
    else counts.set(first.endpoint, left);
    window.from++;
  }
}

function judge(facts: RefusalFacts, knobs: Knobs, since: number, until = Number.POSITIVE_INFINITY): Finding[] {
  const params = { ...knobs, min_refused: Math.max(LEAST_REFUSED, knobs.min_refused) };
  const findings = new Map<string, Finding>();
  const refused = facts.refused.filter(({ endpoint, time }) => !isExpected(facts, endpoint, time));
  const windows = WINDOWS_MS.map((windowMs): Sliding => ({ windowMs, from: 0, counts: new Map() }));
  const shares = new Map<number, Beta>();
  const shareAt = (before: number) => {
    const hour = Math.floor(before / HOUR_MS) * HOUR_MS;
    const known = shares.get(hour) ?? shareBefore(facts, hour);
    shares.set(hour, known);
    return known;
  };
  for (const [index, { time: at }] of refused.entries()) {
    for (const window of windows) slide(window, refused, index);
    // What shares a moment is one look.
    if (at < since || at >= until || refused[index + 1]?.time === at) continue;
    const began = burstStart(facts, at);
    const seen = seenAt(facts, params, windows, refused, index, shareAt);
    const severity = seen === null ? null : severityOf(seen.surprise, params);
    if (seen === null || severity === null) continue;
    if (learningState(facts.activeHours, at) === 'learning' && seen.surprise < params.young) continue;
    const anchor = { anchor: `refused ${gradeOf(seen.surprise, params)}`, began };
    const episode = episodeOf(anchor);
    if (findings.has(episode)) continue;
    const calls = refused.slice(seen.from, index + 1);
    findings.set(episode, { ...findingOf(facts, seen, calls, at), severity, ...anchor });
  }
  return [...findings.values()];
}

function isExpected({ expected }: RefusalFacts, endpoint: string, at: number): boolean {
  const until = expected.get(endpoint);
  return until !== undefined && at <= (until ?? at);
}

/** seenAt is the window up to a refused call that surprises most; null when none holds enough. */
function seenAt(
  facts: RefusalFacts,
  params: Knobs,
  windows: readonly Sliding[],
  refused: readonly RefusedCall[],
  index: number,
  shareAt: (before: number) => Beta,
): Seen | null {
  const last = refused[index] as RefusedCall;
  let best: Seen | null = null;
  for (const [nth, { windowMs, from, counts }] of windows.entries()) {
    const count = index - from + 1;
    if (count < params.min_refused) continue;
    const of = Math.max(count, last.calls[nth] ?? 0);
    const share = shareAt(last.time - windowMs);
    // What others explain only makes it less: most windows are told from the count alone.
    if (surpriseOfShare(count, of, share) - LOOKS_PENALTY < params.low) continue;
    let unexplained = 0;
    for (const [endpoint, calls] of counts) unexplained += calls * weightOf(facts, endpoint, last.time);
    const chance = surpriseOfShare(Math.floor(unexplained), of, share);
    const before = seenBefore(facts, last.time - windowMs, count);
    const surprise = (before === null ? chance : Math.min(chance, before)) - LOOKS_PENALTY;
    if (best === null || surprise > best.surprise) best = { windowMs, from, of, unexplained, share, surprise };
  }
  return best;
}

/** weightOf is what is left of a refused call where others are refused on the same endpoint within the hour: then it is the service, not the token. */
function weightOf({ company }: RefusalFacts, endpoint: string, at: number): number {
  const others = (company.get(endpoint) ?? []).filter(({ time }) => time > at - HOUR_MS).map(({ time }) => time);
  return shared(others, at);
}

function findingOf(
  facts: RefusalFacts,
  { windowMs, of, share, surprise, unexplained }: Seen,
  calls: readonly RefusedCall[],
  at: number,
): Omit<Finding, 'severity' | 'anchor' | 'began'> {
  const token = tokenAt(facts, at);
  const from = calls[0]?.time ?? at;
  const endpoints = [...new Set(calls.map(({ endpoint }) => endpoint))].sort();
  const usual = upperShare(of, share, 3) - 1;
  const learning = learningAt(facts.activeHours, at);
  const others = new Set(
    endpoints.flatMap((endpoint) =>
      (facts.company.get(endpoint) ?? [])
        .filter(({ time, owner }) => owner === facts.owner && time <= at && time > at - HOUR_MS)
        .map(({ lineage }) => lineage),
    ),
  );
  return {
    subject: { token, lineage: facts.lineage, owner: facts.owner },
    title: `${token} was refused ${plural(calls.length, 'call')} within ${duration(Math.max(1000, at - from))}`,
    summary:
      `${calls.length} of ${plural(of, 'call')} of ${token} of ${facts.owner} within ${duration(windowMs)} were refused or asked for what is not there, ` +
      `on ${endpoints.length === 1 ? endpoints[0] : plural(endpoints.length, 'endpoint')}. Of so many it is usually ${usual <= 0 ? 'none' : `at most ${usual}`}.` +
      baselineSentences(facts, learning),
    window: { from, to: at },
    observed: { refused: calls.length, calls: of, endpoints: endpoints.length },
    expected: {
      share: rounded(share.hits / (share.hits + share.misses)),
      interval: { ...shareInterval(of, share, INTERVAL_PROBABILITY), probability: INTERVAL_PROBABILITY },
      at_most: usual,
      window_minutes: rounded(windowMs / 60_000),
      unexplained: rounded(unexplained),
      refused_on: endpoints.slice(0, MAX_ENDPOINTS),
      history_days: learning.history_days,
      learning,
      owner_tokens: peersAt(facts, at) + 1,
      shared_by: [...others].slice(0, MAX_PEERS),
      ...(facts.inheritedFrom.length === 0 ? {} : { inherited_from: facts.inheritedFrom }),
    },
    surprise: rounded(surprise),
    state: learning.state,
    evidence: bothEnds(
      calls.map(({ time, endpoint, status, ip, userAgent }) => ({
        ...{ time: new Date(time).toISOString(), endpoint, status, ip, user_agent: userAgent },
      })),
      MAX_EVIDENCE,
    ),
    sql: refusedSql(facts, windowMs, at),
  };
}

/** Rows of evidence that travel with a finding, endpoints that feedback is about, and peers that are named; the SQL gives the rest. */
const MAX_EVIDENCE = 20;
const MAX_ENDPOINTS = 100;
const MAX_PEERS = 5;

function refusedSql(facts: RefusalFacts, windowMs: number, at: number): string {
  const held = [...facts.expected].map(
    ([endpoint, until]) =>
      ` AND NOT (endpoint = ${sqlText(endpoint)}${until === null ? '' : ` AND time <= ${sqlTime(until)}`})`,
  );
  const refused = `status IN (403, 404)${held.join('')}`;
  return (
    `SELECT uniqExactIf(id, ${refused}) AS refused, uniqExact(id) AS calls, uniqExactIf(endpoint, ${refused}) AS endpoints, ` +
    `minIf(time, ${refused}) AS first, maxIf(time, ${refused}) AS last, ` +
    `groupArraySortedIf(100)((time, endpoint, status, ip, user_agent), ${refused}) AS refused_calls ` +
    `FROM events WHERE ${sqlLineage(facts)} AND status NOT IN (401, 429) AND status < 500 ` +
    `AND time > ${sqlTime(at - windowMs)} AND time <= ${sqlTime(at)}`
  );
}

/** exampleRefusals is a token of ten calls an hour, of which one in a hundred is refused, and then `count` refused ones of `of` within five minutes. */
function exampleRefusals(
  count: number,
  of: number,
  shape: { readonly days?: number; readonly company?: number } = {},
): RefusalFacts {
  const days = shape.days ?? 28;
  const activeHours = Array.from({ length: days * 24 }, (_, i) => EXAMPLE_END - (days * 24 - i) * HOUR_MS);
  const endpoint = 'GET /v1/users/{id}';
  return {
    ...{ owner: 'acme', lineage: 'tok_1', tokens: [{ token: 'tok_1', since: EXAMPLE_END - days * DAY_MS }] },
    ...{
      activeHours,
      hourlyCalls: activeHours.map(() => 10),
      hourlyRefused: activeHours.map((_, i) => (i % 10 === 0 ? 1 : 0)),
    },
    ...{ peersSince: [], inheritedFrom: [], expected: new Map() },
    refused: Array.from({ length: count }, (_, i) => ({
      ...{
        time: EXAMPLE_END + (i * 300_000) / count,
        endpoint,
        status: 403,
        ip: '198.51.100.7',
        userAgent: 'curl/8.5',
      },
      calls: [Math.ceil(((i + 1) * of) / count), Math.ceil(((i + 1) * of) / count)],
    })),
    company: new Map([
      [
        endpoint,
        Array.from({ length: shape.company ?? 0 }, (_, i) => ({
          ...{ endpoint, owner: 'acme', lineage: `tok_peer_${i}`, time: EXAMPLE_END - 60_000 },
        })),
      ],
    ]),
  };
}

/** refusedCallsDetector reports a token whose calls are refused far more often than its own ever were, also on endpoints that it knows. */
export const refusedCallsDetector = defineDetector<RefusalFacts, keyof typeof PARAMS>({
  id: 'refused-calls',
  title: 'A token is refused far more often than usual',
  about:
    "Counts a lineage's calls that were not allowed (403) or asked for what is not there (404) in ten minutes and an hour, on any endpoint, and asks how likely " +
    'so many of so many calls are at its own share (beta-binomial: hours differ). Discounts endpoints on which others are refused at the same time.',
  runbook:
    'Somebody tries what this token may not do: look at the ids and paths in the evidence. Refused on one endpoint after a change of permissions: ask the owner. ' +
    'Ids that go up one by one, or endpoints of administration: rotate the token, and look at which of its calls were not refused.',
  knownGaps: [
    'Who guesses right, or is refused fewer than five times an hour, is not seen here.',
    'A service that answers 200 to what it refuses tells nothing.',
    'Two tokens of an owner that are abused on the same endpoints at once explain each other in part: each weighs 0.35 for every other one.',
  ],
  params: PARAMS,
  facts: refusalFacts,
  judge,
  examples: [
    {
      name: 'twelve of fourteen calls within five minutes are refused',
      facts: exampleRefusals(12, 14),
      since: 0,
      fires: true,
    },
    { name: 'six of four hundred calls are refused', facts: exampleRefusals(6, 400), since: 0, fires: false },
    { name: 'four calls, all refused', facts: exampleRefusals(4, 4), since: 0, fires: false },
    {
      name: 'twelve of fourteen, while four others of the owner are refused on the same endpoint',
      facts: exampleRefusals(12, 14, { company: 4 }),
      since: 0,
      fires: false,
    },
    {
      name: 'a new token that makes nothing but refused calls',
      facts: exampleRefusals(15, 15, { days: 0 }),
      since: 0,
      fires: true,
    },
    {
      name: 'a new token that tries six times what it may not',
      facts: exampleRefusals(6, 30, { days: 0 }),
      since: 0,
      fires: false,
    },
  ],
});
