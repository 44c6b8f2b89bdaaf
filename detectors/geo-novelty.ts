import { defineQuery, num, text } from '../store/index.ts';
import { HOUR_MS, learningState, OPEN_MS } from './baseline.ts';
import { defineDetector, type Finding, type Params, type Reads, type Scope } from './contract.ts';
import { EXAMPLE_END, exampleFacts } from './examples.ts';
import { baselineOf, baselineSentences, bothEnds, intervalOf } from './explain.ts';
import { callsBefore, type MetValue, type NoveltyFacts, noveltyFacts, peersAt, tokenAt } from './novelty.ts';
import { clientLook, combinedSurprise, lookAt, shared, weighPlace } from './signals.ts';
import { expectedCount, surpriseOfCount } from './statistics.ts';
import { countryName, duration, plural, rounded, severityOf, sqlText, sqlTime } from './words.ts';

const PARAMS = {
  low: { default: 2.5, unit: 'surprise', about: 'recorded from here on, pages nobody' },
  medium: { default: 3.9, unit: 'surprise', about: 'pages from here on' },
  high: { default: 4.5, unit: 'surprise', about: 'high severity from here on' },
  critical: { default: 8, unit: 'surprise', about: 'critical severity from here on' },
  two_places: {
    default: 1,
    unit: 'surprise',
    about: 'added when the token is heard from a known country soon after: it is in two places',
  },
  settle_seconds: {
    default: 120,
    unit: 's',
    about: 'how long a busy token whose owner has others may simply be moving, unless it is heard from home again',
  },
} as const;

type Knobs = Params<keyof typeof PARAMS>;

/** New countries met within this time belong to one trip, move or theft. */
const WINDOW_MS = HOUR_MS;
/** A token that is seldom used is judged at the first call: nothing more may come for hours. */
const BUSY_CALLS_PER_HOUR = 12;

/** A place less surprising than this is no signal for anything to be added to. */
const MIN_SIGNAL = 1;

/** ForeignCall is one of the first calls from a newly met country. */
export interface ForeignCall {
  readonly time: number;
  readonly ip: string;
  readonly endpoint: string;
  readonly status: number;
  readonly userAgent: string;
}

/** Sighting is what followed the first call from a new country. */
export interface Sighting {
  readonly country: string;
  /** First calls from there, by time. */
  readonly calls: readonly ForeignCall[];
  /** First call after it from a country known before; null when none came yet. */
  readonly homeAfter: number | null;
  /** Calls from the new country until then, however many. */
  readonly callsUntilHome: number;
  /** When lineages of other owners with the same home came there, sorted: a region that moves takes them all along. */
  readonly moved: readonly number[];
}

/** GeoFacts is NoveltyFacts with what followed the first call from each fresh country. */
export interface GeoFacts extends NoveltyFacts {
  readonly sightings: readonly Sighting[];
}

/** Calls from a new country after which a seldom used token is looked at again: one may be chance, thirty in a row are not. */
const BURST_CALLS = [8, 24, 64];
const MAX_CALLS = 64;

/** How much hours of one token differ in their calls: the shape of the gamma around its mean. */
const CALLS_SHAPE = 2;

const sightings = defineQuery<
  { lineages: string[]; countries: string[]; mets: number[]; from: number; to: number },
  Omit<Sighting, 'moved'> & { lineage: string }
>(
  'geo_sightings',
  `SELECT
     fresh.lineage AS lineage,
     fresh.country AS country,
     groupArraySortedIf(${MAX_CALLS})((toUnixTimestamp64Milli(call.time), call.ip, call.endpoint, call.status, call.user_agent), call.country = fresh.country) AS calls,
     minIf(toUnixTimestamp64Milli(call.time), call.country NOT IN ('', fresh.country)) AS home_after,
     arrayCount(at -> at <= home_after, groupArrayIf(toUnixTimestamp64Milli(call.time), call.country = fresh.country)) AS until_home
   FROM (
     SELECT pair.1 AS lineage, pair.2 AS country, pair.3 AS met
     FROM (SELECT arrayJoin(arrayZip({lineages:Array(String)}, {countries:Array(String)}, {mets:Array(Int64)})) AS pair)
   ) AS fresh
   INNER JOIN (
     SELECT lineage, time, ip, toString(endpoint) AS endpoint, status, toString(country) AS country, toString(user_agent) AS user_agent
     FROM events
     WHERE time >= fromUnixTimestamp64Milli({from:Int64}) AND time <= fromUnixTimestamp64Milli({to:Int64}) AND lineage IN {lineages:Array(String)}
     LIMIT 1 BY id
   ) AS call ON call.lineage = fresh.lineage
   WHERE toUnixTimestamp64Milli(call.time) >= fresh.met AND toUnixTimestamp64Milli(call.time) <= fresh.met + ${OPEN_MS}
   GROUP BY fresh.lineage, fresh.country`,
  (raw) => ({
    lineage: text(raw.lineage),
    country: text(raw.country),
    calls: (raw.calls as unknown[][]).map(([time, ip, endpoint, status, userAgent]) => ({
      time: num(time),
      ip: text(ip),
      endpoint: text(endpoint),
      status: num(status),
      userAgent: text(userAgent),
    })),
    homeAfter: num(raw.home_after) > 0 ? num(raw.home_after) : null,
    callsUntilHome: num(raw.until_home),
  }),
);

/** How long a region may take to move: what runs once in hours comes last. */
const MOVE_MS = 6 * HOUR_MS;

/** Who else came to the same country from the same home (the country first seen). */
const moves = defineQuery<
  {
    owners: string[];
    lineages: string[];
    homes: string[];
    countries: string[];
    mets: number[];
    from: number;
    to: number;
  },
  { lineage: string; country: string; moved: number[] }
>(
  'geo_moves',
  `SELECT fresh.lineage AS lineage, fresh.country AS country, groupArraySorted(100)(mover.met) AS moved
   FROM (
     SELECT pair.1 AS owner, pair.2 AS lineage, pair.3 AS home, pair.4 AS country, pair.5 AS met
     FROM (SELECT arrayJoin(arrayZip({owners:Array(String)}, {lineages:Array(String)}, {homes:Array(String)}, {countries:Array(String)}, {mets:Array(Int64)})) AS pair)
   ) AS fresh
   INNER JOIN (
     SELECT owner, home, came.1 AS country, came.2 AS met
     FROM (
       SELECT owner, lineage, argMin(value, at) AS home, groupArrayIf((value, at), has({countries:Array(String)}, value)) AS coming
       FROM (
         SELECT owner, lineage, toString(value) AS value, toUnixTimestamp64Milli(min(first_seen)) AS at
         FROM rollup_facets
         WHERE facet = 'country' AND (owner, lineage) IN (
           SELECT owner, lineage FROM rollup_facets
           WHERE facet = 'country' AND value IN {countries:Array(String)}
           GROUP BY owner, lineage, value
           HAVING min(first_seen) >= fromUnixTimestamp64Milli({from:Int64}) AND min(first_seen) <= fromUnixTimestamp64Milli({to:Int64}))
         GROUP BY owner, lineage, value
       )
       GROUP BY owner, lineage
     )
     ARRAY JOIN coming AS came
   ) AS mover ON mover.country = fresh.country AND mover.home = fresh.home
   WHERE mover.owner != fresh.owner AND mover.met >= fresh.met - ${MOVE_MS} AND mover.met <= fresh.met + ${OPEN_MS}
   GROUP BY fresh.lineage, fresh.country`,
  (raw) => ({ lineage: text(raw.lineage), country: text(raw.country), moved: (raw.moved as unknown[]).map(num) }),
);

async function facts(reads: Reads, scope: Scope): Promise<GeoFacts[]> {
  const open = scope.within.from - OPEN_MS;
  const novelty = await noveltyFacts(reads, scope);
  const fresh = novelty.flatMap(({ owner, lineage, values }) =>
    values.country
      .slice(1)
      .filter((value) => value.met >= open)
      .map((value) => ({ owner, lineage, home: values.country[0]?.value ?? '', value })),
  );
  if (fresh.length === 0) return [];
  const from = Math.min(...fresh.map((row) => row.value.met));
  const asked = {
    lineages: fresh.map((row) => row.lineage),
    countries: fresh.map((row) => row.value.value),
    mets: fresh.map((row) => row.value.met),
    to: scope.within.to,
  };
  const [seen, moving] = await Promise.all([
    reads.read(sightings, { ...asked, from }),
    reads.read(moves, {
      ...asked,
      owners: fresh.map((row) => row.owner),
      homes: fresh.map((row) => row.home),
      from: from - MOVE_MS,
    }),
  ]);
  const rows = seen.map((row) => ({
    ...row,
    moved: moving.find(({ lineage, country }) => lineage === row.lineage && country === row.country)?.moved ?? [],
  }));
  const concerned = new Set(fresh.map((row) => row.lineage));
  return novelty
    .filter(({ lineage }) => concerned.has(lineage))
    .map((lineage) => ({ ...lineage, sightings: rows.filter((row) => row.lineage === lineage.lineage) }));
}

/**
 * judgedAt is when the first meeting of a country is judged, in order: at once for a token that is seldom used or alone; when
 * it is heard from a known country again (it is in two places); when it has stayed for a while (no peer followed: it did not
 * move with the others). Empty while a busy token may still be moving.
 */
export function judgedAt(
  facts: Pick<GeoFacts, 'peersSince' | 'hourlyCalls' | 'activeHours'>,
  met: number,
  sighting: Sighting | undefined,
  settleMs: number,
): number[] {
  const past = callsBefore(facts, met);
  const callsPerHour = past.calls / Math.max(1, past.hours);
  const atOnce = peersAt(facts, met) === 0 || callsPerHour < BUSY_CALLS_PER_HOUR ? met : null;
  const settled = sighting?.calls.find((call) => call.time >= met + settleMs)?.time ?? null;
  const busy = BURST_CALLS.map((calls) => sighting?.calls[calls - 1]?.time ?? null);
  return [...new Set([atOnce, sighting?.homeAfter ?? null, settled, ...(atOnce === null ? [] : busy)])]
    .filter((time) => time !== null)
    .sort((a, b) => a - b);
}

function judge(facts: GeoFacts, params: Knobs, since: number): Finding[] {
  const findings = new Map<string, Finding>();
  for (const [index, value] of facts.values.country.entries()) {
    if (index === 0 || learningState(facts.activeHours, value.met) !== 'known') continue;
    const sighting = facts.sightings.find((seen) => seen.country === value.value);
    for (const at of judgedAt(facts, value.met, sighting, params.settle_seconds * 1000)) {
      if (at < since) continue;
      const finding = judgeCountry(facts, params, value, sighting, at);
      if (finding !== null && !findings.has(finding.anchor)) findings.set(finding.anchor, finding);
    }
  }
  return [...findings.values()];
}

/** movingWith is when others came along in a move of their region. Who brings a new client program is no service that moved. */
function movingWith(facts: GeoFacts, sighting: Sighting | undefined, met: number, at: number): readonly number[] {
  const stranger = clientLook(facts, at, at - met + OPEN_MS).values.length > 0;
  return stranger ? [] : (sighting?.moved ?? []);
}

function judgeCountry(
  facts: GeoFacts,
  params: Knobs,
  value: MetValue,
  sighting: Sighting | undefined,
  at: number,
): Finding | null {
  // Weighed by what is known at `at`, against the rate before the first meeting.
  const weigh = weighPlace(facts);
  const moving = movingWith(facts, sighting, value.met, at);
  const look = lookAt(facts, 'country', value.met, WINDOW_MS, (other) => weigh(other, at) * shared(moving, at));
  const homeAfter = sighting?.homeAfter ?? null;
  const twoPlaces = homeAfter !== null && homeAfter <= at;
  const token = tokenAt(facts, at);
  const calls = sighting?.calls ?? [];
  const soFar = calls.filter((call) => call.time <= at);
  const count = at === homeAfter ? (sighting?.callsUntilHome ?? 0) : soFar.length;
  const past = callsBefore(facts, value.met);
  const callsPerHour = Math.max(0.1, past.calls / Math.max(1, past.hours));
  const hours = Math.max((at - value.met) / HOUR_MS, 1 / 6);
  const callRate = { shape: CALLS_SHAPE, exposure: CALLS_SHAPE / callsPerHour };
  const rush = surpriseOfCount(soFar.length, hours, callRate);
  const surprise =
    // Many calls make a strange place stranger; where peers explain the place they say nothing.
    (look.surprise >= MIN_SIGNAL
      ? Math.max(look.surprise, combinedSurprise([look.surprise, rush], 2))
      : look.surprise) + (twoPlaces && look.surprise >= MIN_SIGNAL ? params.two_places : 0);
  const severity = severityOf(surprise, params);
  if (severity === null) return null;
  const before = facts.values.country.filter((other) => other.met < value.met - WINDOW_MS);
  const history = value.met - (facts.activeHours[0] ?? value.met);
  const baseline = baselineOf(facts, at, look.values);
  return {
    anchor: `country ${value.value} ${severity}`,
    subject: { token, lineage: facts.lineage, owner: facts.owner },
    severity,
    title: `${token} was used from ${countryName(value.value)}, where it has never been`,
    summary:
      `${token} of ${facts.owner} was used from ${countryName(value.value)}${calls[0] ? ` (${calls[0].ip})` : ''}` +
      `${twoPlaces ? ` and ${duration(homeAfter - value.met)} later from a country it knows` : ''}. ` +
      `In ${duration(history)} and ${plural(past.calls, 'call')} it was only seen in ${before
        .map((other) => countryName(other.value))
        .slice(0, 5)
        .join(', ')}${before.length > 5 ? ` and ${before.length - 5} more` : ''}.` +
      (count > 1
        ? ` It made ${count} calls from there within ${duration(at - value.met)}; ${rounded(callsPerHour)} an hour are usual.`
        : '') +
      baselineSentences(facts, baseline.learning),
    window: { from: value.met, to: at },
    observed: {
      country: value.value,
      calls: count,
      also_from_known_country: twoPlaces,
    },
    expected: {
      countries: before.map((other) => other.value).slice(0, 20),
      new_countries_per_hour: rounded(expectedCount(1, look.rate)),
      interval: intervalOf(1, look.rate),
      unexplained: rounded(look.unexplained),
      calls_per_hour: rounded(callsPerHour),
      calls: intervalOf(hours, callRate),
      owner_tokens_there_before: value.peersBefore,
      others_moving_along: moving.filter((time) => time <= at).length,
      ...baseline,
    },
    surprise: rounded(surprise),
    state: baseline.learning.state,
    evidence: bothEnds(
      soFar.map((call) => ({
        time: new Date(call.time).toISOString(),
        ip: call.ip,
        country: value.value,
        endpoint: call.endpoint,
        status: call.status,
        user_agent: call.userAgent,
      })),
      MAX_EVIDENCE,
    ),
    sql: countrySql(facts, value.value, value.met, at),
  };
}

/** Rows of evidence that travel with a finding; the SQL gives the rest. */
const MAX_EVIDENCE = 10;

function countrySql(facts: NoveltyFacts, country: string, from: number, to: number): string {
  const there = `country = ${sqlText(country)}`;
  return (
    `SELECT uniqExactIf(id, ${there}) AS calls, countIf(country NOT IN ('', ${sqlText(country)})) > 0 AS also_from_known_country, ` +
    `minIf(time, ${there}) AS first, maxIf(time, ${there}) AS last, ` +
    `groupArraySortedIf(100)((time, ip, endpoint, status, user_agent), ${there}) AS first_calls FROM events ` +
    `WHERE lineage = ${sqlText(facts.lineage)} AND time >= ${sqlTime(from)} AND time <= ${sqlTime(to)}`
  );
}

function exampleGeo(shape: Parameters<typeof exampleFacts>[0], homeAfterMs: number | null): GeoFacts {
  const made = exampleFacts(shape);
  const met = made.values.country.at(-1)?.met ?? EXAMPLE_END;
  const call = { time: met, ip: '198.51.100.7', endpoint: 'GET /v1/known/0', status: 200, userAgent: 'curl/8.5' };
  return {
    ...made,
    sightings: [
      {
        country: 'BR',
        calls: [call],
        homeAfter: homeAfterMs === null ? null : met + homeAfterMs,
        callsUntilHome: 1,
        moved: [],
      },
    ],
  };
}

const BRAZIL = { known: 1, fresh: 1, names: ['BR'] };

/** geoNovelty reports a token that arrives from a country it has never been to, unless it moved there with its peers. */
export const geoNovelty = defineDetector<GeoFacts, keyof typeof PARAMS>({
  id: 'geo-novelty',
  title: 'A token arrives from a country it has never been to',
  about:
    'Asks how likely a new country is at the rate at which this lineage meets countries (Gamma-Poisson, prior from the fleet), discounts countries ' +
    'where its owner is at home or is moving to, and waits for a busy token of a larger owner until it is heard from home again or has stayed.',
  runbook:
    'Compare the address and the client with what the owner runs. If nobody travels and nothing moved, rotate the token now; ' +
    'then read every call from the new country in the evidence query.',
  knownGaps: [
    'A thief in a country where the token is at home is not seen here.',
    'Addresses that no database places (private, reserved) have no country.',
  ],
  params: PARAMS,
  facts,
  judge,
  examples: [
    {
      name: 'a settled token appears elsewhere and at home again',
      facts: exampleGeo({ country: BRAZIL }, 5_000),
      since: 0,
      fires: true,
    },
    {
      name: 'four tokens of the owner went there just before',
      facts: exampleGeo({ country: { ...BRAZIL, adopters: 4 } }, 5_000),
      since: 0,
      fires: false,
    },
    { name: 'a busy token that may be moving', facts: exampleGeo({ country: BRAZIL }, null), since: 0, fires: false },
    {
      name: 'a token on its first day',
      facts: exampleGeo({ country: BRAZIL, historyDays: 0 }, 5_000),
      since: 0,
      fires: false,
    },
  ],
});
