import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** ROOT is the repository's folder. */
export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** read is a file of the repository as text. */
export function read(path: string): string {
  return readFileSync(`${ROOT}${path}`, 'utf8');
}

/** PAGES are the documents that people read, by their path in the repository. */
export const PAGES: readonly string[] = [
  ...readdirSync(ROOT).filter((name) => name.endsWith('.md')),
  ...filesUnder('docs', '.md'),
];

/** filesUnder lists the files of a folder and the folders in it whose names end so, by their path in the repository. */
export function filesUnder(folder: string, ending: string): string[] {
  return readdirSync(`${ROOT}${folder}`, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(ending))
    .map((entry) => `${entry.parentPath.slice(ROOT.length)}/${entry.name}`)
    .sort();
}

/** Section is a heading of a page with what stands below it, up to the next heading of any level. */
export interface Section {
  readonly level: number;
  readonly title: string;
  readonly text: string;
}

/** sectionsOf cuts a page at its headings. */
export function sectionsOf(page: string): Section[] {
  const blind = withoutCode(page);
  const heads = [...blind.matchAll(/^(#{1,6}) +(.+?) *$/gm)];
  return heads.map((head, i) => ({
    level: head[1]?.length ?? 0,
    title: page.slice(head.index, head.index + head[0].length).replace(/^#+ +/, ''),
    text: page.slice(head.index + head[0].length, heads[i + 1]?.index ?? page.length),
  }));
}

/** withoutCode blanks fenced code out, so that what stands in it is not taken for markdown; every offset stays. */
export function withoutCode(page: string): string {
  return page.replace(/^( *```)[^\n]*\n[\s\S]*?^\1 *$/gm, (block) => block.replace(/[^\n]/g, ' '));
}

/** fencedBlocks are the fenced blocks of a page in one language. */
export function fencedBlocks(page: string, language: string): string[] {
  return [...page.matchAll(/^```(\w+)[^\n]*\n([\s\S]*?)^```/gm)]
    .filter(([, name]) => name === language)
    .map(([, , text]) => text ?? '');
}

/** firstColumn is what stands in backquotes at the start of every row of a text's tables. */
export function firstColumn(text: string): string[] {
  return [...text.matchAll(/^\| `([^`]+)`/gm)].map(([, name]) => name ?? '');
}
