import { DAY_MS, FORGETTING_MS } from './baseline.ts';
import { defineDetector, type Finding, type Params } from './contract.ts';
import { distanceKm, isNear, SAME_PLACE_KM, type Spot } from './distance.ts';
import { EXAMPLE_END } from './examples.ts';
import { intervalOf, learningAt, sqlLineage } from './explain.ts';
import { type Gamma, surpriseOfCount } from './statistics.ts';
import {
  FLOOR,
  type Hop,
  jumpDays,
  type LocatedCall,
  placeKey,
  type Stay,
  type TravelFacts,
  travelFacts,
} from './travel-facts.ts';
import { isTripOver, staysForHabit, staysForJumps, type Trip, tripBetween } from './trips.ts';
import { countryName, duration, kindName, rounded, severityOf, sqlText, sqlTime } from './words.ts';

const PARAMS = {
  low: { default: 1.5, unit: 'surprise', about: 'recorded from here on, pages nobody' },
  medium: { default: 2.7, unit: 'surprise', about: 'pages from here on' },
  high: { default: 3.5, unit: 'surprise', about: 'high severity from here on' },
  critical: { default: 8, unit: 'surprise', about: 'critical severity from here on' },
  two_places: {
    default: 1,
    unit: 'surprise',
    about: 'added when it is heard from the first place again: it is in two places',
  },
  min_km: { default: 500, unit: 'km', about: 'a shorter way, accuracy radii taken off, is no trip; 250 at least' },
  max_kmh: { default: 900, unit: 'km/h', about: 'an airliner; nobody is faster; 450 at least' },
  shared_by: {
    default: 3,
    unit: 'lineages',
    about: 'a place that so many others of the owner were heard from a day before is a shared way out',
  },
} as const;

type Knobs = Params<keyof typeof PARAMS>;

/** How often tokens are in two places at once before anything is known of one: once in a thousand days of use. */
const PRIOR: Gamma = { shape: 0.1, exposure: 100 };

/** On so many earlier days a place is a habit. */
const HABIT_DAYS = 3;

/** A call back from the first place tells within the time that any trip on earth takes. */
const RETURN_MS = DAY_MS;

/** travelRate is the belief about impossible trips per day of use: the prior, and the lineage's own days before `day`, older ones weighing less. */
function travelRate(facts: TravelFacts, day: number, params: Knobs): Gamma {
  let { shape, exposure } = PRIOR;
  const weight = (start: number) => Math.exp((start - day) / FORGETTING_MS);
  for (const start of daysOfUse(facts, day)) exposure += weight(start);
  for (const start of jumpsOf(facts, day, params)) shape += weight(start);
  return { shape, exposure };
}

/** jumpsOf are the days before `day` with impossible trips, but for those that people spoke of. */
function jumpsOf(facts: TravelFacts, day: number, params: Knobs): number[] {
  return jumpDays(staysForJumps(facts.stays, facts.trips), day, params.min_km, params.max_kmh);
}

function daysOfUse(facts: TravelFacts, day: number): number[] {
  return [...new Set(facts.stays.map((stay) => stay.day))].filter((start) => start < day);
}

/** How sure the ends of a hop are: machines in two places are no traveller, phones and one provider's addresses are placed loosely. */
function evidenceOf({ from, to }: Hop): 'none' | 'weak' | 'strong' {
  if (from.networkKind === 'hosting' && to.networkKind === 'hosting') return 'none';
  if (from.networkKind === 'mobile' || to.networkKind === 'mobile') return 'weak';
  return from.asn !== 0 && from.asn === to.asn ? 'weak' : 'strong';
}

/** leastKm is how far apart the ends are at least, as far as their accuracy radii say. */
function leastKm({ km, from, to }: Hop): number {
  return km - from.accuracyKm - to.accuracyKm;
}

function speedOf(hop: Hop): number {
  const hours = (hop.to.time - hop.from.time) / 3_600_000;
  return hours <= 0 ? Number.POSITIVE_INFINITY : leastKm(hop) / hours;
}

/** isImpossible tells whether nobody can have travelled a hop. */
export function isImpossible(hop: Hop, minKm: number, maxKmPerHour: number): boolean {
  return leastKm(hop) >= Math.max(FLOOR.km, minKm) && speedOf(hop) > Math.max(FLOOR.kmPerHour, maxKmPerHour);
}

/**
 * An end explains itself when the lineage is there often, or when many of the owner's others have been: a shared way out. That
 * others are there explains nothing that was found malicious.
 */
function explained(
  end: LocatedCall,
  stays: readonly Stay[],
  peers: TravelFacts['peers'],
  day: number,
  params: Knobs,
): boolean {
  const days = new Set(stays.filter((stay) => stay.day < day && near(stay, end)).map((stay) => stay.day));
  const others = (peers.get(placeKey(end)) ?? []).filter((since) => since < end.time - DAY_MS);
  return days.size >= HABIT_DAYS || others.length >= params.shared_by;
}

/** The middle of a square degree may be away from a place in it by half its diagonal. */
function near(a: Spot, b: Spot): boolean {
  return isNear(a, b, SAME_PLACE_KM);
}

const NO_PEERS: TravelFacts['peers'] = new Map();

/** isNoNews tells whether people expect a trip at a moment, or both ends explain themselves. */
function isNoNews(facts: TravelFacts, params: Knobs, hop: Hop, said: Trip | undefined, day: number): boolean {
  const at = hop.to.time;
  if (said?.verdict === 'expected' && !isTripOver(said, at)) return true;
  const stays = staysForHabit(facts.stays, facts.trips, at);
  const peers = said?.verdict === 'malicious' ? NO_PEERS : facts.peers;
  return [hop.from, hop.to].every((end) => explained(end, stays, peers, day, params));
}

function judge(facts: TravelFacts, params: Knobs, since: number): Finding[] {
  const findings = new Map<string, Finding>();
  const hops = facts.hops.filter(
    (hop) => isImpossible(hop, params.min_km, params.max_kmh) && evidenceOf(hop) !== 'none',
  );
  for (const hop of hops) {
    if (hop.to.time < since) continue;
    const finding = judgeHop(facts, params, hop, hops);
    if (finding !== null && !findings.has(finding.anchor)) findings.set(finding.anchor, finding);
  }
  return [...findings.values()];
}

/** What the summary says of a trip that was spoken of before. */
const RECALLED = {
  malicious: ' A trip between these places was found malicious before.',
  expected: ' Trips between these places were expected only until a time that is over.',
} as const;

function judgeHop(facts: TravelFacts, params: Knobs, hop: Hop, hops: readonly Hop[]): Finding | null {
  const at = hop.to.time;
  const day = Math.floor(at / DAY_MS) * DAY_MS;
  const said = tripBetween(facts.trips, hop.from, hop.to);
  if (isNoNews(facts, params, hop, said, day)) return null;
  const learning = learningAt(daysOfUse(facts, day), at);
  if (learning.state === 'learning') return null;
  // Heard from A, then B, and now from A again.
  const out = hops.findLast(
    (other) =>
      other.to.time < at && other.to.time >= at - RETURN_MS && near(other.from, hop.to) && near(other.to, hop.from),
  );
  const rate = travelRate(facts, day, params);
  const measured = surpriseOfCount(1, 1, rate) + (out === undefined ? 0 : params.two_places);
  // Places that say little of the caller's whereabouts never page, nor take room in an alert budget.
  const surprise = evidenceOf(hop) === 'weak' ? Math.min(measured, params.medium - 0.01) : measured;
  const severity = severityOf(surprise, params);
  if (severity === null) return null;
  const first = out?.from ?? hop.from;
  const [from, to] = out === undefined ? [hop.from, hop.to] : [out.from, out.to];
  const km = out?.km ?? hop.km;
  const speed = speedOf(out ?? hop);
  const calls = out === undefined ? [from, to] : [from, to, hop.to];
  const token = to.token;
  return {
    anchor: `travel ${day} ${severity}`,
    subject: { token, lineage: facts.lineage, owner: facts.owner },
    severity,
    title:
      out === undefined ? `${token} was used from places too far apart` : `${token} was used in two places at once`,
    summary:
      `${token} of ${facts.owner} was used from ${placeOf(from)} and ${duration(Math.max(1, to.time - from.time))} later from ${placeOf(to)}, ` +
      `about ${km.toLocaleString('en-US')} km away${Number.isFinite(speed) ? `: ${rounded(speed).toLocaleString('en-US')} km/h` : ''}` +
      `${out === undefined ? '' : `; ${duration(at - to.time)} later it was heard from the first place again, so it is in two places at once`}. ` +
      `Nobody travels faster than ${params.max_kmh} km/h.${said === undefined ? '' : RECALLED[said.verdict]}`,
    window: { from: first.time, to: at },
    observed: {
      distance_km: km,
      seconds_between: rounded((to.time - from.time) / 1000),
      two_places: out !== undefined,
      speed: Number.isFinite(speed) ? `${rounded(speed)} km/h` : 'at once',
    },
    expected: {
      at_most_kmh: params.max_kmh,
      accuracy_km: [from.accuracyKm, to.accuracyKm],
      days_with_impossible_trips: jumpsOf(facts, day, params).length,
      interval: intervalOf(1, rate),
      history_days: learning.history_days,
      learning,
    },
    surprise: rounded(surprise),
    state: learning.state,
    evidence: calls.map((call) => ({
      time: new Date(call.time).toISOString(),
      ip: call.ip,
      country: call.country,
      network: call.asn === 0 ? '' : `AS${call.asn}`,
      network_kind: call.networkKind,
      latitude: rounded(call.latitude),
      longitude: rounded(call.longitude),
      accuracy_km: call.accuracyKm,
      endpoint: call.endpoint,
      status: call.status,
    })),
    sql: travelSql(facts, calls),
  };
}

function placeOf(call: LocatedCall): string {
  const kind = call.networkKind === '' ? '' : `, ${kindName(call.networkKind)}`;
  return `${call.country === '' ? 'an unnamed country' : countryName(call.country)} (${call.ip}${kind})`;
}

function travelSql(facts: TravelFacts, calls: readonly LocatedCall[]): string {
  const [from, to, back] = calls as [LocatedCall, LocatedCall, LocatedCall?];
  const of = (column: string, call: LocatedCall) => `anyIf(${column}, id = ${sqlText(call.id)})`;
  return (
    `SELECT round(greatCircleDistance(${of('longitude', from)}, ${of('latitude', from)}, ${of('longitude', to)}, ${of('latitude', to)}) / 1000) AS distance_km, ` +
    `(toUnixTimestamp64Milli(${of('time', to)}) - toUnixTimestamp64Milli(${of('time', from)})) / 1000 AS seconds_between, ` +
    `${back === undefined ? 'false' : `countIf(id = ${sqlText(back.id)}) > 0`} AS two_places, min(time) AS first, max(time) AS last, ` +
    `groupArraySorted(10)((time, ip, country, asn, network_kind, latitude, longitude, accuracy_km, endpoint, status)) AS calls FROM events ` +
    `WHERE ${sqlLineage(facts)} AND time >= ${sqlTime(from.time)} AND time <= ${sqlTime((back ?? to).time)} ` +
    `AND id IN (${calls.map((call) => sqlText(call.id)).join(', ')})`
  );
}

const EXAMPLE_DAY = Math.floor(EXAMPLE_END / DAY_MS) * DAY_MS;
const BERLIN = { latitude: 52.5, longitude: 13.4, country: 'DE', ip: '198.51.100.7', asn: 64500 };
const TOKYO = { latitude: 35.7, longitude: 139.7, country: 'JP', ip: '192.0.2.7', asn: 64501 };

function exampleCall(place: typeof BERLIN, minute: number, networkKind = ''): LocatedCall {
  const call = { id: `e${minute}`, time: EXAMPLE_END + minute * 60_000, token: 'tok_1', endpoint: 'GET /v1/known/0' };
  return { ...call, ...place, networkKind, accuracyKm: 20, status: 200 };
}

function exampleTravel(calls: readonly LocatedCall[], more: Partial<TravelFacts> = {}): TravelFacts {
  const stays = Array.from({ length: 28 }, (_, i) => {
    const day = EXAMPLE_DAY - (28 - i) * DAY_MS;
    return { day, first: day, last: day + DAY_MS / 2, latitude: 53, longitude: 13 };
  });
  const hops = calls.slice(1).map((to, i) => {
    const from = calls[i] as LocatedCall;
    return { from, to, km: Math.round(distanceKm(from, to)) };
  });
  return { owner: 'acme', lineage: 'tok_1', stays, hops, peers: new Map(), trips: [], ...more };
}

/** impossibleTravel reports a token that is used from places which nobody can have travelled between. */
export const impossibleTravel = defineDetector<TravelFacts, keyof typeof PARAMS>({
  id: 'impossible-travel',
  title: 'A token is used from places that nobody can travel between',
  about:
    'Compares each call with the one before it, where a city database places both: at least 500 km apart after both accuracy radii are taken off, ' +
    'and faster than 900 km/h. How surprising that is follows from the days on which this lineage did so before; its own habits and ways out that the owner shares are no news.',
  runbook:
    'Ask the owner which of the two places is theirs. If one is nobody’s, rotate the token now, and read every call from there. ' +
    'A VPN or proxy of your own belongs into geo.egress or geo.networks.',
  knownGaps: [
    'Without a city database nothing is seen. An accuracy radius holds two of three addresses: the third may be elsewhere.',
    'Machines in two hosting networks are not compared; phones and two addresses of one provider are recorded and page nobody.',
    'A thief who is not noticed on three days has become a habit.',
  ],
  params: PARAMS,
  facts: travelFacts,
  judge,
  examples: [
    {
      name: 'from Berlin, ten minutes later from Tokyo, and from Berlin again',
      facts: exampleTravel([exampleCall(BERLIN, -20), exampleCall(TOKYO, -10), exampleCall(BERLIN, -5)]),
      since: 0,
      fires: true,
    },
    {
      name: 'a flight of twelve hours',
      facts: exampleTravel([exampleCall(BERLIN, -12 * 60), exampleCall(TOKYO, 0)]),
      since: 0,
      fires: false,
    },
    {
      name: 'one machine in Berlin, one in Tokyo',
      facts: exampleTravel([exampleCall(BERLIN, -20, 'hosting'), exampleCall(TOKYO, -10, 'hosting')]),
      since: 0,
      fires: false,
    },
    {
      name: 'a proxy in Tokyo that three others of the owner use',
      facts: exampleTravel([exampleCall(BERLIN, -20), exampleCall(TOKYO, -10)], {
        peers: new Map([[placeKey(TOKYO), [1, 2, 3].map((days) => EXAMPLE_END - (days + 1) * DAY_MS)]]),
      }),
      since: 0,
      fires: false,
    },
  ],
});
