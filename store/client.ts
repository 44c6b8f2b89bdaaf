import type { Engine, EngineOptions } from './engine.ts';
import { openServer } from './server.ts';

/** openEngine connects, makes the database when it is missing, and refuses an engine that is too old. */
export async function openEngine(options: EngineOptions): Promise<Engine> {
  if (options.url !== null) return openServer(options, options.url);
  // Loaded only here: a deployment with CLICKHOUSE_URL can leave the engine's 500 MB out.
  const { openEmbedded } = await import('./embedded.ts');
  return openEmbedded(options);
}
