/**
 * Numbers for ports that are published in host mode without one. The kernel chooses, as it does for
 * Docker Engine's own bindings: a port of its ephemeral range that no socket has and no service
 * publishes (those are kept from that range while they are published).
 */
import dgram from 'node:dgram';
import net from 'node:net';
import { clone } from '@bufbuild/protobuf';
import { SkepError } from '../model/errors.js';
import {
  type PortConfig,
  PortConfigSchema,
  PortConfig_Protocol as Protocol,
} from '../model/gen/docker/swarmkit/v1/types_pb.js';
import { isHostPort } from './container-config.js';

/** A number may be chosen, and not yet published, for another task: then the next one is asked for. */
const TRIES_MAX = 16;

/** A port that no socket of this host has now. @throws NodeJS.ErrnoException */
export type FreePort = (protocol: 'tcp' | 'udp') => Promise<number>;

/** The numbers of all tasks of this node. */
export class HostPortNumbers {
  private readonly taken = new Map<string, string>();

  constructor(private readonly freePort: FreePort = kernelsFreePort) {}

  /** Takes in the numbers that a task of before has. */
  adopt(taskId: string, ports: readonly PortConfig[]): void {
    for (const port of ports) {
      if (port.publishedPort !== 0) this.taken.set(nameOf(port, port.publishedPort), taskId);
    }
  }

  /**
   * `ports` with a number for each that is to have one here: that of the same port in `known`, else a new one.
   * @throws SkepError resource_exhausted
   */
  async number(
    taskId: string,
    ports: readonly PortConfig[],
    known: readonly PortConfig[],
  ): Promise<readonly PortConfig[]> {
    const rest = [...known];
    const numbered: PortConfig[] = [];
    for (const port of ports) {
      if (!wantsNumber(port)) {
        numbered.push(port);
        continue;
      }
      const index = rest.findIndex((other) => isSame(other, port));
      const [before] = index < 0 ? [] : rest.splice(index, 1);
      const copy = clone(PortConfigSchema, port);
      copy.publishedPort = before?.publishedPort ?? (await this.choose(taskId, port));
      numbered.push(copy);
    }
    return numbered;
  }

  /** Whether another task than this one was given the port's number here. */
  isGivenToOther(taskId: string, port: PortConfig): boolean {
    const holder = this.taken.get(nameOf(port, port.publishedPort));
    return holder !== undefined && holder !== taskId;
  }

  /** The task is gone from the network. */
  release(taskId: string): void {
    for (const [name, holder] of this.taken) if (holder === taskId) this.taken.delete(name);
  }

  private async choose(taskId: string, port: PortConfig): Promise<number> {
    const protocol = port.protocol === Protocol.UDP ? 'udp' : 'tcp';
    for (let count = 0; count < TRIES_MAX; count += 1) {
      const number = await this.freePort(protocol);
      const name = nameOf(port, number);
      if (this.taken.has(name)) continue;
      this.taken.set(name, taskId);
      return number;
    }
    throw new SkepError(
      'resource_exhausted',
      `no free port of this node for ${port.targetPort}/${protocol} in host mode`,
    );
  }
}

/** Whether the node has to give the port its number. */
export function wantsNumber(port: PortConfig): boolean {
  return isHostPort(port) && port.publishedPort === 0;
}

function isSame(a: PortConfig, b: PortConfig): boolean {
  return (
    isHostPort(a) && a.protocol === b.protocol && a.targetPort === b.targetPort && a.name === b.name
  );
}

function nameOf({ protocol }: PortConfig, number: number): string {
  return `${number}/${Protocol[protocol]}`;
}

/** SCTP has no sockets here: its ports are chosen among TCP's. */
async function kernelsFreePort(protocol: 'tcp' | 'udp'): Promise<number> {
  return protocol === 'tcp' ? await freeTcpPort() : await freeUdpPort();
}

async function freeTcpPort(): Promise<number> {
  const server = net.createServer();
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject).listen({ port: 0 }, resolve);
    });
    const address = server.address();
    return typeof address === 'object' ? (address?.port ?? 0) : 0;
  } finally {
    server.close();
  }
}

async function freeUdpPort(): Promise<number> {
  const socket = dgram.createSocket('udp4');
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject).bind({ port: 0, exclusive: true }, resolve);
    });
    return socket.address().port;
  } finally {
    socket.close();
  }
}
