import { writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Store } from '../../store/index.ts';
import { openTestStore, rows } from '../kit/store.ts';
import { fencedBlocks, PAGES, ROOT, read, sectionsOf } from './markdown.ts';

const PAGE = 'docs/schema.md';
const TABLE = /\| column \| type \| meaning \|\n[\s\S]*?(?=\n\n|\n?$)/;

let store: Store;
beforeAll(async () => {
  store = await openTestStore();
});
afterAll(() => store.close());

interface Column {
  readonly name: string;
  readonly type: string;
  readonly comment: string;
}

async function columnsOfStore(): Promise<Map<string, Column[]>> {
  const tables = new Map<string, Column[]>();
  const found = await rows(
    store,
    `SELECT table, name, type, comment FROM system.columns
     WHERE database = currentDatabase() AND table NOT LIKE '%_mv' AND table NOT LIKE '.inner%' ORDER BY table, position`,
  );
  for (const raw of found) {
    const table = String(raw.table);
    const columns = tables.get(table) ?? [];
    columns.push({ name: String(raw.name), type: String(raw.type), comment: String(raw.comment) });
    tables.set(table, columns);
  }
  return tables;
}

/** The documented meaning of each column, by table and then by "name type". */
function documented(): Map<string, Map<string, string>> {
  const tables = new Map<string, Map<string, string>>();
  for (const { level, title, text } of sectionsOf(read(PAGE))) {
    if (level !== 3) continue;
    const columns = [...text.matchAll(/^\| `([^`]+)` \| `([^`]+)` \| (.*?) *\|$/gm)];
    tables.set(title, new Map(columns.map(([, name, type, meaning]) => [`${name} ${type}`, meaning ?? ''])));
  }
  return tables;
}

/** Rewrites the tables of the page from the store; what was written about a column stays, its comment stands in for it. */
function updated(page: string, tables: ReadonlyMap<string, readonly Column[]>): string {
  const meanings = documented();
  return page.replace(/^### (\w+)\n[\s\S]*?(?=^#{1,3} |(?![\s\S]))/gm, (section, table: string) => {
    const written = new Map([...(meanings.get(table) ?? [])].map(([key, text]) => [key.split(' ')[0], text]));
    const lines = (tables.get(table) ?? []).map(
      ({ name, type, comment }) => `| \`${name}\` | \`${type}\` | ${written.get(name) || comment} |`,
    );
    return section.replace(TABLE, ['| column | type | meaning |', '| --- | --- | --- |', ...lines].join('\n'));
  });
}

test('docs/schema.md describes every column of every table and view, and nothing that is not there', async () => {
  const tables = await columnsOfStore();
  if (process.env.UPDATE_DOCS !== undefined) writeFileSync(`${ROOT}${PAGE}`, updated(read(PAGE), tables));
  const pages = documented();
  expect([...pages.keys()].sort()).toEqual([...tables.keys()].sort());
  for (const [table, columns] of tables) {
    const there = pages.get(table) ?? new Map<string, string>();
    expect([...there.keys()], table).toEqual(columns.map(({ name, type }) => `${name} ${type}`));
    for (const [column, meaning] of there) expect(meaning, `${table}.${column} has no meaning`).not.toBe('');
  }
});

/** Fenced SQL, and the queries of `tokenwatch sql "..."` lines. Placeholders in capitals are what a reader fills in. */
function queriesOf(page: string): string[] {
  const commands = [...page.matchAll(/tokenwatch sql "([^"]+)"/g)].map(([, query]) => query ?? '');
  return [...fencedBlocks(page, 'sql'), ...commands].filter((query) => !query.includes('...'));
}

const queries = PAGES.flatMap((page) => queriesOf(read(page)).map((query, i) => [`${page} ${i + 1}`, query] as const));

test.each(queries)('analysts can run the query %s as it is printed', async (_, query) => {
  const bare = query.trim().replace(/;$/, '');
  const { body } = await store.analyse(bare, { defaultFormat: 'JSONEachRow', maxRows: 10, timeoutMs: 10_000 });
  expect(body).toBeInstanceOf(Buffer);
});
