/**
 * Makes a task's image present. Swarm asks the registry for every image that is not pinned by
 * digest, and goes on with a local one when that fails. Here a silent registry cannot stall a
 * start: with a local image the wait for its first answer is short, and a failure is remembered
 * for a while. Equal pulls at one time are one.
 */
import type { Clock } from '../model/environment.js';
import { SkepError } from '../model/errors.js';
import type { Logger } from '../observe/logger.js';
import { childAbort, lifeAbort, orAborted } from './async.js';
import { type EngineClient, engineError } from './engine-client.js';
import {
  PULL_FAILURE_MEMORY_MS,
  PULL_FAILURES_MAX,
  PULL_SILENCE_LOCAL_MS,
  PULL_SILENCE_MS,
} from './limits.js';

/** Whether a reference is an image id rather than a name. */
export function isImageId(reference: string): boolean {
  return /^(sha256:)?[0-9a-f]{64}$/.test(reference);
}

/** Whether a reference names one content for ever. */
export function isPinned(reference: string): boolean {
  return /@sha256:[0-9a-f]{64}$/.test(reference);
}

/** The reference with the default tag: without one the engine would pull every tag. */
export function withDefaultTag(reference: string): string {
  const name = reference.slice(reference.lastIndexOf('/') + 1);
  return name.includes(':') || name.includes('@') ? reference : `${reference}:latest`;
}

/** Pulls images of tasks. */
export class ImagePuller {
  private readonly running = new Map<string, Promise<void>>();
  private readonly lookups = new Map<string, Promise<boolean>>();
  private readonly failures = new Map<string, number>();
  private readonly life = lifeAbort();

  constructor(
    private readonly client: EngineClient,
    private readonly clock: Clock,
    private readonly logger: Logger,
    /** DOCKER_SERVICE_PREFER_OFFLINE_IMAGE: a local image is used without asking. */
    private readonly preferOffline: boolean,
    /** The node's own credentials for an image's registry as a header; empty if it has none. */
    private readonly ownAuth: (image: string) => Promise<string> = async () => '',
  ) {}

  /**
   * Resolves once the image is as fresh as it can be had. A failed pull of an image that is here is
   * only logged. If it is not here, creating the container fails in the engine's words, to which the
   * reason returned belongs.
   * @returns why pulling failed; undefined if the image is here
   * @throws SkepError unavailable when the engine cannot be reached; canceled by `signal`
   */
  async ensure(
    reference: string,
    registryAuth: string,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    if (isImageId(reference)) return undefined;
    const image = withDefaultTag(reference);
    const local = await orAborted(this.isLocal(image), signal);
    if (local && (isPinned(image) || this.preferOffline || this.failedLately(image)))
      return undefined;
    try {
      await orAborted(this.shared(image, registryAuth, local), signal);
      this.failures.delete(image);
      return undefined;
    } catch (thrown) {
      if (signal.aborted) throw thrown;
      this.remember(image);
      const error = SkepError.from(thrown).message;
      this.logger.warn({ image, local, error }, 'pulling image failed');
      return local ? undefined : error;
    }
  }

  /** One look for all tasks that ask at once: a service starts many with the same image. */
  private isLocal(image: string): Promise<boolean> {
    const present = this.lookups.get(image);
    if (present !== undefined) return present;
    const lookup = this.client
      .image(image)
      .then((found) => found !== undefined)
      .finally(() => this.lookups.delete(image));
    this.lookups.set(image, lookup);
    return lookup;
  }

  private failedLately(image: string): boolean {
    const at = this.failures.get(image);
    return at !== undefined && this.clock.monotonicMs() - at < PULL_FAILURE_MEMORY_MS;
  }

  private remember(image: string): void {
    if (this.failures.size >= PULL_FAILURES_MAX) this.failures.clear();
    this.failures.set(image, this.clock.monotonicMs());
  }

  /** Breaks off running pulls. */
  stop(): void {
    this.life.abort();
  }

  /** One pull for all tasks that want the same at once; it goes on when one of them goes. */
  private shared(image: string, registryAuth: string, local: boolean): Promise<void> {
    const key = `${image} ${registryAuth}`;
    const present = this.running.get(key);
    if (present !== undefined) return present;
    const pull = this.pullWithEither(image, registryAuth, local).finally(() => {
      this.running.delete(key);
    });
    this.running.set(key, pull);
    return pull;
  }

  /**
   * With the credentials of the service, then with the node's own: the former were copied when the
   * service was made and may have expired, or were never given.
   */
  private async pullWithEither(image: string, registryAuth: string, local: boolean): Promise<void> {
    try {
      await this.pull(image, registryAuth, local);
    } catch (thrown) {
      // A silent registry is not silent because of credentials.
      const isSilent = SkepError.from(thrown).code === 'deadline_exceeded';
      if (this.life.signal.aborted || isSilent) throw thrown;
      const own = await this.ownAuth(image).catch((error: unknown) => {
        const text = SkepError.from(error).message;
        this.logger.warn({ image, error: text }, 'the credentials of this node cannot be read');
        return '';
      });
      if (own === '' || own === registryAuth) throw thrown;
      await this.pull(image, own, local);
    }
  }

  private async pull(image: string, registryAuth: string, local: boolean): Promise<void> {
    const { controller, release } = childAbort(this.life.signal);
    const silenceMs = local ? PULL_SILENCE_LOCAL_MS : PULL_SILENCE_MS;
    let silent = false;
    const onSilence = (): void => {
      silent = true;
      controller.abort();
    };
    let timer = this.clock.setTimer(silenceMs, onSilence);
    try {
      const stream = await this.client.pull(image, registryAuth, controller.signal);
      let rest = '';
      for await (const chunk of stream) {
        // The registry answered; from here a stall is worth a longer wait.
        timer.cancel();
        timer = this.clock.setTimer(PULL_SILENCE_MS, onSilence);
        rest = failOnErrorLine(rest + chunk.toString());
      }
    } catch (thrown) {
      if (silent) throw new SkepError('deadline_exceeded', 'the registry does not answer');
      throw engineError(thrown);
    } finally {
      timer.cancel();
      release();
    }
  }
}

/** Looks through complete progress lines for an error; returns the incomplete rest. */
function failOnErrorLine(text: string): string {
  const lines = text.split('\n');
  const rest = lines.pop() ?? '';
  for (const line of lines) {
    if (line.trim() === '') continue;
    const progress = JSON.parse(line) as { error?: unknown } | null;
    if (typeof progress?.error === 'string') throw new SkepError('unknown', progress.error);
  }
  return rest;
}
