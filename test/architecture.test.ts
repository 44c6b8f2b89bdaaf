import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** Who may import whom, as in docs/architecture.md; a room that is not named here is not one. */
const ARROWS: Readonly<Record<string, readonly string[]>> = {
  core: [],
  config: ['core'],
  store: ['config', 'core'],
  queues: ['config', 'core'],
  ingest: ['store', 'queues', 'config', 'core'],
  detectors: ['store', 'queues', 'config', 'core'],
  alerts: ['store', 'queues', 'config', 'core'],
  console: ['alerts', 'store', 'queues', 'config', 'core'],
  fixtures: ['core'],
  cli: ['core', 'config', 'store', 'queues', 'ingest', 'detectors', 'alerts', 'console', 'fixtures'],
  evaluation: ['core', 'config', 'store', 'queues', 'ingest', 'detectors', 'alerts', 'console', 'fixtures'],
};

/** Packages that only one room may name. */
const KEPT: Readonly<Record<string, string>> = {
  bullmq: 'queues',
  ioredis: 'queues',
  '@clickhouse/client': 'store',
  '@clickhouse/client-common': 'store',
  chdb: 'store',
};

const MOST_LINES = 600;

interface Source {
  /** Relative to the repository, with `/`. */
  readonly file: string;
  readonly room: string;
  readonly text: string;
  /** Imported files of ours, relative to the repository, and packages by name. */
  readonly files: readonly string[];
  readonly packages: readonly string[];
}

const ROOM_SOURCES = Object.keys(ARROWS).flatMap(sourcesOf);
const SOURCES = [...ROOM_SOURCES, ...sourcesOf('bench'), ...sourcesOf('test')];

function sourcesOf(room: string): Source[] {
  if (!existsSync(join(ROOT, room))) return [];
  return readdirSync(join(ROOT, room), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => {
      const file = `${room}/${name.replaceAll('\\', '/')}`;
      const text = readFileSync(join(ROOT, file), 'utf8');
      return { file, room, text, ...importsOf(file, text) };
    });
}

function importsOf(file: string, text: string): Pick<Source, 'files' | 'packages'> {
  const code = text.replaceAll(/\/\*[\s\S]*?\*\//g, '').replaceAll(/^\s*\/\/.*$/gm, '');
  const statement = /(?:^|\n|;)\s*(?:import|export)\s(?:[^'"`;]*?\sfrom\s)?\s*['"]([^'"\n]+)['"]/g;
  const call = /\bimport\(\s*['"`]([^'"`\n]+)['"`]/g;
  const named = [...code.matchAll(statement), ...code.matchAll(call)].map((match) => match[1] as string);
  const own = named.filter((name) => name.startsWith('.'));
  return {
    files: own.map((name) => relative(ROOT, join(ROOT, dirname(file), name)).replaceAll('\\', '/')),
    packages: named.filter((name) => !name.startsWith('.')).map(packageName),
  };
}

function packageName(specifier: string): string {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
}

function roomOf(file: string): string {
  return file.split('/')[0] as string;
}

describe('the rooms', () => {
  test('are all there: a folder with sources is a room, and the reader finds its imports', () => {
    expect(ROOM_SOURCES.length).toBeGreaterThan(20);
    expect(
      importsOf('a/b.ts', "import x, {\n y,\n} from '../c/index.ts';\nexport * from './d.ts';\nimport 'pkg/e';\n"),
    ).toEqual({
      files: ['c/index.ts', 'a/d.ts'],
      packages: ['pkg'],
    });
    expect(importsOf('a/b.ts', "/* import 'no' */ const z = await import('@s/p/q');")).toEqual({
      files: [],
      packages: ['@s/p'],
    });
  });

  test('import only those rooms that the table of the architecture allows', () => {
    const wrong = ROOM_SOURCES.flatMap(({ file, room, files }) =>
      files
        .filter((target) => roomOf(target) !== room && !(ARROWS[room] as readonly string[]).includes(roomOf(target)))
        .map((target) => `${file} -> ${target}`),
    );
    expect(wrong).toEqual([]);
  });

  test('are entered by the door, index.ts', () => {
    // Tests of a room may look behind its door: what is hidden there still wants tests of its own.
    const wrong = [...ROOM_SOURCES, ...sourcesOf('bench')].flatMap(({ file, room, files }) =>
      files
        .filter((target) => roomOf(target) !== room && Object.hasOwn(ARROWS, roomOf(target)))
        .filter((target) => target !== `${roomOf(target)}/index.ts`)
        .map((target) => `${file} -> ${target}`),
    );
    expect(wrong).toEqual([]);
  });

  test('keep their engines to themselves: BullMQ and Redis in queues, ClickHouse in store', () => {
    const wrong = SOURCES.filter(({ file, room }) => room !== 'bench' && !file.startsWith('test/')).flatMap(
      ({ file, room, packages }) =>
        packages
          .filter((name) => (KEPT[name] ?? (name.startsWith('@clickhouse/') ? 'store' : room)) !== room)
          .map((name) => `${file} -> ${name}`),
    );
    expect(wrong).toEqual([]);
  });
});

describe('the commands that ask a running instance', () => {
  test.each(['alerts', 'sql', 'key', 'budget'])('%s starts without its engines', (name) => {
    const seen = new Set([`cli/${name}.ts`]);
    for (const file of seen) {
      const { text } = SOURCES.find((source) => source.file === file) as Source;
      const loaded = text.replaceAll(/^(?:import|export) type [^;]*;$/gm, '');
      for (const target of importsOf(file, loaded).files) seen.add(target);
    }
    expect([...new Set([...seen].map(roomOf))].sort()).toEqual(['cli', 'config', 'core']);
  });
});

describe('the files', () => {
  test('do not import one another in a circle', () => {
    const graph = new Map(SOURCES.map(({ file, files }) => [file, files]));
    const done = new Set<string>();
    const circles: string[] = [];
    const visit = (file: string, trail: readonly string[]) => {
      if (trail.includes(file)) circles.push([...trail.slice(trail.indexOf(file)), file].join(' -> '));
      if (done.has(file) || trail.includes(file)) return;
      for (const target of graph.get(file) ?? []) visit(target, [...trail, file]);
      done.add(file);
    };
    for (const file of graph.keys()) visit(file, []);
    expect(circles).toEqual([]);
  });

  test('import only files that exist', () => {
    const known = new Set(SOURCES.map(({ file }) => file));
    const wrong = SOURCES.flatMap(({ file, files }) =>
      files.filter((target) => target.endsWith('.ts') && !known.has(target)).map((target) => `${file} -> ${target}`),
    );
    expect(wrong).toEqual([]);
  });

  test(`are short enough to be read: at most ${MOST_LINES} lines`, () => {
    const long = SOURCES.filter(({ text }) => text.split('\n').length > MOST_LINES).map(({ file }) => file);
    expect(long).toEqual([]);
  });

  test('say what each export is', () => {
    const declaration =
      /^export (?:default )?(?:abstract )?(?:async )?(?:const|let|function\*?|class|interface|type) (\w+)/;
    const silent = ROOM_SOURCES.flatMap(({ file, text }) => {
      const lines = text.split('\n');
      const explained = new Set<string>();
      return lines.flatMap((line, i) => {
        const name = declaration.exec(line)?.[1];
        // A constant with its unit in its name has said it all.
        if (name === undefined || /_(MS|BYTES)$/.test(name)) return [];
        // One sentence serves all overloads of a function.
        if (lines[i - 1]?.trimEnd().endsWith('*/')) explained.add(name);
        return explained.has(name) ? [] : [`${file}:${i + 1} ${name}`];
      });
    });
    expect(silent).toEqual([]);
  });
});
