import type { ScenarioOutcome } from '../../evaluation/outcome.ts';
import type { Scenario } from '../../evaluation/scenarios.ts';

const NOTHING = { caught: [], truePages: 0, falsePages: 0 };

/** outcomeOf is an outcome with nothing in it but what a test gives. */
export function outcomeOf(scenario: Partial<Scenario>, given: Partial<ScenarioOutcome>): ScenarioOutcome {
  return {
    scenario: { kind: 'attacks', seed: 1, tokens: 200, quick: false, ...scenario },
    events: 1_000,
    rejected: 0,
    liveMs: 3 * 86_400_000,
    seconds: 1,
    attacks: [],
    pages: [],
    looks: { lineageHours: 0, ownerHours: 0 },
    surprised: {},
    plain: NOTHING,
    rules: [],
    ...given,
  };
}

/** page is one alert that pages; without ids it is a false one. */
export function page(...trueFor: string[]): ScenarioOutcome['pages'][number] {
  return {
    trueFor,
    subject: 'tok_a',
    tokenKind: 'cron',
    severity: 'high',
    detectors: ['geo-novelty'],
    surprise: 5,
    summary: 'tok_a <was> used | from far away.',
    observed: {},
    expected: {},
    during: [],
  };
}

/** attack is one attack with its time to alert (null: missed), when it could be told, and how long it was not judged. */
export function attack(
  kind: ScenarioOutcome['attacks'][number]['kind'],
  delayMs: number | null,
  tellingMs = 0,
  unjudgedMs = 0,
): ScenarioOutcome['attacks'][number] {
  const description = `${kind} of tok_a`;
  return { id: `attack-${kind}`, kind, subject: 'tok_a', description, delayMs, tellingMs, unjudgedMs, heard: [] };
}

/** SOME are a scenario with attacks and one without, at hand-made figures. */
export const SOME: readonly ScenarioOutcome[] = [
  outcomeOf(
    {},
    {
      attacks: [
        attack('combined', 1_000),
        attack('combined', 3_000),
        attack('cron-touch-six', null),
        attack('churn-drift', 260_000_000, 100_000_000, 250_000_000),
        attack('enumeration-slow', 7_200_000, 7_000_000),
      ],
      pages: [page('a', 'b'), page('c'), page()],
      plain: { caught: [true, false, false, false, false], truePages: 1, falsePages: 3 },
    },
  ),
  outcomeOf(
    { kind: 'calm', tokens: 2_000 },
    {
      liveMs: 7 * 86_400_000,
      pages: [page(), page(), page()],
      looks: { lineageHours: 10_000, ownerHours: 500 },
      surprised: { 'geo-novelty': [800, 90, 7, 0], 'churn-rate': [50, 5, 3, 0] },
      plain: { caught: [], truePages: 0, falsePages: 40 },
    },
  ),
];
