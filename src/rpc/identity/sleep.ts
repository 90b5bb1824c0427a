/** A pause that an AbortSignal can end. */
import type { Clock } from '../../model/environment.js';
import { SkepError } from '../../model/errors.js';

/** Resolves after `delayMs`. @throws SkepError canceled as soon as `signal` aborts */
export function sleep(delayMs: number, clock: Clock, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const canceled = (): SkepError => new SkepError('canceled', 'canceled');
    if (signal.aborted) {
      reject(canceled());
      return;
    }
    const onAbort = (): void => {
      timer.cancel();
      reject(canceled());
    };
    const timer = clock.setTimer(delayMs, () => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    });
    signal.addEventListener('abort', onAbort, { once: true });
  });
}
