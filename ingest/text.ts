/** What the runtime has since Node 20 and the ES2023 type library has not. */
type WellFormable = string & { toWellFormed(): string };

/**
 * cleanText makes a string storable: lone surrogates become U+FFFD, NUL characters go. A string that is fine comes back
 * as it is.
 */
export function cleanText(text: string): string {
  const whole = (text as WellFormable).toWellFormed();
  return whole.includes('\0') ? whole.replaceAll('\0', '') : whole;
}

/** cutText is cleanText of at most `limit` characters (UTF-16 units); a pair that the cut splits becomes U+FFFD. */
export function cutText(text: string, limit: number): string {
  return cleanText(text.length > limit ? text.slice(0, limit) : text);
}

/** cleanValue is a deep copy of a JSON value in which every string and key is clean; the caller has bounded its depth. */
export function cleanValue(value: unknown): unknown {
  if (typeof value === 'string') return cleanText(value);
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(cleanValue);
  const copy = emptyRecord();
  for (const [key, item] of Object.entries(value)) copy[cleanText(key)] = cleanValue(item);
  return copy;
}

/** emptyRecord has no prototype, so that a key named `__proto__` in a log line is a key like any other. */
export function emptyRecord(): Record<string, unknown> {
  return Object.create(null) as Record<string, unknown>;
}

/** deeperThan tells whether a JSON value nests more than `levels` objects or arrays; it never recurses further than that. */
export function deeperThan(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (levels <= 0) return true;
  if (Array.isArray(value)) {
    for (const item of value) if (deeperThan(item, levels - 1)) return true;
    return false;
  }
  for (const key in value) if (deeperThan((value as Record<string, unknown>)[key], levels - 1)) return true;
  return false;
}
