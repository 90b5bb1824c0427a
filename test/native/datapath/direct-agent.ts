/**
 * Direct return of one node inside an actor that owns its data path; the test says which nodes there
 * are and which are wanted, in place of gossip.
 */
import type { KernelDatapath } from '../../../src/native/datapath.js';
import { DirectReturn } from '../../../src/network/direct/direct-return.js';
import type { DirectReport } from '../../../src/network/direct/types.js';
import { PATH_TICK_MS } from '../../../src/network/paths/limits.js';
import type { PathPeer } from '../../../src/network/paths/types.js';
import { UdpPathTransport } from '../../../src/network/paths/udp-transport.js';
import { createLogger } from '../../../src/observe/logger.js';
import { systemEnvironment } from '../../../src/observe/system-environment.js';

/** One node's direct return, from construction until its process ends. */
export class DirectAgent {
  private readonly direct: DirectReturn;

  constructor(datapath: KernelDatapath, ownId: string, peers: readonly PathPeer[]) {
    const { clock, random } = systemEnvironment;
    const direct: DirectReturn = new DirectReturn({
      datapath,
      transport: new UdpPathTransport(datapath, (nodeId, bytes) => direct.receive(nodeId, bytes)),
      isAlive: () => true,
      ...{ clock, random },
      logger: createLogger({ level: process.env['SKEP_TEST_LOG'] === '1' ? 'debug' : 'fatal' }),
    });
    this.direct = direct;
    direct.configure(ownId, peers, new Set(peers.map(({ tunnelAddress }) => tunnelAddress)));
    setInterval(() => direct.tick(), PATH_TICK_MS);
  }

  report(): DirectReport {
    return this.direct.report();
  }
}
