import { answerOnce } from './processes.ts';
import { runScenario } from './run-scenario.ts';
import type { Scenario } from './scenarios.ts';

/** ScenarioQuestion asks for one scenario. */
export interface ScenarioQuestion {
  readonly scenario: Scenario;
  readonly tune: boolean;
}

answerOnce(({ scenario, tune, folder }: ScenarioQuestion & { readonly folder: string }) =>
  runScenario(scenario, { folder, tune }),
);
