import { readFileSync } from 'node:fs';
import { createLogger, systemClock } from '../core/index.ts';
import { defineQuery, openStore, type Store, text } from '../store/index.ts';
import { inParallel } from './client.ts';
import { serve } from './processes.ts';

/** EngineQuestion is what is asked of the engine alone. */
export type EngineQuestion =
  | { readonly ask: 'version'; readonly dataDir: string }
  | {
      readonly ask: 'insert';
      readonly dataDir: string;
      /** File of JSONCompactEachRow lines for the table `events`. */
      readonly file: string;
      readonly rowsPerBlock: number;
      /** Inserts at once. */
      readonly width: number;
    };

/** EngineAnswer is the version, or the milliseconds that the inserts took. */
export type EngineAnswer = string | number;

const version = defineQuery<Record<string, never>, string>('bench_version', 'SELECT version() AS version', (raw) =>
  text(raw.version),
);

let opened: Promise<Store> | null = null;

function store(dataDir: string): Promise<Store> {
  opened ??= openStore(
    { dataDir, store: { url: null, retention: { eventsMs: null } } },
    { log: createLogger('error'), clock: systemClock },
  );
  return opened;
}

async function handle(question: EngineQuestion): Promise<EngineAnswer> {
  const { read, insert } = await store(question.dataDir);
  if (question.ask === 'version') return (await read(version, {}))[0] ?? 'unknown';
  const { file, rowsPerBlock, width } = question;
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
  const blocks: string[][] = [];
  for (let at = 0; at < lines.length; at += rowsPerBlock) blocks.push(lines.slice(at, at + rowsPerBlock));
  const began = performance.now();
  await inParallel(blocks, width, (block, index) => insert('events', block, `${file} ${index}`));
  return performance.now() - began;
}

serve(handle, async () => {
  await (await opened)?.close();
});
