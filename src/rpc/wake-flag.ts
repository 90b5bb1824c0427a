/**
 * How a stream that sends the present state waits for the next change. Setting the flag many times
 * wakes once: a slow reader costs no memory, it gets the newest state when it reads on.
 */

/** A flag that one waiter can wait for. */
export class WakeFlag {
  #isSet = false;
  #wake: (() => void) | undefined;

  /** Marks a change; wakes the waiter. */
  set(): void {
    this.#isSet = true;
    this.#wake?.();
  }

  /** Resolves true once set since the last wait, false when `signal` aborts first. */
  async wait(signal: AbortSignal): Promise<boolean> {
    if (!this.#isSet && !signal.aborted) {
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          // Streams live long: a listener a wait must not be left behind.
          signal.removeEventListener('abort', wake);
          resolve();
        };
        this.#wake = wake;
        signal.addEventListener('abort', wake);
      });
      this.#wake = undefined;
    }
    if (signal.aborted) return false;
    this.#isSet = false;
    return true;
  }
}
