/**
 * The desired-state function as tables: what is known in, rows out.
 */
import t from 'tap';
import { type DesiredDatapath, desiredDatapath } from '../../src/network/desired.js';
import { nodeKey } from '../../src/network/records.js';
import type { NetworkInfo } from '../../src/network/network-info.js';
import type {
  ClusterView,
  EndpointView,
  HostPortView,
  NetworkView,
  PeerView,
} from '../../src/network/view.js';

function info(name: string, third: number, ingress = false): NetworkInfo {
  const subnet = { vni: 4096 + third, subnet: `10.0.${third}.0/24`, gateway: `10.0.${third}.1` };
  return { id: name, name, subnets: [subnet], internal: false, attachable: false, ingress };
}

const INGRESS: NetworkView = { info: info('ingress', 0, true), nodeAddresses: ['10.0.0.2'] };
const FRONT: NetworkView = { info: info('front', 1), nodeAddresses: [] };
const SELF = '192.0.2.1';
const PEER = '192.0.2.2';

function peer(networkId: string, address: string, more: Partial<PeerView> = {}): PeerView {
  return {
    networkId,
    key: `key ${address}`,
    owner: 'n2',
    sequence: 1,
    held: false,
    address,
    prefixLength: 24,
    mac: '02:42:00:00:00:01',
    tunnelAddress: PEER,
    ...more,
  };
}

function endpoint(
  networkId: string,
  endpointIp: string,
  more: Partial<EndpointView> = {},
): EndpointView {
  return {
    networkId,
    key: `key ${endpointIp}`,
    owner: 'n2',
    name: 'web.1',
    serviceName: 'web',
    serviceId: 'webid',
    virtualIp: '',
    endpointIp,
    ingressPorts: [],
    aliases: [],
    taskAliases: [],
    disabled: false,
    ...more,
  };
}

function desired(view: Partial<ClusterView>): DesiredDatapath {
  const empty = { networks: [INGRESS, FRONT], peers: [], endpoints: [], hostPorts: [] };
  return desiredDatapath({ ...empty, tunnelAddress: SELF, ...view });
}

/** Services as short texts. */
function services(view: Partial<ClusterView>): string[] {
  return desired(view)
    .services.map(({ key, targetPort, backends }) => {
      const front = key.kind === 'vip' ? key.address : `${key.port}/${key.protocol}>${targetPort}`;
      return `${front}: ${backends.map((row) => row.address).join(' ')}`.trim();
    })
    .sort();
}

const port = (publishedPort: number, targetPort: number) =>
  ({ protocol: 'tcp', publishedPort, targetPort }) as const;
const VIP = { virtualIp: '10.0.1.9' };

void t.test('own node id and networks', async (t) => {
  const rows = desired({});
  t.equal(rows.nodeId, '10.0.0.2');
  t.same(rows.networks, [
    {
      vni: 4096,
      subnet: '10.0.0.0/24',
      gateway: '10.0.0.1',
      internal: false,
      nodeAddress: '10.0.0.2',
    },
    { vni: 4097, subnet: '10.0.1.0/24', gateway: '10.0.1.1', internal: false },
  ]);
});

void t.test('remote endpoints: only sane, foreign addresses', async (t) => {
  const address = (view: Partial<ClusterView>) =>
    desired(view).remoteEndpoints.map((row) => `${row.vni}/${row.address}@${row.tunnelAddress}`);
  t.same(address({ peers: [peer('front', '10.0.1.5')] }), [`4097/10.0.1.5@${PEER}`]);
  const refused: readonly (readonly [string, PeerView])[] = [
    ['outside the subnet', peer('front', '10.0.2.5')],
    ['an unknown network', peer('other', '10.0.1.5')],
    ['the gateway', peer('front', '10.0.1.1')],
    ['own node address', peer('ingress', '10.0.0.2')],
    ['own tunnel', peer('front', '10.0.1.5', { tunnelAddress: SELF })],
  ];
  for (const [name, row] of refused) t.same(address({ peers: [row] }), [], name);
  const local = endpoint('front', '10.0.1.5', { owner: undefined });
  t.same(address({ peers: [peer('front', '10.0.1.5')], endpoints: [local] }), [], 'a local one');
});

void t.test('two claims to one address', async (t) => {
  const claim = (owner: string, sequence: number, held: boolean) =>
    peer('front', '10.0.1.5', { owner, sequence, held, tunnelAddress: `192.0.2.${owner}` });
  const winner = (...peers: PeerView[]) => desired({ peers }).remoteEndpoints[0]?.tunnelAddress;
  t.equal(winner(claim('7', 1, false), claim('8', 2, false)), '192.0.2.8', 'the newer');
  t.equal(winner(claim('7', 1, false), claim('8', 2, true)), '192.0.2.7', 'the one in the ring');
});

void t.test('nodes', async (t) => {
  const nodes = (view: Partial<ClusterView>) =>
    desired(view).nodes.map((row) => `${row.nodeId}@${row.tunnelAddress}`);
  const task = endpoint('ingress', '10.0.0.5');
  const peers = [peer('ingress', '10.0.0.5'), peer('ingress', '10.0.0.3')];
  t.same(nodes({ peers, endpoints: [task] }), [`10.0.0.3@${PEER}`], 'tasks are not nodes');
  const own = peer('ingress', '10.0.0.9', { key: nodeKey('n2', 'ingress') });
  t.same(nodes({ peers: [...peers, own] }), [`10.0.0.9@${PEER}`], 'a node says which it is');
  const remote = desired({ peers: [...peers, own] }).remoteEndpoints.map((row) => row.address);
  t.same(remote, ['10.0.0.5', '10.0.0.3'], 'and is no endpoint besides');
  t.same(
    nodes({ peers: [peer('front', '10.0.1.7'), peer('front', '10.0.1.6')] }),
    [`10.0.1.6@${PEER}`],
    'a member without ingress address is known by its lowest',
  );
});

void t.test('virtual addresses', async (t) => {
  const peers = [peer('front', '10.0.1.5'), peer('front', '10.0.1.6')];
  const five = endpoint('front', '10.0.1.5', VIP);
  const six = endpoint('front', '10.0.1.6', VIP);
  t.same(services({ peers, endpoints: [five, six] }), ['10.0.1.9: 10.0.1.5 10.0.1.6']);
  const draining = { ...six, disabled: true };
  t.same(services({ peers, endpoints: [five, draining] }), ['10.0.1.9: 10.0.1.5']);
  const states = desired({ peers, endpoints: [five, draining] }).backends.map((row) => row.state);
  t.same(states, ['active', 'draining']);
  t.same(
    services({ peers, endpoints: [{ ...five, disabled: true }, draining] }),
    ['10.0.1.9:'],
    'the last draining ones keep the row',
  );
  t.same(services({ peers, endpoints: [endpoint('front', '10.0.1.5')] }), [], 'dnsrr has none');
  const plain = { ...five, serviceId: '' };
  t.same(services({ peers, endpoints: [plain] }), [], 'plain containers balance nothing');
  t.same(services({ endpoints: [five] }), [], 'nobody knows yet where it lives');
  const elsewhere = [peer('front', '10.0.1.77')];
  t.same(services({ peers: elsewhere, endpoints: [five] }), ['10.0.1.9: 10.0.1.5'], 'same owner');
  const foreign = { ...five, virtualIp: '10.9.9.9' };
  t.same(services({ peers, endpoints: [foreign] }), [], 'a VIP outside the network');
});

void t.test('published ports', async (t) => {
  const peers = [peer('ingress', '10.0.0.5'), peer('ingress', '10.0.0.6')];
  const five = endpoint('ingress', '10.0.0.5', { ingressPorts: [port(8000, 80)], ...VIP });
  const six = endpoint('ingress', '10.0.0.6', { ingressPorts: [port(8000, 81)] });
  t.same(services({ peers, endpoints: [five] }), ['8000/tcp>80: 10.0.0.5']);
  t.same(services({ peers, endpoints: [five, six] }), ['8000/tcp>81: 10.0.0.6'], 'moving over');
  const drained = { ...six, disabled: true };
  t.same(services({ peers, endpoints: [five, drained] }), ['8000/tcp>80: 10.0.0.5']);
  const outside = endpoint('front', '10.0.1.5', { ingressPorts: [port(8000, 80)] });
  t.same(
    services({ peers: [peer('front', '10.0.1.5')], endpoints: [outside] }),
    [],
    'ports count in records of the ingress network only',
  );
});

void t.test('host mode', async (t) => {
  const local = endpoint('ingress', '10.0.0.5', { owner: undefined });
  const host: HostPortView = {
    ...port(8000, 80),
    networkId: 'ingress',
    address: '10.0.0.5',
    draining: false,
  };
  const view = { endpoints: [local], hostPorts: [host] };
  t.same(services(view), ['8000/tcp>80: 10.0.0.5']);
  const remote = endpoint('ingress', '10.0.0.6', { ingressPorts: [port(8000, 99)] });
  const both = { ...view, endpoints: [local, remote], peers: [peer('ingress', '10.0.0.6')] };
  t.same(services(both), ['8000/tcp>80: 10.0.0.5'], 'goes before the mesh');
  t.same(services({ ...view, hostPorts: [{ ...host, draining: true }] }), ['8000/tcp>80:']);
});

void t.test('an IPv6 subnet goes with its IPv4 one', async (t) => {
  const subnets = INGRESS.info.subnets.map((subnet) => ({ ...subnet, subnet6: 'fd00::/64' }));
  const dual: NetworkView = { ...INGRESS, info: { ...INGRESS.info, subnets } };
  const { networks } = desired({ networks: [dual, FRONT] });
  t.same(
    networks.map(({ subnet6 }) => subnet6),
    ['fd00::/64', undefined],
  );
});
