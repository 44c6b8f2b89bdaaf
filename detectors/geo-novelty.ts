import { plural } from '../core/index.ts';
import { HOUR_MS, learningState, OPEN_MS } from './baseline.ts';
import { type Day, defineDetector, type Finding, once, type Params, type Reads, together } from './contract.ts';
import { EXAMPLE_END, exampleFacts } from './examples.ts';
import { baselineOf, baselineSentences, bothEnds, intervalOf, sqlLineage } from './explain.ts';
import { recalled } from './feedback.ts';
import { lastUse, neverOrNotSince, wasForgotten } from './forgetting.ts';
import { isSame, type Lineage, lineageKey } from './lineage.ts';
import { type MetValue, metFacts, type OwnValue } from './met-facts.ts';
import { moves, rememberHome } from './moves.ts';
import { callsBefore, type NoveltyFacts, noveltyFacts, peersAt, tokenAt } from './novelty.ts';
import { type Facet, fleetOf } from './prior.ts';
import { callsBy, type NewPlace, type PlaceFacet, type Sighting, sightingsOf } from './sightings.ts';
import { bringsNetwork, clientLook, combinedSurprise, lookAt, shared, weighKind, weighPlace } from './signals.ts';
import { expectedCount, surpriseOfCount } from './statistics.ts';
import { countryName, duration, gradeOf, kindName, rounded, severityOf, sqlText, sqlTime } from './words.ts';

const PARAMS = {
  low: { default: 2.5, unit: 'surprise', about: 'recorded from here on, pages nobody' },
  medium: { default: 3.9, unit: 'surprise', about: 'pages from here on' },
  high: { default: 4.5, unit: 'surprise', about: 'high severity from here on' },
  critical: { default: 8, unit: 'surprise', about: 'critical severity from here on' },
  two_places: {
    default: 1,
    unit: 'surprise',
    about:
      'added when the token is heard from a known country soon after: it is in two places; shared among the places that it knows, for who is in many is often in two',
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

/** GeoFacts is NoveltyFacts with what followed the first call from each fresh place. */
export interface GeoFacts extends NoveltyFacts {
  readonly sightings: readonly Sighting[];
}

/** Calls from a new country after which a seldom used token is looked at again: one may be chance, thirty in a row are not. */
const BURST_CALLS = [8, 24, 64];

/** How much hours of one token differ in their calls: the shape of the gamma around its mean. */
const CALLS_SHAPE = 2;

/** The places that lineages came to newly on a day or later: what they met then may be there already. */
const arrivedOn = once(async (reads: Reads, day: Day): Promise<NewPlace[]> => {
  const { to: until } = day.within;
  return (await metFacts(reads, day)).flatMap((facts) =>
    arrivalsIn(facts, day).map(({ facet, value: met }) => ({
      ...{ owner: facts.owner, lineage: facts.lineage, facet, value: met.value, met: met.met, until },
      strange: metWith(facts.values[facet], met).map(({ value }) => value),
    })),
  );
});

function arrivalsIn<V extends OwnValue | MetValue>(facts: Meetings<V>, { within }: Day) {
  return newPlaces(facts).filter(({ value }) => value.met >= within.from - OPEN_MS);
}

type Seen = Omit<Sighting, 'moved'> & Lineage;

/** What followed each arrival, as far as it was known when each day ended. */
const followed = together(async (reads, { days }): Promise<Seen[][]> => {
  const arrived = await Promise.all(days.map((day) => arrivedOn(reads, day)));
  const places = arrived.flat().filter(({ met, until }) => met <= until);
  const seen = await sightingsOf(reads, places);
  return days.map(({ within }) =>
    seen
      .filter(({ place }) => place.until === within.to)
      .map(({ place: { owner, lineage }, sighting }) => ({ ...sighting, owner, lineage })),
  );
});

/** Who came along with each arrival in a new country, by arrivalKey. */
const cameAlong = together(async (reads, { days }): Promise<ReadonlyMap<string, readonly number[]>[]> => {
  const fleet = await fleetOf(reads, days.at(-1) as Day);
  const novelty = await Promise.all(days.map((day) => noveltyFacts(reads, day)));
  for (const facts of novelty.flat()) {
    const [home] = facts.values.country;
    // What was inherited, said or forgotten decides where a token is at home; this is about where it was seen first.
    const asSeen =
      facts.inheritedFrom.length === 0 && facts.spoken !== true && !facts.values.country.some(wasForgotten);
    if (home !== undefined && asSeen) rememberHome(fleet, facts, home.value);
  }
  const arrivals = days.flatMap((day, index) =>
    (novelty[index] ?? []).flatMap((facts) =>
      arrivalsIn(facts, day).map(({ facet, value }) => ({
        ...{ index, key: arrivalKey(facts, facet, value.value), home: facts.values.country[0]?.value ?? '' },
        ...{ newcomers: value.newcomers, until: day.within.to },
      })),
    ),
  );
  const moved = await moves(reads, fleet, arrivals);
  return days.map(
    (_, day) => new Map(moved.filter(({ index }) => index === day).map(({ key, along }) => [key, along])),
  );
});

function arrivalKey(of: Lineage, facet: PlaceFacet, value: string): string {
  return `${lineageKey(of)}\n${facet}\n${value}`;
}

async function facts(reads: Reads, day: Day): Promise<GeoFacts[]> {
  const arrived = await arrivedOn(reads, day);
  if (arrived.length === 0) return [];
  const concerned = new Set(arrived.map(lineageKey));
  const [novelty, seen, along] = await Promise.all([
    noveltyFacts(reads, day),
    followed(reads, day),
    cameAlong(reads, day),
  ]);
  return novelty
    .filter((facts) => concerned.has(lineageKey(facts)))
    .map((facts) => ({
      ...facts,
      sightings: seen
        .filter((row) => isSame(row, facts))
        .map((row) => ({ ...row, moved: along.get(arrivalKey(row, row.facet, row.value)) ?? [] })),
    }));
}

/** metWith are the other places that were met just as newly as one, but for the very first: no home to come back to. */
function metWith<V extends Pick<OwnValue, 'value' | 'met'>>(values: readonly V[], { value, met }: V): V[] {
  return values.slice(1).filter((other) => other.value !== value && other.met > met - WINDOW_MS);
}

/** Meetings is what a lineage met, by facet. */
interface Meetings<V> {
  readonly values: Readonly<Record<Facet, readonly V[]>>;
}

/**
 * newPlaces are the countries met after the first, and the kinds of networks that came with a new network and no new country. One that was
 * only forgotten is no reason to say nothing of the kind.
 */
function newPlaces<V extends OwnValue | MetValue>(facts: Meetings<V>): { facet: PlaceFacet; value: V }[] {
  const countries = facts.values.country.slice(1);
  const kinds = facts.values.kind
    .slice(1)
    .filter(
      (kind) =>
        bringsNetwork(facts, kind) && !countries.some((country) => country.met === kind.met && !wasForgotten(country)),
    );
  return [
    ...countries.map((value) => ({ facet: 'country' as const, value })),
    ...kinds.map((value) => ({ facet: 'kind' as const, value })),
  ];
}

/**
 * judgedAt is when the first meeting of a place is judged, in order: at once for a token that is seldom used or alone; when
 * it is heard from another place again (it is in two places); when it has stayed for a while (no peer followed: it did not
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
  const stays = [
    ...(sighting?.calls ?? []).map((call) => call.time),
    ...(sighting?.minutes ?? []).map(({ first }) => first),
  ];
  const settled = stays.filter((time) => time >= met + settleMs).sort((a, b) => a - b)[0] ?? null;
  const busy = BURST_CALLS.map((calls) => sighting?.calls[calls - 1]?.time ?? null);
  return [...new Set([atOnce, sighting?.homeAfter ?? null, settled, ...(atOnce === null ? [] : busy)])]
    .filter((time) => time !== null)
    .sort((a, b) => a - b);
}

function judge(facts: GeoFacts, params: Knobs, since: number, until = Number.POSITIVE_INFINITY): Finding[] {
  const findings = new Map<string, Finding>();
  for (const { facet, value } of newPlaces(facts)) {
    if (learningState(facts.activeHours, value.met) !== 'known') continue;
    const sighting = facts.sightings.find((seen) => seen.facet === facet && seen.value === value.value);
    for (const at of judgedAt(facts, value.met, sighting, params.settle_seconds * 1000)) {
      if (at < since || at >= until) continue;
      const finding = judgePlace(facts, params, facet, value, sighting, at);
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

function judgePlace(
  facts: GeoFacts,
  params: Knobs,
  facet: PlaceFacet,
  value: MetValue,
  sighting: Sighting | undefined,
  at: number,
): Finding | null {
  // Weighed by what is known at `at`, against the rate before the first meeting.
  const weighOne = facet === 'kind' ? weighKind(facts) : weighPlace(facts);
  const moving = movingWith(facts, sighting, value.met, at);
  const look = lookAt(facts, facet, value.met, WINDOW_MS, (other) => weighOne(other, at) * shared(moving, at));
  const homeAfter = sighting?.homeAfter ?? null;
  const twoPlaces = homeAfter !== null && homeAfter <= at;
  const token = tokenAt(facts, at);
  const calls = sighting?.calls ?? [];
  const soFar = calls.filter((call) => call.time <= at);
  const count = sighting === undefined ? 0 : callsBy(sighting, at);
  const past = callsBefore(facts, value.met);
  const callsPerHour = Math.max(0.1, past.calls / Math.max(1, past.hours));
  const hours = Math.max((at - value.met) / HOUR_MS, 1 / 6);
  const callRate = { shape: CALLS_SHAPE, exposure: CALLS_SHAPE / callsPerHour };
  const rush = surpriseOfCount(soFar.length, hours, callRate);
  const before = facts.values[facet].filter((other) => other.met < value.met - WINDOW_MS);
  const twice = twoPlaces && look.surprise >= MIN_SIGNAL ? params.two_places / Math.max(1, before.length) : 0;
  const surprise =
    // Many calls make a strange place stranger; where peers explain the place they say nothing.
    (look.surprise >= MIN_SIGNAL
      ? Math.max(look.surprise, combinedSurprise([look.surprise, rush], 2))
      : look.surprise) + twice;
  const severity = severityOf(surprise, params);
  if (severity === null) return null;
  const nameOf = facet === 'kind' ? kindName : countryName;
  const place = nameOf(value.value);
  const through = calls[0]?.networkKind ?? '';
  const history = value.met - (facts.activeHours[0] ?? value.met);
  const baseline = baselineOf(facts, at, look.values);
  const forgotten = wasForgotten(value);
  return {
    anchor: `${facet} ${value.value}${value.said?.again ? ` after ${value.said.until}` : ''}${forgotten ? ` since quarter ${value.lastUsed}` : ''} ${gradeOf(surprise, params)}`,
    subject: { token, lineage: facts.lineage, owner: facts.owner },
    severity,
    title: `${token} was used from ${place}, where it ${neverOrNotSince([value], 'has never been', 'has not been')}`,
    summary:
      `${token} of ${facts.owner} was used from ${place}${calls[0] ? ` (${calls[0].ip})` : ''}` +
      `${facet === 'country' && (through === 'vpn' || through === 'relay') ? ` through ${kindName(through)}` : ''}` +
      `${twoPlaces ? ` and ${duration(homeAfter - value.met)} later from ${facet === 'kind' ? 'a kind of network' : 'a country'} it knows` : ''}. ` +
      `In ${duration(history)} and ${plural(past.calls, 'call')} it was ${forgotten ? 'otherwise ' : ''}only seen in ${before
        .map((other) => nameOf(other.value))
        .slice(0, 5)
        .join(', ')}${before.length > 5 ? ` and ${before.length - 5} more` : ''}.` +
      (forgotten ? ` It was last there in ${lastUse(value).last_used}.` : '') +
      (count > 1
        ? ` It made ${count} calls from there within ${duration(at - value.met)}; ${rounded(callsPerHour)} an hour are usual.`
        : '') +
      recalled([value]) +
      baselineSentences(facts, baseline.learning),
    window: { from: value.met, to: at },
    observed: {
      country: facet === 'country' ? value.value : (calls[0]?.country ?? ''),
      network_kind: through,
      calls: count,
      also_from_known_country: twoPlaces,
    },
    expected: {
      [facet === 'kind' ? 'network_kinds' : 'countries']: before.map((other) => other.value).slice(0, 20),
      [facet === 'kind' ? 'new_network_kinds_per_hour' : 'new_countries_per_hour']: rounded(
        expectedCount(1, look.rate),
      ),
      interval: intervalOf(1, look.rate),
      unexplained: rounded(look.unexplained),
      calls_per_hour: rounded(callsPerHour),
      calls: intervalOf(hours, callRate),
      ...lastUse(value),
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
        country: call.country,
        network: call.asn === 0 ? '' : `AS${call.asn}`,
        network_kind: call.networkKind,
        endpoint: call.endpoint,
        status: call.status,
        user_agent: call.userAgent,
      })),
      MAX_EVIDENCE,
    ),
    sql: placeSql(facts, facet, value, at),
  };
}

/** Rows of evidence that travel with a finding; the SQL gives the rest. */
const MAX_EVIDENCE = 10;

/** Places as the rollups have them. */
const SQL_PLACES: Readonly<Record<PlaceFacet, string>> = {
  country: "if(network_kind = 'egress', 'egress', toString(country))",
  kind: "if(network_kind = '' AND asn != 0, 'other', toString(network_kind))",
};

function placeSql(facts: GeoFacts, facet: PlaceFacet, met: MetValue, to: number): string {
  const from = met.met;
  const there = `place = ${sqlText(met.value)}`;
  const strange = ['', met.value, ...metWith(facts.values[facet], met).map(({ value }) => value)]
    .map(sqlText)
    .join(', ');
  return (
    `SELECT uniqExactIf(id, ${there}) AS calls, countIf(place NOT IN (${strange})) > 0 AS also_from_known_country, ` +
    `minIf(time, ${there}) AS first, max(time) AS last, ` +
    `groupArraySortedIf(100)((time, ip, country, asn, network_kind, endpoint, status, user_agent), ${there}) AS first_calls ` +
    `FROM (SELECT *, ${SQL_PLACES[facet]} AS place FROM events ` +
    `WHERE ${sqlLineage(facts)} AND time >= ${sqlTime(from)} AND time <= ${sqlTime(to)} AND status != 401)`
  );
}

function exampleGeo(shape: Parameters<typeof exampleFacts>[0], homeAfterMs: number | null): GeoFacts {
  const made = exampleFacts(shape);
  const facet = shape.kind === undefined ? 'country' : 'kind';
  const last = made.values[facet].at(-1);
  const met = last?.met ?? EXAMPLE_END;
  const call = {
    ...{ time: met, ip: '198.51.100.7', country: 'BR', asn: 64500, networkKind: 'vpn' },
    ...{ endpoint: 'GET /v1/known/0', status: 200, userAgent: 'curl/8.5' },
  };
  const homeAfter = homeAfterMs === null ? null : met + homeAfterMs;
  return {
    ...made,
    sightings: [
      {
        facet,
        value: last?.value ?? '',
        calls: [call],
        minutes: [{ first: met, calls: 1 }],
        homeAfter,
        callsUntilHome: 1,
        moved: [],
      },
    ],
  };
}

const BRAZIL = { known: 1, fresh: 1, names: ['BR'] };
const NEW_NETWORK = { known: 1, fresh: 1, names: ['AS64500'] };

/** geoNovelty reports a token that arrives from a country or a kind of network where it has never been, unless it moved there with its peers. */
export const geoNovelty = defineDetector<GeoFacts, keyof typeof PARAMS>({
  id: 'geo-novelty',
  title: 'A token arrives from a country or a kind of network where it has never been',
  about:
    'Asks how likely a new country, or a new kind of network (hosting, mobile, VPN), is at the rate at which this lineage meets them (Gamma-Poisson, prior from the fleet), discounts places ' +
    'where its owner is at home or is moving to, and waits for a busy token of a larger owner until it is heard from home again or has stayed.',
  runbook:
    'Compare the address and the client with what the owner runs. If nobody travels and nothing moved, rotate the token now; ' +
    'then read every call from the new country in the evidence query.',
  knownGaps: [
    'A thief in a country where the token is at home, in a kind of network that it uses, is not seen here.',
    'Addresses that no database places (private, reserved) have no country.',
    'A country is forgotten by the calendar quarter: what was not used for 12 to 15 months may be known still. Others who come back to one after over a year have known it; they are not coming along.',
    'Several tokens of one owner that are stolen at once and used from the same new country explain each other, as in a failover: each weighs 0.35 for every other one.',
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
    {
      name: 'a token of a hosting network appears in a VPN of its own country, and at home again',
      facts: exampleGeo(
        { kind: { known: 1, knownNames: ['hosting'], fresh: 1, names: ['vpn'] }, network: NEW_NETWORK },
        5_000,
      ),
      since: 0,
      fires: true,
    },
    {
      name: 'a VPN list that was added calls a network that the token knows a VPN',
      facts: exampleGeo({ kind: { known: 1, knownNames: ['hosting'], fresh: 1, names: ['vpn'] } }, 5_000),
      since: 0,
      fires: false,
    },
    {
      name: 'a person leaves the office network for a mobile one',
      facts: exampleGeo(
        { kind: { known: 1, knownNames: ['business'], fresh: 1, names: ['mobile'] }, network: NEW_NETWORK },
        5_000,
      ),
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
