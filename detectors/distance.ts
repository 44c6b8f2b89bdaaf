/** Spot is a place on earth, in degrees. */
export interface Spot {
  readonly latitude: number;
  readonly longitude: number;
}

/** Two places in squares of a degree may be this much nearer or farther than the squares' middles. */
export const ROUNDING_KM = 160;

/** A place this near is the same one: databases move cities about. */
export const SAME_PLACE_KM = 150;

/** Mean radius of the earth, kilometres (IUGG). */
const EARTH_KM = 6_371.0088;

/** distanceKm is the great-circle distance of two places in kilometres, by the haversine formula (Sinnott 1984), which holds for near ones too. */
export function distanceKm(a: Spot, b: Spot): number {
  const radians = Math.PI / 180;
  const north = Math.sin(((b.latitude - a.latitude) * radians) / 2);
  const east = Math.sin(((b.longitude - a.longitude) * radians) / 2);
  const half = north ** 2 + Math.cos(a.latitude * radians) * Math.cos(b.latitude * radians) * east ** 2;
  return 2 * EARTH_KM * Math.asin(Math.sqrt(Math.min(1, half)));
}

/** isNear tells whether two places are so near to one another. */
export function isNear(a: Spot, b: Spot, km: number): boolean {
  return distanceKm(a, b) <= km;
}
