/**
 * When twins of networks go from the engine.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t, { type Test } from 'tap';
import { LocalState } from '../../src/network/local-state.js';
import { TwinSweeper } from '../../src/network/twin-sweeper.js';
import { settlePromises, simulatedEnvironment } from '../support/simulated-environment.js';
import { silentLogger } from '../../src/observe/logger.js';

const INFO = {
  id: 'net',
  name: 'front',
  subnets: [{ vni: 4097, subnet: '10.0.1.0/24', gateway: '10.0.1.1' }],
  internal: false,
  attachable: false,
  ingress: false,
  encrypted: false,
};

const ENDPOINT = {
  id: 'aa',
  networkId: 'net',
  vni: 4097,
  address: '10.0.1.2',
  prefixLength: 24,
  mac: '02:42:0a:00:01:02',
  defaultRoute: false,
};

function sweeperOf(t: Test) {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'skep-sweeper-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  const state = new LocalState(path.join(directory, 'network.json'));
  state.networks.set('net', { info: INFO, engineId: 'twin' });
  const { clock } = simulatedEnvironment(1);
  const engine = { refusals: 0, asked: 0 };
  const networks = {
    remove: () => {
      engine.asked += 1;
      return Promise.resolve(engine.refusals-- <= 0);
    },
    configured: () => Promise.resolve([]),
  };
  let changes = 0;
  const onChange = () => {
    changes += 1;
  };
  const sweeper = new TwinSweeper({ networks, state, clock, logger: silentLogger, onChange });
  return { state, clock, engine, sweeper, changes: () => changes };
}

/** Lets `times` pauses between attempts pass; saving the state takes real time. */
async function pass(clock: { advance(ms: number): void }, times: number): Promise<void> {
  for (let turn = 0; turn < times; turn += 1) {
    clock.advance(200);
    await settlePromises();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

void t.test('an endpoint the engine takes back later does not keep the network', async (t) => {
  const { state, clock, engine, sweeper, changes } = sweeperOf(t);
  state.endpoints.set(ENDPOINT.id, ENDPOINT);
  await sweeper.release('net');
  await pass(clock, 2);
  t.equal(engine.asked, 0, 'the engine is not asked while the endpoint is there');
  state.endpoints.delete(ENDPOINT.id);
  await pass(clock, 2);
  t.equal(engine.asked, 1);
  t.notOk(state.networks.has('net'));
  t.equal(changes(), 1);
});

void t.test('a refusal of the engine is tried again', async (t) => {
  const { state, clock, engine, sweeper } = sweeperOf(t);
  engine.refusals = 2;
  await sweeper.release('net');
  t.ok(state.networks.has('net'));
  await pass(clock, 3);
  t.notOk(state.networks.has('net'));
  t.equal(engine.asked, 3);
});

void t.test('a network that is wanted again stays', async (t) => {
  const { state, clock, engine, sweeper } = sweeperOf(t);
  engine.refusals = 1;
  await sweeper.release('net');
  const planned = { networkId: 'net', address: '10.0.1.3', taskId: 'task', plannedAtMs: 0 };
  state.planned.set('net/10.0.1.3', { ...planned, defaultRoute: true });
  await pass(clock, 3);
  t.ok(state.networks.has('net'));
  t.equal(engine.asked, 1);
});

void t.test('stopping ends the attempts', async (t) => {
  const { state, clock, engine, sweeper } = sweeperOf(t);
  engine.refusals = 1;
  await sweeper.release('net');
  sweeper.stop();
  await pass(clock, 3);
  t.ok(state.networks.has('net'));
  t.equal(engine.asked, 1);
});
