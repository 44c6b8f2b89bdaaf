/** EngineError is an exception of the engine: its code and the text `Code: N. DB::Exception: ... (TYPE)`. */
export class EngineError extends Error {
  readonly code: number;
  constructor(code: number, message: string) {
    super(message);
    this.name = 'EngineError';
    this.code = code;
  }
}

/** toEngineError reads the code out of what chDB threw; anything else becomes a LOGICAL_ERROR, as in a server. */
export function toEngineError(error: unknown): EngineError {
  if (error instanceof EngineError) return error;
  const message = error instanceof Error ? error.message : String(error);
  const code = /^Code: (\d+)\b/.exec(message)?.[1];
  if (code !== undefined) return new EngineError(Number(code), message);
  return new EngineError(49, `Code: 49. DB::Exception: ${message} (LOGICAL_ERROR)`);
}

/** HTTP statuses of exception codes, after ClickHouse's exceptionCodeToHTTPStatus; 500 for all others, READONLY among them. */
const STATUS_OF_CODES: readonly (readonly [status: number, codes: readonly number[]])[] = [
  [401, [194]],
  [403, [192, 193, 516, 497, 512]],
  [400, [36, 427, 6, 25, 26, 38, 41, 72, 441, 675, 676, 27, 376, 15, 44, 8, 62, 167, 168, 117, 53, 321]],
  [404, [60, 46, 47, 50, 56, 81, 115, 63, 73, 78, 336, 511]],
  [501, [48]],
  [503, [209, 76, 439]],
  [408, [159]],
  [411, [381]],
];

/** exceptionStatus is the HTTP status that a server answers an exception with. */
export function exceptionStatus(code: number): number {
  return STATUS_OF_CODES.find(([, codes]) => codes.includes(code))?.[0] ?? 500;
}
