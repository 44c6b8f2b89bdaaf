import { plural } from '../core/index.ts';
import { FACETS_OF_CALLS } from '../store/index.ts';
import { DAY_MS, HOUR_MS, learningState, OPEN_MS } from './baseline.ts';
import { RUSH_ENDPOINTS } from './candidates.ts';
import { defineDetector, episodeOf, type Finding, type Params } from './contract.ts';
import { exampleFacts } from './examples.ts';
import { baselineOf, baselineSentences, bothEnds, intervalOf, sqlLineages } from './explain.ts';
import { recalled } from './feedback.ts';
import { forgottenSentence, lastUse, neverOrNotSince } from './forgetting.ts';
import { type NoveltyFacts, noveltyFacts, tokenAt } from './novelty.ts';
import type { Facet } from './prior.ts';
import { clientLook, combinedSurprise, type Look, lookAt, placeLook, weighEndpoint } from './signals.ts';
import { countryName, duration, gradeOf, kindName, rounded, severityOf, sqlText, sqlTime } from './words.ts';

const PARAMS = {
  low: { default: 3, unit: 'surprise', about: 'recorded from here on, pages nobody' },
  medium: { default: 4, unit: 'surprise', about: 'pages from here on' },
  high: { default: 5.5, unit: 'surprise', about: 'high severity from here on' },
  critical: { default: 9, unit: 'surprise', about: 'critical severity from here on' },
  min_signal: { default: 1, unit: 'surprise', about: 'a signal weaker than this counts as none' },
} as const;

type Knobs = Params<keyof typeof PARAMS>;

/** Signal is one of the things that together tell. */
interface Signal {
  readonly name: 'place' | 'client' | 'endpoints';
  readonly look: Look;
}

function signalsAt(facts: NoveltyFacts, at: number): Signal[] {
  return [
    { name: 'place', look: placeLook(facts, at) },
    { name: 'client', look: clientLook(facts, at) },
    { name: 'endpoints', look: lookAt(facts, 'endpoint', at, HOUR_MS, weighEndpoint(facts)) },
  ];
}

function judge(facts: NoveltyFacts, params: Knobs, since: number, until = Number.POSITIVE_INFINITY): Finding[] {
  const moments = [...new Set(Object.values(facts.values).flatMap((values) => values.map((value) => value.met)))].sort(
    (a, b) => a - b,
  );
  const findings = new Map<string, Finding>();
  for (const [index, at] of moments.entries()) {
    if (at < since) continue;
    if (at >= until) break;
    const finding = judgeAt(facts, params, moments, index);
    if (finding !== null && !findings.has(episodeOf(finding))) findings.set(episodeOf(finding), finding);
  }
  return [...findings.values()];
}

function judgeAt(facts: NoveltyFacts, params: Knobs, moments: readonly number[], index: number): Finding | null {
  const at = moments[index] ?? 0;
  const all = signalsAt(facts, at);
  const signals = all.filter(({ look }) => look.surprise >= params.min_signal);
  if (signals.length < 2) return null;
  const surprises = all.map(({ look }) => (look.surprise >= params.min_signal ? look.surprise : 0));
  const surprise = Math.max(
    ...Array.from({ length: signals.length - 1 }, (_, i) => combinedSurprise(surprises, i + 2)),
  );
  const state = learningState(facts.activeHours, at);
  // A token that is still being learnt borrows its fleet's first days: all three must agree, and it must be in a rush.
  const endpoints = signals.find(({ name }) => name === 'endpoints')?.look.values.length ?? 0;
  if (state === 'learning' && (signals.length < 3 || endpoints < RUSH_ENDPOINTS)) return null;
  const severity = severityOf(surprise, params);
  if (severity === null) return null;
  const token = tokenAt(facts, at);
  // First meetings within an hour of one another are one episode.
  let start = index;
  while (
    start > 0 &&
    (moments[start] ?? 0) - (moments[start - 1] ?? 0) < OPEN_MS &&
    at - (moments[start - 1] ?? 0) < DAY_MS
  )
    start--;
  const from = Math.min(...signals.flatMap(({ look }) => look.values.map((value) => value.met)));
  const baseline = baselineOf(
    facts,
    at,
    signals.flatMap(({ look }) => look.values),
  );
  return {
    anchor: `signals ${gradeOf(surprise, params)}`,
    began: moments[start] ?? at,
    subject: { token, lineage: facts.lineage, owner: facts.owner },
    severity,
    title: `${token} is used by a stranger: ${signals.map(titleOf).join(', ')}`,
    summary:
      `Within ${duration(Math.max(1000, at - from))} ${token} of ${facts.owner} was used ${listed(signals.map(phraseOf))}. ` +
      `Each alone may be chance (${signals.map(({ name, look }) => `${name} ${rounded(look.surprise)}`).join(', ')}); together they are a surprise of ${rounded(surprise)}.` +
      forgottenSentence(signals.flatMap(({ look }) => look.values)) +
      recalled(signals.flatMap(({ look }) => look.values)) +
      baselineSentences(facts, baseline.learning),
    window: { from, to: at },
    observed: Object.fromEntries(
      signals.flatMap(({ name, look }) => [
        [name, look.values.map((value) => value.value).slice(0, MAX_LISTED)],
        [`new_${look.facet}`, look.values.length],
      ]),
    ),
    expected: {
      signals: Object.fromEntries(signals.map(({ name, look }) => [name, rounded(look.surprise)])),
      interval: Object.fromEntries(signals.map(({ look }) => [`new_${look.facet}`, intervalOf(look.hours, look.rate)])),
      arithmetic: "Fisher's method over the strongest signals, less what choosing them costs",
      ...baseline,
    },
    surprise: rounded(surprise),
    state: baseline.learning.state,
    evidence: signals.flatMap(({ name, look }) =>
      bothEnds(
        look.values.map((value) => ({
          signal: name,
          facet: look.facet,
          value: value.value,
          first_seen: new Date(value.met).toISOString(),
          calls: value.calls,
          refused: value.failed,
          ...lastUse(value),
          peers_before: value.peersBefore,
        })),
        MAX_EVIDENCE,
      ),
    ),
    sql: signalsSql(facts, signals, from, at),
  };
}

/** Values of a signal that are written out, and rows of evidence for each; the SQL gives the rest. */
const MAX_LISTED = 10;
const MAX_EVIDENCE = 8;

/** Where each facet of a lineage can be read. */
const FACET_VIEWS: Readonly<Record<Facet, { readonly view: string; readonly column: string }>> = {
  endpoint: { view: 'token_endpoints', column: 'endpoint' },
  country: { view: 'token_countries', column: 'country' },
  network: { view: 'token_networks', column: 'network' },
  kind: { view: 'token_network_kinds', column: 'network_kind' },
  client: { view: 'token_clients', column: 'client' },
};

/** The very first value of a facet is where the lineage began, not news: the SQL leaves it out as the judgement does. */
function signalsSql(facts: NoveltyFacts, signals: readonly Signal[], from: number, to: number): string {
  const columns = signals.flatMap(({ name, look }) => [
    `arrayMap(x -> x.2, arraySlice(of_${look.facet}, 1, ${MAX_LISTED})) AS ${name}`,
    `length(of_${look.facet}) AS new_${look.facet}`,
  ]);
  const lists = signals.map(
    ({ look }) =>
      `arrayFilter(x -> x.1 >= ${sqlTime(from)} AND x.1 <= ${sqlTime(to)}, ` +
      `arraySlice(arraySort(groupArrayIf((met, value), facet = '${look.facet}')), ${facts.spoken ? 1 : 2})) AS of_${look.facet}`,
  );
  if (facts.spoken) {
    // What people said, or what was forgotten, decides what is new: then the calls of what was found are looked at, by name.
    const found = signals.flatMap(({ look }) =>
      look.values.map(({ value }) => `(${sqlText(look.facet)}, ${sqlText(value)})`),
    );
    return (
      `SELECT ${columns.join(', ')} FROM (SELECT ${lists.join(', ')} FROM (SELECT seen.1 AS facet, seen.2 AS value, min(time) AS met ` +
      `FROM (SELECT * FROM events WHERE ${sqlLineages(facts)} AND time >= ${sqlTime(from)} AND time <= ${sqlTime(to)}) ` +
      `ARRAY JOIN ${FACETS_OF_CALLS} AS seen WHERE seen IN (${found.join(', ')}) GROUP BY facet, value))`
    );
  }
  const met = signals.map(({ look }) => {
    const { view, column } = FACET_VIEWS[look.facet];
    return `SELECT '${look.facet}' AS facet, ${column} AS value, min(first_seen) AS met FROM ${view} WHERE ${sqlLineages(facts)} GROUP BY ${column}`;
  });
  return `SELECT ${columns.join(', ')} FROM (SELECT ${lists.join(', ')} FROM (${met.join(' UNION ALL ')}))`;
}

/** placeName says a country or a kind of network in words, a network as it is. */
function placeName(look: Look): string {
  const value = look.values.at(-1)?.value ?? '';
  if (look.facet === 'kind') return kindName(value);
  return look.facet === 'country' ? countryName(value) : `network ${value}`;
}

function titleOf({ name, look }: Signal): string {
  if (name === 'place') return placeName(look);
  if (name === 'client') return `client ${look.values.at(-1)?.value ?? ''}`;
  return `${look.values.length} new endpoint${look.values.length === 1 ? '' : 's'}`;
}

function phraseOf({ name, look }: Signal): string {
  const last = look.values.slice(-1);
  if (name === 'place')
    return `from ${placeName(look)} where it ${neverOrNotSince(last, 'has never been', 'has not been')}`;
  if (name === 'client')
    return `with ${last[0]?.value ?? ''}, a client that it ${neverOrNotSince(last, 'never used', 'had not used')}`;
  return `on ${plural(look.values.length, 'endpoint')} that it ${neverOrNotSince(look.values, 'never called', 'had not called')}`;
}

function listed(parts: readonly string[]): string {
  return parts.length < 2 ? (parts[0] ?? '') : `${parts.slice(0, -1).join(', ')} and ${parts.at(-1)}`;
}

/** combinedSignals reports a token on which several weak signals meet within an hour: a new place, a new client, new endpoints. */
export const combinedSignals = defineDetector<NoveltyFacts, keyof typeof PARAMS>({
  id: 'combined-signals',
  title: 'Several weak signals about one token within an hour',
  about:
    'Takes the surprise of a new place (country, network or its kind, whichever is strangest), of a new client and of new endpoints within an hour, ' +
    "and combines the strongest by Fisher's method, paying for the choice. One alone may be chance; two at once seldom are.",
  runbook:
    'Somebody may be using this token from their own machine. Compare address, network and client with what the owner runs; if nobody knows them, ' +
    'rotate the token now and read every call that came from there.',
  knownGaps: ['A thief who copies the client, the network and the habits of the token is not seen here.'],
  params: PARAMS,
  facts: noveltyFacts,
  judge,
  examples: [
    {
      name: 'a settled token from a new network with a new client',
      facts: exampleFacts({
        network: { known: 1, fresh: 1, names: ['AS64500'] },
        client: { known: 1, fresh: 1, names: ['curl'] },
      }),
      since: 0,
      fires: true,
    },
    { name: 'only a new client', facts: exampleFacts({ client: { known: 1, fresh: 1 } }), since: 0, fires: false },
    {
      name: 'a move that four peers made the same day',
      facts: exampleFacts({
        country: { known: 1, fresh: 1, adopters: 4 },
        network: { known: 1, fresh: 1, adopters: 4 },
        client: { known: 1, fresh: 1, adopters: 4 },
      }),
      since: 0,
      fires: false,
    },
  ],
});
