import {
  COUNTRIES,
  type FleetToken,
  isLifecycle,
  type NativeEvent,
  type NativeUsage,
  networkOf,
} from '../fixtures/index.ts';

/** Attack is one POST that holds the events by which a taken token can first be told. */
export interface Attack {
  readonly kind: 'walk' | 'country';
  readonly token: string;
  /** body is the POST's NDJSON, its events at that time, epoch milliseconds. */
  body(nowMs: number): Buffer;
}

/** AttackPlan finds tokens that can be attacked, by what it sees of their history. */
export interface AttackPlan {
  /** watch passes the history on and takes note of it. */
  watch(history: Iterable<NativeEvent>): Generator<NativeEvent, void, undefined>;
  /** pick is the planned attacks, each of another token; call it when the history has been watched. */
  pick(): Attack[];
}

interface Habit {
  readonly owner: string;
  readonly endpoints: Set<string>;
  readonly countries: Set<string>;
  readonly days: Set<string>;
  firstDay: string;
  last: NativeUsage;
}

const WALK_ENDPOINTS = 12;
const THIEF_ENDPOINTS = 3;
/** Known tokens only: what has no baseline yet is not judged by it. */
const MIN_ACTIVE_DAYS = 5;

/** planAttacks prepares `count` attacks: half walk over endpoints that others use, half try a few of them from where no token of the owner has been. */
export function planAttacks(tokens: readonly FleetToken[], draw: () => number, count: number): AttackPlan {
  const habits = new Map<string, Habit>();
  /** How many events each collection endpoint had; only what several tokens use is no news to the fleet. */
  const used = new Map<string, number>();
  const countriesOf = new Map<string, Set<string>>();
  const kinds = new Map(tokens.map(({ id, kind }) => [id, kind]));

  function note(event: NativeUsage): void {
    const { method, path, token, owner, ip, time } = event;
    const parts = path.split('/');
    // Collections have no id in their path: their endpoint is the path itself.
    const endpoint = parts.length === 3 ? `${method} ${path}` : null;
    const day = time.slice(0, 10);
    let habit = habits.get(token);
    if (habit === undefined) {
      habit = { owner, endpoints: new Set(), countries: new Set(), days: new Set(), firstDay: day, last: event };
      habits.set(token, habit);
    }
    habit.days.add(day);
    habit.last = event;
    if (endpoint !== null) {
      habit.endpoints.add(endpoint);
      used.set(endpoint, (used.get(endpoint) ?? 0) + 1);
    }
    const country = networkOf(ip)?.country;
    if (country === undefined) return;
    habit.countries.add(country);
    const ofOwner = countriesOf.get(owner) ?? new Set<string>();
    countriesOf.set(owner, ofOwner.add(country));
  }

  /** What others use and this token never did, the most used first. */
  function freshFor({ endpoints }: Habit, count: number): string[] | null {
    const common = [...used].sort((a, b) => b[1] - a[1]).map(([endpoint]) => endpoint);
    const fresh = common.filter((endpoint) => !endpoints.has(endpoint)).slice(0, count);
    return fresh.length < count ? null : fresh;
  }

  function walk(habit: Habit): Attack | null {
    const fresh = freshFor(habit, WALK_ENDPOINTS);
    return fresh === null ? null : attackOf('walk', habit.last, fresh);
  }

  function abroad(habit: Habit): Attack | null {
    const fresh = freshFor(habit, THIEF_ENDPOINTS);
    const known = countriesOf.get(habit.owner) ?? new Set();
    const strange = COUNTRIES.filter(({ code, hosting }) => hosting.length > 0 && !known.has(code));
    const prefix = strange[Math.floor(draw() * strange.length)]?.hosting[0]?.prefix;
    if (prefix === undefined || fresh === null) return null;
    const ip = `${prefix}.${Math.floor(draw() * 256)}.${1 + Math.floor(draw() * 254)}`;
    return attackOf('country', { ...habit.last, ip }, fresh);
  }

  return {
    *watch(history) {
      for (const event of history) {
        if (!isLifecycle(event)) note(event);
        yield event;
      }
    },
    pick() {
      const candidates = [...habits]
        .filter(([token, { days, countries }]) => {
          const kind = kinds.get(token);
          return days.size >= MIN_ACTIVE_DAYS && countries.size === 1 && kind !== 'mobile' && kind !== 'dormant';
        })
        .map(([, habit]) => ({ habit, order: draw() }))
        .sort((a, b) => a.order - b.order);
      const picked: Attack[] = [];
      const owners = new Set<string>();
      for (const { habit } of candidates) {
        // One of an owner: two in the same country on the same day would pass for a move.
        if (picked.length === count || owners.has(habit.owner)) continue;
        const attack = picked.length % 2 === 0 ? walk(habit) : abroad(habit);
        if (attack === null) continue;
        owners.add(habit.owner);
        picked.push(attack);
      }
      return picked;
    },
  };
}

/** attackOf is one refused call of each endpoint, a millisecond apart. */
function attackOf(kind: Attack['kind'], like: NativeUsage, endpoints: readonly string[]): Attack {
  const line = (endpoint: string, i: number, nowMs: number): string => {
    const [method = '', path = ''] = endpoint.split(' ');
    const time = new Date(nowMs - endpoints.length + i).toISOString();
    const ids = { id: `${like.id}-attack-${i}`, request_id: `attack-${i}` };
    return `${JSON.stringify({ ...like, ...ids, method, path, status: 403, time })}\n`;
  };
  return {
    kind,
    token: like.token,
    body: (nowMs) => Buffer.from(endpoints.map((endpoint, i) => line(endpoint, i, nowMs)).join('')),
  };
}
