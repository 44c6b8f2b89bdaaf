import { foldDetections } from '../alerts/index.ts';
import type { Alert, Detection } from '../core/index.ts';
import { type AttackTruth, type ChangeTruth, type FleetToken, type Simulation, simulate } from '../fixtures/index.ts';
import { delayOf, isAbout, match, type Page, pageOf } from './matching.ts';
import type { AttackOutcome, PageOutcome, ScenarioOutcome, Tally } from './outcome.ts';
import { plainFacts } from './plain-facts.ts';
import { PLAIN_RULE, type PlainFacts, type PlainRule, plainPages, plainRules } from './plain-rule.ts';
import { LOOK_LEVELS, openReplay, type Replay } from './replay.ts';
import { type Scenario, SLICE_EVENTS, SLICE_MS, simulationOf } from './scenarios.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/** RunOptions say where a scenario may keep its store, and whether all plain rules are compared. */
export interface RunOptions {
  readonly folder: string;
  readonly tune: boolean;
}

/** runScenario simulates a fleet, feeds it to a Tokenwatch of its own, and compares what it pages with what happened. */
export async function runScenario(scenario: Scenario, options: RunOptions): Promise<ScenarioOutcome> {
  const began = performance.now();
  const simulation = simulate(simulationOf(scenario));
  const calm = scenario.kind === 'calm';
  const replay = await openReplay({
    folder: options.folder,
    format: 'native',
    liveMs: simulation.liveMs,
    looks: calm,
  });
  try {
    const { events, rejected } = await feed(simulation, replay, SLICE_MS[scenario.kind]);
    const { facts, looks } = await plainFacts(replay.store, simulation.liveMs);
    const judged = judgedBy(replay.detections(), simulation);
    return {
      scenario,
      events,
      rejected,
      liveMs: simulation.endMs - simulation.liveMs,
      seconds: (performance.now() - began) / 1000,
      ...judged,
      looks,
      surprised: calm ? surprisedLooks(replay.surprises()) : {},
      plain: tallyOf(facts, PLAIN_RULE, simulation.truth.attacks),
      rules: options.tune ? plainRules().map((rule) => tallyOf(facts, rule, simulation.truth.attacks)) : [],
    };
  } finally {
    await replay.close();
  }
}

/** feed gives a simulation's events to a replay in the order of their arrival: hours of history, short slices of the live part. */
async function feed(
  simulation: Simulation,
  replay: Replay,
  sliceMs: number,
): Promise<{ events: number; rejected: number }> {
  let [events, rejected] = [0, 0];
  let lines: string[] = [];
  let sliceEndMs = 0;
  let latestMs = 0;
  const give = async (): Promise<void> => {
    if (lines.length === 0) return;
    const text = lines.join('');
    lines = [];
    const counts = await replay.take(piece(text), latestMs, latestMs >= simulation.liveMs);
    events += counts.accepted;
    rejected += counts.rejected;
  };
  for (const hour of simulation.arrivalsByHour()) {
    for (const { atMs, event } of hour) {
      const live = atMs >= simulation.liveMs;
      // The history ends in a piece of its own: it is taught, not judged.
      if (live && (latestMs < simulation.liveMs || atMs >= sliceEndMs || lines.length >= SLICE_EVENTS)) {
        await give();
        sliceEndMs = atMs + sliceMs;
      }
      lines.push(`${JSON.stringify(event)}\n`);
      latestMs = atMs;
    }
    if (latestMs < simulation.liveMs) await give();
  }
  await give();
  return { events, rejected };
}

async function* piece(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text);
}

/** judgedBy compares the alerts that detections fold into with the truth of their simulation. */
export function judgedBy(
  detections: readonly Detection[],
  simulation: Pick<Simulation, 'truth' | 'liveMs' | 'tokens'>,
): Pick<ScenarioOutcome, 'attacks' | 'pages'> {
  const paging = foldDetections(detections)
    .map((alert) => ({ alert, page: pageOf(alert) }))
    .filter((one): one is { alert: Alert; page: Page } => one.page !== null);
  const { attacks, changes } = simulation.truth;
  const matched = match(
    paging.map(({ page }) => page),
    attacks,
  );
  const kinds = new Map(simulation.tokens.map((token) => [token.id, token]));
  return {
    attacks: attacks.map((attack, i) => attackOutcome(attack, matched.paged[i] ?? null, simulation.liveMs, detections)),
    pages: paging.map(({ alert, page }, i) => pageOutcome(alert, page, matched.trueFor[i] ?? [], changes, kinds)),
  };
}

function attackOutcome(
  attack: AttackTruth,
  pagedMs: number | null,
  liveMs: number,
  detections: readonly Detection[],
): AttackOutcome {
  const about = detections.filter(
    ({ subject, window }) =>
      isAbout({ subject, tokens: subject.token === null ? [] : [subject.token], times: [] }, attack) &&
      window.to >= attack.firstEventMs &&
      window.from <= attack.lastEventMs + HOUR_MS,
  );
  const strongest = new Map<string, Detection>();
  for (const one of about)
    if (one.surprise >= (strongest.get(one.detector)?.surprise ?? 0)) strongest.set(one.detector, one);
  return {
    id: attack.id,
    kind: attack.kind,
    subject: attack.subject.token ?? attack.subject.owner,
    description: attack.description,
    delayMs: pagedMs === null ? null : delayOf(attack, pagedMs, liveMs),
    tellingMs: Math.max(0, attack.firstTellingMs - attack.firstEventMs),
    unjudgedMs: Math.max(0, liveMs - attack.firstEventMs),
    heard: [...strongest.values()].map(({ detector, severity, surprise }) => `${detector} ${severity} ${surprise}`),
  };
}

function pageOutcome(
  alert: Alert,
  page: Page,
  trueFor: readonly string[],
  changes: readonly ChangeTruth[],
  tokens: ReadonlyMap<string, FleetToken>,
): PageOutcome {
  const { lineage, token, owner } = alert.subject;
  const from = page.times[0] ?? alert.openedAt;
  const strongest = alert.detections.reduce<Detection | null>(
    (best, one) => (best === null || one.surprise > best.surprise ? one : best),
    null,
  );
  const touching = changes.filter(
    (change) =>
      from >= change.fromMs &&
      from <= change.toMs + DAY_MS &&
      (lineage === null ? change.owners.includes(owner) : change.tokens.includes(lineage)),
  );
  return {
    trueFor,
    subject: token ?? owner,
    tokenKind: lineage === null ? 'owner' : (tokens.get(lineage)?.kind ?? 'issued'),
    severity: alert.severity,
    detectors: alert.detectors,
    surprise: strongest?.surprise ?? 0,
    summary: alert.summary,
    observed: strongest?.observed ?? {},
    expected: strongest?.expected ?? {},
    during: touching.map(({ kind, description }) => `${kind}: ${description}`),
  };
}

/** surprisedLooks counts, by detector, the looks (subject and hour) that reached each of LOOK_LEVELS. */
export function surprisedLooks(surprises: readonly Detection[]): Record<string, number[]> {
  const strongest = new Map<string, { detector: string; surprise: number }>();
  for (const { detector, subject, window, surprise, state } of surprises) {
    // A hard rule has no chance to compare with.
    if (state === 'learning') continue;
    const look = JSON.stringify([detector, subject.owner, subject.lineage, Math.floor(window.to / HOUR_MS)]);
    if (surprise > (strongest.get(look)?.surprise ?? 0)) strongest.set(look, { detector, surprise });
  }
  const counts: Record<string, number[]> = {};
  for (const { detector, surprise } of strongest.values()) {
    counts[detector] ??= LOOK_LEVELS.map(() => 0);
    const row = counts[detector];
    LOOK_LEVELS.forEach((level, i) => {
      if (surprise >= level) row[i] = (row[i] ?? 0) + 1;
    });
  }
  return counts;
}

/** tallyOf is what a plain rule would have paged in a scenario. */
export function tallyOf(facts: PlainFacts, rule: PlainRule, attacks: readonly AttackTruth[]): Tally {
  const { paged, trueFor } = match(plainPages(facts, rule), attacks);
  const truePages = trueFor.filter((ids) => ids.length > 0).length;
  return { caught: paged.map((time) => time !== null), truePages, falsePages: trueFor.length - truePages };
}
