/**
 * One skepd, put together: the host is checked, the node takes up its swarm, the Docker API is
 * served. The only place that builds the rest.
 */
import Dockerode from 'dockerode';
import { ApiServer } from '../api/server.js';
import { parseGenericResources } from '../model/generic-resources.js';
import { openNetlink } from '../native/netlink.js';
import { DNS_ADDRESS } from '../network/limits.js';
import type { Logger } from '../observe/logger.js';
import { systemEnvironment } from '../observe/system-environment.js';
import { LateAttachments } from './late-attachments.js';
import { type DaemonOptions, socketBinds } from './options.js';
import { checkHost } from './preflight.js';
import { SwarmNode } from './swarm-node.js';

/** A running skepd. */
export class Daemon {
  private constructor(
    private readonly node: SwarmNode,
    private readonly api: ApiServer,
  ) {}

  /**
   * Checks the host, takes up the recorded swarm, and serves the API, on a socket that listens already if
   * there is one. @throws SkepError
   */
  static async start(
    options: DaemonOptions,
    logger: Logger,
    passedSocket?: number,
  ): Promise<Daemon> {
    const genericResources = parseGenericResources(options.nodeGenericResource);
    await checkHost(options);
    const environment = systemEnvironment;
    const node = new SwarmNode({
      options,
      engine: new Dockerode({ socketPath: options.engineSocket }),
      netlink: openNetlink(),
      attachments: new LateAttachments(),
      environment,
      logger,
    });
    const api = new ApiServer({
      socketPath: options.apiSocket,
      ...(passedSocket === undefined ? {} : { passedSocket }),
      engineSocketPath: options.engineSocket,
      sockets: socketBinds(options),
      membership: node,
      logger,
      environment,
      attachableDnsServers: [DNS_ADDRESS],
      genericResources,
    });
    await node.start();
    try {
      await api.start();
    } catch (error) {
      await node.stop();
      throw error;
    }
    return new Daemon(node, api);
  }

  /** Stops serving, then the node; containers and packets go on. */
  async stop(): Promise<void> {
    await this.api.stop();
    await this.node.stop();
  }
}
