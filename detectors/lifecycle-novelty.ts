import { plural } from '../core/index.ts';
import { ACTS, ORIGINS_OF_STEPS } from '../store/index.ts';
import { DAY_MS, HOUR_MS, learningState, OPEN_MS } from './baseline.ts';
import { type Anchor, defineDetector, episodeOf, type Finding, type Params } from './contract.ts';
import { EXAMPLE_END, exampleFacts } from './examples.ts';
import { baselineOf, bothEnds, intervalOf } from './explain.ts';
import { recalled } from './feedback.ts';
import type { MetValue } from './met-facts.ts';
import { callsBefore, peersAt } from './novelty.ts';
import { newsOf, type OriginFacts, type OriginStep, originFacts } from './origins.ts';
import type { Facet } from './prior.ts';
import { combinedSurprise, type Look, lookAt, placeLook } from './signals.ts';
import { surpriseOfCount } from './statistics.ts';
import { countryName, duration, gradeOf, kindName, rounded, severityOf, sqlText, sqlTime } from './words.ts';

const PARAMS = {
  low: { default: 2.2, unit: 'surprise', about: 'recorded from here on, pages nobody' },
  medium: { default: 3, unit: 'surprise', about: 'pages from here on' },
  high: { default: 5, unit: 'surprise', about: 'high severity from here on' },
  critical: { default: 9, unit: 'surprise', about: 'critical severity from here on' },
  min_signal: { default: 1, unit: 'surprise', about: 'a signal weaker than this counts as none' },
} as const;

type Knobs = Params<keyof typeof PARAMS>;

/** Origin is one of the two things that tell who takes a step: where from, and with what. */
interface Origin {
  readonly name: 'place' | 'client';
  readonly look: Look;
}

/** How much hours of one owner differ in their steps: the shape of the gamma around its mean. */
const STEPS_SHAPE = 2;
/** The shortest time that steps are counted over. */
const LEAST_HOURS = 1 / 6;

/** Episode is first meetings less than an hour apart, a day long at most: one stranger. */
interface Episode {
  readonly start: number;
  readonly mets: readonly number[];
  readonly keys: ReadonlySet<string>;
}

function episodesOf(facts: OriginFacts): Episode[] {
  const episodes: { start: number; mets: number[]; keys: Set<string> }[] = [];
  for (const { facet, value } of newsOf(facts.values)) {
    const current = episodes.at(-1);
    const last = current?.mets.at(-1) ?? Number.NEGATIVE_INFINITY;
    if (current === undefined || value.met - last >= OPEN_MS || value.met - current.start >= DAY_MS)
      episodes.push({ start: value.met, mets: [value.met], keys: new Set([keyOf(facet, value.value)]) });
    else {
      current.mets.push(value.met);
      current.keys.add(keyOf(facet, value.value));
    }
  }
  return episodes;
}

function keyOf(facet: string, value: string): string {
  return `${facet}\n${value}`;
}

function isFrom({ origin }: OriginStep, keys: ReadonlySet<string>): boolean {
  return Object.entries(origin).some(([facet, value]) => keys.has(keyOf(facet, value)));
}

function judge(facts: OriginFacts, params: Knobs, since: number, until = Number.POSITIVE_INFINITY): Finding[] {
  const findings = new Map<string, Finding>();
  for (const episode of episodesOf(facts)) {
    const { start, mets, keys } = episode;
    if (learningState(facts.activeHours, start) !== 'known') continue;
    const later = facts.steps.filter(({ time }) => time > start && time < start + DAY_MS);
    const moments = [...mets, ...later.filter((step) => isFrom(step, keys)).map(({ time }) => time)];
    for (const at of [...new Set(moments)].sort((a, b) => a - b)) {
      if (at < since || at >= until) continue;
      const finding = judgeAt(facts, params, episode, at, (anchor) => findings.has(episodeOf(anchor)));
      if (finding !== null) findings.set(episodeOf(finding), finding);
    }
  }
  return [...findings.values()];
}

/**
 * Of the false alarms, what each of the ways to surprise may cost (weighted Bonferroni; Genovese, Roeder and Wasserman 2006): mostly both
 * together, which is how a stranger comes.
 */
const SHARE_OF_BOTH = 0.6;
const SHARE_OF_ONE = 0.2;

/**
 * strangeness is the surprise of a new place, of a new client, or of both in one: whether there is one is yes or no, and the chance of two
 * such things at once is the product of their chances.
 */
export function strangeness(place: number, client: number): number {
  const one = Math.max(place, client) + Math.log10(SHARE_OF_ONE);
  return Math.max(0, place > 0 && client > 0 ? place + client + Math.log10(SHARE_OF_BOTH) : one);
}

/** Weighed in full: which clients its tokens are used with says nothing of what issues them. */
const inFull = () => 1;

/** judgeAt is what a moment of an episode tells; null where that is nothing, or was told. */
function judgeAt(
  facts: OriginFacts,
  params: Knobs,
  { start, mets }: Episode,
  at: number,
  wasTold: (anchor: Anchor) => boolean,
): Finding | null {
  const last = mets.findLast((met) => met <= at) ?? start;
  const windowMs = Math.max(HOUR_MS, last - start + 1);
  const all: Origin[] = [
    { name: 'place', look: placeLook(facts, last, windowMs) },
    { name: 'client', look: lookAt(facts, 'client', last, windowMs, inFull) },
  ];
  const signals = all.filter(({ look }) => look.surprise >= params.min_signal);
  if (signals.length === 0) return null;
  const [place = 0, client = 0] = all.map(({ look }) => (look.surprise >= params.min_signal ? look.surprise : 0));
  const novelty = strangeness(place, client);
  const keys = new Set(signals.flatMap(({ look }) => look.values.map(({ value }) => keyOf(look.facet, value))));
  const steps = facts.steps.filter((step) => step.time >= start && step.time <= at && isFrom(step, keys));
  const past = callsBefore(facts, start);
  const usual = Math.max(0.1, past.calls / Math.max(1, past.hours));
  const stepRate = { shape: STEPS_SHAPE, exposure: STEPS_SHAPE / usual };
  const hours = Math.max((at - start) / HOUR_MS, LEAST_HOURS);
  // The first step is the stranger's arrival: only that others follow is more.
  const rush = surpriseOfCount(steps.length - 1, hours, stepRate);
  const surprise = Math.max(novelty, combinedSurprise([novelty, rush], 2));
  const severity = severityOf(surprise, params);
  const anchor = { anchor: `origin ${gradeOf(surprise, params)}`, began: start };
  if (severity === null || wasTold(anchor)) return null;
  const from = steps[0]?.time ?? start;
  const values = signals.flatMap(({ look }) => look.values);
  const baseline = baselineOf(facts, at, values);
  return {
    ...anchor,
    subject: { token: null, lineage: null, owner: facts.owner },
    severity,
    title: `Somebody new ${verbsOf(steps)} tokens of ${facts.owner}: ${signals.map(titleOf).join(', ')}`,
    summary:
      `${plural(steps.length, 'token')} of ${facts.owner} ${steps.length === 1 ? 'was' : 'were'} ${verbsOf(steps)}${steps.length > 1 ? ` within ${duration(at - from)}` : ''} ` +
      `${signals.map((signal) => phraseOf(signal, steps)).join(' and ')}. ` +
      `In the ${duration(start - (facts.activeHours[0] ?? start))} before, ${plural(past.calls, 'step')} in ${plural(past.hours, 'hour')} came from elsewhere and with other clients` +
      ` (${signals.map(({ name, look }) => `${name} ${rounded(look.surprise)}`).join(', ')}${rush >= params.min_signal ? `, so many at once ${rounded(rush)}` : ''}).` +
      recalled(values),
    window: { from, to: at },
    observed: {
      ...Object.fromEntries(
        signals.flatMap(({ look }) => [
          [look.facet, listed(look.values)],
          [`new_${look.facet}`, look.values.length],
        ]),
      ),
      steps: steps.length,
    },
    expected: {
      signals: Object.fromEntries(signals.map(({ name, look }) => [name, rounded(look.surprise)])),
      interval: {
        ...Object.fromEntries(signals.map(({ look }) => [`new_${look.facet}`, intervalOf(look.hours, look.rate)])),
        steps: intervalOf(hours, stepRate),
      },
      arithmetic:
        "the chances of place and client multiplied, less what choosing costs; Fisher's method over that and how many steps followed",
      steps_per_active_hour: rounded(usual),
      ...baseline,
      owner_tokens: peersAt(facts, at),
    },
    surprise: rounded(surprise),
    state: baseline.learning.state,
    evidence: bothEnds(
      steps.map(({ time, action, token, ip, origin }) => ({
        ...{ time: new Date(time).toISOString(), action, token, ip },
        ...{ country: origin.country ?? '', network: origin.network ?? '', client: origin.client ?? '' },
      })),
      MAX_EVIDENCE,
    ),
    sql: originSql(facts, signals, from, at),
  };
}

/** Rows of evidence that travel with a finding, and values of a facet that are written out; the SQL gives the rest. */
const MAX_EVIDENCE = 20;
const MAX_LISTED = 10;

function listed(values: readonly MetValue[]): string[] {
  return values
    .map(({ value }) => value)
    .sort()
    .slice(0, MAX_LISTED);
}

const VERBS: Readonly<Record<string, string>> = { config_changed: 'changed' };

function verbsOf(steps: readonly OriginStep[]): string {
  const verbs = [...new Set(steps.map(({ action }) => VERBS[action] ?? action))];
  return verbs.length === 0 ? 'changed' : verbs.join(' and ');
}

function nameOf(facet: Facet, value: string): string {
  if (facet === 'country') return countryName(value);
  return facet === 'kind' ? kindName(value) : `network ${value}`;
}

function titleOf({ name, look }: Origin): string {
  const value = look.values.at(-1)?.value ?? '';
  return name === 'client' ? `client ${value}` : nameOf(look.facet, value);
}

function phraseOf({ name, look }: Origin, steps: readonly OriginStep[]): string {
  const value = look.values.at(-1)?.value ?? '';
  if (name === 'client') return `with ${value}, which nobody did that with before`;
  const ip = steps.find(({ origin }) => origin[look.facet] === value)?.ip;
  return `from ${nameOf(look.facet, value)}${ip === undefined ? '' : ` (${ip})`}, where nobody ever did`;
}

/** The steps from and with what was new, with what else these names were seen with before. */
function originSql({ owner }: OriginFacts, signals: readonly Origin[], from: number, to: number): string {
  const found = signals.flatMap(({ look }) =>
    look.values.map(({ value }) => `(${sqlText(look.facet)}, ${sqlText(value)})`),
  );
  const columns = signals.flatMap(({ look }) => {
    const values = `arraySort(groupUniqArrayIf(origin.2, origin.1 = ${sqlText(look.facet)}))`;
    return [`arraySlice(${values}, 1, ${MAX_LISTED}) AS ${look.facet}`, `length(${values}) AS new_${look.facet}`];
  });
  return (
    `SELECT uniqExact(id) AS steps, min(time) AS first, max(time) AS last, ${columns.join(', ')}, groupUniqArray(100)(step) AS taken ` +
    `FROM (SELECT id, time, origin, (time, action, token, ip, user_agent) AS step FROM lifecycle ` +
    `ARRAY JOIN ${ORIGINS_OF_STEPS.replaceAll(/\s+/g, ' ')} AS origin ` +
    `WHERE owner = ${sqlText(owner)} AND action IN ${ACTS} AND time >= ${sqlTime(from)} AND time <= ${sqlTime(to)}) ` +
    `WHERE origin IN (${found.join(', ')})`
  );
}

/** exampleOrigin is an owner of some steps an hour for four weeks, and then `count` steps a minute apart from what is fresh. */
function exampleOrigin(
  shape: Parameters<typeof exampleFacts>[0],
  count: number,
  origin: OriginStep['origin'],
): OriginFacts {
  const made = exampleFacts(shape);
  const start = newsOf(made.values).at(-1)?.value.met ?? EXAMPLE_END;
  // Steps are taken in office hours: one hour of three.
  const activeHours = made.activeHours.filter((hour) => (hour / HOUR_MS) % 24 >= 8 && (hour / HOUR_MS) % 24 < 16);
  return {
    ...made,
    lineage: '',
    tokens: [],
    activeHours,
    hourlyCalls: activeHours.map(() => 1),
    steps: Array.from({ length: count }, (_, i) => ({
      ...{ time: start + i * 60_000, action: 'issued', token: `tok_new_${i}`, ip: '198.51.100.7' },
      origin,
    })),
  };
}

/** lifecycleNovelty reports an owner whose tokens are issued, rotated, revoked or changed by somebody new. */
export const lifecycleNovelty = defineDetector<OriginFacts, keyof typeof PARAMS>({
  id: 'lifecycle-novelty',
  title: "Somebody new issues, rotates or revokes an owner's tokens",
  about:
    "Asks how likely it is that an owner's tokens are issued, rotated, revoked or changed from a place (country, network or its kind) and with a client " +
    'where and with which that never happened, at the rate at which this owner meets new ones (Gamma-Poisson, prior from the other owners), ' +
    'and how likely so many steps are at once.',
  runbook:
    'Ask who took these steps: a new colleague, a new tool? If nobody knows, whoever did it has the rights to issue tokens: close that access first, ' +
    'then revoke the tokens that the evidence names, and look at what they did.',
  knownGaps: [
    'Sources that log neither the address nor the client of lifecycle events tell nothing of who takes the steps.',
    'Somebody at the desk, or on the machine, that the tokens are administered from anyway is not seen here; churn-rate may see how many steps they take.',
    'A colleague who joins with a new tool and from a new network is somebody new.',
    'Nothing is forgotten: what administered the tokens once is known for good.',
  ],
  params: PARAMS,
  facts: originFacts,
  judge,
  examples: [
    {
      name: 'a token is issued from a network and with a client that nobody used for that',
      facts: exampleOrigin(
        {
          endpoint: { known: 0, fresh: 0 },
          network: { known: 2, fresh: 1, names: ['AS64500'] },
          client: { known: 1, fresh: 1, names: ['curl'] },
        },
        1,
        { network: 'AS64500', client: 'curl' },
      ),
      since: 0,
      fires: true,
    },
    {
      name: 'thirty tokens are issued within half an hour from a new network, with the client that is always used',
      facts: exampleOrigin(
        { endpoint: { known: 0, fresh: 0 }, network: { known: 2, fresh: 1, names: ['AS64500'] } },
        30,
        { network: 'AS64500', client: 'Mozilla' },
      ),
      since: 0,
      fires: true,
    },
    {
      name: 'a colleague issues a token from home for the first time',
      facts: exampleOrigin(
        { endpoint: { known: 0, fresh: 0 }, network: { known: 2, fresh: 1, names: ['AS64500'] } },
        1,
        { network: 'AS64500', client: 'Mozilla' },
      ),
      since: 0,
      fires: false,
    },
    {
      name: 'an owner in its first days',
      facts: exampleOrigin(
        {
          historyDays: 1,
          endpoint: { known: 0, fresh: 0 },
          network: { known: 1, fresh: 1, names: ['AS64500'] },
          client: { known: 1, fresh: 1, names: ['curl'] },
        },
        1,
        { network: 'AS64500', client: 'curl' },
      ),
      since: 0,
      fires: false,
    },
  ],
});
