import { createReadStream } from 'node:fs';
import { createGunzip } from 'node:zlib';
import { findIssued, foldDetections } from '../alerts/index.ts';
import { defineQuery, num, text } from '../store/index.ts';
import { pageOf } from './matching.ts';
import { openReplay } from './replay.ts';

/** RealInput is what Tokenwatch makes of a log that nobody simulated and that has no labels. */
export interface RealInput {
  readonly accepted: number;
  readonly rejected: number;
  readonly principals: readonly RealPrincipal[];
  readonly tokens: number;
  /** Alerts that page about an owner as a whole, in words. */
  readonly ownerAlerts: readonly string[];
}

/** RealPrincipal is one owner of the log. */
export interface RealPrincipal {
  readonly owner: string;
  readonly tokens: number;
  readonly events: number;
  readonly endpoints: number;
  /** Events whose client names itself as the attack tool Stratus Red Team; not its Terraform, which builds the targets. */
  readonly byAttackTool: number;
  /** Paging alerts about its tokens or itself: severity and title. */
  readonly alerts: readonly string[];
  /** Others whose paging alerts name tokens of it that were used, as issued by the token that they are about. */
  readonly namedWith: readonly string[];
}

const owners = defineQuery<Record<string, never>, Omit<RealPrincipal, 'alerts' | 'namedWith'>>(
  'evaluation_owners',
  `SELECT owner, uniqExact(token) AS tokens, count() AS events, uniqExact(endpoint) AS endpoints,
     countIf(user_agent ILIKE '%stratus-red-team%' AND user_agent NOT ILIKE '%terraform%') AS by_attack_tool
   FROM events GROUP BY owner ORDER BY events DESC, owner`,
  (raw) => ({
    owner: text(raw.owner),
    tokens: num(raw.tokens),
    events: num(raw.events),
    endpoints: num(raw.endpoints),
    byAttackTool: num(raw.by_attack_tool),
  }),
);

/** runRealInput judges a CloudTrail file as if it came in live, without any history. */
export async function runRealInput(file: string, folder: string): Promise<RealInput> {
  const replay = await openReplay({ folder, format: 'cloudtrail', liveMs: 0, looks: false });
  try {
    const raw = createReadStream(file);
    const body = file.endsWith('.gz') ? raw.pipe(createGunzip()) : raw;
    const now = Date.now();
    let [accepted, rejected] = [0, 0];
    // In small pieces: what comes later must not explain what came before.
    for await (const piece of pieces(body)) {
      const counts = await replay.take(piece, now, true);
      accepted += counts.accepted;
      rejected += counts.rejected;
    }
    const paging = await findIssued(
      replay.store,
      foldDetections(replay.detections()).filter((alert) => pageOf(alert) !== null),
    );
    const said = (list: typeof paging) => list.map(({ severity, title }) => `${severity}: ${title}`);
    const principals = (await replay.store.read(owners, {})).map((principal) => ({
      ...principal,
      alerts: said(paging.filter(({ subject }) => subject.owner === principal.owner)),
      namedWith: paging
        .filter(({ issued }) =>
          issued.tokens.some((token) => token.owner === principal.owner && token.lastUsed !== null),
        )
        .map(({ subject }) => subject.owner)
        .filter((owner, i, all) => owner !== principal.owner && all.indexOf(owner) === i),
    }));
    return {
      accepted,
      rejected,
      principals,
      tokens: principals.reduce((sum, { tokens }) => sum + tokens, 0),
      ownerAlerts: said(paging.filter(({ subject }) => subject.token === null && subject.lineage === null)),
    };
  } finally {
    await replay.close();
  }
}

const PIECE_LINES = 100;

async function* pieces(body: AsyncIterable<Buffer>): AsyncGenerator<AsyncIterable<Uint8Array>> {
  const one = async function* (lines: readonly string[]): AsyncGenerator<Uint8Array> {
    yield Buffer.from(`${lines.join('\n')}\n`);
  };
  let lines: string[] = [];
  let rest = '';
  const decoder = new TextDecoder();
  for await (const chunk of body) {
    const parts = `${rest}${decoder.decode(chunk, { stream: true })}`.split('\n');
    rest = parts.pop() ?? '';
    for (const line of parts) {
      lines.push(line);
      if (lines.length < PIECE_LINES) continue;
      yield one(lines);
      lines = [];
    }
  }
  if (rest !== '') lines.push(rest);
  if (lines.length > 0) yield one(lines);
}
