/**
 * The self-test of paths of one node inside an actor that owns its data path; the test says which
 * nodes there are, in place of gossip.
 */
import type { KernelDatapath } from '../../../src/native/datapath.js';
import { PATH_TICK_MS } from '../../../src/network/paths/limits.js';
import { PathSelfTest } from '../../../src/network/paths/self-test.js';
import type { PathPeer, PathReport } from '../../../src/network/paths/types.js';
import { UdpPathTransport } from '../../../src/network/paths/udp-transport.js';
import { createLogger } from '../../../src/observe/logger.js';
import { systemEnvironment } from '../../../src/observe/system-environment.js';

/** One node's self-test, from construction until its process ends. */
export class SelfTestAgent {
  private readonly selfTest: PathSelfTest;

  constructor(datapath: KernelDatapath, ownId: string, peers: readonly PathPeer[]) {
    const { clock, random } = systemEnvironment;
    const selfTest: PathSelfTest = new PathSelfTest({
      datapath,
      transport: new UdpPathTransport(datapath, (nodeId, bytes) => selfTest.receive(nodeId, bytes)),
      isAlive: () => true,
      ...{ clock, random },
      logger: createLogger({ level: process.env['SKEP_TEST_LOG'] === '1' ? 'debug' : 'fatal' }),
    });
    this.selfTest = selfTest;
    selfTest.configure(ownId, peers);
    setInterval(() => selfTest.tick(), PATH_TICK_MS);
  }

  report(): PathReport {
    return this.selfTest.report();
  }
}
