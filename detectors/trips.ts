import type { Verdict } from '../core/index.ts';
import { OPEN_MS } from './baseline.ts';
import { isNear, ROUNDING_KM, SAME_PLACE_KM, type Spot } from './distance.ts';
import { type Word, wordEnd } from './feedback.ts';

/** Trip is what people said of two places that nobody can travel between so fast. */
export interface Trip extends Pick<Word, 'verdict' | 'from' | 'to' | 'endsAt'> {
  /** The place that the lineage was heard from first, */
  readonly home: Spot;
  /** and the other one, which the word is about. */
  readonly away: Spot;
}

/** Presence is somebody's calls from about one place. Times are epoch milliseconds. */
interface Presence extends Spot {
  readonly first: number;
  readonly last: number;
}

/**
 * tripsOf reads one lineage's words about trips, newest first, and keeps those that stand: of two places the newest, and as long as
 * all newer ones say malicious too, the older ones.
 */
export function tripsOf(words: readonly Word[]): Trip[] {
  const newer = new Map<string, Verdict>();
  return words.flatMap(({ value, verdict, from, to, endsAt }) => {
    const stands = !newer.has(value) || (newer.get(value) === 'malicious' && verdict === 'malicious');
    newer.set(value, stands ? verdict : 'expected');
    const degrees = /^(-?\d+) (-?\d+), (-?\d+) (-?\d+)$/.exec(value)?.slice(1).map(Number);
    if (!stands || degrees === undefined) return [];
    const [homeLatitude = 0, homeLongitude = 0, latitude = 0, longitude = 0] = degrees;
    const home = { latitude: homeLatitude, longitude: homeLongitude };
    return [{ verdict, from, to, endsAt, home, away: { latitude, longitude } }];
  });
}

/** tripBetween is the newest word about two places, whichever comes first. */
export function tripBetween(trips: readonly Trip[], a: Spot, b: Spot): Trip | undefined {
  const at = (one: Spot, place: Spot) => isNear(one, place, SAME_PLACE_KM);
  return trips.find(({ home, away }) => (at(a, home) && at(b, away)) || (at(a, away) && at(b, home)));
}

/** isTripOver tells whether a word about two places is over at a moment (epoch milliseconds): a trip between them is news again. */
export function isTripOver(trip: Trip, at: number): boolean {
  return (wordEnd(trip) ?? at) < at;
}

/** staysForHabit are the stays that make a place a habit: not those that were malicious, nor what was expected until a time that is over. */
export function staysForHabit<P extends Presence>(
  stays: readonly P[],
  trips: readonly Trip[],
  at: number,
): readonly P[] {
  return staysWithout(
    stays,
    trips.filter((trip) => trip.verdict === 'malicious' || isTripOver(trip, at)),
  );
}

/** staysForJumps are the stays that tell how often a lineage is in places too far apart: what people spoke of says nothing of the others. */
export function staysForJumps<P extends Presence>(stays: readonly P[], trips: readonly Trip[]): readonly P[] {
  return staysWithout(stays, trips);
}

function staysWithout<P extends Presence>(stays: readonly P[], trips: readonly Trip[]): readonly P[] {
  if (trips.length === 0) return stays;
  return stays.filter(
    (stay) =>
      !trips.some((trip) => {
        const from = trip.verdict === 'malicious' ? trip.from : Number.NEGATIVE_INFINITY;
        return (
          stay.last >= from &&
          stay.first <= (wordEnd(trip) ?? Number.POSITIVE_INFINITY) &&
          isNear(stay, trip.away, ROUNDING_KM)
        );
      }),
  );
}

/** cameHonestly tells whether a lineage that was first heard from about a place at `since` did not come there as part of anything malicious. */
export function cameHonestly(place: Spot, since: number, trips: readonly Trip[]): boolean {
  return !trips.some(
    ({ verdict, from, to, away }) =>
      verdict === 'malicious' && since >= from - OPEN_MS && since <= to && isNear(place, away, ROUNDING_KM),
  );
}
