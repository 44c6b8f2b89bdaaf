// Runs once before the tests.
import { findOnPath, REDIS_SERVERS } from './path.mjs';

/** The tests use a real Redis: without one most of them would fail with the same riddle, so say it once. */
export default function setup() {
  if (findOnPath(REDIS_SERVERS) === null) {
    throw new Error('The tests need redis-server or valkey-server on PATH. `npm test` installs it, or says how.');
  }
}
