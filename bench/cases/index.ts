import type { BenchCase } from '../contract.ts';
import { backtest } from './backtest.ts';
import { crash } from './crash.ts';
import { delay } from './delay.ts';
import { facts } from './facts.ts';
import { ingest } from './ingest.ts';

/** CASES are the benchmarks, in the order in which they run; a new one is a file and a line. */
export const CASES: readonly BenchCase[] = [ingest, delay, backtest, facts, crash];
