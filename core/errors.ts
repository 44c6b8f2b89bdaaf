/**
 * How an error is to be treated. `transient`: the same call may succeed later, retry it. `poison`: this input can never
 * succeed, set it aside. `config`: the operator has to change something. `bug`: neither, crash loudly.
 */
export type ErrorKind = 'transient' | 'poison' | 'config' | 'bug';

/**
 * TokenwatchError is every error that the product itself raises: a stable code for programs, what was wrong and where in
 * words, and what to do about it. Neither text may hold a secret.
 */
export class TokenwatchError extends Error {
  readonly code: string;
  readonly kind: ErrorKind;
  /** What the reader can do about it; one sentence, empty when there is nothing to do. */
  readonly fix: string;

  constructor(code: string, kind: ErrorKind, message: string, options: { fix?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'TokenwatchError';
    this.code = code;
    this.kind = kind;
    this.fix = options.fix ?? '';
  }
}

/** isTransient tells whether a retry of what raised `error` makes sense. */
export function isTransient(error: unknown): boolean {
  return error instanceof TokenwatchError && error.kind === 'transient';
}

/** errorText is the message of anything that was thrown. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
