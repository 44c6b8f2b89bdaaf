export type { Environment } from './interpolate.ts';
export { KNOBS, knobsTable } from './knobs.ts';
export { DEFAULT_FILE, findConfigFile, type LoadOptions, loadConfig } from './load.ts';
export { nearest } from './nearest.ts';
export * from './types.ts';
export { formatBudget, formatDuration, formatSize, parseBudget, parseDuration, parseSize } from './units.ts';
