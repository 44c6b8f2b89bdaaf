export * from './alerts.ts';
export * from './auth.ts';
export * from './clock.ts';
export * from './errors.ts';
export * from './events.ts';
export * from './ids.ts';
export * from './log.ts';
export * from './metrics.ts';
