export { type Report, tablesOf } from './report.ts';
export { runScenario } from './run-scenario.ts';
export { type Scenario, scenarioName } from './scenarios.ts';
export { type Scores, scoresOf } from './scores.ts';
