import { type Alert, type Issued, type IssuedToken, NOTHING_ISSUED } from '../core/index.ts';
import { defineQuery, type Store, text, time } from '../store/index.ts';

/** Issue is one token, its lineage, and the lineage of the token that asked for it. Times are epoch milliseconds of event time. */
export interface Issue extends IssuedToken {
  readonly lineage: string;
  readonly issuerLineage: string;
}

/** ISSUES_DEPTH is how far issuing in turn is followed: 3 finds what a token issued, what that issued, and what that did. */
export const ISSUES_DEPTH = 3;

/** ISSUED_NAMED bounds the tokens that one alert names; the others are counted. */
export const ISSUED_NAMED = 20;

/** Issues that are read at each step for one alert, the oldest first, and for many at once. */
const ISSUES_READ = { each: 1_000, all: 10_000 } as const;

/** issuesOf reads the tokens that lineages issued from a moment on, epoch milliseconds of event time. */
const issuesOf = defineQuery<{ lineages: string[]; since: number; limit: number }, Issue>(
  'alerts.issues_of',
  `SELECT token, any(lineage) AS own_lineage, argMin(owner, time) AS for_owner, argMin(issued_by, time) AS issuer,
     argMin(issuer_lineage, time) AS from_lineage, min(time) AS at, max(expires_at) AS ends
   FROM lifecycle
   WHERE action IN ('issued', 'rotated') AND issuer_lineage IN {lineages:Array(String)}
     AND time >= fromUnixTimestamp64Milli({since:Int64})
   GROUP BY token
   ORDER BY at, token
   LIMIT {limit:UInt32}`,
  (raw) => ({
    token: text(raw.token),
    lineage: text(raw.own_lineage),
    owner: text(raw.for_owner),
    issuedBy: text(raw.issuer),
    issuerLineage: text(raw.from_lineage),
    at: time(raw.at),
    expiresAt: optionalTime(raw.ends),
    lastUsed: null,
    revokedAt: null,
  }),
);

/** Fate is what became of a token: when it was last used, when it ended. */
type Fate = Pick<Issue, 'token' | 'lastUsed' | 'revokedAt'>;

const fatesOf = defineQuery<{ tokens: string[]; lineages: string[]; since: number }, Fate>(
  'alerts.fates_of',
  `SELECT token, max(used) AS last_used, min(ended) AS ended_at
   FROM (
     SELECT token, toNullable(last_seen) AS used, NULL::Nullable(DateTime64(3, 'UTC')) AS ended FROM rollup_tokens
     WHERE lineage IN {lineages:Array(String)} AND token IN {tokens:Array(String)}
     UNION ALL
     SELECT token, NULL, time FROM lifecycle
     WHERE action IN ('revoked', 'expired') AND token IN {tokens:Array(String)} AND time >= fromUnixTimestamp64Milli({since:Int64})
   )
   GROUP BY token`,
  (raw) => ({ token: text(raw.token), lastUsed: optionalTime(raw.last_used), revokedAt: optionalTime(raw.ended_at) }),
);

function optionalTime(value: unknown): number | null {
  return value === null ? null : time(value);
}

/**
 * findIssued names in each alert what its tokens issued, and what that issued in turn: one query when they issued nothing, as
 * most, two at once for each further step, and none for alerts about owners.
 */
export async function findIssued(store: Pick<Store, 'read'>, alerts: readonly Alert[]): Promise<Alert[]> {
  const lineages = [...new Set(alerts.flatMap(({ subject }) => subject.lineage ?? []))];
  if (lineages.length === 0) return [...alerts];
  const since = alerts.reduce((least, alert) => Math.min(least, beginningOf(alert)), Number.MAX_SAFE_INTEGER);
  const limit = Math.min(alerts.length * ISSUES_READ.each, ISSUES_READ.all);
  const first = await store.read(issuesOf, { lineages, since, limit });
  return withIssued(alerts, await followed(store, first, limit));
}

/** followed adds to a first step of issues those in turn, and what became of each token. */
async function followed(store: Pick<Store, 'read'>, first: readonly Issue[], limit: number): Promise<Issue[]> {
  const all = new Map<string, Issue>();
  let step = first;
  for (let depth = 1; step.length > 0; depth++) {
    const tokens = step.map(({ token }) => token);
    const lineages = [...new Set(step.map(({ lineage }) => lineage))];
    const since = step.reduce((least, { at }) => Math.min(least, at), Number.MAX_SAFE_INTEGER);
    const [next, fates] = await Promise.all([
      depth < ISSUES_DEPTH ? store.read(issuesOf, { lineages, since, limit }) : [],
      store.read(fatesOf, { tokens, lineages, since }),
    ]);
    const fateOf = new Map(fates.map((fate) => [fate.token, fate]));
    for (const issue of step) all.set(issue.token, { ...issue, ...fateOf.get(issue.token) });
    step = next.filter(({ token }) => !all.has(token));
  }
  return [...all.values()];
}

/** withIssued says of each alert what its tokens issued, out of what was read for all of them. */
export function withIssued(alerts: readonly Alert[], issues: readonly Issue[]): Alert[] {
  if (issues.length === 0) return [...alerts];
  const byIssuer = new Map<string, Issue[]>();
  for (const issue of issues) {
    const group = byIssuer.get(issue.issuerLineage);
    if (group === undefined) byIssuer.set(issue.issuerLineage, [issue]);
    else group.push(issue);
  }
  return alerts.map((alert) => {
    const { lineage, token } = alert.subject;
    if (lineage === null) return alert;
    const since = beginningOf(alert);
    const found = new Map<string, Issue>();
    let step = byIssuer.get(lineage) ?? [];
    for (let depth = 0; depth < ISSUES_DEPTH && step.length > 0; depth++) {
      const fresh = step.filter((issue) => issue.at >= since && !found.has(issue.token));
      for (const issue of fresh) found.set(issue.token, issue);
      step = fresh.flatMap((issue) => byIssuer.get(issue.lineage) ?? []);
    }
    // Whoever reads the alert is told to revoke this one as it is.
    if (token !== null) found.delete(token);
    return { ...alert, issued: summed([...found.values()]) };
  });
}

/** beginningOf is when an alert's first finding began; of an alert with more findings than are loaded, when it ended. */
function beginningOf({ openedAt, detections }: Alert): number {
  return detections.reduce((least, { window }) => Math.min(least, window.from), openedAt);
}

/** summed counts all and names the first: those that are in use, then those that may be, then those that are revoked. */
function summed(tokens: readonly Issue[]): Issued {
  if (tokens.length === 0) return NOTHING_ISSUED;
  const rank = ({ revokedAt, lastUsed }: Issue) => (revokedAt !== null ? 2 : lastUsed === null ? 1 : 0);
  const ranked = [...tokens].sort((a, b) => rank(a) - rank(b) || a.at - b.at || (a.token < b.token ? -1 : 1));
  return {
    count: tokens.length,
    used: tokens.filter(({ lastUsed }) => lastUsed !== null).length,
    revoked: tokens.filter(({ revokedAt }) => revokedAt !== null).length,
    tokens: ranked.slice(0, ISSUED_NAMED).map(({ lineage: _, issuerLineage: __, ...token }) => token),
  };
}
