/** TableName is a table that rows are inserted into; views of the contract are read, never written. */
export type TableName =
  | 'events'
  | 'lifecycle'
  | 'rejected_events'
  | 'detections'
  | 'alert_log'
  | 'feedback'
  | 'notifications'
  | 'successions'
  | 'access_keys';

/** Query is a named read: its SQL with typed `{param:Type}` placeholders, and what turns an engine's row into ours. */
export interface Query<P extends Record<string, unknown>, R> {
  /** Unique, goes into the engine's log_comment. */
  readonly name: string;
  /** Without a FORMAT clause. */
  readonly sql: string;
  readonly row: (raw: Record<string, unknown>) => R;
  /** Only here to carry the type. */
  readonly params?: P;
}

/** AnalystResult is what `POST /v1/sql` sends back as it comes from the engine. */
export interface AnalystResult {
  readonly contentType: string;
  readonly body: Buffer;
  /** The result reached `maxRows`: there may be more. */
  readonly truncated: boolean;
}

/** Rows are JSONCompactEachRow (see encode.ts): lines of text, one row each, or all of them with newlines between as UTF-8. */
export type Rows = readonly string[] | Uint8Array;

/** LineStore is the part of a store that takes lines in. */
export interface LineStore {
  /** insert stores rows, one a line: as Store's. */
  insert(table: TableName, lines: readonly string[], token: string): Promise<void>;
}

/** Store is the door to ClickHouse, embedded or over HTTP. Every method throws a TokenwatchError: `transient` when a retry makes sense. */
export interface Store {
  /**
   * insert stores rows, all or none as far as one part goes, and returns when they are durable. The same `token` again stores
   * nothing, in the table and in every rollup; '' means no such protection.
   */
  insert(table: TableName, rows: Rows, token: string): Promise<void>;
  /** read runs a named query. */
  read<P extends Record<string, unknown>, R>(query: Query<P, R>, params: P): Promise<R[]>;
  /**
   * analyse runs an analyst's SQL, strictly read-only, on a connection of its own with row, memory and time limits.
   * Throws `sql_refused` (poison) for anything but a plain read, `sql_failed` (poison) with the engine's code for a broken query.
   */
  analyse(sql: string, options: AnalyseOptions): Promise<AnalystResult>;
  /** computing tells that an analyst's query still runs in this process's engine, also after it was answered or the store closed. */
  computing(): boolean;
  /** ping checks that the store answers, and that no write of the last minute found its disk full. */
  ping(): Promise<void>;
  close(): Promise<void>;
}

/** AnalyseOptions bound an analyst's query. */
export interface AnalyseOptions {
  /** Format when the SQL has no FORMAT clause of its own, e.g. `JSON`, `JSONEachRow`, `PrettyCompact`. */
  readonly defaultFormat: string;
  readonly maxRows: number;
  readonly timeoutMs: number;
  /** Values for `{name:Type}` placeholders. */
  readonly params?: Readonly<Record<string, string>>;
}
