/** What the handlers share, and the lookups they all make. */
import type {
  Config,
  Network,
  Node,
  Secret,
  Service,
  Task,
} from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import type { GenericResource } from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import type { Control } from '../../manager/control/types.js';
import type { SocketBinds } from '../../model/engine-socket.js';
import type { Environment } from '../../model/environment.js';
import { taskName } from '../../model/naming.js';
import type { Logger } from '../../observe/logger.js';
import type { Engine } from '../engine.js';
import { controlError } from '../http/api-error.js';
import { findOne, type Lookup } from '../lookup.js';
import type { EngineProxy } from '../proxy.js';
import type { SwarmMembership } from '../types.js';

/** Parts of the server that handlers use. */
export interface RouteContext {
  readonly engine: Engine;
  readonly proxy: EngineProxy;
  readonly membership: SwarmMembership;
  readonly logger: Logger;
  readonly environment: Environment;
  readonly attachableDnsServers: readonly string[];
  readonly sockets: SocketBinds;
  /** Of skepd's flags; the engine's own are shown where there are none. */
  readonly genericResources: readonly GenericResource[];
}

/** The manager's control, whose errors carry gRPC's prefix. @throws if this host is no manager */
export function control(context: RouteContext): Control {
  return prefixed(context.membership.manager().control);
}

/** The control, or undefined on hosts that are no manager. */
export function controlIfManager(context: RouteContext): Control | undefined {
  return context.membership.status().controlAvailable ? control(context) : undefined;
}

/** Wraps each method so that what it throws, now or later, becomes a {@link controlError}. */
function prefixed(target: Control): Control {
  return new Proxy(target, {
    get(object, key): unknown {
      const member: unknown = Reflect.get(object, key, object);
      if (typeof member !== 'function') return member;
      return (...parameters: unknown[]): unknown => {
        try {
          const result: unknown = Reflect.apply(member, object, parameters);
          if (!(result instanceof Promise)) return result;
          return result.catch((error: unknown) => {
            throw controlError(error);
          });
        } catch (error) {
          throw controlError(error);
        }
      };
    },
  });
}

/** A node's name is its host's. */
export function nodeName(node: Node): string {
  return node.description?.hostname ?? '';
}

function lookup<T extends { readonly id: string }>(
  kind: string,
  items: readonly T[],
  nameOf: (item: T) => string,
): Lookup<T> {
  return { kind, items, idOf: (item) => item.id, nameOf };
}

type Specified = { readonly id: string; readonly spec?: { annotations?: { name: string } } };

function specName(item: Specified): string {
  return item.spec?.annotations?.name ?? '';
}

/** The service a user means. @throws ApiError 404 | 400 ambiguous */
export function findService(from: Control, input: string): Service {
  return findOne(lookup('service', from.listServices(), specName as (s: Service) => string), input);
}

/** The node a user means. */
export function findNode(from: Control, input: string): Node {
  return findOne(lookup('node', from.listNodes(), nodeName), input);
}

/** The task a user means. */
export function findTask(from: Control, input: string): Task {
  return findOne(lookup('task', from.listTasks(), taskName), input);
}

/** The secret a user means. */
export function findSecret(from: Control, input: string): Secret {
  const secrets = lookup('secret', from.listSecrets(), specName as (s: Secret) => string);
  return findOne({ ...secrets, ignoresCase: true }, input);
}

/** The config a user means. */
export function findConfig(from: Control, input: string): Config {
  const configs = lookup('config', from.listConfigs(), specName as (c: Config) => string);
  return findOne({ ...configs, ignoresCase: true }, input);
}

/** How networks are found. */
export function networkLookup(from: Control): Lookup<Network> {
  return lookup('network', from.listNetworks(), specName as (n: Network) => string);
}

/** The swarm network a user means. */
export function findNetwork(from: Control, input: string): Network {
  return findOne(networkLookup(from), input);
}
