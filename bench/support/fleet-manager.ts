/**
 * A program: one manager of a new swarm, with its log on disk, its server and all its loops, but without
 * engine, data path and Docker API. It says where it listens, then does what it is told over IPC.
 */
import { clone, create } from '@bufbuild/protobuf';
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import { ClusterSchema, NodeSchema } from '../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  NodeSpec_Availability,
  ServiceSpecSchema,
} from '../../src/model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  DispatcherConfigSchema,
  TaskState,
} from '../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { TestManagers } from '../../test/daemon/support/test-managers.js';
import { DispatchMeter, type ManagerShare } from './dispatch-meter.js';

/** The first message of the program. */
export interface ManagerGreeting {
  readonly address: string;
  readonly token: string;
}

/** What the manager may be asked; `id` comes back with the answer. */
export type ManagerCommand = { readonly id: number } & (
  | { readonly kind: 'create'; readonly name: string; readonly replicas: number }
  | { readonly kind: 'one'; readonly name: string; readonly replicas: number }
  | { readonly kind: 'heartbeat'; readonly seconds: number }
  | { readonly kind: 'running' }
);

/** The answer: tasks that run, and of `one` what it took. */
export interface ManagerAnswer {
  readonly id: number;
  readonly running: number;
  readonly took?: ManagerShare | undefined;
}

// Before a dispatcher is made.
const meter = new DispatchMeter();
const cleanups: (() => unknown)[] = [];
const managers = await TestManagers.start(
  { teardown: (cleanup: () => unknown) => void cleanups.push(cleanup) },
  { freezeObjects: false, subnetSize: 16 },
);
const { raft, running: manager, address } = await managers.found();
const { store } = raft;
const { control } = manager.access;

await store.update((write) => {
  for (const node of write.find('node', { by: 'all' })) {
    const copy = clone(NodeSchema, node);
    if (copy.spec !== undefined) copy.spec.availability = NodeSpec_Availability.DRAIN;
    write.update('node', copy);
  }
});

async function createService(name: string, replicas: number): Promise<void> {
  const spec = {
    annotations: { name, labels: { team: 'fleet' } },
    task: {
      runtime: {
        case: 'container' as const,
        value: { image: 'skep-test/web:1', env: [`NAME=${name}`] },
      },
    },
    mode: { case: 'replicated' as const, value: { replicas: BigInt(replicas) } },
  };
  await control.createService(create(ServiceSpecSchema, spec));
}

async function obey(command: ManagerCommand): Promise<ManagerShare | undefined> {
  switch (command.kind) {
    case 'create':
      await createService(command.name, command.replicas);
      return undefined;
    case 'one':
      return await meter.measure(command.replicas, () =>
        createService(command.name, command.replicas),
      );
    case 'heartbeat':
      await store.update((write) => {
        for (const cluster of write.find('cluster', { by: 'all' })) {
          const copy = clone(ClusterSchema, cluster);
          const heartbeatPeriod = durationFromMs(command.seconds * 1000);
          if (copy.spec !== undefined)
            copy.spec.dispatcher = create(DispatcherConfigSchema, { heartbeatPeriod });
          write.update('cluster', copy);
        }
      });
      return undefined;
    case 'running':
      return undefined;
  }
}

process.on('message', (command: ManagerCommand) => {
  obey(command).then(
    (took) => {
      const selector = { by: 'taskState', state: TaskState.RUNNING } as const;
      const count =
        command.kind === 'running' ? store.view((r) => r.find('task', selector).length) : 0;
      const answer: ManagerAnswer = { id: command.id, running: count, took };
      process.send?.(answer);
    },
    (error: unknown) => {
      console.error(error);
      process.exit(1);
    },
  );
});
process.on('disconnect', () => {
  void Promise.all(cleanups.map(async (cleanup) => cleanup())).finally(() => process.exit(0));
});
const token = control.getCluster().rootCa?.joinTokens?.worker ?? '';
const greeting: ManagerGreeting = { address, token };
process.send?.(greeting);
