/**
 * Clients that use the label of a few configs as registers, through whatever manager: reads, and updates
 * at the version that was read, which is compare-and-set. What they were answered must be linearizable.
 */
import {
  checkLinearizable,
  describeVerdict,
  NEVER,
  type Operation,
  type Value,
} from '../support/linearizability.js';
import { sleep } from './commands.js';
import { writeConfig } from './config-writer.js';
import { dockerRequest } from './http.js';
import type { Host } from './testbed.js';

const API = '/v1.41/configs';
const KEYS = 3;
const LABEL = 'value';
/** So that a client does not keep a processor busy. */
const PAUSE_MS = 5;

interface ConfigJson {
  readonly ID: string;
  readonly Version: { readonly Index: number };
  readonly Spec: {
    readonly Name: string;
    readonly Labels: Readonly<Record<string, string>> | null;
  };
}

/** See the file's head. */
export class RegisterClients {
  readonly history: Operation[] = [];
  readonly #keys: readonly string[];
  #runs: readonly Promise<void>[] = [];
  #isOver = false;
  #moment = 0;
  #values = 0;

  private constructor(keys: readonly string[]) {
    this.#keys = keys;
  }

  /** Makes the registers, whose names begin with `prefix`, and lets `count` clients ask `entries`. */
  static async begin(
    entries: readonly Host[],
    prefix: string,
    count: number,
  ): Promise<RegisterClients> {
    const clients = new RegisterClients(
      Array.from({ length: KEYS }, (_, at) => `${prefix}-register-${at}`),
    );
    const [first] = entries;
    if (first === undefined) throw new Error('clients need managers');
    for (const key of clients.#keys) {
      const status = await writeConfig(first, key);
      if (status !== 201) throw new Error(`config ${key}: status ${status}`);
    }
    clients.#runs = Array.from({ length: count }, (_, at) => clients.#run(`c${at}`, at, entries));
    return clients;
  }

  /** Ends all clients, when each has its last answer. */
  async end(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#runs);
  }

  /** Ends all clients; one reads all registers at each of `hosts` then. Returns the verdict in words. */
  async verdict(hosts: readonly Host[]): Promise<string> {
    await this.end();
    for (const host of hosts) for (const key of this.#keys) await this.#read('last', host, key);
    return describeVerdict(checkLinearizable(this.history));
  }

  /** Each client has its own order of keys and managers. */
  async #run(client: string, number: number, entries: readonly Host[]): Promise<void> {
    for (let turn = number; !this.#isOver; turn++) {
      const host = entries[(turn * (number + 1)) % entries.length];
      const key = this.#keys[(turn * 7 + number) % KEYS];
      if (host === undefined || key === undefined) return;
      const config = await this.#read(client, host, key);
      if (config !== undefined && turn % 2 === 0) await this.#update(client, host, config);
      await sleep(PAUSE_MS);
    }
  }

  async #read(client: string, host: Host, key: string): Promise<ConfigJson | undefined> {
    const calledAt = this.#now();
    const answer = await asked(host, 'GET', `${API}/${key}`);
    if (answer?.status !== 200) return undefined;
    const config = answer.body as ConfigJson;
    const value = valueOf(config);
    this.history.push({ client, key, calledAt, answeredAt: this.#now(), kind: 'read', value });
    return config;
  }

  async #update(client: string, host: Host, config: ConfigJson): Promise<void> {
    const { ID, Version, Spec } = config;
    const value = String((this.#values += 1));
    const calledAt = this.#now();
    const query = `${API}/${ID}/update?version=${Version.Index}`;
    const answer = await asked(host, 'POST', query, { ...Spec, Labels: { [LABEL]: value } });
    const swapped = swappedOf(answer);
    this.history.push({
      client,
      key: Spec.Name,
      calledAt,
      answeredAt: swapped === undefined ? NEVER : this.#now(),
      kind: 'compareAndSet',
      expected: valueOf(config),
      value,
      swapped,
    });
  }

  #now(): number {
    return (this.#moment += 1);
  }
}

interface Answer {
  readonly status: number;
  readonly body: unknown;
}

/** Undefined when no answer came. */
async function asked(
  host: Host,
  method: 'GET' | 'POST',
  target: string,
  body?: unknown,
): Promise<Answer | undefined> {
  try {
    return await dockerRequest(host.skepSocket, method, target, body);
  } catch {
    return undefined;
  }
}

/** Undefined where an answer does not say whether anything came of the update. */
function swappedOf(answer: Answer | undefined): boolean | undefined {
  if (answer?.status === 200) return true;
  return JSON.stringify(answer?.body ?? '').includes('update out of sequence') ? false : undefined;
}

function valueOf({ Spec }: ConfigJson): Value {
  return Spec.Labels?.[LABEL];
}
