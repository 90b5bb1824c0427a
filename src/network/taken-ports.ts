/**
 * Published ports that a process of this host had before. The service has them from now on, as in
 * Docker's swarm mode; whoever runs the process should hear of it.
 */
import type { ServiceRow } from '../native/datapath-types.js';
import type { Logger } from '../observe/logger.js';
import { serviceKeyText } from './desired.js';
import { type HeldPort, holderName, type PortRun } from './port-holders.js';

/** Looks once at every port that is published anew. */
export class TakenPorts {
  private readonly logger: Pick<Logger, 'warn'>;
  private readonly heldPorts: (runs: readonly PortRun[]) => readonly HeldPort[];
  private known = new Map<string, number>();

  constructor(
    logger: Pick<Logger, 'warn'>,
    heldPorts: (runs: readonly PortRun[]) => readonly HeldPort[],
  ) {
    this.logger = logger;
    this.heldPorts = heldPorts;
  }

  /** Warns of those among the ports of `services` that were not there last time. */
  look(services: readonly ServiceRow[]): void {
    const known = new Map<string, number>();
    const runs: PortRun[] = [];
    for (const { key, ports = 1, retired, addressed } of services) {
      // A port of single addresses leaves the others to the host.
      if (key.kind !== 'published' || key.protocol === 'sctp') continue;
      if (key.address !== undefined || retired === true || addressed === true) continue;
      const text = serviceKeyText(key);
      known.set(text, ports);
      if ((this.known.get(text) ?? 0) >= ports) continue;
      runs.push({ protocol: key.protocol, port: key.port, count: ports });
    }
    this.known = known;
    if (runs.length === 0) return;
    for (const { run, port, holder } of this.heldPorts(runs)) {
      this.logger.warn(
        { port, protocol: run.protocol },
        `port ${port}/${run.protocol} is published by a service now: ${holderName(holder)} on this host had it, and gets no new connections`,
      );
    }
  }
}
