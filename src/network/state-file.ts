/**
 * A small JSON document on disk that survives `kill -9` and power loss: written beside, synced,
 * renamed. Writes asked for while one is under way are joined into the next.
 */
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { SkepError } from '../model/errors.js';

/** One document. The content is asked for at the moment of writing, so the newest always wins. */
export class StateFile {
  private readonly file: string;
  private readonly content: () => unknown;
  private running: Promise<void> | undefined;
  private next: Promise<void> | undefined;

  constructor(file: string, content: () => unknown) {
    this.file = file;
    this.content = content;
  }

  /** The document, or undefined when there is none. @throws SkepError `data_loss` when it is no JSON */
  async load(): Promise<unknown> {
    let text: string;
    try {
      text = await readFile(this.file, 'utf8');
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
      throw error;
    }
    try {
      return JSON.parse(text) as unknown;
    } catch (cause) {
      throw new SkepError('data_loss', `${this.file} is not readable as JSON`, { cause });
    }
  }

  /** Resolves once everything true at the time of the call is on disk. */
  save(): Promise<void> {
    if (this.running === undefined) {
      this.running = this.write().finally(() => {
        this.running = undefined;
      });
      return this.running;
    }
    // A write under way may have taken its content already: one more follows it for all callers.
    const after = async () => {
      this.next = undefined;
      await this.save();
    };
    this.next ??= this.running.then(after, after);
    return this.next;
  }

  /** Removes the document. */
  async remove(): Promise<void> {
    await this.running?.catch(() => undefined);
    await rm(this.file, { force: true });
  }

  private async write(): Promise<void> {
    const directory = path.dirname(this.file);
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const temporary = `${this.file}.new`;
    const handle = await open(temporary, 'w', 0o600);
    try {
      await handle.writeFile(JSON.stringify(this.content()));
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, this.file);
    const parent = await open(directory, 'r');
    try {
      await parent.sync();
    } finally {
      await parent.close();
    }
  }
}
