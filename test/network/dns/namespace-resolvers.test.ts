/**
 * Name servers in other network namespaces, over real ones: when they come and go, what is
 * answered, and that nothing stays.
 */
import t, { type Test } from 'tap';
import {
  type OpenNamespaceResolver,
  openNamespaceResolver,
} from '../../../src/native/namespace-resolver.js';
import { NamespaceResolvers } from '../../../src/network/dns/namespace-resolvers.js';
import type { NameTable } from '../../../src/network/dns/names.js';
import { silentLogger } from '../../../src/observe/logger.js';
import { systemEnvironment } from '../../../src/observe/system-environment.js';
import { waitFor } from '../../testbed/commands.js';
import { nameTables } from '../support/name-tables.js';
import { askIn as ask, Containers, tablesIn as tables } from '../support/namespaces.js';

const WAIT_MS = 5000;
const INFO = { id: '1', name: 'front', subnets: [], internal: true, attachable: true };

/** A network on which the name `rr` has that many addresses. */
function namesOf(count: number): readonly NameTable[] {
  const endpoints = Array.from({ length: count }, (_, index) => ({
    ...{ networkId: '1', key: String(index), owner: 'n', name: `rr.${index}.x` },
    ...{ serviceName: 'rr', serviceId: 'r', virtualIp: '', endpointIp: `10.0.1.${index + 2}` },
    ...{ ingressPorts: [], aliases: [], taskAliases: [], disabled: false },
  }));
  const view = { info: { ...INFO, ingress: false, encrypted: false }, nodeAddresses: [] };
  return [...nameTables([view], endpoints).values()];
}

interface Setup {
  readonly names: Map<string, readonly NameTable[]>;
  readonly open?: OpenNamespaceResolver;
}

function start(t: Test, { names, open }: Setup): NamespaceResolvers {
  const { clock, random } = systemEnvironment;
  const resolvers = new NamespaceResolvers({
    open: open ?? openNamespaceResolver,
    wanted: () => names.keys(),
    isWanted: (namespace) => names.has(namespace),
    namesIn: (namespace) => names.get(namespace) ?? [],
    isFilling: () => false,
    ttlSeconds: () => 5,
    ...{ clock, random, logger: silentLogger },
  });
  t.teardown(async () => resolvers.stop());
  resolvers.start();
  return resolvers;
}

void t.test('each container sees its own names, by UDP and TCP, and no stranger any', async (t) => {
  const containers = new Containers(t);
  const one = await containers.start('one');
  const two = await containers.start('two');
  const stranger = await containers.start('stranger');
  const names = new Map([
    [one, namesOf(3)],
    [two, namesOf(200)],
  ]);
  const resolvers = start(t, { names });
  t.equal(await ask(one), 3, 'as soon as it is wanted');
  t.equal(await ask(two), 200, 'truncated over UDP, whole over TCP');
  t.equal(await ask(one, 'elsewhere'), 'ESERVFAIL', 'there is no engine to ask');
  t.equal(await ask(stranger), 'ECONNREFUSED');
  t.equal(await tables(stranger), '');
  names.delete(one);
  resolvers.reconcile();
  await waitFor('the first to be given back', WAIT_MS, async () =>
    (await tables(one)) === '' ? true : undefined,
  );
  t.equal(await ask(one), 'ECONNREFUSED');
  t.equal(await ask(two), 200);
  await resolvers.stop();
  t.equal(await tables(two), '');
});

void t.test('a namespace that is not there yet is found when it comes', async (t) => {
  const containers = new Containers(t);
  const late = containers.pathOf('late');
  start(t, { names: new Map([[late, namesOf(1)]]) });
  await containers.start('late');
  const count = await waitFor('it to be found', WAIT_MS, async () => {
    const answer = await ask(late);
    return typeof answer === 'number' ? answer : undefined;
  });
  t.equal(count, 1);
});

void t.test('wanted again while it is being given back', async (t) => {
  const containers = new Containers(t);
  const one = await containers.start('one');
  const names = new Map([[one, namesOf(1)]]);
  const resolvers = start(t, { names });
  t.equal(await ask(one), 1);
  names.delete(one);
  resolvers.reconcile();
  names.set(one, namesOf(2));
  resolvers.reconcile();
  const count = await waitFor('it to be taken again', WAIT_MS, async () => {
    const answer = await ask(one);
    return typeof answer === 'number' ? answer : undefined;
  });
  t.equal(count, 2);
});

void t.test('a path that stands for another namespace, or none, is noticed', async (t) => {
  const containers = new Containers(t);
  const one = await containers.start('one');
  const names = new Map([[one, namesOf(1)]]);
  const opened: string[] = [];
  const open: OpenNamespaceResolver = (namespace) => {
    const door = openNamespaceResolver(namespace);
    opened.push(namespace);
    return door;
  };
  const resolvers = start(t, { names, open });
  t.equal(await ask(one), 1);
  const before = await containers.rename('one', 'before');
  resolvers.reconcile();
  await containers.start('one');
  await waitFor('the second container', WAIT_MS, async () =>
    (await ask(one)) === 1 ? true : undefined,
  );
  t.same(opened, [one, one]);
  t.equal(await tables(before), '', 'nothing stays in the first');
});
