/** What is refused of the labels of reserved addresses, when a network or service is made or changed. */
import type { DescMessage, Message, MessageInitShape } from '@bufbuild/protobuf';
import t from 'tap';
import type { Service } from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  EndpointSpec_ResolutionMode as ResolutionMode,
  type NetworkSpecSchema,
  type ServiceSpec,
  type ServiceSpecSchema,
} from '../../../src/model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  TaskState,
  UpdateConfig_UpdateOrder as UpdateOrder,
} from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { makeTask } from '../simulation/objects.js';
import { networkSpec, refusalOf, serviceSpec, testControl } from './support.js';

/** Fields of a message to be made. */
type Init<D extends DescMessage> = Exclude<MessageInitShape<D>, Message>;
type Parts = Init<typeof ServiceSpecSchema>;

const SUBNET = { configs: [{ subnet: '10.9.0.0/24', gateway: '10.9.0.129' }] };
const RESERVED = '10.9.0.128/25';

function reserving(text: string) {
  return { name: 'net', labels: { 'skep.reserved': text } };
}

async function withNetwork() {
  const { control, store } = await testControl();
  const annotations = reserving(RESERVED);
  const net = await control.createNetwork(networkSpec('net', { annotations, ipam: SUBNET }));
  const plain = await control.createNetwork(networkSpec('plain'));
  const spec = (name: string, labels: Record<string, string>, parts: Parts = {}): ServiceSpec =>
    serviceSpec(name, {
      annotations: { name, labels },
      task: {
        runtime: { case: 'container', value: { image: 'skep-test/web:1' } },
        networks: [{ target: net.id }, { target: plain.id }],
      },
      ...parts,
    });
  const refused = async (name: string, labels: Record<string, string>, parts: Parts = {}) =>
    await refusalOf(() => control.createService(spec(name, labels, parts)));
  const changed = async (service: Service, labels: Record<string, string>, parts: Parts = {}) => {
    const present = control.getService(service.id);
    const version = present.meta?.version?.index ?? 0n;
    const next = spec(present.spec?.annotations?.name ?? '', labels, parts);
    const none = { rollback: 'none' } as const;
    return await refusalOf(() => control.updateService(service.id, version, next, none));
  };
  return { control, store, net, spec, refused, changed };
}

void t.test('networks', async (t) => {
  const { control } = await testControl();
  const label = 'invalid_argument: label skep.reserved';
  const cases: readonly (readonly [Init<typeof NetworkSpecSchema>, string])[] = [
    [{}, `${label}: the network needs an IPv4 subnet of its own (--subnet)`],
    [
      { ipam: { configs: [{ subnet: '10.8.0.0/24' }] } },
      `${label}: 10.9.0.128-10.9.0.255 is not within a subnet of the network`,
    ],
    [{ ingress: true, ipam: SUBNET }, `${label}: not on the ingress network`],
    [{ ipam: { configs: [{ subnet: '10.7.0.0/24' }, ...SUBNET.configs] } }, 'accepted'],
  ];
  for (const [parts, text] of cases) {
    const spec = networkSpec('net', { annotations: reserving(RESERVED), ...parts });
    t.equal(await refusalOf(() => control.createNetwork(spec)), text);
  }
});

void t.test('services', async (t) => {
  const { refused } = await withNetwork();
  const vip = { 'skep.vip.net': '10.9.0.200' };
  const two = { 'skep.addresses.net': '10.9.0.210-10.9.0.211' };
  const replicas = (count: bigint): Parts => ({
    mode: { case: 'replicated', value: { replicas: count } },
  });
  const cases: readonly (readonly [Record<string, string>, Parts, string])[] = [
    [
      { 'skep.vip.nett': '10.9.0.200' },
      {},
      'label skep.vip.nett: the service is not on network nett',
    ],
    [
      { 'skep.vip.plain': '10.9.0.200' },
      {},
      'label skep.vip.plain: network plain was made without label skep.reserved',
    ],
    [
      { 'skep.vip.net': '10.9.0.7' },
      {},
      `label skep.vip.net: 10.9.0.7 is not among the reserved addresses of network net (${RESERVED})`,
    ],
    [
      { 'skep.addresses.net': '10.9.0.254-10.9.1.1' },
      {},
      `label skep.addresses.net: 10.9.1.0 is not among the reserved addresses of network net (${RESERVED})`,
    ],
    ...(['10.9.0.129', '10.9.0.255'] as const).map((address): (typeof cases)[number] => [
      { 'skep.vip.net': address },
      {},
      `label skep.vip.net: ${address} is a gateway of network net, or an end of its subnet`,
    ]),
    [
      vip,
      { endpoint: { mode: ResolutionMode.DNSRR } },
      'label skep.vip.net: a service in dnsrr mode has no virtual address',
    ],
    [
      two,
      { mode: { case: 'global', value: {} } },
      'label skep.addresses.net: only replicated services have slots',
    ],
    ...(
      [
        { update: { order: UpdateOrder.START_FIRST } },
        { rollback: { order: UpdateOrder.START_FIRST } },
      ] as Parts[]
    ).map((parts): (typeof cases)[number] => [
      two,
      parts,
      'label skep.addresses.net: two tasks in one slot cannot have one address, so that updates ' +
        'and rollbacks have to be stop-first',
    ]),
    [
      {
        ...two,
        ...{ 'skep.autoscale.min': '1', 'skep.autoscale.max': '3', 'skep.autoscale.cpu': '50' },
      },
      {},
      'label skep.addresses.net: 2 addresses for up to 3 replicas (skep.autoscale.max)',
    ],
    [two, replicas(3n), 'label skep.addresses.net: 2 addresses for 3 replicas'],
    [
      { ...two, 'skep.vip.net': '10.9.0.211' },
      {},
      'label skep.vip.net: 10.9.0.211 is named by skep.addresses.net too',
    ],
  ];
  for (const [labels, parts, text] of cases)
    t.equal(await refused('web', labels, parts), `invalid_argument: ${text}`);
  t.equal(await refused('web', { ...vip, ...two }, replicas(2n)), 'accepted');
});

void t.test('services among each other', async (t) => {
  const { control, net, spec, refused, changed } = await withNetwork();
  const labels = { 'skep.vip.net': '10.9.0.200', 'skep.addresses.net': '10.9.0.210-10.9.0.219' };
  const first = await control.createService(spec('first', labels));
  const taken = (key: string, address: string) =>
    `invalid_argument: label ${key}: ${address} is already taken by service 'first' (${first.id})`;
  for (const [key, value, address] of [
    ['skep.vip.net', '10.9.0.200', '10.9.0.200'],
    [`skep.vip.${net.id}`, '10.9.0.215', '10.9.0.215'],
    ['skep.addresses.net', '10.9.0.219-10.9.0.222', '10.9.0.219'],
    ['skep.addresses.net', '10.9.0.199-10.9.0.201', '10.9.0.200'],
  ] as const)
    t.equal(await refused('second', { [key]: value }), taken(key, address));
  const second = await control.createService(spec('second', { 'skep.vip.net': '10.9.0.201' }));
  t.equal(
    await changed(second, { 'skep.vip.net': '10.9.0.200' }),
    taken('skep.vip.net', '10.9.0.200'),
  );
  t.equal(await changed(first, labels), 'accepted', 'its own are no conflict');
  t.equal(
    await changed(first, { ...labels, [`skep.vip.${net.id}`]: '10.9.0.202' }),
    `invalid_argument: labels skep.vip.net and skep.vip.${net.id} mean the same network`,
  );
  await control.removeService(first.id);
  t.equal(await changed(second, { 'skep.vip.net': '10.9.0.200' }), 'accepted');
});

void t.test('slots that are in use, and their addresses', async (t) => {
  const { control, store, net, spec, changed } = await withNetwork();
  const old = { 'skep.addresses.net': '10.9.0.210-10.9.0.213' };
  const web = await control.createService(spec('web', old));
  const network = control.getNetwork(net.id);
  const addTask = (slot: bigint, address: string) =>
    store.update((write) =>
      write.create(
        'task',
        makeTask(`task${slot}`, {
          ...{ serviceId: web.id, slot, desiredState: TaskState.RUNNING },
          networks: [{ network, addresses: [`${address}/24`] }],
        }),
      ),
    );
  await addTask(3n, '10.9.0.212');
  t.equal(
    await changed(web, { 'skep.addresses.net': '10.9.0.220-10.9.0.221' }),
    'invalid_argument: label skep.addresses.net: 2 addresses, but slot 3 is in use',
  );
  t.equal(
    await changed(web, { 'skep.addresses.net': '10.9.0.211-10.9.0.214' }),
    'invalid_argument: label skep.addresses.net: 10.9.0.212 is that of slot 3 now, and cannot ' +
      'become that of another',
  );
  t.equal(await changed(web, { 'skep.addresses.net': '10.9.0.220-10.9.0.223' }), 'accepted');
  const { id, meta, spec: present } = control.getService(web.id);
  const back = { rollback: 'previous' } as const;
  t.equal(
    await refusalOf(async () => {
      await control.createService(spec('other', { 'skep.vip.net': '10.9.0.210' }));
      if (present === undefined) throw new Error('no spec');
      await control.updateService(id, meta?.version?.index ?? 0n, present, back);
    }).then((text) => text.replace(/\(.*\)/, '')),
    "invalid_argument: label skep.addresses.net: 10.9.0.210 is already taken by service 'other' ",
    'also in the spec that a rollback goes to',
  );
});
