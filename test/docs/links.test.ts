import { existsSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { expect, test } from 'vitest';
import { PAGES, ROOT, read, sectionsOf, withoutCode } from './markdown.ts';

/** GitHub's anchor of a heading. */
function anchorOf(title: string): string {
  return title
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, '')
    .replace(/\s/g, '-');
}

test.each(PAGES)('every link of %s inside the repository leads somewhere', (page) => {
  const broken: string[] = [];
  for (const [, target = ''] of withoutCode(read(page)).matchAll(/\]\(([^)\s]+)\)/g)) {
    if (/^[a-z]+:/.test(target)) continue;
    const [path = '', anchor] = target.split('#');
    const file = path === '' ? page : normalize(join(dirname(page), path));
    const anchors = () => sectionsOf(read(file)).map(({ title }) => anchorOf(title));
    if (!existsSync(`${ROOT}${file}`)) broken.push(target);
    else if (anchor !== undefined && !anchors().includes(anchor)) broken.push(target);
  }
  expect(broken).toEqual([]);
});

test('every page of docs can be reached from README.md', () => {
  const reached = new Set<string>();
  const open = ['README.md'];
  for (let page = open.pop(); page !== undefined; page = open.pop()) {
    if (reached.has(page) || !existsSync(`${ROOT}${page}`)) continue;
    reached.add(page);
    if (!page.endsWith('.md')) continue;
    for (const [, target = ''] of withoutCode(read(page)).matchAll(/\]\(([^)\s#]+)[^)]*\)/g)) {
      if (!/^[a-z]+:/.test(target)) open.push(normalize(join(dirname(page), target)));
    }
  }
  expect(PAGES.filter((page) => !reached.has(page))).toEqual([]);
});
