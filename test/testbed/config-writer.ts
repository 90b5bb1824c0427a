/**
 * Writes configs through managers at a steady rate, and checks that none that was acknowledged is lost.
 */
import { sleep } from './commands.js';
import { dockerRequest } from './http.js';
import type { Host } from './testbed.js';

const API = '/v1.41/configs';
/** Writes without an answer at once, at most: managers without a leader hold each for a while. */
const OUTSTANDING_MAX = 2_000;
const REMOVALS_AT_ONCE = 50;

/** A write and what became of it; times in ms of `performance.now()`. */
export interface Write {
  readonly name: string;
  readonly sentMs: number;
  /** 0: not answered. */
  answeredMs: number;
  /** 0: no HTTP answer. */
  status: number;
}

interface ConfigJson {
  readonly ID: string;
  readonly Spec: { readonly Name: string };
}

/** Creates one config through `host`; resolves with the HTTP status. */
export async function writeConfig(host: Host, name: string): Promise<number> {
  const body = { Name: name, Data: Buffer.from(name).toString('base64') };
  return (await dockerRequest(host.skepSocket, 'POST', `${API}/create`, body)).status;
}

/** A load of writes, until {@link ConfigWriter.stop}. */
export class ConfigWriter {
  readonly writes: Write[] = [];
  private readonly answers: Promise<void>[] = [];
  private outstanding = 0;
  private isOver = false;
  private readonly sending: Promise<void>;

  /** `entries` are asked in turn; names begin with `prefix`. */
  constructor(
    private readonly entries: readonly Host[],
    private readonly prefix: string,
    private readonly ratePerSecond: number,
  ) {
    this.sending = this.send();
  }

  /** Ends the load and waits for what was not answered. */
  async stop(): Promise<readonly Write[]> {
    this.isOver = true;
    await this.sending;
    await Promise.all(this.answers);
    return this.writes;
  }

  private async send(): Promise<void> {
    const startMs = performance.now();
    while (!this.isOver) {
      const due = Math.floor(((performance.now() - startMs) / 1000) * this.ratePerSecond);
      while (this.writes.length < due && this.outstanding < OUTSTANDING_MAX) this.begin();
      await sleep(5);
    }
  }

  private begin(): void {
    const { writes, entries } = this;
    const entry = entries[writes.length % entries.length];
    if (entry === undefined) throw new Error('a load needs managers');
    const write: Write = {
      name: `${this.prefix}-${writes.length}`,
      sentMs: performance.now(),
      answeredMs: 0,
      status: 0,
    };
    writes.push(write);
    this.outstanding += 1;
    const done = (status: number): void => {
      write.status = status;
      write.answeredMs = performance.now();
      this.outstanding -= 1;
    };
    this.answers.push(writeConfig(entry, write.name).then(done, () => done(0)));
  }
}

/** Names of acknowledged writes that some manager does not have. */
export async function lostWrites(
  hosts: readonly Host[],
  writes: readonly Write[],
): Promise<readonly string[]> {
  const acknowledged = writes.filter(({ status }) => status === 201).map(({ name }) => name);
  const lost = new Set<string>();
  for (const host of hosts) {
    const names = new Set((await configsOf(host)).map(({ Spec }) => Spec.Name));
    for (const name of acknowledged) if (!names.has(name)) lost.add(name);
  }
  return [...lost];
}

/** Removes all configs through `host`. */
export async function removeConfigs(host: Host): Promise<void> {
  const configs = await configsOf(host);
  for (let at = 0; at < configs.length; at += REMOVALS_AT_ONCE)
    await Promise.all(
      configs
        .slice(at, at + REMOVALS_AT_ONCE)
        .map(async ({ ID }) => dockerRequest(host.skepSocket, 'DELETE', `${API}/${ID}`)),
    );
}

async function configsOf(host: Host): Promise<readonly ConfigJson[]> {
  const { body, status } = await dockerRequest(host.skepSocket, 'GET', API);
  if (status !== 200) throw new Error(`configs of ${host.name}: status ${status}`);
  return body as readonly ConfigJson[];
}
