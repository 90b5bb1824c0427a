/** Processes whose end the test tells: an engine of a test's own has process ids of its own. */
import type { WatchProcess } from '../../../src/native/process-watch.js';

/** A watch that was asked for. */
export interface RecordedWatch {
  readonly pid: number;
  readonly path: string;
  /** Tells of the end, unless it is closed. */
  readonly end: () => void;
  isOpen: boolean;
}

/** Remembers all watches. */
export class RecordedProcesses {
  readonly watches: RecordedWatch[] = [];
  /** Thrown by the next watches. */
  refusal: Error | undefined;

  readonly watch: WatchProcess = (pid, path, onEnd) => {
    if (this.refusal !== undefined) throw this.refusal;
    const close = (): void => {
      watch.isOpen = false;
    };
    const end = (): void => {
      if (!watch.isOpen) return;
      close();
      onEnd();
    };
    const watch: RecordedWatch = { pid, path, end, isOpen: true };
    this.watches.push(watch);
    return { close };
  };

  /** Those neither closed nor over. */
  get open(): readonly RecordedWatch[] {
    return this.watches.filter(({ isOpen }) => isOpen);
  }
}
