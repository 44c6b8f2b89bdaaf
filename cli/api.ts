import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from '../config/index.ts';
import { errorText, TokenwatchError } from '../core/index.ts';
import { configOf, type Invocation, type Io, textOption, usageError } from './command.ts';

/** Answer is what an instance said. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: string;
}

/** Request is one call of the HTTP API. */
export interface Request {
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** With its query, e.g. `/v1/alerts?limit=10`. */
  readonly path: string;
  readonly body?: string;
  readonly contentType?: string;
}

/** Api talks to a running instance with the operator's access key. */
export interface Api {
  readonly url: string;
  /** send returns any answer; throws `not_running` when nothing answers. */
  send(request: Request): Promise<Answer>;
  /** json returns the body of a 2xx answer; throws what the instance said otherwise. */
  json<T>(request: Request): Promise<T>;
}

/** apiOf is the instance that an invocation means: `--url`, or where the configuration says that it listens. Throws `usage` for a `--url` that is none. */
export function apiOf(invocation: Invocation, io: Io): Api {
  const config = configOf(invocation, io);
  const url = textOption(invocation.options, 'url') ?? baseUrl(config.listen);
  if (!/^https?:\/\//i.test(url) || !URL.canParse(url)) {
    throw usageError(`--url ${url} is no address`, 'An address looks like http://127.0.0.1:8653, with http or https.');
  }
  return createApi(url.replace(/\/+$/, ''), accessKeyOf(config, io), io.signal);
}

/** baseUrl is how to reach an address that is listened on: every interface means this machine. */
export function baseUrl({ host, port }: Config['listen']): string {
  const reachable = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host;
  return `http://${reachable.includes(':') ? `[${reachable}]` : reachable}:${port}`;
}

/** createApi talks to `url` with `key`. */
export function createApi(url: string, key: string, signal: AbortSignal): Api {
  const send: Api['send'] = async ({ method, path, body, contentType }) => {
    const headers: Record<string, string> = { authorization: `Bearer ${key}` };
    if (body !== undefined) headers['content-type'] = contentType ?? 'application/json';
    try {
      const response = await fetch(`${url}${path}`, {
        method,
        headers,
        signal,
        ...(body === undefined ? {} : { body }),
      });
      return { status: response.status, headers: response.headers, body: await response.text() };
    } catch (error) {
      if (signal.aborted) throw new TokenwatchError('interrupted', 'transient', 'interrupted');
      throw unreachable(url, error);
    }
  };
  return {
    url,
    send,
    json: async <T>(request: Request) => {
      const answer = await send(request);
      if (answer.status >= 200 && answer.status < 300) return JSON.parse(answer.body) as T;
      throw refusal(answer, url);
    },
  };
}

/** refusal turns an answer that is not 2xx into an error with the instance's own words. */
export function refusal({ status, body }: Answer, url: string): TokenwatchError {
  const said = parseError(body);
  if (status === 401) {
    return new TokenwatchError('unknown_key', 'config', `${url} does not know this access key`, {
      fix: 'Set TOKENWATCH_ACCESS_KEY to a key of that instance, or run this where its data directory is.',
    });
  }
  const message = said.message === '' ? `${url} answered ${status}` : said.message;
  const kind = status === 503 || status === 429 ? 'transient' : 'poison';
  return new TokenwatchError(said.code === '' ? `http_${status}` : said.code, kind, message, { fix: said.fix });
}

function parseError(body: string): { code: string; message: string; fix: string } {
  try {
    const parsed = JSON.parse(body) as Record<string, unknown>;
    const error = (typeof parsed.error === 'object' && parsed.error !== null ? parsed.error : parsed) as Record<
      string,
      unknown
    >;
    const text = (value: unknown) => (typeof value === 'string' ? value : '');
    return { code: text(error.code), message: text(error.message), fix: text(error.fix) };
  } catch {
    return { code: '', message: body.slice(0, 500).trim(), fix: '' };
  }
}

/** accessKeyOf is the key that commands use: the given one, or the one that the instance keeps in its data directory. */
export function accessKeyOf(config: Config, io: Io): string {
  const given = io.env.TOKENWATCH_ACCESS_KEY;
  if (given !== undefined && given !== '') return given;
  const file = join(config.dataDir, 'access-key');
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    throw new TokenwatchError(
      'no_access_key',
      'config',
      `no access key: TOKENWATCH_ACCESS_KEY is not set and ${file} cannot be read`,
      {
        fix: 'Start Tokenwatch once with npm start, which makes a key, or set TOKENWATCH_ACCESS_KEY.',
      },
    );
  }
}

function unreachable(url: string, error: unknown): TokenwatchError {
  const cause = error instanceof Error ? (error.cause as { code?: string } | undefined) : undefined;
  if (cause?.code === 'ECONNREFUSED' || cause?.code === 'ENOTFOUND' || cause?.code === 'EHOSTUNREACH') {
    return new TokenwatchError('not_running', 'transient', `no Tokenwatch answers at ${url}: start it with npm start`, {
      fix: 'Another address: --url, or `listen` in the configuration.',
      cause: error,
    });
  }
  return new TokenwatchError(
    'connection_lost',
    'transient',
    `the connection to ${url} broke: ${cause?.code ?? errorText(error instanceof Error ? (error.cause ?? error) : error)}`,
    {
      fix: 'Try again; what was sent before may be sent again without harm.',
      cause: error,
    },
  );
}
