import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openEmbedded } from '../../store/embedded.ts';
import type { Engine } from '../../store/engine.ts';
import { forgetUnfinished } from '../../store/unfinished.ts';
import { testStoreFolder } from '../kit/store.ts';

let engine: Engine;
const path = join(testStoreFolder(), 'clickhouse');

beforeAll(async () => {
  const database = `test_${randomBytes(6).toString('hex')}`;
  engine = await openEmbedded({ url: null, dataDir: testStoreFolder(), database });
});
afterAll(() => engine.close());

const one = async (sql: string) => (await engine.rows(sql, {}, 'testing'))[0] as Record<string, unknown>;

describe('an insert that was cut short between its token and its rows', () => {
  /** A table with a view behind it; the view's last part is taken away, as if the engine had died before it was there. */
  async function cutShort(name: string): Promise<{ insert: (token: string) => Promise<void>; counts: () => unknown }> {
    const table = `(n UInt32) ENGINE = MergeTree ORDER BY n SETTINGS non_replicated_deduplication_window = 100`;
    await engine.command(`CREATE TABLE ${name} ${table}`, 'testing');
    await engine.command(`CREATE TABLE ${name}_rolled ${table}`, 'testing');
    await engine.command(`CREATE MATERIALIZED VIEW ${name}_mv TO ${name}_rolled AS SELECT n FROM ${name}`, 'testing');
    const insert = (token: string) => engine.insert(name, ['n'], ['[1]', '[2]'], token);
    await insert('first');
    await insert('second');
    const part = await one(
      `SELECT path FROM system.parts WHERE database = currentDatabase() AND table = '${name}_rolled' AND active ORDER BY max_block_number DESC LIMIT 1`,
    );
    await engine.command(`DETACH TABLE ${name}_rolled`, 'testing');
    rmSync(String(part.path), { recursive: true });
    return {
      insert,
      counts: async () =>
        one(`SELECT (SELECT count() FROM ${name}) AS stored, (SELECT count() FROM ${name}_rolled) AS rolled`),
    };
  }

  test('would be taken for a repetition by the engine, which is why', async () => {
    const { insert, counts } = await cutShort('lost');
    await engine.command('ATTACH TABLE lost_rolled', 'testing');
    await insert('second');
    expect(await counts()).toMatchObject({ stored: 4, rolled: 2 });
  });

  test('is forgotten, so that its retry stores what is missing and nothing twice', async () => {
    const { insert, counts } = await cutShort('mended');
    expect(forgetUnfinished(path)).toContain('all_2_2_0');
    await engine.command('ATTACH TABLE mended_rolled', 'testing');
    for (const token of ['first', 'second', 'second']) await insert(token);
    expect(await counts()).toMatchObject({ stored: 4, rolled: 4 });
  });
});

describe('what is there is remembered', () => {
  function tableOf(parts: readonly string[], log: readonly string[]): { root: string; file: string } {
    const root = join(testStoreFolder(), randomBytes(6).toString('hex'));
    const table = join(root, 'store', 'abc', 'abc-table');
    for (const part of [...parts, 'deduplication_logs', 'detached']) mkdirSync(join(table, part), { recursive: true });
    const file = join(table, 'deduplication_logs', 'deduplication_log_12.txt');
    writeFileSync(join(table, 'deduplication_logs', 'deduplication_log_9.txt'), '1\tall_0_0_0\tall_old\n');
    writeFileSync(file, log.map((line) => `${line}\n`).join(''));
    return { root, file };
  }

  test('as its own part, and as one that was merged', () => {
    const log = ['1\tall_3_3_0\tall_a', '1\tall_9_9_1\tall_b', '1\t20260921_4_4_0\t20260921_c', '2\tall_5_5_0\tall_d'];
    const { root, file } = tableOf(['all_1_7_2', 'all_9_9_1', '20260921_4_4_0_77'], log);
    expect(forgetUnfinished(root)).toEqual([]);
    expect(readFileSync(file, 'utf8')).toBe(log.map((line) => `${line}\n`).join(''));
  });

  test('but not as a part of another partition, or as one that was being written', () => {
    const { root, file } = tableOf(
      ['20260921_4_4_0', 'tmp_insert_all_4_4_0', 'all_1_3_1'],
      ['1\tall_4_4_0\tall_a', '1\tall_2_2_0\tall_b'],
    );
    expect(forgetUnfinished(root)).toEqual(['all_4_4_0']);
    expect(readFileSync(file, 'utf8')).toBe('1\tall_2_2_0\tall_b\n');
    expect(readdirSync(join(file, '..'))).toHaveLength(2);
  });

  test('also when a change of retention has rewritten its part', async () => {
    const table = `(n UInt32, t DateTime) ENGINE = MergeTree ORDER BY n SETTINGS non_replicated_deduplication_window = 100`;
    await engine.command(`CREATE TABLE rewritten ${table}`, 'testing');
    const insert = () => engine.insert('rewritten', ['n', 't'], [`[1,"${new Date().toISOString()}"]`], 'first');
    await insert();
    await engine.command('ALTER TABLE rewritten UPDATE t = t + 1 WHERE 1 SETTINGS mutations_sync = 1', 'testing');
    const { name, path: part } = await one(
      "SELECT name, path FROM system.parts WHERE database = currentDatabase() AND table = 'rewritten' AND active",
    );
    expect(name).toMatch(/^all_1_1_0_\d+$/);
    await engine.command('DETACH TABLE rewritten', 'testing');
    // As the engine does some minutes later.
    rmSync(join(String(part), '..', 'all_1_1_0'), { recursive: true });
    expect(forgetUnfinished(path)).not.toContain('all_1_1_0');
    await engine.command('ATTACH TABLE rewritten', 'testing');
    await insert();
    expect(await one('SELECT count() AS stored FROM rewritten')).toMatchObject({ stored: 1 });
  });

  test('a folder without a store has nothing to forget', () => {
    expect(forgetUnfinished(join(testStoreFolder(), 'nowhere'))).toEqual([]);
  });
});
