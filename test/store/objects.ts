/** Small objects for the store's tests. */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import {
  type Network,
  NetworkSchema,
  type Secret,
  SecretSchema,
  type Service,
  ServiceSchema,
  type Task,
  TaskSchema,
} from '../../src/model/gen/docker/swarmkit/v1/objects_pb.js';

/** A service with a name, using `networks`. */
export function service(id: string, name: string, networks: readonly string[] = []): Service {
  return create(ServiceSchema, {
    id,
    spec: {
      annotations: { name },
      task: { networks: networks.map((target) => ({ target })) },
    },
  });
}

/** A network with a name. */
export function network(id: string, name: string): Network {
  return create(NetworkSchema, { id, spec: { annotations: { name } } });
}

/** A secret of `bytes` bytes. */
export function secret(id: string, name: string, bytes = 8): Secret {
  return create(SecretSchema, {
    id,
    spec: { annotations: { name }, data: new Uint8Array(bytes).fill(7) },
  });
}

/** A task of a service. */
export function task(
  id: string,
  serviceId: string,
  init: MessageInitShape<typeof TaskSchema> = {},
): Task {
  return create(TaskSchema, { ...init, id, serviceId });
}
