/**
 * The network driver where no engine is needed: endpoints whose containers vanished.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { RecordingDatapath } from '../../../src/native/recording-datapath.js';
import { type LocalEndpoint, LocalState } from '../../../src/network/local-state.js';
import {
  isEndpointDevice,
  NetworkDriver,
  type NetworkDriverParts,
} from '../../../src/network/plugin/network-driver.js';
import { silentLogger } from '../../../src/observe/logger.js';

/** A host with these devices. */
function hostWith(...names: readonly string[]): NetworkDriverParts['netlink'] {
  return {
    createVethPair: () => undefined,
    setLinkUp: () => undefined,
    deleteLink: (name) => names.includes(name),
    linkNames: () => names,
    setPairMtu: () => undefined,
    setRouteInside: () => undefined,
  };
}

function endpoint(id: string, last: number): LocalEndpoint {
  return {
    ...{ id, networkId: 'n', vni: 4097, address: `10.0.1.${last}`, prefixLength: 24 },
    ...{ mac: '02:42:0a:00:01:05', interfaceName: `skv${id}`, sandbox: '/x', defaultRoute: true },
  };
}

void t.test('an endpoint whose device is gone is let go', async (t) => {
  const directory = await mkdtemp(path.join(os.tmpdir(), 'skep-driver-'));
  t.teardown(() => rm(directory, { recursive: true }));
  const state = new LocalState(path.join(directory, 'network.json'));
  const datapath = new RecordingDatapath();
  for (const row of [endpoint('aaaaaaaaaa', 5), endpoint('bbbbbbbbbb', 6)]) {
    state.endpoints.set(row.id, row);
    const { interfaceName = '', vni, address, mac } = row;
    datapath.attachLink({ interfaceName, vni, address, mac });
  }
  const changed: string[] = [];
  const driver = new NetworkDriver({
    ...{ state, datapath, netlink: hostWith('lo', 'skvbbbbbbbbbb'), logger: silentLogger },
    ...{
      dnsAddress: '169.254.77.53',
      tunnelOverheadBytes: 50,
      onChange: ({ id }) => changed.push(id),
    },
  });
  driver.releaseVanished();
  t.same(changed, ['aaaaaaaaaa']);
  t.same(
    datapath.links().map(({ address }) => address),
    ['10.0.1.6'],
  );
  const left = state.endpoints.get('aaaaaaaaaa');
  t.same([left?.interfaceName, left?.sandbox, left?.defaultRoute], [undefined, undefined, false]);
  driver.releaseVanished();
  t.equal(changed.length, 1, 'told once');
});

void t.test('a device left by an attempt before gives way to the new one', async (t) => {
  const directory = await mkdtemp(path.join(os.tmpdir(), 'skep-driver-'));
  t.teardown(() => rm(directory, { recursive: true }));
  const state = new LocalState(path.join(directory, 'network.json'));
  const { interfaceName, sandbox, ...waiting } = endpoint('a'.repeat(16), 5);
  t.ok([interfaceName, sandbox].every(Boolean));
  state.endpoints.set(waiting.id, waiting);
  const subnets = [{ vni: 4097, subnet: '10.0.1.0/24', gateway: '10.0.1.1' }];
  const info = { id: 'n', name: 'n', subnets, internal: false, attachable: false } as const;
  state.networks.set('n', {
    info: { ...info, ingress: false, encrypted: false },
    engineId: 'twin',
  });
  const left = new Set(['skvaaaaaaaaaa']);
  const done: string[] = [];
  const driver = new NetworkDriver({
    ...{ state, datapath: new RecordingDatapath(), logger: silentLogger },
    ...{ dnsAddress: '169.254.77.53', tunnelOverheadBytes: 50, onChange: () => undefined },
    netlink: {
      ...hostWith(),
      createVethPair: ({ name }) => {
        done.push(`create ${name}`);
        if (left.has(name)) throw Object.assign(new Error('it is there'), { code: 'EEXIST' });
        left.add(name);
      },
      deleteLink: (name) => {
        done.push(`delete ${name}`);
        return left.delete(name);
      },
    },
  });
  const join = new Map(driver.handlers()).get('/NetworkDriver.Join');
  const request = { NetworkID: 'twin', EndpointID: waiting.id, SandboxKey: '/x' };
  t.match(await join?.(request), { InterfaceName: { SrcName: 'skpaaaaaaaaaa' } });
  const name = 'skvaaaaaaaaaa';
  t.same(done, [`create ${name}`, `delete ${name}`, `create ${name}`]);
});

void t.test('containers get the MTU of new ones, once each unless it failed', async (t) => {
  const directory = await mkdtemp(path.join(os.tmpdir(), 'skep-driver-'));
  t.teardown(() => rm(directory, { recursive: true }));
  const state = new LocalState(path.join(directory, 'network.json'));
  const subnets = [{ vni: 4097, subnet: '10.0.1.0/24', gateway: '10.0.1.1' }];
  const info = { name: 'n', subnets, internal: false, attachable: false, ingress: false } as const;
  state.networks.set('n', { info: { ...info, id: 'n', encrypted: false, mtu: 1400 } });
  state.networks.set('e', { info: { ...info, id: 'e', encrypted: true } });
  state.endpoints.set('a', endpoint('a', 5));
  state.endpoints.set('b', { ...endpoint('b', 6), networkId: 'e' });
  const { sandbox: _ended, ...left } = endpoint('c', 7);
  state.endpoints.set('c', left);
  const done: string[] = [];
  let isAway = true;
  const nothing = () => undefined;
  const datapath = { containerMtu: 1450, attachLink: nothing, detachLink: nothing };
  const driver = new NetworkDriver({
    ...{ state, logger: silentLogger, tunnelOverheadBytes: 50 },
    ...{ dnsAddress: '169.254.77.53', onChange: () => undefined },
    datapath,
    netlink: {
      ...hostWith(),
      setPairMtu: ({ name, peerNamespace, mtu }) => {
        if (name === 'skvb' && isAway) throw Object.assign(new Error('gone'), { code: 'ENOENT' });
        done.push(`${name} ${peerNamespace} ${mtu}`);
      },
    },
  });
  driver.fitContainers();
  isAway = false;
  driver.fitContainers();
  driver.fitContainers();
  t.same(done, ['skva /x 1350', 'skva /x 1350', 'skvb /x 1390']);
  datapath.containerMtu = 1250;
  driver.fitContainers();
  t.same(done.slice(3), ['skva /x 1250', 'skvb /x 1190']);
});

void t.test('own devices are known by name', async (t) => {
  const names = ['skv0123456789', 'skp0123456789', 'skv012345678', 'skvolume0', 'eth0', 'sw-h0'];
  t.same(names.filter(isEndpointDevice), ['skv0123456789', 'skp0123456789']);
});
