/**
 * The desired-state function as tables: what is known in, rows out.
 */
import t from 'tap';
import type { BalancePolicy } from '../../src/model/balance-policy.js';
import type { ReturnPath } from '../../src/model/return-path.js';
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

function info(name: string, third: number, ingress = false, encrypted = false): NetworkInfo {
  const subnet = { vni: 4096 + third, subnet: `10.0.${third}.0/24`, gateway: `10.0.${third}.1` };
  const flags = { internal: false, attachable: false, ingress, encrypted };
  return { id: name, name, subnets: [subnet], ...flags };
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
  const empty = {
    networks: [INGRESS, FRONT],
    peers: [],
    endpoints: [],
    hostPorts: [],
    hostAddresses: [],
  };
  return desiredDatapath({ ...empty, tunnelAddress: SELF, encryptedTunnels: new Map(), ...view });
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
  const stock = { ...six, owner: 'b1a9e15be0f8' };
  const both = [...peers, peer('ingress', '10.0.0.6', { owner: stock.owner })];
  const left = services({ peers: both, endpoints: [five, stock] });
  t.same(left, ['8000/tcp>80: 10.0.0.5'], 'the mesh does not lead to stock engines');
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
    policy: 'maglev',
    draining: false,
  };
  const view = { endpoints: [local], hostPorts: [host] };
  t.same(services(view), ['8000/tcp>80: 10.0.0.5']);
  const remote = endpoint('ingress', '10.0.0.6', { ingressPorts: [port(8000, 99)] });
  const both = { ...view, endpoints: [local, remote], peers: [peer('ingress', '10.0.0.6')] };
  t.same(services(both), ['8000/tcp>80: 10.0.0.5'], 'goes before the mesh');
  t.same(services({ ...view, hostPorts: [{ ...host, draining: true }] }), ['8000/tcp>80:']);
});

void t.test(
  'a port on one address: rows of this node’s addresses, a marker, landings',
  async (t) => {
    const scoped = (scope: string, targetPort = 80) => ({
      ingressPorts: [{ ...port(8000, targetPort), scope }],
    });
    const texts = (view: Partial<ClusterView>): string[] =>
      desired(view)
        .services.filter(({ key }) => key.kind !== 'vip')
        .map(({ key, targetPort, backends, addressed }) => {
          const at = 'address' in key ? `${key.address} ` : '';
          const to = backends.map((row) => row.address).join(' ');
          return `${key.kind} ${at}>${targetPort}: ${to}${addressed === true ? ' marker' : ''}`;
        });
    const own = endpoint('ingress', '10.0.0.5', { owner: undefined, ...scoped('192.0.2.1') });
    const other = endpoint('ingress', '10.0.0.6', scoped('192.0.2.1'));
    const peers = [peer('ingress', '10.0.0.6')];
    const hostAddresses = [
      { address: '192.0.2.1', interfaceName: 'eth0' },
      { address: '192.0.2.9', interfaceName: 'eth1' },
    ];
    t.same(texts({ endpoints: [own, other], peers, hostAddresses }), [
      'landing 10.0.0.5 >80: ',
      'published 192.0.2.1 >80: 10.0.0.5 10.0.0.6',
      'published >80:  marker',
    ]);
    t.same(
      texts({ endpoints: [own, other], peers }),
      ['landing 10.0.0.5 >80: ', 'published >80:  marker'],
      'a node without the address does not publish, but takes what others send',
    );
    const here = (more: object) => endpoint('ingress', '10.0.0.5', { owner: undefined, ...more });
    t.same(texts({ endpoints: [here(scoped('eth1'))], hostAddresses }).slice(1), [
      'published 192.0.2.9 >80: 10.0.0.5',
      'published >80:  marker',
    ]);
    t.same(texts({ endpoints: [here(scoped('lo'))], hostAddresses }).slice(1), [
      'published 127.0.0.1 >80: 10.0.0.5',
      'published >80:  marker',
    ]);
    const rival = endpoint('ingress', '10.0.0.6', { ...scoped('192.0.2.9', 81), serviceId: 'b' });
    t.same(texts({ endpoints: [own, rival], peers, hostAddresses }), [
      'landing 10.0.0.5 >80: ',
      'published 192.0.2.1 >80: 10.0.0.5',
      'published 192.0.2.9 >81: 10.0.0.6',
      'published >81:  marker',
    ]);
  },
);

void t.test('client networks are those that all announcements allow', async (t) => {
  const allowing = (allow?: readonly string[]) => ({
    ingressPorts: [{ ...port(8000, 80), ...(allow === undefined ? {} : { allow }) }],
  });
  const rows = (a?: readonly string[], b?: readonly string[]) =>
    desired({
      peers: [peer('ingress', '10.0.0.5'), peer('ingress', '10.0.0.6')],
      endpoints: [
        endpoint('ingress', '10.0.0.5', allowing(a)),
        endpoint('ingress', '10.0.0.6', allowing(b)),
      ],
    }).services[0];
  t.same(rows(['10.0.0.0/8'], ['10.1.0.0/16'])?.allow, ['10.1.0.0/16']);
  t.same(rows(['10.0.0.0/8'], undefined)?.allow, ['10.0.0.0/8']);
  t.equal(rows()?.allow, undefined);
});

void t.test('runs of ports are one row each, also where another service takes some', async (t) => {
  const peers = [peer('ingress', '10.0.0.5'), peer('ingress', '10.0.0.6')];
  const run = (published: number, target: number, count: number) => ({
    ...port(published, target),
    count,
  });
  const many = endpoint('ingress', '10.0.0.5', { ingressPorts: [run(20_000, 30_000, 10_000)] });
  const rows = (view: Partial<ClusterView>) =>
    desired(view).services.map(({ key, targetPort, ports, backends }) =>
      key.kind === 'published'
        ? `${key.port}+${ports ?? 1}>${targetPort} ${backends.map((row) => row.address).join()}`
        : '',
    );
  t.same(rows({ peers, endpoints: [many] }), ['20000+10000>30000 10.0.0.5']);
  const singles = Array.from({ length: 100 }, (_, index) => port(20_000 + index, 30_000 + index));
  const other = endpoint('ingress', '10.0.0.6', { ingressPorts: singles });
  t.same(
    rows({ peers, endpoints: [many, other] }).sort(),
    ['20000+100>30000 10.0.0.5,10.0.0.6', '20100+9900>30100 10.0.0.5'],
    'two tasks of one service',
  );
  const rival = { ...other, serviceId: 'zzz', ingressPorts: [port(25_000, 80)] };
  t.same(rows({ peers, endpoints: [many, rival] }).sort(), [
    '20000+5000>30000 10.0.0.5',
    '25000+1>80 10.0.0.6',
    '25001+4999>35001 10.0.0.5',
  ]);
});

void t.test(
  'the policy of a service is on its rows; while it changes, what most tasks say',
  async (t) => {
    const peers = ['10.0.0.5', '10.0.0.6', '10.0.0.7'].map((address) => peer('ingress', address));
    const task = (address: string, policy: BalancePolicy) =>
      endpoint('ingress', address, { ingressPorts: [port(8000, 80)], policy });
    const policyOf = (...policies: BalancePolicy[]) => {
      const endpoints = policies.map((policy, index) => task(`10.0.0.${5 + index}`, policy));
      return desired({ peers, endpoints }).services[0]?.policy;
    };
    t.equal(policyOf('maglev'), undefined);
    t.equal(policyOf('client-ip', 'client-ip', 'maglev'), 'client-ip');
    t.equal(policyOf('client-ip', 'maglev', 'maglev'), undefined);
    const front = endpoint('front', '10.0.1.5', { ...VIP, policy: 'least-conn' });
    const view = { peers: [peer('front', '10.0.1.5')], endpoints: [front] };
    t.equal(desired(view).services[0]?.policy, 'least-conn', 'virtual addresses too');
  },
);

void t.test(
  'published ports return directly if most tasks say so; virtual addresses never',
  async (t) => {
    const peers = ['10.0.0.5', '10.0.0.6', '10.0.0.7'].map((address) => peer('ingress', address));
    const directOf = (...returns: ReturnPath[]) => {
      const endpoints = returns.map((returnPath, index) =>
        endpoint('ingress', `10.0.0.${5 + index}`, { ingressPorts: [port(8000, 80)], returnPath }),
      );
      return desired({ peers, endpoints }).services[0]?.direct;
    };
    t.equal(directOf('direct'), true);
    t.equal(directOf('direct', 'direct', 'tunnel'), true);
    t.equal(directOf('direct', 'tunnel'), undefined);
    t.equal(directOf('tunnel'), undefined);
    const front = endpoint('front', '10.0.1.5', { ...VIP, returnPath: 'direct' });
    const view = { peers: [peer('front', '10.0.1.5')], endpoints: [front] };
    t.equal(desired(view).services[0]?.direct, undefined);
  },
);

void t.test('on encrypted networks addresses lead through WireGuard, or nowhere', async (t) => {
  const secret: NetworkView = { info: info('secret', 2, false, true), nodeAddresses: [] };
  const view = {
    networks: [INGRESS, FRONT, secret],
    peers: [peer('secret', '10.0.2.5'), peer('front', '10.0.1.5')],
    endpoints: [endpoint('secret', '10.0.2.5', { virtualIp: '10.0.2.9' })],
  };
  const without = desired(view);
  t.match(
    without.networks.find(({ vni }) => vni === 4098),
    { encrypted: true },
  );
  const tunnelTo = (rows: DesiredDatapath, address: string) =>
    rows.remoteEndpoints.find((row) => row.address === address)?.tunnelAddress;
  t.equal(tunnelTo(without, '10.0.2.5'), '240.0.0.0', 'no key, no way');
  t.equal(tunnelTo(without, '10.0.1.5'), PEER, 'others are as announced');
  t.equal(without.backends[0]?.tunnelAddress, '240.0.0.0');
  const keyed = desired({ ...view, encryptedTunnels: new Map([['n2', '240.1.2.3']]) });
  t.equal(tunnelTo(keyed, '10.0.2.5'), '240.1.2.3');
  t.equal(keyed.backends[0]?.tunnelAddress, '240.1.2.3');
  t.same(keyed.nodes, without.nodes, 'members are known by their underlay');
});

void t.test('an encrypted ingress network', async (t) => {
  const ingress: NetworkView = { ...INGRESS, info: info('ingress', 0, true, true) };
  const view = {
    networks: [ingress, FRONT],
    peers: [
      peer('ingress', '10.0.0.3', { key: nodeKey('n2', 'ingress') }),
      peer('ingress', '10.0.0.5'),
    ],
    endpoints: [
      endpoint('ingress', '10.0.0.5', {
        ingressPorts: [{ protocol: 'tcp', publishedPort: 8000, targetPort: 80 }],
        returnPath: 'direct',
      }),
    ],
  };
  const without = desired(view);
  t.same(without.nodes, [{ nodeId: '10.0.0.3', tunnelAddress: PEER }], 'no key, no way');
  const keyed = desired({ ...view, encryptedTunnels: new Map([['n2', '240.1.2.3']]) });
  t.same(keyed.nodes, [{ nodeId: '10.0.0.3', tunnelAddress: PEER, wireguardTunnel: '240.1.2.3' }]);
  t.equal(keyed.backends[0]?.tunnelAddress, PEER, 'its members are known by their underlay');
  t.equal(keyed.remoteEndpoints[0]?.tunnelAddress, PEER);
  t.equal(keyed.services[0]?.direct, undefined, 'replies must not go past the tunnel');
  const plain = desired({ ...view, networks: [INGRESS, FRONT] });
  t.equal(plain.services[0]?.direct, true);
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
