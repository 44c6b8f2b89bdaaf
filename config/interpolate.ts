/** Environment is the process environment, or a test's own. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** Interpolated is a text with its variables filled in, or the names of those that are not set. */
export interface Interpolated {
  readonly text: string;
  /** True when any variable was in it: what it holds now may be a secret and must not be shown. */
  readonly changed: boolean;
  readonly unset: readonly string[];
}

const VARIABLE = /\$\$\{|\$\{([^}]*)\}/g;

/**
 * interpolate fills `${VAR}` and `${VAR:-default}` from the environment; `$${` is a plain `${`. A variable that is set to
 * nothing counts as not set, as in a shell's `:-`. What is filled in is not read again for variables.
 */
export function interpolate(text: string, env: Environment): Interpolated {
  const unset: string[] = [];
  let changed = false;
  const filled = text.replaceAll(VARIABLE, (whole: string, inner: string | undefined) => {
    if (inner === undefined) return '${';
    changed = true;
    const cut = inner.indexOf(':-');
    const name = cut === -1 ? inner : inner.slice(0, cut);
    const value = env[name];
    if (value !== undefined && value !== '') return value;
    if (cut !== -1) return inner.slice(cut + 2);
    unset.push(name);
    return whole;
  });
  return { text: filled, changed, unset };
}
