export type { Environment } from './interpolate.ts';
export { KNOBS, knobsTable } from './knobs.ts';
export { DEFAULT_FILE, findConfigFile, type LoadOptions, loadConfig } from './load.ts';
export { nearest } from './nearest.ts';
export * from './types.ts';
export { formatDuration, formatSize, parseDuration, parseSize } from './units.ts';
