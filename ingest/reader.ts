import {
  errorText,
  type Logger,
  type Parsed,
  type RejectCode,
  type SkipReason,
  type TokenEvent,
} from '../core/index.ts';
import { encodeLifecycle, encodeRejected, encodeUsage } from '../store/index.ts';
import type { Chunk } from './decode.ts';
import type { Enricher } from './enrich.ts';
import { detectFormat, type LogFormat, unwrapRecords } from './formats/index.ts';
import type { News } from './news.ts';
import type { Part } from './part.ts';
import type { Redactor } from './redact.ts';
import { ERRORS_LIMIT, type LineError, refuseLines } from './result.ts';
import { splitConcatenated } from './scan.ts';
import { cutText } from './text.ts';

/** Refused lines of one request that are kept in `rejected_events`; all of them are counted. */
export const REJECTED_ROWS_LIMIT = 100;

/** CONTENT_LIMIT is how much of a refused line is kept, in characters. */
export const CONTENT_LIMIT = 2000;

/** RequestContext is what all chunks of one request share. */
export interface RequestContext {
  readonly sender: string;
  /** The format asked for; null: told from the records. */
  readonly format: LogFormat | null;
}

/** Draft is a chunk that has been read but not yet been given a batch, and so no `received_at`. */
export interface Draft {
  /** Lines that make rows; what was skipped is only counted. */
  readonly accepted: number;
  readonly rejected: number;
  readonly skipped: ReadonlyMap<SkipReason, number>;
  readonly rejectedBy: ReadonlyMap<RejectCode, number>;
  /** encode makes the part of a batch with this `received_at`. */
  encode(receivedAt: number): Part;
}

/** ReaderContext is what a reader works with. */
export interface ReaderContext {
  readonly enricher: Enricher;
  readonly redactor: Pick<Redactor, 'line'>;
  readonly news: Pick<News, 'note'> | null;
  readonly log: Logger;
}

interface Rejection extends LineError {
  readonly content: string;
}

/** Reader turns the text of a chunk into events, and those into rows. */
export interface Reader {
  /** read parses a chunk; `keepRejected` is how many of its refused lines may still be kept as rows. */
  read(chunk: Chunk, id: string, request: RequestContext, now: number, keepRejected: number): Promise<Draft>;
}

/** Owners of lifecycle events that a chunk names at most. */
const MAX_OWNERS = 1_000;

/** createReader makes the reader over an enricher. */
export function createReader({ enricher, redactor, news, log }: ReaderContext): Reader {
  /** Parsing is not allowed to throw; when it does all the same, the line pays for it and not its neighbours. */
  function parse(format: LogFormat, record: Record<string, unknown>, now: number): Parsed {
    try {
      return format.parse(record, now);
    } catch (error) {
      log.error({ format: format.name, error: errorText(error) }, 'A log format failed on a line.');
      return { kind: 'rejected', code: 'bad_field', message: 'The line could not be read.' };
    }
  }

  return {
    async read(chunk, id, request, now, keepRejected) {
      const events: TokenEvent[] = [];
      const lines: number[] = [];
      const sources: string[] = [];
      const rejections: Rejection[] = chunk.refusals.map((refusal) => refusal);
      const skipped = new Map<SkipReason, number>();
      let accepted = 0;
      let current: LogFormat | null = request.format;

      const take = (value: unknown, line: number, text: string): void => {
        if (typeof value !== 'object' || value === null || Array.isArray(value)) {
          rejections.push({ line, code: 'not_an_object', message: 'An event is a JSON object.', content: text });
          return;
        }
        const record = value as Record<string, unknown>;
        if (request.format === null && (current === null || !current.detect(record)))
          current = detectFormat(record) ?? current;
        if (current === null) {
          const message = 'The line looks like none of the known formats: a native event has at least time and token.';
          rejections.push({ line, code: 'unknown_format', message, content: text });
          return;
        }
        const parsed = parse(current, record, now);
        if (parsed.kind === 'events') {
          accepted++;
          for (const event of parsed.events) {
            events.push(event);
            lines.push(line);
            sources.push(current.name);
          }
        } else if (parsed.kind === 'skipped') skipped.set(parsed.reason, (skipped.get(parsed.reason) ?? 0) + 1);
        else rejections.push({ line, code: parsed.code, message: parsed.message, content: text });
      };

      const takeText = (text: string, line: number, nested: boolean): void => {
        let value: unknown;
        try {
          value = JSON.parse(text);
        } catch (error) {
          // Some senders put several objects on one line after a first line with a single one.
          const parts = nested || !/\}\s*,?\s*\{/.test(text) ? [] : splitConcatenated(text);
          if (parts.length > 1) for (const part of parts) takeText(part, line, true);
          else rejections.push({ line, code: 'bad_json', message: jsonProblem(error, text), content: text });
          return;
        }
        const records = unwrapRecords(value);
        if (records === null) take(value, line, text);
        else for (const record of records) take(record, line, text);
      };
      for (const { text, line } of chunk.records) takeText(text, line, false);
      const endpoints = await enricher.prepare(events, now);

      const rejectedBy = new Map<RejectCode, number>();
      for (const { code } of rejections) rejectedBy.set(code, (rejectedBy.get(code) ?? 0) + 1);
      rejections.sort((a, b) => a.line - b.line);
      let skippedLines = 0;
      for (const count of skipped.values()) skippedLines += count;
      const idPrefix = `${chunk.hash.slice(0, 16)}-`;
      const source = request.format?.name ?? 'auto';

      return {
        accepted,
        rejected: rejections.length,
        skipped,
        rejectedBy,
        encode(receivedAt) {
          const usage: string[] = [];
          const usageLines: number[] = [];
          const lifecycle: string[] = [];
          const lifecycleLines: number[] = [];
          let from = Number.POSITIVE_INFINITY;
          let to = Number.NEGATIVE_INFINITY;
          const failed = new Map<number, LineError>();
          const note = news?.note();
          const owners = new Set<string>();
          let placed = 0;
          for (let i = 0; i < events.length; i++) {
            const event = events[i] as TokenEvent;
            const line = lines[i] as number;
            const batch = { receivedAt, idFallback: idPrefix + i, source: sources[i] as string };
            try {
              if (event.kind === 'usage') {
                const row = enricher.enrichUsage(event, endpoints.of(i, event.method), batch);
                usage.push(encodeUsage(row));
                note?.see(row);
                if (row.accuracyKm > 0) placed++;
                usageLines.push(line);
              } else {
                const row = enricher.enrichLifecycle(event, batch);
                lifecycle.push(encodeLifecycle(row));
                owners.add(row.owner);
                note?.seeStep(row);
                lifecycleLines.push(line);
              }
            } catch (error) {
              // As in parse: a retry could only fail again, so the line pays and not the request.
              log.error({ format: sources[i], error: errorText(error) }, 'A line could not be enriched.');
              failed.set(line, { line, code: 'bad_field', message: 'The line could not be read.' });
              continue;
            }
            if (event.time < from) from = event.time;
            if (event.time > to) to = event.time;
          }
          const rejected = rejections.slice(0, keepRejected).map(({ line, code, message, content }) =>
            encodeRejected({
              receivedAt,
              sender: request.sender,
              line,
              code,
              message,
              content: cutText(redactor.line(content), CONTENT_LIMIT),
              source,
            }),
          );
          return {
            id,
            sender: request.sender,
            source,
            events: usage,
            eventLines: usageLines,
            lifecycle,
            lifecycleLines,
            rejected,
            times: from <= to ? [from, to] : null,
            touched: note?.touched() ?? null,
            news: note?.news() ?? null,
            single: note?.single() ?? null,
            refused: note?.refused() ?? null,
            arrived: note?.arrived() ?? null,
            placed,
            owners: owners.size > MAX_OWNERS ? null : [...owners],
            unfamiliar: note?.unfamiliar() ?? null,
            counts: refuseLines(
              {
                accepted,
                rejected: rejections.length,
                skipped: skippedLines,
                ...(skippedLines > 0 ? { skippedBy: Object.fromEntries(skipped) } : {}),
                errors: rejections.slice(0, ERRORS_LIMIT).map(({ line, code, message }) => ({ line, code, message })),
              },
              [...failed.values()],
            ),
          };
        },
      };
    },
  };
}

/**
 * formatNameOf names the format that a chunk is going to be read with, as far as its first record tells: part of the chunk's
 * identity, so that `auto` and the format's own name are one request, and a second try with the right format is another.
 */
export function formatNameOf(chunk: Chunk, format: LogFormat | null): string {
  if (format !== null) return format.name;
  try {
    const value: unknown = JSON.parse(chunk.records[0]?.text ?? '');
    const first = unwrapRecords(value)?.[0] ?? value;
    if (typeof first === 'object' && first !== null)
      return detectFormat(first as Record<string, unknown>)?.name ?? 'auto';
  } catch {
    // Not JSON: the reader says so, line by line.
  }
  return 'auto';
}

/** jsonProblem says where a line stops being JSON, without the engine's own message, which quotes the line. */
function jsonProblem(error: unknown, text: string): string {
  const position = /position (\d+)/.exec(errorText(error))?.[1];
  const at = position === undefined ? '' : ` at character ${Number(position) + 1}`;
  return `The line is not valid JSON${at}: ${text.trimEnd().endsWith('}') ? 'a comma, quote or bracket is wrong' : 'it does not end as an object'}.`;
}
