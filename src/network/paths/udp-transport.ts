/**
 * The self-test's messages over UDP between the nodes' addresses on the ingress network: through the
 * host's leg, the programs and the tunnel, as packets of containers go.
 */
import { createSocket, type Socket } from 'node:dgram';
import type { Datapath } from '../../native/datapath-types.js';
import type { ProbeWay } from './judge.js';
import { PATH_PORT } from './limits.js';
import type { PathTransport } from './types.js';

/** A socket on the node's address, made anew whenever it failed or the address changed. */
export class UdpPathTransport implements PathTransport {
  private readonly datapath: Pick<Datapath, 'sendSummed'>;
  private readonly onMessage: (nodeId: string, bytes: Uint8Array) => void;
  private socket: Socket | undefined;
  private address: string | undefined;
  private ready = false;

  constructor(
    datapath: Pick<Datapath, 'sendSummed'>,
    onMessage: (nodeId: string, bytes: Uint8Array) => void,
  ) {
    this.datapath = datapath;
    this.onMessage = onMessage;
  }

  open(nodeId: string): boolean {
    if (this.socket !== undefined && this.address === nodeId) return this.ready;
    this.drop(this.socket);
    const socket = createSocket('udp4');
    this.socket = socket;
    this.address = nodeId;
    socket.on('message', (bytes, { address, port }) => {
      if (port === PATH_PORT) this.onMessage(address, bytes);
    });
    // The address may not be on the host's leg yet: the next tick tries again.
    socket.on('error', () => this.drop(socket));
    socket.bind(PATH_PORT, nodeId, () => {
      if (this.socket === socket) this.ready = true;
    });
    return false;
  }

  send(way: ProbeWay, nodeId: string, message: Uint8Array): void {
    if (!this.ready) return;
    if (way === 'summed') this.datapath.sendSummed(nodeId, PATH_PORT, message);
    // What could not be sent counts as lost, and the round says so.
    else this.socket?.send(message, PATH_PORT, nodeId, () => undefined);
  }

  async close(): Promise<void> {
    this.drop(this.socket);
  }

  private drop(socket: Socket | undefined): void {
    if (socket === undefined || this.socket !== socket) return;
    this.socket = undefined;
    this.ready = false;
    socket.close();
  }
}
