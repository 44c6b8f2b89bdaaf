import { cut, oneLine, plural } from '../core/index.ts';

/** Pair is a label and its value, both fit for one line. */
export interface Pair {
  readonly label: string;
  readonly value: string;
}

/** Members of a list that are written out. */
const LISTED = 5;
const VALUE_LIMIT = 240;
const ISO_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z$/;

/** block makes text of several lines (SQL) safe to show, at most `limit` characters. */
export function block(text: string, limit: number): string {
  const lines = text
    .slice(0, limit * 2)
    .replace(/\r\n?/g, '\n')
    .replace(/[^\P{Cc}\n\t]/gu, '')
    .replace(/[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g, '')
    .replace(/\p{Surrogate}/gu, '\ufffd');
  return cut(lines.trim(), limit);
}

/** odds says a surprise (-log10 of a chance) in words: `about 1 in 250,000`. */
export function odds(surprise: number): string {
  if (Number.isNaN(surprise) || surprise < 0.31) return 'nothing unusual';
  if (surprise >= 9) return 'less than 1 in a billion';
  const one = 10 ** surprise;
  // Two digits: the chance is an estimate, and should look like one.
  const unit = 10 ** Math.max(Math.floor(Math.log10(one)) - 1, 0);
  return `about 1 in ${number(Math.round(one / unit) * unit)}`;
}

/** utc writes epoch milliseconds for people: `2026-11-22 03:14:05 UTC`. */
export function utc(time: number): string {
  return `${new Date(time).toISOString().slice(0, 19).replace('T', ' ')} UTC`;
}

/** span writes a stretch of time, the date only once when both ends share it. */
export function span(from: number, to: number): string {
  const [start, end] = [utc(from), utc(to)];
  if (start === end) return end;
  return start.slice(0, 10) === end.slice(0, 10)
    ? `${start.slice(0, 19)} to ${end.slice(11)}`
    : `${start.slice(0, 19)} to ${end}`;
}

/** pairsOf writes a detector's figures as labels and values. */
export function pairsOf(figures: Readonly<Record<string, unknown>>): Pair[] {
  return Object.entries(figures)
    .filter(([, value]) => !isEmpty(value))
    .slice(0, 12)
    .map(([key, value]) => ({ label: label(key), value: valueText(value) }));
}

/** Nothing to show: a list without members says no more than an empty text. */
function isEmpty(value: unknown): boolean {
  return value === null || value === undefined || value === '' || (Array.isArray(value) && value.length === 0);
}

/** label reads a field's name as words. */
export function label(key: string): string {
  return oneLine(key.replaceAll('_', ' '), 40);
}

/** valueText writes any JSON value on one line. */
export function valueText(value: unknown, limit = VALUE_LIMIT): string {
  if (value === null || value === undefined) return '–';
  if (typeof value === 'number') return number(value);
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (Array.isArray(value)) {
    const listed = value.slice(0, LISTED).map((item) => valueText(item, 80));
    const rest = value.length - listed.length;
    return oneLine(rest > 0 ? `${listed.join(', ')} and ${plural(rest, 'other')}` : listed.join(', '), limit);
  }
  if (typeof value === 'object') {
    const listed = Object.entries(value)
      .filter(([, item]) => !isEmpty(item))
      .slice(0, LISTED);
    return oneLine(listed.map(([key, item]) => `${label(key)} ${valueText(item, 60)}`).join(', '), limit);
  }
  const said = String(value);
  // Milliseconds help no reader, and a space lets a narrow column break there.
  return ISO_TIME.test(said) ? `${said.slice(0, 10)} ${said.slice(11, 19)}Z` : oneLine(said, limit);
}

function number(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  if (Number.isInteger(value)) return value.toLocaleString('en-US');
  return value.toLocaleString('en-US', { maximumSignificantDigits: 3 });
}
