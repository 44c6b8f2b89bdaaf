import { quantileSorted } from 'simple-statistics';
import { plural, type Severity } from '../core/index.ts';
import { defineQuery, num, ONE_THREAD, text } from '../store/index.ts';
import { DAY_MS, HOUR_MS } from './baseline.ts';
import { type ChurnHabits, churnHabits, churnRate, HISTORY_MS, type PastSteps } from './churn-habits.ts';
import { type Anchor, defineDetector, episodeOf, type Finding, type Params, together } from './contract.ts';
import { bothEnds, intervalOf } from './explain.ts';
import { BURST_WINDOWS, type BurstSaid, churnAsSaid, feedbackFor, isBurstExpected } from './feedback.ts';
import { lineageKey } from './lineage.ts';
import { ownersIn } from './owners.ts';
import { expectedCount, type Gamma, surpriseOfCount, upperCount } from './statistics.ts';
import { duration, gradeOf, rounded, severityOf, sqlText, sqlTime } from './words.ts';

const PARAMS = {
  low: { default: 3, unit: 'surprise', about: 'recorded from here on, pages nobody' },
  medium: { default: 4, unit: 'surprise', about: 'pages from here on' },
  high: { default: 6, unit: 'surprise', about: 'high severity from here on' },
  critical: { default: 15, unit: 'surprise', about: 'critical severity from here on' },
  min_steps: { default: 4, unit: 'steps', about: 'fewer steps than this in a window are never a burst; 3 at least' },
  learning_days: { default: 7, unit: 'd', about: 'an owner is judged once its history is this long' },
} as const;

type Knobs = Params<keyof typeof PARAMS>;

/** Step is a kind of churn; an issue that replaces a token is a rotation. */
export type Step = 'issued' | 'rotated' | 'revoked';

/** A `min_steps` below this counts as this: of owners with fewer steps within the longest window no history is read. */
const FEWEST_STEPS = 3;

const LONGEST_MS = 3 * DAY_MS;
/** Habits are those of the history before a window began: so much is read. */
const READ_MS = LONGEST_MS + HISTORY_MS;
/**
 * An hour's burst, a day's flood, and what drifts up over days. The window that surprises most counts; for having had the choice
 * each pays -log10 of its share of the false alarms (weighted Bonferroni; Genovese, Roeder and Wasserman 2006). Bursts are far
 * beyond any bar, a drift is not: most goes to the three days. Profiles: of an owner that works eight hours on five days of seven
 * an hour's is 3.2, a day's 0.4, three days' 0.15; the last is taken for more, to trust the average of all days less. An
 * hour's gives way soon: a schedule of one hour a week is far from it.
 */
const WINDOWS = [
  { windowMs: HOUR_MS, share: 0.2, profile: { prior: 3, weight: 1 }, name: 'an hour' },
  { windowMs: DAY_MS, share: 0.2, profile: { prior: 0.4, weight: 10 }, name: 'a day' },
  { windowMs: LONGEST_MS, share: 0.6, profile: { prior: 0.3, weight: 10 }, name: 'three days' },
] as const;
/** Steps further apart than this belong to different bursts. */
const BURST_GAP_MS = 3 * HOUR_MS;

/** ChurnFacts is one owner's steps of one kind. Times are epoch milliseconds, sorted. */
export interface ChurnFacts extends PastSteps {
  readonly owner: string;
  readonly step: Step;
  /** Steps of the last three days and of the scope. */
  readonly recent: readonly { readonly time: number; readonly token: string }[];
  /** Bursts that people expect: none as full is news while they do. */
  readonly expected?: readonly BurstSaid[];
}

/** Steps of each of some days and of the time before it, by `until`; the arrays run in step. */
const recentSteps = defineQuery<
  { owners: string[]; sinces: number[]; untils: number[] },
  { until: number; owner: string; step: Step; recent: { time: number; token: string }[] }
>(
  'churn_recent_steps',
  `SELECT until, owner, step, arraySort(groupArrayLast(10000)((at, id))) AS recent
   FROM (
     SELECT owner, if(replaces != '' AND action = 'issued', 'rotated', action) AS step, toUnixTimestamp64Milli(time) AS at, token AS id
     FROM lifecycle
     WHERE owner IN {owners:Array(String)} AND action IN ('issued', 'rotated', 'revoked')
       AND time >= fromUnixTimestamp64Milli(arrayMin({sinces:Array(Int64)})) AND time < fromUnixTimestamp64Milli(arrayMax({untils:Array(Int64)}))
     ORDER BY time
     LIMIT 1 BY owner, id, step, at
   )
   ARRAY JOIN {sinces:Array(Int64)} AS since, {untils:Array(Int64)} AS until
   WHERE at >= since AND at < until
   GROUP BY until, owner, step
   ${ONE_THREAD}`,
  (raw) => ({
    until: num(raw.until),
    owner: text(raw.owner),
    step: text(raw.step) as Step,
    recent: (raw.recent as [unknown, unknown][]).map(([time, token]) => ({ time: num(time), token: text(token) })),
  }),
);

const pastHours = defineQuery<
  { owners: string[]; from: number },
  { owner: string; step: Step; first: number; hours: { hour: number; steps: number }[] }
>(
  'churn_past_hours',
  `SELECT owner, step, min(at) AS first, arraySort(groupArrayIf((at, made), at * 1000 >= {from:Int64})) AS hours
   FROM (
     SELECT owner, step, toUnixTimestamp(hour) AS at, sum(steps) AS made
     FROM rollup_churn
     WHERE owner IN {owners:Array(String)}
     GROUP BY owner, step, hour
   )
   GROUP BY owner, step
   ${ONE_THREAD}`,
  (raw) => ({
    owner: text(raw.owner),
    step: text(raw.step) as Step,
    first: num(raw.first) * 1000,
    hours: (raw.hours as [unknown, unknown][]).map(([hour, steps]) => ({ hour: num(hour) * 1000, steps: num(steps) })),
  }),
);

/** First use of any token of the owners, in whole hours. */
const firstUses = defineQuery<{ owners: string[] }, { owner: string; first: number }>(
  'churn_first_uses',
  `SELECT owner, toUnixTimestamp(toStartOfHour(min(first_seen))) AS first
   FROM rollup_tokens
   WHERE owner IN {owners:Array(String)}
   GROUP BY owner
   ${ONE_THREAD}`,
  (raw) => ({ owner: text(raw.owner), first: num(raw.first) * 1000 }),
);

const facts = together(async (reads, stretch): Promise<ChurnFacts[][]> => {
  const { days } = stretch;
  const owners = await ownersIn(reads, stretch);
  if (owners.length === 0) return days.map(() => []);
  const [steps, feedback] = await Promise.all([
    reads.read(recentSteps, {
      owners,
      sinces: days.map(({ within }) => within.from - LONGEST_MS),
      untils: days.map(({ within }) => within.to),
    }),
    feedbackFor(reads, stretch),
  ]);
  const recent = steps.filter((row) => row.recent.length >= FEWEST_STEPS);
  if (recent.length === 0) return days.map(() => []);
  const busy = [...new Set(recent.map(({ owner }) => owner))];
  const [hours, uses] = await Promise.all([
    reads.read(pastHours, { owners: busy, from: stretch.within.from - READ_MS }),
    reads.read(firstUses, { owners: busy }),
  ]);
  const firstSeen = new Map<string, number>();
  for (const { owner, first } of [...hours, ...uses])
    firstSeen.set(owner, Math.min(first, firstSeen.get(owner) ?? first));
  return days.map(({ within: { from, to } }) =>
    recent
      .filter(({ until }) => until === to)
      .map(({ until: _, ...row }) => {
        const said = feedback.ofLineage.get(lineageKey({ owner: row.owner, lineage: '' })) ?? [];
        const words = said.filter(({ facet, value }) => facet in BURST_WINDOWS && value === row.step);
        const past = hours.find((other) => other.owner === row.owner && other.step === row.step)?.hours ?? [];
        const lately = past.filter(({ hour }) => hour >= from - READ_MS);
        return {
          ...row,
          firstSeen: firstSeen.get(row.owner) ?? from,
          ...churnAsSaid({ hours: lately, recent: row.recent }, words, from),
        };
      }),
  );
});

/** seenBefore is -log10 of how often a window as full as this one was seen before, null when it never was. */
export function seenBefore(facts: PastSteps, at: number, windowMs: number, count: number): number | null {
  const sums = new Map<number, number>();
  for (const past of facts.hours)
    if (past.hour >= at - HISTORY_MS && past.hour < at - windowMs - HOUR_MS) {
      const slot = Math.floor(past.hour / windowMs);
      sums.set(slot, (sums.get(slot) ?? 0) + past.steps);
    }
  let asFull = 0;
  for (const sum of sums.values()) if (sum >= 0.8 * count) asFull++;
  if (asFull === 0) return null;
  const slots = Math.max(1, Math.min(HISTORY_MS, at - facts.firstSeen) / windowMs);
  return Math.max(0, -Math.log10(Math.min(1, (asFull + 1) / (slots + 1))));
}

/** How full an hour may be to count in full towards a drift: as all but one in twenty of the hours with steps were. */
const ORDINARY_HOUR = 0.95;

/** ordinaryHour is how many steps an hour before `before` held, its fullest left out; never less than `least`. */
export function ordinaryHour(facts: Pick<ChurnFacts, 'hours'>, before: number, least: number): number {
  const usual = facts.hours.filter(({ hour }) => hour < before).map(({ steps }) => steps);
  return Math.max(
    least,
    usual.length === 0
      ? 0
      : quantileSorted(
          usual.sort((a, b) => a - b),
          ORDINARY_HOUR,
        ),
  );
}

/**
 * driftCount is how many `times` there are when no clock hour counts for more than `most`: a burst is told by the short
 * windows, and is no drift for the days after it.
 */
export function driftCount(times: readonly number[], most: number): number {
  const inHour = new Map<number, number>();
  for (const time of times) inHour.set(Math.floor(time / HOUR_MS), (inHour.get(Math.floor(time / HOUR_MS)) ?? 0) + 1);
  let count = 0;
  for (const steps of inHour.values()) count += Math.min(steps, most);
  return count;
}

function judge(facts: ChurnFacts, knobs: Knobs, since: number): Finding[] {
  const params = { ...knobs, min_steps: Math.max(FEWEST_STEPS, knobs.min_steps) };
  const findings = new Map<string, Finding>();
  const times = facts.recent.map((step) => step.time);
  const usual = usualBefore(facts, params.min_steps);
  for (let index = 0; index < times.length; index++) {
    const at = times[index] ?? 0;
    if (at < since || at - facts.firstSeen < params.learning_days * DAY_MS) continue;
    const seen = seenAt(facts, params, times, index, usual);
    const severity = seen === null ? null : severityOf(seen.surprise, params);
    if (seen === null || severity === null) continue;
    const anchor = { anchor: `burst ${facts.step} ${gradeOf(seen.surprise, params)}`, began: burstStart(times, index) };
    const episode = episodeOf(anchor);
    if (!findings.has(episode)) findings.set(episode, { ...findingOf(facts, index, seen, severity), ...anchor });
  }
  return [...findings.values()];
}

type Window = (typeof WINDOWS)[number];

/** Usual is what was usual before a window: the owner's habits, and how much of an hour counts (null: all of it). */
type Usual = (at: number, window: Window) => { readonly habits: ChurnHabits; readonly mostInHour: number | null };

/** usualBefore tells it as of the last full hour before a window, one time for each hour. */
function usualBefore(facts: ChurnFacts, least: number): Usual {
  const known = new Map<string, ReturnType<Usual>>();
  return (at, window) => {
    const hour = Math.floor((at - window.windowMs) / HOUR_MS) * HOUR_MS;
    const key = `${window.name} ${hour}`;
    const usual = known.get(key) ?? {
      habits: churnHabits(facts, hour, window),
      mostInHour: window.windowMs === LONGEST_MS ? ordinaryHour(facts, hour, least) : null,
    };
    known.set(key, usual);
    return usual;
  };
}

/** Seen is what one window holds, up to a step, and what is usual for it. */
interface Seen {
  readonly window: Window;
  readonly count: number;
  /** The steps of it that tell: driftCount of the longest window. */
  readonly telling: number;
  /** Of the other steps of a window that ends with one. */
  readonly rate: Gamma;
  readonly surprise: number;
}

/** seenAt is the window up to a step that surprises most; null when none holds enough. */
function seenAt(
  facts: ChurnFacts,
  params: Knobs,
  times: readonly number[],
  index: number,
  usualAt: Usual,
): Seen | null {
  const at = times[index] ?? 0;
  let best: Seen | null = null;
  for (const window of WINDOWS) {
    const { windowMs, share } = window;
    let from = index;
    while (from > 0 && (times[from - 1] ?? 0) > at - windowMs) from--;
    const count = index - from + 1;
    if (count < params.min_steps || isBurstExpected(facts.expected ?? [], at, windowMs, count)) continue;
    const { habits, mostInHour } = usualAt(at, window);
    const rate = churnRate(facts, at, window, habits);
    const telling = mostInHour === null ? count : driftCount(times.slice(from, index + 1), mostInHour);
    // The last step is why the window is looked at: the others are left to chance.
    const chance = surpriseOfCount(telling - 1, 1, rate);
    const before = seenBefore(facts, at, windowMs, telling);
    const surprise = (before === null ? chance : Math.min(chance, before)) + Math.log10(share);
    if (best === null || surprise > best.surprise) best = { window, count, telling, rate, surprise };
    // Nothing is graver: what longer windows say of a flood changes nothing, and they are dear.
    if (best.surprise >= params.critical) break;
  }
  return best;
}

/** burstStart is when the burst began that a step belongs to, a day before it at most. */
function burstStart(times: readonly number[], index: number): number {
  const at = times[index] ?? 0;
  let start = index;
  while (
    start > 0 &&
    at - (times[start - 1] ?? 0) < DAY_MS &&
    (times[start] ?? 0) - (times[start - 1] ?? 0) < BURST_GAP_MS
  )
    start--;
  return times[start] ?? at;
}

function findingOf(facts: ChurnFacts, index: number, seen: Seen, severity: Severity): Omit<Finding, keyof Anchor> {
  const { window, count, telling, rate, surprise } = seen;
  const steps = facts.recent.slice(index - count + 1, index + 1);
  const at = facts.recent[index]?.time ?? 0;
  const first = steps[0]?.time ?? at;
  // Where the others reach a surprise of 3, the last step not among them: one fewer, and that step.
  const atMost = upperCount(1, rate, 3);
  const others = intervalOf(1, rate);
  const historyDays = rounded((at - facts.firstSeen) / DAY_MS);
  return {
    subject: { token: null, lineage: null, owner: facts.owner },
    severity,
    title: `${facts.owner} ${facts.step} ${plural(count, 'token')} within ${duration(at - first)}`,
    summary:
      `${facts.owner} ${facts.step} ${plural(count, 'token')} within ${duration(at - first)}. ` +
      `When it makes any at this ${window.windowMs === HOUR_MS ? 'hour of the week' : 'time of the week'}, it is usually ${atMost <= 1 ? 'no more than 1' : `1 to ${atMost}`} in ${window.name}.`,
    window: { from: first, to: at },
    observed: { step: facts.step, tokens: count },
    expected: {
      tokens: rounded(1 + expectedCount(1, rate)),
      interval: { ...others, from: others.from + 1, to: others.to + 1 },
      at_most: atMost,
      window: window.name,
      // Steps that count: in a long window no hour counts for more than an ordinary one.
      counted: rounded(telling),
      history_days: historyDays,
      // An owner is judged only once it is known; its peers are other businesses.
      learning: {
        state: 'known',
        since: new Date(facts.firstSeen).toISOString(),
        history_days: historyDays,
        missing: '',
      },
    },
    surprise: rounded(surprise),
    state: 'known',
    evidence: bothEnds(
      steps.map((step) => ({ time: new Date(step.time).toISOString(), step: facts.step, token: step.token })),
      MAX_EVIDENCE,
    ),
    sql: burstSql(facts, steps),
  };
}

/** Rows of evidence that travel with a finding; the SQL gives the rest. */
const MAX_EVIDENCE = 20;

/** Steps of one moment are told apart by their token, as the judgement counts them: one after another. */
function burstSql(facts: ChurnFacts, steps: ChurnFacts['recent']): string {
  const moment = (step: ChurnFacts['recent'][number] | undefined) =>
    `(${sqlTime(step?.time ?? 0)}, ${sqlText(step?.token ?? '')})`;
  return (
    `SELECT uniqExact(time, token) AS tokens, min(time) AS first, max(time) AS last, ` +
    `groupArraySorted(100)((time, token, action, replaces, reason)) AS steps FROM lifecycle ` +
    `WHERE owner = ${sqlText(facts.owner)} AND ${stepSql(facts.step)} ` +
    `AND (time, token) >= ${moment(steps[0])} AND (time, token) <= ${moment(steps.at(-1))}`
  );
}

function stepSql(step: Step): string {
  if (step === 'issued') return "action = 'issued' AND replaces = ''";
  return step === 'rotated' ? "(action = 'rotated' OR (action = 'issued' AND replaces != ''))" : "action = 'revoked'";
}

const NOW = Date.UTC(2026, 10, 16, 12);

/** exampleChurn is an owner that makes a step at noon of every workday for four weeks, and then `count` steps within ten minutes. */
function exampleChurn(count: number, mondayBatch = 0): ChurnFacts {
  const hours = Array.from({ length: 28 }, (_, i) => NOW - (28 - i) * DAY_MS)
    .filter((day) => ![0, 6].includes(new Date(day).getUTCDay()))
    .map((day) => ({ hour: day, steps: 1 + (new Date(day).getUTCDay() === 1 ? mondayBatch : 0) }));
  const recent = Array.from({ length: count }, (_, i) => ({ time: NOW + (i * 600_000) / count, token: `tok_${i}` }));
  return { owner: 'acme', step: 'issued', firstSeen: NOW - 28 * DAY_MS, hours, recent };
}

/** churnRateDetector reports an owner whose tokens are issued, rotated or revoked at another rate than its own. */
export const churnRateDetector = defineDetector<ChurnFacts, keyof typeof PARAMS>({
  id: 'churn-rate',
  title: 'An owner issues, rotates or revokes tokens at an unusual rate',
  about:
    "Counts an owner's issued, rotated and revoked tokens in the last hour, day and three days against the same time of past weeks " +
    '(negative binomial: weeks differ, also from one another), and against how often as many were seen at any time.',
  runbook:
    'Ask who issued them and for what. Issued in bulk by nobody who knows: treat the issuing account as taken, revoke the new tokens first. ' +
    'Revoked in bulk: check that the services behind them still work, then who did it.',
  knownGaps: [
    'Sources that log no lifecycle events have no churn to watch.',
    'Owners are not judged in their first week.',
    'The same time of past weeks is moved by up to an hour, to where it holds more, because schedules drift by minutes: of an owner of few steps at even times a little too much is expected.',
    'Of an owner whose days differ by 70 % a surprise of 3 is three to five times as frequent as it says; of one that makes its steps a handful at a time, or a weekly batch of a few, now more, now fewer, five to nine times.',
    'A step that is sent again under another request counts twice in the history, not in the window that is judged.',
  ],
  params: PARAMS,
  facts,
  judge,
  examples: [
    { name: 'sixty tokens in ten minutes from an owner of one a day', facts: exampleChurn(60), since: 0, fires: true },
    { name: 'two tokens from an owner of one a day', facts: exampleChurn(2), since: 0, fires: false },
    { name: 'twenty tokens on a Monday, as every Monday', facts: exampleChurn(20, 20), since: 0, fires: false },
  ],
});
