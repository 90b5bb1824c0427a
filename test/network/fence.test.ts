/**
 * Fencing under a virtual clock: when own endpoints leave the networks, and which come back.
 */
import t from 'tap';
import { type Contacts, Fence } from '../../src/network/fence.js';
import { LocalState } from '../../src/network/local-state.js';
import { silentLogger } from '../../src/observe/logger.js';
import { SimulatedClock } from '../support/simulated-environment.js';

const AFTER_MS = 30_000;
const NOBODY: Contacts = { manager: false, assigned: undefined, reached: 0, others: 4 };

function setUp() {
  const clock = new SimulatedClock();
  const state = new LocalState('/nonexistent/network.json');
  const links = new Map<string, 'up' | 'down'>();
  const netlink = {
    setLinkUp: (name: string) => void links.set(name, 'up'),
    setLinkDown: (name: string) => void links.set(name, 'down'),
  };
  const fence = new Fence({ clock, state, netlink, logger: silentLogger });
  const add = (id: string, taskId?: string) => {
    const place = { networkId: 'n', address: `10.0.1.${state.endpoints.size + 2}` };
    const rest = { vni: 4097, prefixLength: 24, mac: '', defaultRoute: false };
    state.endpoints.set(id, { id, ...place, ...rest, interfaceName: id });
    if (taskId === undefined) return;
    state.tasks.set(taskId, {
      ...{ taskId, taskName: taskId, containerId: '', serviceId: 's', serviceName: 's' },
      ...{ ports: [], taskAliases: [], draining: false },
      attachments: [{ ...place, aliases: [], virtualIp: '' }],
    });
  };
  const pass = (contacts: Contacts, ms: number) => {
    for (let left = ms; left > 0; left -= 100) {
      clock.advance(100);
      fence.look(contacts, AFTER_MS);
    }
  };
  add('a', 'task-a');
  add('b', 'task-b');
  add('plain');
  const serving = () =>
    [...state.endpoints.values()].filter((each) => state.isServing(each)).map(({ id }) => id);
  return { state, links, pass, add, serving };
}

void t.test('only who reaches nobody for long is fenced', async (t) => {
  for (const contacts of [
    { ...NOBODY, manager: true },
    { ...NOBODY, assigned: new Set<string>() },
    { ...NOBODY, reached: 2 },
    { ...NOBODY, reached: 1, others: 2 },
  ]) {
    const { pass, serving } = setUp();
    pass(contacts, 10 * AFTER_MS);
    t.same(serving(), ['a', 'b', 'plain'], JSON.stringify(contacts));
  }
  for (const contacts of [NOBODY, { ...NOBODY, reached: 1 }, { ...NOBODY, others: 0 }]) {
    const { pass, serving, links } = setUp();
    pass(contacts, AFTER_MS);
    t.equal(serving().length, 3, 'not before its time');
    pass(contacts, 200);
    t.same(serving(), []);
    t.same([...new Set(links.values())], ['down']);
  }
});

void t.test('short losses do not add up', async (t) => {
  const { pass, serving } = setUp();
  for (let turn = 0; turn < 5; turn += 1) {
    pass(NOBODY, AFTER_MS - 1000);
    pass({ ...NOBODY, reached: 4 }, 100);
  }
  t.equal(serving().length, 3);
});

void t.test(
  'what is made while fenced is fenced too; all come back with the first word',
  async (t) => {
    const { pass, serving, links, add } = setUp();
    pass(NOBODY, AFTER_MS + 1000);
    add('late');
    pass(NOBODY, 200);
    t.equal(links.get('late'), 'down');
    pass({ ...NOBODY, reached: 2 }, 100);
    t.equal(serving().length, 4);
    t.same([...new Set(links.values())], ['up']);
  },
);

void t.test('what the managers have given up does not come back', async (t) => {
  const { pass, serving, state, links } = setUp();
  pass(NOBODY, AFTER_MS + 1000);
  const task = state.tasks.get('task-b');
  if (task !== undefined) state.tasks.set('task-b', { ...task, draining: true });
  pass({ ...NOBODY, assigned: new Set(['task-b']) }, 100);
  t.same(serving(), ['plain'], 'neither unassigned nor draining');
  t.equal(links.get('a'), 'down');
});

void t.test('once addresses may be given to others, only a session frees', async (t) => {
  const { pass, serving } = setUp();
  pass(NOBODY, 2 * AFTER_MS + 1000);
  pass({ ...NOBODY, reached: 4, manager: true }, 10_000);
  t.same(serving(), []);
  pass({ ...NOBODY, reached: 4, assigned: new Set(['task-a', 'task-b']) }, 100);
  t.equal(serving().length, 3);
});

void t.test('links that a former process left down come up', async (t) => {
  const { pass, links } = setUp();
  pass({ ...NOBODY, manager: true }, 100);
  t.same(
    [...links],
    [
      ['a', 'up'],
      ['b', 'up'],
      ['plain', 'up'],
    ],
  );
  links.clear();
  pass({ ...NOBODY, manager: true }, 1000);
  t.equal(links.size, 0, 'once');
});
