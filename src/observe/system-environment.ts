/**
 * The real clock and randomness, for production. Simulations and tests of pure rooms bring their
 * own (see test/support).
 */
import { randomBytes } from 'node:crypto';
import type { Environment } from '../model/environment.js';

const UINT48_RANGE = 2 ** 48;

/** Wall clock, monotonic clock and timers of the process; randomness of the kernel. */
export const systemEnvironment: Environment = {
  clock: {
    nowMs: () => Date.now(),
    monotonicMs: () => performance.now(),
    setTimer(delayMs, callback) {
      const timer = setTimeout(callback, delayMs);
      return { cancel: () => clearTimeout(timer) };
    },
  },
  random: {
    next: () => randomBytes(6).readUIntBE(0, 6) / UINT48_RANGE,
    bytes: (length) => randomBytes(length),
  },
};
