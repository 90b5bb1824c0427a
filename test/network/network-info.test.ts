/** A swarm network as nodes see it, and back from its twin on the engine. */
import { create } from '@bufbuild/protobuf';
import t from 'tap';
import { ingressSubnet6 } from '../../src/model/derived-addresses.js';
import { NetworkSchema } from '../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  ipv6Of,
  networkInfoOf,
  networkInfoOfTwin,
  twinSpecOf,
  VXLAN_IDS_OPTION,
} from '../../src/network/network-info.js';

function network(ingress: boolean, configs: readonly { subnet: string; gateway: string }[]) {
  return create(NetworkSchema, {
    id: 'id1',
    spec: { annotations: { name: 'net' }, ingress },
    driverState: { name: 'overlay', options: { [VXLAN_IDS_OPTION]: '4097,4098' } },
    ipam: { configs: [...configs] },
  });
}

const V4 = { subnet: '10.0.1.0/24', gateway: '10.0.1.1' };
const SECOND = { subnet: '10.0.2.0/24', gateway: '10.0.2.1' };
const V6 = { subnet: 'fd00:1::/64', gateway: 'fd00:1::1' };

void t.test('IPv6 subnets belong to IPv4 ones by position', async (t) => {
  const info = networkInfoOf(network(false, [V6, V4, SECOND]));
  t.same(
    info.subnets.map(({ subnet, subnet6 }) => [subnet, subnet6]),
    [
      ['10.0.1.0/24', 'fd00:1::/64'],
      ['10.0.2.0/24', undefined],
    ],
  );
  const [first, second] = info.subnets;
  t.equal(first && ipv6Of(first, '10.0.1.9'), 'fd00:1::9');
  t.equal(second && ipv6Of(second, '10.0.2.9'), undefined);
});

void t.test('the ingress network has one of its own, unless it was given one', async (t) => {
  t.equal(networkInfoOf(network(true, [V4])).subnets[0]?.subnet6, ingressSubnet6('id1'));
  t.equal(networkInfoOf(network(true, [V4, V6])).subnets[0]?.subnet6, 'fd00:1::/64');
  t.equal(networkInfoOf(network(false, [V4])).subnets[0]?.subnet6, undefined);
});

void t.test('the twin on the engine keeps it', async (t) => {
  for (const swarm of [
    network(true, [V4]),
    network(false, [V4, SECOND, V6]),
    network(false, [V4]),
  ]) {
    const info = networkInfoOf(swarm);
    const { Options, IpamConfig } = twinSpecOf(info);
    const twin = { Id: 'x', Name: 'net', Internal: false, Options, IPAM: { Config: IpamConfig } };
    t.same(networkInfoOfTwin(twin), info);
  }
});

void t.test('a subnet without room, or none at all, is refused', async (t) => {
  t.throws(() => networkInfoOf(network(false, [V4, { ...V6, subnet: 'fd00::/121' }])), /smaller/);
  t.throws(
    () => networkInfoOf(network(false, [V4, { ...V6, subnet: 'fd00:x::/64' }])),
    /malformed/,
  );
});
