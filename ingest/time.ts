import { AHEAD_MS } from '../core/index.ts';

/** Numbers below this are epoch seconds (until the year 5138), from it on epoch milliseconds (from 1973). */
const SECONDS_BELOW = 1e11;
const EARLIEST = Date.UTC(2000, 0, 1);
/** The last day that a ClickHouse DateTime64 holds. */
const LATEST_STORABLE = Date.UTC(2299, 11, 31);
const LARGEST_DATE = 8.64e15;

/** parseTime reads RFC 3339 text, epoch seconds (also with a fraction) or epoch milliseconds, as number or text; null when it is none of them. */
export function parseTime(value: unknown): number | null {
  if (typeof value === 'number') return fromNumber(value);
  if (typeof value !== 'string') return null;
  if (value.charCodeAt(4) === 0x2d && value.length >= 19) return parseRfc3339(value);
  const text = value.trim();
  if (text === '' || text.length > 32 || !/^-?\d+(?:\.\d+)?$/.test(text)) return null;
  return fromNumber(Number(text));
}

function fromNumber(value: number): number | null {
  if (!Number.isFinite(value)) return null;
  return Math.round(Math.abs(value) < SECONDS_BELOW ? value * 1000 : value);
}

/** digits reads `count` decimal digits at `at`; NaN when one of them is none. */
function digits(text: string, at: number, count: number): number {
  let value = 0;
  for (let i = at; i < at + count; i++) {
    const digit = text.charCodeAt(i) - 0x30;
    if (!(digit >= 0 && digit <= 9)) return Number.NaN;
    value = value * 10 + digit;
  }
  return value;
}

/** Lines that follow one another are mostly of one minute: the last that was read, up to its colon, and its start as if in UTC. */
let minute = { text: '1970-01-01T00:00:', start: 0 };

const DAYS = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/**
 * parseRfc3339 reads a timestamp with an offset (RFC 3339; `+0100` is taken too); fractions are cut to milliseconds.
 * Without an offset it is not a point in time: null. Date.parse would guess the machine's zone.
 */
export function parseRfc3339(text: string): number | null {
  const start = text.startsWith(minute.text) ? minute.start : startOfMinute(text);
  const second = digits(text, 17, 2);
  if (start === null || !(second <= 60)) return null;
  let at = 19;
  let ms = 0;
  if (text.charCodeAt(at) === 0x2e) {
    const first = ++at;
    let code = text.charCodeAt(at);
    for (let unit = 100; code >= 0x30 && code <= 0x39; unit /= 10, code = text.charCodeAt(++at))
      if (unit >= 1) ms += (code - 0x30) * unit;
    if (at === first) return null;
  }
  const offset = offsetMinutes(text, at);
  return offset === null ? null : start + second * 1000 + ms - offset * 60_000;
}

/** startOfMinute reads the date, hour and minute that a timestamp begins with, as epoch milliseconds as if in UTC; null when they are none. */
function startOfMinute(text: string): number | null {
  const year = digits(text, 0, 4);
  const month = digits(text, 5, 2);
  const day = digits(text, 8, 2);
  const hour = digits(text, 11, 2);
  const minutes = digits(text, 14, 2);
  const separator = text.charCodeAt(10);
  const punctuated =
    text.charCodeAt(4) === 0x2d &&
    text.charCodeAt(7) === 0x2d &&
    (separator === 0x54 || separator === 0x74 || separator === 0x20) &&
    text.charCodeAt(13) === 0x3a &&
    text.charCodeAt(16) === 0x3a;
  if (!punctuated || !(month >= 1 && month <= 12) || !(day >= 1 && day <= (DAYS[month - 1] as number))) return null;
  if (!(hour <= 23 && minutes <= 59) || Number.isNaN(year)) return null;
  if (month === 2 && day === 29 && !(year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0))) return null;
  const start = Date.UTC(year, month - 1, day, hour, minutes);
  minute = { text: text.slice(0, 17), start };
  return start;
}

function offsetMinutes(text: string, at: number): number | null {
  const sign = text.charCodeAt(at);
  if (sign === 0x5a || sign === 0x7a) return text.length === at + 1 ? 0 : null;
  if (sign !== 0x2b && sign !== 0x2d) return null;
  const colon = text.charCodeAt(at + 3) === 0x3a ? 1 : 0;
  const hours = digits(text, at + 1, 2);
  const minutes = text.length === at + 3 ? 0 : digits(text, at + 3 + colon, 2);
  const end = text.length === at + 3 || text.length === at + 5 + colon;
  if (!end || !(hours <= 23) || !(minutes <= 59)) return null;
  return (sign === 0x2d ? -1 : 1) * (hours * 60 + minutes);
}

/** timeInRange tells whether an event may have this time: not before 2000, not more than 24 hours after `now`. */
export function timeInRange(time: number, now: number): boolean {
  return time >= EARLIEST && time <= now + AHEAD_MS;
}

/** outOfRangeMessage says what was read as a time and what is allowed. */
export function outOfRangeMessage(field: string, found: unknown, time: number, now: number): string {
  const read = Math.abs(time) <= LARGEST_DATE ? new Date(time).toISOString() : 'a time beyond the calendar';
  const latest = new Date(now + AHEAD_MS).toISOString();
  const numeric = typeof found === 'number' || /^[\d.-]+$/.test(String(found)) ? unitHint(Number(found)) : '';
  return `${field} ${String(found).slice(0, 40)} reads as ${read}; allowed is 2000-01-01 to 24 hours from now (${latest})${numeric}`;
}

function unitHint(value: number): string {
  if (Math.abs(value) >= 1e17) return '; it looks like nanoseconds, send seconds or milliseconds';
  if (Math.abs(value) >= 1e14) return '; it looks like microseconds, send seconds or milliseconds';
  return '; numbers below 100000000000 are read as epoch seconds, larger ones as epoch milliseconds: were seconds and milliseconds mixed up?';
}

/**
 * parseLooseTime reads a lifecycle event's other times (`expires_at`, ...), which may be far away: 0 and dates after
 * 2299 mean "never" in the systems that send them and become null. undefined when the value is no time at all.
 */
export function parseLooseTime(value: unknown): number | null | undefined {
  if (value === undefined || value === null || value === '' || value === 0) return null;
  const time = parseTime(value);
  if (time === null) return undefined;
  return time <= 0 || time > LATEST_STORABLE ? null : time;
}
