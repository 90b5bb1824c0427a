/**
 * The Writes service: changes of the Control API that other managers pass on to their leader. What
 * is checked is checked here, so that all managers' words count alike.
 */
import { create } from '@bufbuild/protobuf';
import type { ConnectRouter } from '@connectrpc/connect';
import { SkepError } from '../../model/errors.js';
import {
  ClusterSpecSchema,
  ConfigSpecSchema,
  NodeSpecSchema,
  SecretSpecSchema,
  ServiceSpecSchema,
} from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  type WriteRequest,
  type WriteResponse,
  WriteResponseSchema,
  Writes,
} from '../../model/gen/skep/manager/v1/manager_pb.js';
import { type AccessRules, authorize } from '../../rpc/authorization.js';
import { callContext, MANAGER_ROLE } from '../../rpc/peer.js';
import { wasNotProposed } from '../../store/proposer.js';
import type { Control } from './types.js';

/** Registers the service. `control` is the one that writes to the store of this manager. */
export function registerWrites(
  router: ConnectRouter,
  parts: { control: Control; access: AccessRules; isLeading: () => boolean },
): void {
  const { control, access, isLeading } = parts;
  router.service(Writes, {
    write: async (request, context): Promise<WriteResponse> => {
      authorize(callContext(context).peer, access, [MANAGER_ROLE]);
      if (!isLeading()) return create(WriteResponseSchema, { notLeading: true });
      try {
        return create(WriteResponseSchema, { id: await write(control, request.operation) });
      } catch (error) {
        if (wasNotProposed(error)) return create(WriteResponseSchema, { notLeading: true });
        throw error;
      }
    },
  });
}

/** Does one change; returns the id of the object, empty for removals. */
async function write(control: Control, operation: WriteRequest['operation']): Promise<string> {
  switch (operation.case) {
    case 'updateCluster': {
      const { version, spec, ...rotate } = operation.value;
      const rotation = {
        workerJoinToken: rotate.rotateWorkerToken,
        managerJoinToken: rotate.rotateManagerToken,
        managerUnlockKey: rotate.rotateUnlockKey,
      };
      const updated = spec ?? create(ClusterSpecSchema);
      return (await control.updateCluster(version, updated, rotation)).id;
    }
    case 'updateNode': {
      const { id, version, spec } = operation.value;
      return (await control.updateNode(id, version, spec ?? create(NodeSpecSchema))).id;
    }
    case 'removeNode':
      await control.removeNode(operation.value.id, { force: operation.value.force });
      return '';
    case 'createNetwork':
      return (await control.createNetwork(operation.value)).id;
    case 'removeNetwork':
      await control.removeNetwork(operation.value);
      return '';
    case 'createService':
      return (await control.createService(operation.value)).id;
    case 'updateService': {
      const { id, version, spec, rollback } = operation.value;
      const options = { rollback: rollback ? ('previous' as const) : ('none' as const) };
      const updated = spec ?? create(ServiceSpecSchema);
      return (await control.updateService(id, version, updated, options)).id;
    }
    case 'removeService':
      await control.removeService(operation.value);
      return '';
    default:
      return writeData(control, operation);
  }
}

/** Secrets and configs. */
async function writeData(control: Control, operation: WriteRequest['operation']): Promise<string> {
  switch (operation.case) {
    case 'createSecret':
      return (await control.createSecret(operation.value)).id;
    case 'updateSecret': {
      const { id, version, spec } = operation.value;
      return (await control.updateSecret(id, version, spec ?? create(SecretSpecSchema))).id;
    }
    case 'removeSecret':
      await control.removeSecret(operation.value);
      return '';
    case 'createConfig':
      return (await control.createConfig(operation.value)).id;
    case 'updateConfig': {
      const { id, version, spec } = operation.value;
      return (await control.updateConfig(id, version, spec ?? create(ConfigSpecSchema))).id;
    }
    case 'removeConfig':
      await control.removeConfig(operation.value);
      return '';
    default:
      // Of a newer manager, perhaps.
      throw new SkepError('unimplemented', 'this change is not known to the leading manager');
  }
}
