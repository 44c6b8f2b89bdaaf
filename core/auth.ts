/** Scope is what an access key allows: posting events, reading, or changing state. */
export type Scope = (typeof SCOPES)[number];

/** SCOPES lists every scope; a key made on first start has them all. */
export const SCOPES = ['ingest', 'read', 'manage'] as const;

/**
 * AuthResult of a presented access key. `unknown` is 401, `forbidden` is 403 (a valid key without the scope).
 */
export type AuthResult =
  | { readonly kind: 'ok'; readonly keyId: string }
  | { readonly kind: 'unknown' }
  | { readonly kind: 'forbidden' };

/** Authenticate checks the value of an Authorization header against the scope that a call needs. */
export type Authenticate = (authorization: string | undefined, scope: Scope) => Promise<AuthResult>;
