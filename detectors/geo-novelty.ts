import { defineQuery, num, text } from '../store/index.ts';
import { DAY_MS, HOUR_MS, learningState, noveltyRate } from './baseline.ts';
import { defineDetector, type Finding, type Params, type Reads, type Scope } from './contract.ts';
import { EXAMPLE_END, exampleFacts } from './examples.ts';
import { type MetValue, type NoveltyFacts, noveltyFacts } from './novelty.ts';
import { expectedCount, surpriseOfCount } from './statistics.ts';
import { countryName, duration, plural, rounded, severityOf, sqlText, sqlTime } from './words.ts';

const PARAMS = {
  low: { default: 2.5, unit: 'surprise', about: 'recorded from here on, pages nobody' },
  medium: { default: 3.3, unit: 'surprise', about: 'pages from here on' },
  high: { default: 4.2, unit: 'surprise', about: 'high severity from here on' },
  critical: { default: 8, unit: 'surprise', about: 'critical severity from here on' },
  settle_seconds: {
    default: 120,
    unit: 's',
    about: 'how long a busy token whose owner has others may simply be moving, unless it is heard from home again',
  },
} as const;

type Knobs = Params<keyof typeof PARAMS>;

/** How long a first meeting may still be judged: a busy token is heard from home long before. */
const OPEN_MS = HOUR_MS;
/** New countries met within this time belong to one trip, move or theft. */
const WINDOW_MS = HOUR_MS;
/** A token that is seldom used is judged at the first call: nothing more may come for hours. */
const BUSY_CALLS_PER_HOUR = 12;

/** Each peer of the owner that came to the country the same day leaves this much of the surprise. */
const PEER_DISCOUNT = 0.35;

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
}

/** GeoFacts is NoveltyFacts of the facet country, with what followed each fresh one. */
export interface GeoFacts extends NoveltyFacts {
  readonly sightings: readonly Sighting[];
}

const MAX_CALLS = 64;

/** Countries have no rush rule: a token without a baseline may be at home anywhere. */
const NEVER = 2 ** 31;

const sightings = defineQuery<
  { lineages: string[]; countries: string[]; mets: number[]; from: number; to: number },
  Sighting & { lineage: string }
>(
  'geo_sightings',
  `SELECT
     fresh.lineage AS lineage,
     fresh.country AS country,
     groupArraySortedIf(${MAX_CALLS})((toUnixTimestamp64Milli(call.time), call.ip, call.endpoint, call.status, call.user_agent), call.country = fresh.country) AS calls,
     minIf(toUnixTimestamp64Milli(call.time), call.country NOT IN ('', fresh.country)) AS home_after
   FROM (
     SELECT pair.1 AS lineage, pair.2 AS country, pair.3 AS met
     FROM (SELECT arrayJoin(arrayZip({lineages:Array(String)}, {countries:Array(String)}, {mets:Array(Int64)})) AS pair)
   ) AS fresh
   INNER JOIN (
     SELECT lineage, time, ip, toString(endpoint) AS endpoint, status, toString(country) AS country, toString(user_agent) AS user_agent
     FROM events
     WHERE time >= fromUnixTimestamp64Milli({from:Int64}) AND time <= fromUnixTimestamp64Milli({to:Int64}) AND lineage IN {lineages:Array(String)}
   ) AS call ON call.lineage = fresh.lineage
   WHERE toUnixTimestamp64Milli(call.time) >= fresh.met
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
  }),
);

async function facts(reads: Reads, scope: Scope): Promise<GeoFacts[]> {
  const novelty = await noveltyFacts(reads, scope, 'country', OPEN_MS, NEVER);
  const open = Math.max(scope.from, scope.since) - OPEN_MS;
  const fresh = novelty.flatMap((lineage) =>
    lineage.values
      .slice(1)
      .filter((value) => value.met >= open)
      .map((value) => ({ lineage: lineage.lineage, value })),
  );
  if (fresh.length === 0) return [];
  const rows = await reads.read(sightings, {
    lineages: fresh.map((row) => row.lineage),
    countries: fresh.map((row) => row.value.value),
    mets: fresh.map((row) => row.value.met),
    from: Math.min(...fresh.map((row) => row.value.met)),
    to: scope.to + OPEN_MS,
  });
  return novelty.map((lineage) => ({ ...lineage, sightings: rows.filter((row) => row.lineage === lineage.lineage) }));
}

/**
 * judgedAt is when the first meeting of a country can be judged: at once for a token that is seldom used or alone; else when
 * it is heard from a known country again (it is in two places), or has stayed for a while (no peer followed: it did not
 * move with the others). Null while it is open.
 */
export function judgedAt(
  facts: Pick<GeoFacts, 'ownerPeers' | 'calls' | 'activeHours'>,
  met: number,
  sighting: Sighting | undefined,
  settleMs: number,
): number | null {
  const callsPerHour = facts.calls / Math.max(1, facts.activeHours.length);
  if (facts.ownerPeers === 0 || callsPerHour < BUSY_CALLS_PER_HOUR) return met;
  const settled = sighting?.calls.find((call) => call.time >= met + settleMs)?.time ?? null;
  const times = [sighting?.homeAfter ?? null, settled].filter((time) => time !== null);
  return times.length === 0 ? null : Math.min(...times);
}

/** countryWeight is how much of a new country is left to explain at `at`: less when the owner's other tokens are there, little when they came the same day. */
export function countryWeight(value: MetValue, at: number, facts: Pick<GeoFacts, 'ownerPeers'>): number {
  const adopters = value.peersRecent.filter((met) => met <= at).length;
  const known = facts.ownerPeers > 0 ? Math.min(1, value.peersBefore / facts.ownerPeers) : 0;
  return (1 - 0.8 * known) * PEER_DISCOUNT ** adopters;
}

function judge(facts: GeoFacts, params: Knobs, since: number): Finding[] {
  const met = facts.values.map((value) => value.met);
  const findings: Finding[] = [];
  for (const [index, value] of facts.values.entries()) {
    if (index === 0 || learningState(facts.activeHours, value.met) !== 'known') continue;
    const sighting = facts.sightings.find((seen) => seen.country === value.value);
    const at = judgedAt(facts, value.met, sighting, params.settle_seconds * 1000);
    if (at === null || at < since) continue;
    const inWindow = facts.values.filter((other) => other.met > value.met - WINDOW_MS && other.met <= value.met);
    const unexplained = inWindow.reduce((sum, other) => sum + countryWeight(other, at, facts), 0);
    const rate = noveltyRate({ met, activeHours: facts.activeHours }, value.met - WINDOW_MS, facts.prior);
    const surprise = surpriseOfCount(unexplained, WINDOW_MS / HOUR_MS, rate);
    const severity = severityOf(surprise, params);
    if (severity === null) continue;
    const before = facts.values.filter((other) => other.met < value.met - WINDOW_MS);
    const history = value.met - (facts.activeHours[0] ?? value.met);
    const calls = sighting?.calls ?? [];
    const sameTime = sighting?.homeAfter !== null && sighting?.homeAfter !== undefined;
    findings.push({
      anchor: `country ${value.value}`,
      subject: { token: facts.token, lineage: facts.lineage, owner: facts.owner },
      severity,
      title: `${facts.token} was used from ${countryName(value.value)}, where it has never been`,
      summary:
        `${facts.token} of ${facts.owner} was used from ${countryName(value.value)}${calls[0] ? ` (${calls[0].ip})` : ''}` +
        `${sameTime ? ` and ${duration((sighting?.homeAfter ?? 0) - value.met)} later from a country it knows` : ''}. ` +
        `In ${duration(history)} and ${plural(facts.calls, 'call')} it was only seen in ${before
          .map((other) => countryName(other.value))
          .slice(0, 5)
          .join(', ')}` +
        `${before.length > 5 ? ` and ${before.length - 5} more` : ''}.`,
      window: { from: value.met, to: at },
      observed: {
        country: value.value,
        calls: calls.filter((call) => call.time <= at).length,
        also_from_known_country: sameTime,
        unexplained: rounded(unexplained),
      },
      expected: {
        countries: before.map((other) => other.value).slice(0, 20),
        new_countries_per_hour: rounded(expectedCount(1, rate)),
        history_days: rounded(history / DAY_MS),
        owner_tokens_there_before: value.peersBefore,
        owner_tokens: facts.ownerPeers + 1,
      },
      surprise: rounded(surprise),
      state: 'known',
      evidence: calls.slice(0, 10).map((call) => ({
        time: new Date(call.time).toISOString(),
        ip: call.ip,
        country: value.value,
        endpoint: call.endpoint,
        status: call.status,
        user_agent: call.userAgent,
      })),
      sql:
        `SELECT time, ip, country, endpoint, status, user_agent FROM events ` +
        `WHERE lineage = ${sqlText(facts.lineage)} AND country = ${sqlText(value.value)} AND time >= ${sqlTime(value.met)} AND time <= ${sqlTime(at)} ORDER BY time`,
    });
  }
  return findings;
}

function exampleGeo(shape: Parameters<typeof exampleFacts>[0], homeAfterMs: number | null): GeoFacts {
  const made = { ...exampleFacts({ ...shape, values: ['BR'] }), prior: { shape: 0.1, exposure: 200 } };
  const met = made.values.at(-1)?.met ?? EXAMPLE_END;
  const call = { time: met, ip: '198.51.100.7', endpoint: 'GET /v1/known/0', status: 200, userAgent: 'curl/8.5' };
  return {
    ...made,
    sightings: [{ country: 'BR', calls: [call], homeAfter: homeAfterMs === null ? null : met + homeAfterMs }],
  };
}

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
      facts: exampleGeo({ known: 1, fresh: 1 }, 5_000),
      since: 0,
      fires: true,
    },
    {
      name: 'four tokens of the owner went there just before',
      facts: exampleGeo({ known: 1, fresh: 1, adopters: 4 }, 5_000),
      since: 0,
      fires: false,
    },
    {
      name: 'a busy token that may be moving',
      facts: exampleGeo({ known: 1, fresh: 1 }, null),
      since: 0,
      fires: false,
    },
    {
      name: 'a token on its first day',
      facts: exampleGeo({ known: 1, fresh: 1, historyDays: 0 }, 5_000),
      since: 0,
      fires: false,
    },
  ],
});
