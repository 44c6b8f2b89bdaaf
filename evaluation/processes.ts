import { type ChildProcess, fork } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const children = new Set<ChildProcess>();
const folders = new Set<string>();

process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
  for (const folder of folders) rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(130));

/** askProcess runs a module of this folder in a process of its own, with a folder of its own, and gives what it answers. */
export function askProcess<Q extends object, A>(module: string, question: Q): Promise<A> {
  const folder = mkdtempSync(join(tmpdir(), 'tw-evaluate-'));
  folders.add(folder);
  const file = fileURLToPath(new URL(import.meta.url.replace(/[^/]+(\.[jt]s)$/, `${module}$1`)));
  const child = fork(file, [], { serialization: 'advanced' });
  children.add(child);
  return new Promise<A>((resolve, reject) => {
    let reply: { answer?: A; error?: string } = { error: 'it gave no answer' };
    child.once('message', (message) => {
      reply = message as typeof reply;
    });
    child.once('error', reject);
    child.once('exit', (code) => {
      children.delete(child);
      folders.delete(folder);
      rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
      if (reply.error === undefined) resolve(reply.answer as A);
      else reject(new Error(`${module} ended with ${code}: ${reply.error}`));
    });
    child.send({ ...question, folder });
  });
}

/** answerOnce answers the question of the process that started this one, and ends. */
export function answerOnce<Q, A>(handle: (question: Q & { readonly folder: string }) => Promise<A>): void {
  process.once('message', (question) => {
    handle(question as Q & { readonly folder: string })
      .then(
        (answer) => ({ answer }),
        (error: unknown) => ({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
      )
      .then((reply) => process.send?.(reply, () => process.exit(0)));
  });
  process.once('disconnect', () => process.exit(0));
}

/** eachOf runs `work` over items in order, at most `atOnce` at a time; the answers keep the order. */
export async function eachOf<T, R>(items: readonly T[], atOnce: number, work: (item: T) => Promise<R>): Promise<R[]> {
  const answers: R[] = [];
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let i = next++; i < items.length; i = next++) answers[i] = await work(items[i] as T);
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, lane));
  return answers;
}
