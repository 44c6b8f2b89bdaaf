import { existsSync, readFileSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import { isNode, LineCounter, parseDocument } from 'yaml';
import { errorText, TokenwatchError } from '../core/index.ts';
import { explain, type Path, type Problem, pathText, unknownName } from './explain.ts';
import { type Environment, interpolate } from './interpolate.ts';
import { KNOBS, type Knob } from './knobs.ts';
import { schema } from './schema.ts';
import type { Config } from './types.ts';

/** DEFAULT_FILE is read from the working folder when no other file is named. */
export const DEFAULT_FILE = 'tokenwatch.yaml';

/** LoadOptions says where the configuration comes from. */
export interface LoadOptions {
  /** As given by `--config`; it has to exist. */
  readonly file?: string;
  readonly env: Environment;
  /** Working folder; paths in the file are relative to the file, all others to this. */
  readonly cwd: string;
  /** Detectors that exist, with the names of their parameters; without it any id and parameter is taken. */
  readonly detectors?: Readonly<Record<string, readonly string[]>>;
}

/** These may hang on a variable that is not set: the key then counts as absent. */
const OPTIONAL_WHEN_UNSET = new Set(['store.url', 'queue.url', 'geo.country', 'geo.city', 'geo.asn']);

/** findConfigFile is the absolute path of the file that loadConfig reads, null when there is none and the defaults hold. */
export function findConfigFile({ file, env, cwd }: LoadOptions): string | null {
  const named = file ?? env.TOKENWATCH_CONFIG;
  if (named !== undefined && named !== '') return resolve(cwd, named);
  const usual = resolve(cwd, DEFAULT_FILE);
  return existsSync(usual) ? usual : null;
}

/**
 * loadConfig reads, completes and checks the configuration: file, then environment, then defaults. Throws one
 * TokenwatchError (`bad_config`) that lists every problem with its key, what was found and what is allowed; no secrets in it.
 */
export function loadConfig(options: LoadOptions): Config {
  const file = findConfigFile(options);
  const source = file === null ? EMPTY : readSource(file);
  const problems: Problem[] = [];
  const filledIn = new Set<string>();
  const tree = fillIn(source.tree, [], options.env, filledIn, problems);
  const raw = (tree ?? {}) as Record<string, unknown>;
  const fromEnv = overlay(raw, options.env);

  const parsed = schema.safeParse(raw);
  const reported = new Set(problems.map((p) => pathText(p.path)));
  const found = explain(parsed.error?.issues ?? [], { filledIn, valueAt: (path) => valueAt(raw, path) });
  problems.push(...found.filter((p) => !reported.has(pathText(p.path))), ...unknownNames(raw, options.detectors));
  if (parsed.success) problems.push(...contradictions(parsed.data.ingest));
  if (problems.length > 0) throw badConfig(file, problems, fromEnv, source.lineOf);

  const data = parsed.data as NonNullable<typeof parsed.data>;
  const base = file === null ? options.cwd : dirname(file);
  const path = (text: string | undefined) => (text === undefined ? null : resolve(base, text));
  return {
    listen: data.listen,
    dataDir: resolve(fromEnv.has('data') || valueAt(raw, ['data']) === undefined ? options.cwd : base, data.data),
    store: { url: data.store.url ?? null, retention: { eventsMs: data.store.retention.events } },
    queue: { url: data.queue.url ?? null },
    geo: {
      country: path(data.geo.country),
      city: path(data.geo.city),
      asn: path(data.geo.asn),
      networks: Object.fromEntries(
        Object.entries(data.geo.networks).map(([kind, files]) => [kind, files.map((file) => resolve(base, file))]),
      ),
      egress: data.geo.egress ?? [],
    },
    ingest: data.ingest,
    detectors: data.detectors,
    alerts: withDefaultRoute(data.alerts),
    log: data.log,
  };
}

interface Source {
  readonly tree: unknown;
  readonly lineOf: (path: Path) => number | null;
}

const EMPTY: Source = { tree: {}, lineOf: () => null };

function readSource(file: string): Source {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new TokenwatchError('bad_config', 'config', `cannot read the configuration ${file}: ${errorText(error)}`, {
      fix: 'Name an existing file with --config or TOKENWATCH_CONFIG, or leave both out to use the defaults.',
      cause: error,
    });
  }
  const lines = new LineCounter();
  // prettyErrors would quote the line at fault, and with it a secret that stands there.
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const lineAt = (offset: number) => lines.linePos(offset).line;
  const [broken] = document.errors;
  if (broken !== undefined) {
    throw new TokenwatchError(
      'bad_config',
      'config',
      `${basename(file)} is not valid YAML: line ${lineAt(broken.pos[0])}: ${broken.code.toLowerCase().replaceAll('_', ' ')}`,
      { fix: `Correct ${file}; texts with special characters go into quotes.` },
    );
  }
  const tree: unknown = document.toJS() ?? {};
  if (typeof tree !== 'object' || Array.isArray(tree)) {
    throw badConfig(file, [{ path: [], text: 'found no keys at the top, allowed: key: value' }], new Map(), () => null);
  }
  const lineOf = (path: Path) => {
    for (let length = path.length; length > 0; length--) {
      const node = document.getIn(path.slice(0, length), true);
      if (isNode(node) && node.range) return lineAt(node.range[0]);
    }
    return null;
  };
  return { tree, lineOf };
}

/** A key without a value counts as absent; variables are filled in everywhere. */
function fillIn(value: unknown, path: Path, env: Environment, filledIn: Set<string>, problems: Problem[]): unknown {
  if (value === null) return undefined;
  if (typeof value === 'string') {
    const result = interpolate(value, env);
    const where = pathText(path);
    if (result.changed) filledIn.add(where);
    if (result.unset.length === 0) return result.text;
    if (OPTIONAL_WHEN_UNSET.has(where)) return undefined;
    const name = result.unset[0] as string;
    problems.push({ path, text: `the variable ${name} is not set; set it, or give a default: \${${name}:-...}` });
    return value;
  }
  if (Array.isArray(value)) return value.map((item, i) => fillIn(item, [...path, i], env, filledIn, problems));
  if (typeof value !== 'object') return value;
  const entries = Object.entries(value)
    .map(([key, item]) => [key, fillIn(item, [...path, key], env, filledIn, problems)] as const)
    .filter(([, item]) => item !== undefined);
  return Object.fromEntries(entries);
}

/** Environment wins; returns which variable each overlaid path has its value from. */
function overlay(raw: Record<string, unknown>, env: Environment): Map<string, string> {
  const used = new Map<string, string>();
  for (const [path, { env: name }] of Object.entries(KNOBS) as [string, Knob<unknown>][]) {
    const value = name === '' ? undefined : env[name];
    if (value === undefined || value === '') continue;
    const parts = path.split('.');
    let at = raw;
    for (const part of parts.slice(0, -1)) {
      const next = at[part];
      at[part] = typeof next === 'object' && next !== null && !Array.isArray(next) ? next : {};
      at = at[part] as Record<string, unknown>;
    }
    at[parts[parts.length - 1] as string] = value;
    used.set(path, name);
  }
  return used;
}

function valueAt(raw: unknown, path: Path): unknown {
  let at = raw;
  for (const part of path) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, part)) return undefined;
    at = (at as Record<string | number, unknown>)[part];
  }
  return at;
}

/** Names that have to stand elsewhere too: detectors in the registry, a route's channels among the channels. */
function unknownNames(raw: Record<string, unknown>, detectors: LoadOptions['detectors']): Problem[] {
  const problems: Problem[] = [];
  if (detectors !== undefined) {
    const ids = Object.keys(detectors);
    for (const [id, settings] of entriesOf(raw.detectors)) {
      const params = Object.hasOwn(detectors, id) ? detectors[id] : undefined;
      if (params === undefined) {
        problems.push(unknownName(['detectors', id], 'detector', id, ids));
        continue;
      }
      for (const [name] of entriesOf(settings)) {
        if (name === 'enabled' || params.includes(name)) continue;
        problems.push(unknownName(['detectors', id, name], 'parameter', name, ['enabled', ...params]));
      }
    }
  }
  const channels = entriesOf(valueAt(raw, ['alerts', 'channels'])).map(([name]) => name);
  const routes = valueAt(raw, ['alerts', 'routes']);
  for (const [i, route] of Array.isArray(routes) ? routes.entries() : []) {
    for (const name of textsOf(valueAt(route, ['channels']))) {
      if (channels.includes(name)) continue;
      problems.push(unknownName(['alerts', 'routes', i, 'channels'], `channel ${name}`, name, channels));
    }
    for (const name of detectors === undefined ? [] : textsOf(valueAt(route, ['match', 'detector']))) {
      if (Object.hasOwn(detectors ?? {}, name)) continue;
      const path = ['alerts', 'routes', i, 'match', 'detector'];
      problems.push(unknownName(path, `detector ${name}`, name, Object.keys(detectors ?? {})));
    }
  }
  return problems;
}

function contradictions(ingest: Config['ingest']): Problem[] {
  if (ingest.lineLimitBytes > ingest.bodyLimitBytes) {
    return [{ path: ['ingest', 'line_limit'], text: 'is more than body_limit, so that no such line could ever come' }];
  }
  if (ingest.bodyLimitBytes > ingest.bufferLimitBytes) {
    return [
      {
        path: ['ingest', 'body_limit'],
        text: 'is more than buffer_limit, so that such a request could never be taken',
      },
    ];
  }
  return [];
}

/** Without routes of the operator's own, what pages goes to every channel. */
function withDefaultRoute(alerts: Config['alerts']): Config['alerts'] {
  const channels = Object.keys(alerts.channels);
  if (alerts.routes.length > 0 || channels.length === 0) return alerts;
  return { ...alerts, routes: [{ match: { severity: ['medium', 'high', 'critical'] }, channels }] };
}

function badConfig(
  file: string | null,
  problems: readonly Problem[],
  fromEnv: ReadonlyMap<string, string>,
  lineOf: (path: Path) => number | null,
): TokenwatchError {
  const lines = problems.map(({ path, text }) => {
    const name = pathText(path);
    const variable = fromEnv.get(name);
    const line = variable === undefined ? lineOf(path) : null;
    const where = variable !== undefined ? `${variable} (${name})` : line === null ? name : `${name} (line ${line})`;
    return `  ${where}: ${text}`;
  });
  const count = problems.length === 1 ? '1 problem' : `${problems.length} problems`;
  const title = `the configuration${file === null ? '' : ` ${file}`} has ${count}:`;
  return new TokenwatchError('bad_config', 'config', [title, ...lines].join('\n'), {
    fix: 'docs/configuration.md lists every key with its default and what it allows.',
  });
}

function entriesOf(value: unknown): [string, unknown][] {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.entries(value) : [];
}

function textsOf(value: unknown): string[] {
  return (Array.isArray(value) ? value : [value]).filter((item) => typeof item === 'string');
}
