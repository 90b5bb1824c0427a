/**
 * References from services to secrets and configs: that they are well formed, and that what they
 * name exists (SwarmKit controlapi/service.go).
 */
import type { ContainerSpec, TaskSpec } from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import type {
  ConfigReference,
  SecretReference,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import type { ReadTransaction } from '../../store/types.js';
import { invalid } from './annotations.js';

interface Reference {
  readonly id: string;
  readonly name: string;
  readonly hasTarget: boolean;
  /** Undefined when the target is no file. */
  readonly fileName: string | undefined;
}

/** @throws SkepError invalid_argument */
export function checkReferences(task: TaskSpec | undefined): void {
  const container = containerOf(task);
  if (container === undefined) return;
  checkShape('secret', container.secrets.map(fromSecret));
  checkShape('config', container.configs.map(fromConfig));
  checkCredentialSpec(container);
}

/** Whether id and name belong together. @throws SkepError invalid_argument `secret not found: a` | `secrets not found: a, b` | configs */
export function checkReferencesExist(
  transaction: ReadTransaction,
  task: TaskSpec | undefined,
): void {
  const container = containerOf(task);
  if (container === undefined) return;
  const secrets = container.secrets.filter(
    ({ secretId, secretName }) =>
      transaction.get('secret', secretId)?.spec?.annotations?.name !== secretName,
  );
  refuseMissing(
    'secret',
    secrets.map((reference) => reference.secretName),
  );
  const configs = container.configs.filter(
    ({ configId, configName }) =>
      transaction.get('config', configId)?.spec?.annotations?.name !== configName,
  );
  refuseMissing(
    'config',
    configs.map((reference) => reference.configName),
  );
}

function containerOf(task: TaskSpec | undefined): ContainerSpec | undefined {
  return task?.runtime.case === 'container' ? task.runtime.value : undefined;
}

function fromSecret(reference: SecretReference): Reference {
  const { target } = reference;
  return {
    id: reference.secretId,
    name: reference.secretName,
    hasTarget: target.case !== undefined,
    fileName: target.case === 'file' ? target.value.name : undefined,
  };
}

function fromConfig(reference: ConfigReference): Reference {
  const { target } = reference;
  return {
    id: reference.configId,
    name: reference.configName,
    hasTarget: target.case !== undefined,
    fileName: target.case === 'file' ? target.value.name : undefined,
  };
}

function checkShape(kind: 'secret' | 'config', references: readonly Reference[]): void {
  const takenBy = new Map<string, string>();
  for (const { id, name, hasTarget, fileName } of references) {
    if (id === '' || name === '') throw invalid(`malformed ${kind} reference`);
    if (!hasTarget) throw invalid(`malformed ${kind} reference, no target provided`);
    if (fileName === undefined) continue;
    if (fileName === '') {
      throw invalid(`malformed file ${kind} reference, invalid target file name provided`);
    }
    const other = takenBy.get(fileName);
    if (other !== undefined) {
      throw invalid(
        `${kind} references '${other}' and '${name}' have a conflicting target: '${fileName}'`,
      );
    }
    takenBy.set(fileName, name);
  }
}

function checkCredentialSpec(container: ContainerSpec): void {
  const source = container.privileges?.credentialSpec?.source;
  if (source === undefined) return;
  if (source.case === 'config') checkCredentialConfig(container, source.value);
  // An engine on Linux would refuse each task with a word about security options.
  throw invalid('credential specs are for Windows containers; all nodes here run Linux');
}

function checkCredentialConfig(container: ContainerSpec, configId: string): void {
  const named = container.configs.some(
    (reference) => reference.target.case === 'runtime' && reference.configId === configId,
  );
  if (!named) {
    throw invalid(
      `CredentialSpec references config '${configId}', but that config isn't in config ` +
        'references with RuntimeTarget',
    );
  }
}

function refuseMissing(kind: 'secret' | 'config', names: readonly string[]): void {
  if (names.length === 0) return;
  throw invalid(`${names.length === 1 ? kind : `${kind}s`} not found: ${names.join(', ')}`);
}
