import { Registry } from 'prom-client';

export { Counter, Gauge, Histogram, type Registry } from 'prom-client';

/** createMetrics makes an empty registry; each room registers its own metrics on the one that it is given. */
export function createMetrics(): Registry {
  return new Registry();
}
