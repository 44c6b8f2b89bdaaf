import type { Severity } from '../core/index.ts';
import { DAY_MS, HOUR_MS } from './baseline.ts';

/** sqlText quotes a value for SQL that a person pastes. */
export function sqlText(value: string): string {
  return `'${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}

/** sqlTime writes epoch milliseconds as a DateTime64 literal in UTC. */
export function sqlTime(time: number): string {
  return `toDateTime64('${new Date(time).toISOString().slice(0, 23).replace('T', ' ')}', 3, 'UTC')`;
}

/** duration says a length of time as a person would: 40 seconds, 12 minutes, 3 hours, 28 days. */
export function duration(ms: number): string {
  const [count, unit] =
    ms < 90_000
      ? [Math.max(1, Math.round(ms / 1000)), 'second']
      : ms < 90 * 60_000
        ? [Math.round(ms / 60_000), 'minute']
        : ms < 2 * DAY_MS
          ? [Math.round(ms / HOUR_MS), 'hour']
          : [Math.round(ms / DAY_MS), 'day'];
  return `${count} ${unit}${count === 1 ? '' : 's'}`;
}

/** rounded keeps a number readable: three digits at most after the point. */
export function rounded(value: number): number {
  return Math.abs(value) >= 100 ? Math.round(value) : Number(value.toPrecision(3));
}

const countryNames = new Intl.DisplayNames(['en'], { type: 'region', fallback: 'code' });

/** countryName is `Brazil (BR)`; an unknown code stays as it is. */
export function countryName(code: string): string {
  if (code === 'egress') return "the organisation's own way out";
  try {
    const name = countryNames.of(code);
    return name === undefined || name === code ? code : `${name} (${code})`;
  } catch {
    return code;
  }
}

const KIND_NAMES: Readonly<Record<string, string>> = {
  hosting: 'a hosting network',
  mobile: 'a mobile network',
  business: "an organisation's network",
  vpn: 'a VPN',
  relay: 'a relay',
  other: "an access provider's network",
  egress: "the organisation's own way out",
};

/** kindName says a kind of network in words: `a VPN`, `a hosting network`. */
export function kindName(kind: string): string {
  return KIND_NAMES[kind] ?? kind;
}

/** severityOf grades a surprise by a detector's thresholds; null below the lowest. */
export function severityOf(
  surprise: number,
  at: { low: number; medium: number; high: number; critical: number },
): Severity | null {
  if (surprise >= at.critical) return 'critical';
  if (surprise >= at.high) return 'high';
  if (surprise >= at.medium) return 'medium';
  return surprise >= at.low ? 'low' : null;
}

/**
 * gradeOf is how far a surprise went, in steps: its severity, and for medium and high the whole surprises beyond that
 * severity's threshold, `medium` and then `medium+1`. A thing that grows is a finding at each grade that it reaches, so that
 * an alert budget whose bar lies between two severities hears of it. '' below the lowest.
 */
export function gradeOf(surprise: number, at: Parameters<typeof severityOf>[1]): string {
  const severity = severityOf(surprise, at);
  const steps = severity === 'medium' || severity === 'high' ? Math.floor(surprise - at[severity]) : 0;
  return steps === 0 ? (severity ?? '') : `${severity}+${steps}`;
}
