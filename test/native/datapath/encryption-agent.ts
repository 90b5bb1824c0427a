/**
 * The encryption of one node inside an actor that owns its data path. The test carries the records
 * between the nodes, in place of gossip, and can hold them back.
 */
import type { KernelDatapath } from '../../../src/native/datapath.js';
import { openNetlink } from '../../../src/native/netlink.js';
import { Encryption } from '../../../src/network/encryption/encryption.js';
import { HostWireguardDevices } from '../../../src/network/encryption/host-devices.js';
import { KEY_TABLE } from '../../../src/network/encryption/key-record.js';
import { NO_KEY_TUNNEL } from '../../../src/network/encryption/keys.js';
import { createLogger } from '../../../src/observe/logger.js';
import { systemEnvironment } from '../../../src/observe/system-environment.js';
import type { TlsIdentity } from '../../../src/rpc/types.js';

const TICK_MS = 100;
const NETWORK = 'secret';

/** What a test tells an agent. */
export interface EncryptionOptions {
  readonly nodeId: string;
  readonly stateDirectory: string;
  readonly underlayAddress: string;
  readonly identity: TlsIdentity;
  readonly port: number;
  readonly rotationMs: number;
  /** Containers on other nodes, with the node they are on. */
  readonly remotes: readonly {
    readonly vni: number;
    readonly address: string;
    readonly mac: string;
    readonly owner: string;
  }[];
}

/** One node's encryption. */
export class EncryptionAgent {
  private readonly options: EncryptionOptions;
  private readonly datapath: KernelDatapath;
  private readonly encryption: Encryption;

  private constructor(options: EncryptionOptions, datapath: KernelDatapath) {
    this.options = options;
    this.datapath = datapath;
    const { stateDirectory, underlayAddress } = options;
    this.encryption = new Encryption({
      ...{ stateDirectory, underlayAddress, datapath, environment: systemEnvironment },
      identity: { current: () => options.identity, subscribe: () => () => undefined },
      devices: new HostWireguardDevices(openNetlink()),
      logger: createLogger({ level: process.env['SKEP_TEST_LOG'] === '1' ? 'debug' : 'fatal' }),
      onChange: () => this.writeRows(),
    });
  }

  static async open(
    options: EncryptionOptions,
    datapath: KernelDatapath,
  ): Promise<EncryptionAgent> {
    const agent = new EncryptionAgent(options, datapath);
    const { nodeId, port, rotationMs } = options;
    await agent.encryption.start();
    await agent.encryption.configure(nodeId, { port, rotationMs });
    agent.writeRows();
    setInterval(() => agent.encryption.tick(), TICK_MS);
    return agent;
  }

  async require(): Promise<void> {
    await this.encryption.require();
  }

  /** The record to be told to others, base64. */
  record(): string | undefined {
    const [entry] = this.encryption.entries([NETWORK]);
    return entry && Buffer.from(entry.value).toString('base64');
  }

  /** A record arrives. */
  learn(owner: string, record: string): void {
    const value = Buffer.from(record, 'base64');
    const entry = { networkId: NETWORK, table: KEY_TABLE, key: owner, owner, value };
    this.encryption.apply({ type: 'entry', ...entry });
  }

  tunnels(): Readonly<Record<string, string>> {
    return Object.fromEntries(this.encryption.tunnels);
  }

  async rotate(rotationMs: number): Promise<void> {
    const { nodeId, port } = this.options;
    await this.encryption.configure(nodeId, { port, rotationMs });
  }

  async leave(): Promise<void> {
    await this.encryption.leave();
  }

  private writeRows(): void {
    const { tunnels } = this.encryption;
    this.datapath.putRemoteEndpoints(
      this.options.remotes.map(({ owner, ...place }) => ({
        ...place,
        tunnelAddress: tunnels.get(owner) ?? NO_KEY_TUNNEL,
      })),
    );
  }
}
