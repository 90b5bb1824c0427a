/** The order of services, versions of secrets and configs, differences, and when a service is there. */
import t from 'tap';
import { VERSION_OF_LABEL } from '../../src/model/labels/keys.js';
import { completionOf, progressOf } from '../../src/stack/convergence.js';
import { dependencyOrder } from '../../src/stack/dependency-order.js';
import { differences, textDifferences } from '../../src/stack/diff.js';
import { Namespace } from '../../src/stack/namespace.js';
import { nextVersion, versionsOf } from '../../src/stack/object-spec.js';
import {
  NAMESPACE_LABEL,
  type SwarmObject,
  type SwarmService,
  type SwarmTask,
} from '../../src/stack/swarm-spec.js';
import { projectOf } from './support.js';

const object = (name: string): SwarmObject => ({
  ID: name,
  Version: { Index: 1 },
  Spec: { Name: name, Labels: {} },
});

const TASK = { ContainerSpec: { Image: 'i' } };

function service(replicas: number, state?: string): SwarmService {
  return {
    ID: 's',
    Version: { Index: 1 },
    Spec: {
      Name: 's',
      Labels: {},
      // Only the service tells its runtime.
      TaskTemplate: { ...TASK, Runtime: 'container' },
      Mode: { Replicated: { Replicas: replicas } },
    },
    ...(state === undefined ? {} : { UpdateStatus: { State: state, Message: 'why' } }),
  };
}

function task(slot: number, state: string, desired: string, image = 'i'): SwarmTask {
  return {
    ID: `${slot}`,
    ServiceID: 's',
    Slot: slot,
    Spec: { ContainerSpec: { Image: image } },
    DesiredState: desired,
    Status: { State: state, Err: state === 'failed' ? 'broken' : '' },
  };
}

void t.test('services come behind those they depend on', async (t) => {
  const order = async (yaml: string) => {
    const { services } = await projectOf({ 'compose.yml': `services:\n${yaml}` });
    return dependencyOrder(services).join('');
  };
  t.equal(
    await order(
      '  a: {image: i, depends_on: [c]}\n  b: {image: i}\n  c: {image: i, depends_on: [b]}',
    ),
    'bca',
  );
  await t.rejects(
    order('  a: {image: i, depends_on: [b]}\n  b: {image: i, depends_on: [a]}'),
    /dependency cycle detected: a -> b -> a/,
  );
});

void t.test('versions are told by their labels, and nothing else is one', async (t) => {
  const namespace = new Namespace('s');
  const named = (name: string, labels: Readonly<Record<string, string>>): SwarmObject => ({
    ...object(name),
    Spec: { Name: name, Labels: labels },
  });
  const own = (name: string, of?: string) =>
    named(name, namespace.label(of === undefined ? {} : { [VERSION_OF_LABEL]: of }));
  const all = [
    ...[own('k.10', 'k'), own('k'), own('k.2', 'k'), own('k.4'), own('kk'), own('k.3', 'j')],
    ...[named('k.5', {}), named('k.6', { owner: 'ops' }), named('k.12', {})],
    named('k.7', { [VERSION_OF_LABEL]: 'k', [NAMESPACE_LABEL]: 'other' }),
  ];
  const versions = versionsOf('k', namespace, all);
  t.strictSame(
    versions.map(({ ID }) => ID),
    ['k', 'k.2', 'k.10'],
  );
  const spec = { Name: 'k', Labels: namespace.label() };
  t.strictSame(nextVersion(spec, versions, all), own('k.11', 'k').Spec);
  t.equal(nextVersion(spec, versions, [...all, own('k.11')]).Name, 'k.13', 'names of others');
  t.strictSame(nextVersion(spec, [], []), spec);
  const taken = [named('k', {})];
  t.strictSame(versionsOf('k', namespace, taken), [], 'the plain name is somebody else\u2019s');
  t.strictSame(nextVersion(spec, [], taken), own('k.2', 'k').Spec);
  const long = { ...spec, Name: 'k'.repeat(64) };
  t.equal(nextVersion(long, [], []).Name, long.Name);
  const second = nextVersion(long, [object(long.Name)], [object(long.Name)]);
  t.equal(second.Name, `${'k'.repeat(62)}.2`);
  t.equal(second.Labels[VERSION_OF_LABEL], long.Name);
  const dotted = { ...spec, Name: 'k.7' };
  t.equal(nextVersion(dotted, [own('k.7')], [own('k.7')]).Name, 'k.7.2');
});

void t.test('differences leave out what says nothing', async (t) => {
  const current = {
    A: { Isolation: 'default', Empty: [], Zero: 0, Off: false, Env: ['X=1', 'Y=2'] },
    Mode: { Replicated: { Replicas: 0 } },
    Ports: [{ TargetPort: 80, Protocol: 'tcp', PublishedPort: 1 }],
  };
  const wanted = {
    A: { Env: ['Y=3', 'X=1'] },
    Mode: { Replicated: {} },
    Ports: [
      { TargetPort: 79, Protocol: 'tcp' },
      { TargetPort: 80, Protocol: 'tcp', PublishedPort: 1 },
    ],
  };
  t.strictSame(differences(current, wanted), [
    'A.Env[Y]: "2" -> "3"',
    'Mode.Replicated.Replicas: 0 -> (none)',
    'Ports[79/tcp].Protocol: (none) -> "tcp"',
    'Ports[79/tcp].TargetPort: (none) -> 79',
  ]);
  const bytes = (text: string) => new TextEncoder().encode(text);
  t.strictSame(textDifferences(bytes('a\nb\nc'), bytes('a\nx\ny\nc')), ['- b', '+ x', '+ y']);
  t.strictSame(textDifferences(Uint8Array.of(255), bytes('ab')), ['1 bytes -> 2 bytes']);
});

void t.test('a service is there once its tasks run what it asks for', async (t) => {
  const of = (state: SwarmService, ...tasks: readonly SwarmTask[]) => {
    const { kind, text } = progressOf(state, tasks, true);
    return `${kind} ${text}`;
  };
  const up = task(1, 'running', 'running');
  t.equal(of(service(0)), 'done 0/0 running');
  t.equal(of(service(1)), 'waiting 0/1 running');
  t.equal(of(service(1), up), 'done 1/1 running');
  t.equal(of(service(2), up, up), 'waiting 1/2 running', 'two tasks of one slot');
  t.equal(of(service(1), task(1, 'running', 'running', 'old')), 'waiting 0/1 running');
  t.equal(of(service(1), task(1, 'running', 'shutdown')), 'waiting 0/1 running');
  t.equal(of(service(1, 'updating'), up), 'waiting 1/1 running, updating');
  t.equal(of(service(1, 'completed'), up), 'done 1/1 running');
  t.equal(of(service(1, 'paused'), up), 'failed why');
  t.equal(of(service(1, 'rollback_completed'), up), 'failed rolled back: why');
  t.equal(
    of(service(1), task(1, 'failed', 'shutdown'), task(1, 'ready', 'ready')),
    'waiting 0/1 running (broken)',
  );
  t.equal(of(service(1), task(1, 'failed', 'shutdown')), 'failed 0/1 running (broken)');
  t.equal(of(service(1), task(1, 'complete', 'shutdown')), 'done 1/1 completed');
  const earlier = (state: string, ...tasks: readonly SwarmTask[]) =>
    progressOf(service(1, state), tasks, false).kind;
  t.equal(earlier('rollback_completed', up), 'done', 'rolled back some time ago');
  t.equal(earlier('paused', up), 'done');
  t.equal(earlier('paused', task(1, 'running', 'running', 'old')), 'failed');
  const ended = completionOf(service(1), [task(1, 'complete', 'shutdown')]);
  t.strictSame(ended, { kind: 'done', text: '1/1 completed' });
  t.equal(completionOf(service(1), [up]).kind, 'waiting');
  t.equal(completionOf(service(1), [task(1, 'failed', 'shutdown')]).kind, 'failed');
});
