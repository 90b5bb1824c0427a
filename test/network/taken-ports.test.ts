/** Published ports that a process of this host had before: found among real sockets, said once. */
import { spawn } from 'node:child_process';
import t from 'tap';
import type { ServiceRow } from '../../src/native/datapath-types.js';
import {
  type HeldPort,
  heldPorts,
  holderName,
  portHolder,
  type PortRun,
  waitingSockets,
} from '../../src/network/port-holders.js';
import { TakenPorts } from '../../src/network/taken-ports.js';

/** A process that listens on a TCP and a UDP port. */
async function holder(): Promise<{
  readonly pid: number;
  readonly tcp: number;
  readonly udp: number;
}> {
  const script = `require('net').createServer().listen(0, '127.0.0.1', function () {
    const tcp = this.address().port;
    const udp = require('dgram').createSocket('udp4').bind(0, () =>
      console.log(tcp, udp.address().port)); });`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(() => child.kill());
  const line = await new Promise<string>((resolve) =>
    child.stdout.once('data', (chunk: Buffer) => resolve(chunk.toString())),
  );
  const [tcp = 0, udp = 0] = line.trim().split(' ').map(Number);
  return { pid: child.pid ?? 0, tcp, udp };
}

function row(port: number, more: Partial<ServiceRow> = {}): ServiceRow {
  return { key: { kind: 'published', protocol: 'tcp', port }, backends: [], ...more };
}

void t.test('who holds a port of a run', async (t) => {
  const { pid, tcp, udp } = await holder();
  const wide: PortRun = { protocol: 'tcp', port: tcp - 3, count: 7 };
  const found = heldPorts([wide, { protocol: 'udp', port: udp, count: 1 }]);
  const process = { kind: 'process', name: 'node', pid } as const;
  t.match(found, [{ run: wide }, { port: udp, holder: process }]);
  t.same(portHolder('tcp', tcp), process);
  t.equal(holderName(process), `node (process ${pid})`);
  t.same(heldPorts([{ protocol: 'udp', port: tcp, count: 1 }]), [], 'the other protocol');
  t.same(heldPorts([]), []);
});

void t.test('sockets that wait for whoever comes', async (t) => {
  const line = (state: string, peer = '00000000:0000') =>
    `  1: 0100007F:1F0A ${peer} ${state} 00000000:00000000 00:00000000 00000000 0 0 4242 1\n`;
  const socket = [{ port: 7946, inode: '4242' }];
  t.same(waitingSockets(`  sl local rem\n${line('0A')}`, 'tcp'), socket);
  t.same(waitingSockets(line('01', '0100007F:0050'), 'tcp'), [], 'a connection is no listener');
  t.same(waitingSockets(line('07'), 'udp'), socket);
  t.same(waitingSockets(line('01', '0100007F:0050'), 'udp'), [], 'a client');
});

void t.test('is said once, when the port is published', async (t) => {
  const said: string[] = [];
  const looked: (readonly PortRun[])[] = [];
  const held = (runs: readonly PortRun[]): readonly HeldPort[] => {
    looked.push(runs);
    return runs
      .filter(({ port, count }) => port <= 9000 && port + count > 9000)
      .map((run) => ({ run, port: 9000, holder: { kind: 'process', name: 'nginx', pid: 7 } }));
  };
  const logger = { warn: (_fields: object, text: string) => said.push(text) };
  const taken = new TakenPorts(logger, held);
  const sentence =
    'port 9000/tcp is published by a service now: nginx (process 7) on this host had it, and gets no new connections';
  taken.look([row(8080), row(9000)]);
  t.same(said.splice(0), [sentence]);
  taken.look([row(8080), row(9000)]);
  t.same(said, []);
  t.equal(looked.length, 1, 'nothing is looked at again');
  taken.look([row(8080), row(9000, { retired: true })]);
  taken.look([row(8080), row(9000)]);
  t.same(said.splice(0), [sentence], 'published again');
  taken.look([row(8080)]);
  taken.look([row(8995, { ports: 5 })]);
  t.same(said, []);
  taken.look([row(8995, { ports: 10 })]);
  t.same(said.splice(0), [sentence], 'a longer range');
  taken.look([
    row(9000, { addressed: true }),
    { ...row(9000), key: { kind: 'published', protocol: 'tcp', port: 9000, address: '192.0.2.1' } },
  ]);
  t.same(said, [], 'the other addresses are still its own');
});
