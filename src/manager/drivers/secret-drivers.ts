/**
 * Secrets whose value a plugin holds (SwarmKit manager/drivers): asked for when a task that refers to
 * one is assigned, and kept nowhere on the manager.
 */
import { SkepError } from '../../model/errors.js';
import type { Task } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import type { SecretSpec } from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import { taskName } from '../../model/naming.js';
import { SECRET_BYTES_LIMIT } from '../control/limits.js';
import { callPlugin } from './plugin-call.js';
import { findPlugin, type PluginPlaces } from './plugin-endpoint.js';

const CAPABILITY = 'secretprovider';

/** A value from a plugin. */
export interface DriverSecret {
  readonly data: Uint8Array;
  /** Whether it is for this task only. */
  readonly isForTaskOnly: boolean;
}

/** Where values of secrets with a driver come from. */
export interface SecretSource {
  /** @throws SkepError with the plugin's reason; never with a value */
  fetch(spec: SecretSpec, task: Task): Promise<DriverSecret>;
  /** @throws SkepError where there is no such plugin */
  check(name: string): Promise<void>;
}

/** The plugins of this host. */
export class SecretDrivers implements SecretSource {
  constructor(private readonly places: PluginPlaces) {}

  async check(name: string): Promise<void> {
    await findPlugin(name, CAPABILITY, this.places);
  }

  async fetch(spec: SecretSpec, task: Task): Promise<DriverSecret> {
    const name = spec.driver?.name ?? '';
    const endpoint = await findPlugin(name, CAPABILITY, this.places);
    const { Implements: implemented } = await callPlugin(endpoint, 'Plugin.Activate', {});
    if (!Array.isArray(implemented) || !implemented.includes(CAPABILITY))
      throw new SkepError('failed_precondition', `plugin ${name} does not implement ${CAPABILITY}`);
    const answer = await callPlugin(endpoint, 'SecretProvider.GetSecret', requestOf(spec, task));
    const { Value: value, Err: error, DoNotReuse: doNotReuse } = answer;
    if (typeof error === 'string' && error !== '') throw new SkepError('unknown', error);
    const data = Buffer.from(typeof value === 'string' ? value : '', 'base64');
    if (data.length === 0 || data.length >= SECRET_BYTES_LIMIT)
      throw new SkepError(
        'invalid_argument',
        `secret data must be larger than 0 and less than ${SECRET_BYTES_LIMIT} bytes`,
      );
    return { data, isForTaskOnly: doNotReuse === true };
  }
}

/** `SecretProvider.GetSecret`, as SwarmKit asks: what is empty is left out. */
function requestOf(spec: SecretSpec, task: Task): Readonly<Record<string, unknown>> {
  const container = task.spec?.runtime.case === 'container' ? task.spec.runtime.value : undefined;
  const endpoint = task.endpoint?.spec;
  return filled({
    SecretName: spec.annotations?.name,
    SecretLabels: spec.annotations?.labels,
    ServiceHostname: container?.hostname,
    ServiceID: task.serviceId,
    ServiceName: task.serviceAnnotations?.name,
    ServiceLabels: task.serviceAnnotations?.labels,
    TaskID: task.id,
    TaskName: taskName(task),
    TaskImage: container?.image,
    NodeID: task.nodeId,
    ...(endpoint === undefined
      ? {}
      : {
          ServiceEndpointSpec: filled({
            Mode: endpoint.mode,
            Ports: endpoint.ports.map((port) =>
              filled({
                Name: port.name,
                Protocol: port.protocol,
                TargetPort: port.targetPort,
                PublishedPort: port.publishedPort,
                PublishMode: port.publishMode,
              }),
            ),
          }),
        }),
  });
}

function filled(fields: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    Object.entries(fields).filter(([key, value]) => {
      if (value === undefined || value === '' || value === 0) return false;
      if (Array.isArray(value)) return value.length > 0;
      // An endpoint without anything to say is still one.
      return (
        typeof value !== 'object' ||
        key === 'ServiceEndpointSpec' ||
        Object.keys(value ?? {}).length > 0
      );
    }),
  );
}
