/** plural is the count with its noun: `1 line`, `2,000 lines`. */
export function plural(count: number, noun: string): string {
  return `${count.toLocaleString('en-US')} ${noun}${count === 1 ? '' : 's'}`;
}

/**
 * oneLine makes text from logs fit to be shown anywhere: one line, no control characters (terminal escapes among them), no
 * characters that turn the reading direction around, no broken surrogates, at most `limit` characters.
 */
export function oneLine(text: string, limit = 500): string {
  // Cut roughly first: a megabyte of user agent is not worth reading through.
  const line = text
    .slice(0, limit * 4)
    .replace(/[\p{Cc}\p{Zl}\p{Zp}\s]+/gu, ' ')
    .replace(/[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g, '')
    .replace(/\p{Surrogate}/gu, '\ufffd')
    .trim();
  return cut(line, limit);
}

/** cut shortens text to `limit` characters, an ellipsis included, never inside a character. */
export function cut(text: string, limit: number): string {
  if (text.length <= limit) return text;
  let kept = text.slice(0, limit - 1);
  if (/[\ud800-\udbff]$/.test(kept)) kept = kept.slice(0, -1);
  return `${kept}…`;
}
