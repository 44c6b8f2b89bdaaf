import { plural } from '../core/index.ts';
import { DAY_MS, HOUR_MS, learningState } from './baseline.ts';
import { RUSH_ENDPOINTS } from './candidates.ts';
import { defineDetector, episodeOf, type Finding, type Params } from './contract.ts';
import { exampleFacts } from './examples.ts';
import { baselineOf, baselineSentences, bothEnds, intervalOf, sqlLineages } from './explain.ts';
import { isExpected, recalled } from './feedback.ts';
import { forgottenSentence, lastUse, neverOrNotSince, wasForgotten } from './forgetting.ts';
import type { MetValue } from './met-facts.ts';
import { type NoveltyFacts, noveltyFacts, tokenAt } from './novelty.ts';
import { type Look, lookAt, weighEndpoint } from './signals.ts';
import { expectedCount, upperCount } from './statistics.ts';
import { duration, gradeOf, rounded, severityOf, sqlText, sqlTime } from './words.ts';

const PARAMS = {
  low: { default: 3, unit: 'surprise', about: 'recorded from here on, pages nobody' },
  medium: { default: 4, unit: 'surprise', about: 'pages from here on' },
  high: { default: 6, unit: 'surprise', about: 'high severity from here on' },
  critical: { default: 15, unit: 'surprise', about: 'critical severity from here on' },
  min_new: { default: 3, unit: 'endpoints', about: 'fewer new endpoints than this in a window are never a walk' },
  rush: {
    default: 40,
    unit: 'endpoints',
    about: 'a token without a baseline is reported when it meets this many endpoints within ten minutes',
  },
  young: {
    default: 6,
    unit: 'surprise',
    about: 'a token without a baseline is judged by how new tokens of the fleet begin, and reported from here on',
  },
} as const;

type Knobs = Params<keyof typeof PARAMS>;

/** Fast, ordinary and slow walks; the best window is taken, and pays for the choice. */
const WINDOWS_MS = [10 * 60_000, HOUR_MS, DAY_MS] as const;
const LOOKS_PENALTY = Math.log10(WINDOWS_MS.length);

/** New endpoints further apart than this belong to different walks. */
const WALK_GAP_MS = 3 * HOUR_MS;
const RUSH_WINDOW_MS = 10 * 60_000;

/** walkStart is the first of the new endpoints that follow one another without a long pause. */
function walkStart(values: readonly MetValue[], index: number): number {
  const met = (i: number) => values[i]?.met ?? 0;
  let from = index;
  while (from > 0 && met(from) - met(from - 1) < WALK_GAP_MS && met(index) - met(from - 1) < DAY_MS) from--;
  return met(from);
}

function judge(facts: NoveltyFacts, params: Knobs, since: number, until = Number.POSITIVE_INFINITY): Finding[] {
  const values = facts.values.endpoint;
  const findings = new Map<string, Finding>();
  for (const [index, { met }] of values.entries()) {
    if (met < since) continue;
    if (met >= until) break;
    const known = learningState(facts.activeHours, met) === 'known';
    const found = known
      ? [judgeWalk(facts, params, index, WALK)]
      : [judgeRush(facts, params, index), judgeWalk(facts, params, index, { ...YOUNG_WALK, bar: params.young })];
    // One walk is reported once per grade that it reaches, at the moment when it does.
    for (const finding of found)
      if (finding !== null && !findings.has(episodeOf(finding))) findings.set(episodeOf(finding), finding);
  }
  return [...findings.values()];
}

/** Terms are how a walk is judged: over which windows, from how many endpoints and from which surprise on, and what one from home weighs. */
interface Terms {
  readonly windowsMs: readonly number[];
  readonly least: number;
  readonly bar: number;
  readonly fromHome?: number;
}

const WALK: Terms = { windowsMs: WINDOWS_MS, least: 0, bar: 0 };
/**
 * A token's first days are all new, and come in bursts: only the endpoints of an hour tell, only in a rush is it looked at,
 * and only what was refused or came with a stranger counts. The rest is its own beginning.
 */
const YOUNG_WALK: Omit<Terms, 'bar'> = { windowsMs: [HOUR_MS], least: RUSH_ENDPOINTS, fromHome: 0 };

function judgeWalk(facts: NoveltyFacts, params: Knobs, index: number, terms: Terms): Finding | null {
  const all = facts.values.endpoint;
  const at = all[index]?.met ?? 0;
  const weigh = terms.fromHome === undefined ? weighEndpoint(facts) : weighEndpoint(facts, terms.fromHome);
  let best: Look | null = null;
  const least = Math.max(params.min_new, terms.least);
  for (const windowMs of terms.windowsMs) {
    const look = lookAt(facts, 'endpoint', at, windowMs, weigh);
    if (look.values.length >= least && (best === null || look.surprise > best.surprise)) best = look;
  }
  const surprise = best === null ? 0 : best.surprise - LOOKS_PENALTY;
  const severity = severityOf(surprise, params);
  if (best === null || severity === null || surprise < terms.bar) return null;
  const { windowMs, values, rate, hours } = best;
  const from = values[0]?.met ?? at;
  const usual = upperCount(hours, rate, 3) - 1;
  const known = all.filter((value) => value.met <= at).length - values.length;
  const baseline = baselineOf(facts, at, values);
  const refused = values.filter((value) => value.firstStatus >= 400).length;
  const forgotten = values.some(wasForgotten);
  const token = tokenAt(facts, at);
  return {
    anchor: `walk ${gradeOf(surprise, params)}`,
    began: walkStart(all, index),
    subject: { token, lineage: facts.lineage, owner: facts.owner },
    severity,
    title: `${token} called ${plural(values.length, 'endpoint')} it ${neverOrNotSince(values, 'never touched before', 'had not touched')}`,
    summary:
      `${token} of ${facts.owner} called ${values.length} endpoints ${forgotten ? 'new to it or long unused' : 'new to it'} within ${duration(at - from)}` +
      `${refused > 0 ? `, ${refused} of them refused or missing` : ''}. ` +
      `${known === 0 ? 'Before, it had used none' : `In the ${duration(from - (all[0]?.met ?? from))} before it had used ${known}${forgotten ? ' others' : ''}`}; ` +
      `in ${duration(windowMs)} it meets ${usual <= 0 ? 'none' : `at most ${usual}`}.` +
      forgottenSentence(values) +
      recalled(values) +
      baselineSentences(facts, baseline.learning),
    window: { from, to: at },
    observed: { new_endpoints: values.length, refused },
    expected: {
      new_endpoints: rounded(expectedCount(hours, rate)),
      interval: intervalOf(hours, rate),
      at_most: usual,
      window_minutes: rounded(windowMs / 60_000),
      unexplained: rounded(best.unexplained),
      known_endpoints: known,
      ...baseline,
    },
    surprise: rounded(surprise),
    state: baseline.learning.state,
    evidence: evidenceOf(values, at),
    sql: walkSql(facts, values, from, at),
  };
}

function judgeRush(facts: NoveltyFacts, params: Knobs, index: number): Finding | null {
  const all = facts.values.endpoint;
  const at = all[index]?.met ?? 0;
  const values = all.filter((value) => value.met <= at && value.met > at - RUSH_WINDOW_MS && !isExpected(value));
  if (values.length < params.rush) return null;
  const from = values[0]?.met ?? at;
  const refused = values.filter((value) => value.firstStatus >= 400).length;
  const token = tokenAt(facts, at);
  const baseline = baselineOf(facts, at, values);
  return {
    anchor: 'rush',
    began: walkStart(all, index),
    subject: { token, lineage: facts.lineage, owner: facts.owner },
    severity: 'high',
    title: `${token} is new and called ${plural(values.length, 'endpoint')} within ${duration(at - from)}`,
    summary:
      `${token} of ${facts.owner} called ${values.length} different endpoints within ${duration(at - from)}` +
      `${refused > 0 ? `, ${refused} of them refused or missing` : ''}. ` +
      `It has no baseline yet; a token that is being set up meets fewer than ${params.rush} in ten minutes.` +
      baselineSentences(facts, baseline.learning),
    window: { from, to: at },
    observed: { new_endpoints: values.length, refused },
    expected: {
      // A rule, no chance: the operator's own limit is the end of the interval.
      interval: { from: 0, to: params.rush - 1 },
      at_most: params.rush - 1,
      window_minutes: RUSH_WINDOW_MS / 60_000,
      rule: 'rush while learning',
      ...baseline,
    },
    surprise: 0,
    state: baseline.learning.state,
    evidence: evidenceOf(values, at),
    sql: walkSql(facts, values, from, at),
  };
}

/** Rows of evidence that travel with a finding; the SQL gives the rest. */
const MAX_EVIDENCE = 20;

function evidenceOf(values: readonly MetValue[], at: number) {
  const rows = values.map((value) => ({
    endpoint: value.value,
    first_seen: new Date(value.met).toISOString(),
    calls: value.calls,
    refused: value.failed,
    ...lastUse(value),
    peers_before: value.peersBefore,
    peers_today: value.peersRecent.filter((met) => met <= at).length,
    others: value.fleetBefore,
  }));
  return bothEnds(rows, MAX_EVIDENCE);
}

function walkSql(facts: NoveltyFacts, values: readonly MetValue[], from: number, to: number): string {
  // What people said, or what was forgotten, decides what is new: then the calls of what was found are counted, by name.
  const met = facts.spoken
    ? `SELECT endpoint, min(time) AS met, argMin(status, time) AS status, uniqExact(id) AS calls FROM events ` +
      `WHERE ${sqlLineages(facts)} AND endpoint IN (${values.map(({ value }) => sqlText(value)).join(', ')}) ` +
      `AND time >= ${sqlTime(from)} AND time <= ${sqlTime(to)} GROUP BY endpoint`
    : `SELECT endpoint, min(first_seen) AS met, argMin(first_status, first_seen) AS status, sum(calls) AS calls ` +
      `FROM token_endpoints WHERE ${sqlLineages(facts)} GROUP BY endpoint`;
  return (
    `SELECT count() AS new_endpoints, countIf(status >= 400) AS refused, min(met) AS first, max(met) AS last, ` +
    `arraySort(groupArray((met, endpoint, status, calls))) AS endpoints FROM (${met}) ` +
    `WHERE met >= ${sqlTime(from)} AND met <= ${sqlTime(to)}`
  );
}

/** endpointSpread reports a token that walks: more endpoints new to it than it, its peers and the fleet explain. */
export const endpointSpread = defineDetector<NoveltyFacts, keyof typeof PARAMS>({
  id: 'endpoint-spread',
  title: 'A token spreads over endpoints it never touched',
  about:
    'Counts the endpoints that are new to a lineage in the last ten minutes, hour and day, discounts what its peers or a release explain, ' +
    'and asks how likely so many are at the rate at which this lineage meets new endpoints (Gamma-Poisson, prior from the fleet).',
  runbook:
    'Look at the new endpoints: do they belong to what this token is for? Ask the owner whether something was deployed. ' +
    'If nobody knows, rotate the token now and read what the calls returned: everything after the first new endpoint may be the thief.',
  knownGaps: [
    'A thief who calls only endpoints that the token uses anyway is not seen here; the place and the client may tell.',
    'The first token to adopt a large release of endpoints that other owners use already looks like a walk until its peers follow.',
    'A walk from the token’s own network, with its own client, over endpoints that nobody else calls weighs little as long as every call works: six such endpoints of a token with three are nothing.',
    'An endpoint is forgotten by the calendar quarter: what was not called for 12 to 15 months may be known still.',
  ],
  params: PARAMS,
  facts: noveltyFacts,
  judge,
  examples: [
    {
      name: 'a cron token with three endpoints touches six others from a network and a client it never used',
      facts: exampleFacts({
        endpoint: { known: 3, fresh: 6 },
        network: { known: 1, fresh: 1 },
        client: { known: 1, fresh: 1 },
      }),
      since: 0,
      fires: true,
    },
    {
      name: 'the same six endpoints, met by four peers just before',
      facts: exampleFacts({ endpoint: { known: 3, fresh: 6, adopters: 4 } }),
      since: 0,
      fires: false,
    },
    { name: 'one new endpoint', facts: exampleFacts({ endpoint: { known: 3, fresh: 1 } }), since: 0, fires: false },
    {
      name: 'a token on its first day',
      facts: exampleFacts({ endpoint: { known: 0, fresh: 12 }, historyDays: 0 }),
      since: 0,
      fires: false,
    },
  ],
});
