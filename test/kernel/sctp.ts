/**
 * SCTP end to end, where the kernel has it: through a virtual address and a published port, each to a
 * task of the same and of another node. Ports cannot be changed on the way, so the published one is the
 * task's. Run in the machine of {@link prepareMachine}; sockets come from Python, since Node.js has none.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import t from 'tap';
import {
  CLIENT_ADDRESS,
  type Cluster,
  INGRESS,
  serviceRows,
  startCluster,
  VIP,
} from '../native/datapath/cluster.js';
import { type Actor, inside, World } from '../native/datapath/world.js';

const PORT = 3868;
/** Enough that each of two tasks gets one. */
const CONNECTIONS_MAX = 40;
t.setTimeout(600_000);

const SERVE = `
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP)
s.bind(("0.0.0.0", ${PORT}))
s.listen(16)
print("ready", flush=True)
while True:
    c, peer = s.accept()
    c.sendall((sys.argv[1] + " " + peer[0] + " ").encode() + c.recv(1000))
    c.close()
`;
const ASK = `
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP)
s.settimeout(10)
s.connect((sys.argv[1], ${PORT}))
s.sendall(b"hello")
print(s.recv(1000).decode())
`;

async function serve(actor: Actor, name: string): Promise<() => void> {
  const enter = ['-t', String(actor.pid), '-n', '--', 'python3', '-c', SERVE, name];
  const child = spawn('nsenter', enter, { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  return () => child.kill('SIGKILL');
}

/** Which tasks answered, and whose address they saw, over as many connections as it takes. */
function askAll(from: Actor, address: string) {
  const names = new Set<string>();
  const clients = new Set<string>();
  const texts = new Set<string>();
  for (let asked = 0; asked < CONNECTIONS_MAX && names.size < 2; asked += 1) {
    const answer = inside(from, 'python3', '-c', ASK, address).trim();
    const [name = '', client = '', text = ''] = answer.split(' ');
    names.add(name);
    clients.add(client);
    texts.add(text);
  }
  return { names: [...names].sort(), clients: [...clients], texts: [...texts] };
}

async function publish({ a, b }: Cluster): Promise<void> {
  const rows = [
    ...serviceRows([11, 12]),
    {
      key: { kind: 'published', protocol: 'sctp', port: PORT },
      targetPort: PORT,
      backends: [11, 12].map((task) => ({ vni: INGRESS, address: `10.0.0.${task}` })),
    },
  ];
  for (const node of [a, b]) await node.datapath('putServices', rows);
}

await t.test('SCTP', async (t) => {
  const world = new World();
  const ends: (() => void)[] = [];
  t.teardown(async () => {
    for (const end of ends) end();
    await world.close();
  });
  const cluster = await startCluster(world);
  await publish(cluster);
  ends.push(await serve(cluster.webA, 'web-a'), await serve(cluster.webB, 'web-b'));
  const both = { names: ['web-a', 'web-b'], texts: ['hello'] };
  t.same(
    askAll(cluster.plainA, VIP),
    { ...both, clients: ['10.0.1.21'] },
    'through the virtual address',
  );
  for (const node of [cluster.a, cluster.b])
    t.same(
      askAll(cluster.client, node.address),
      { ...both, clients: [CLIENT_ADDRESS] },
      `through the published port of ${node.address}`,
    );
});
