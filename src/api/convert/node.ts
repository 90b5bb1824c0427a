/** Nodes as API JSON, and node specs from it. */
import { create } from '@bufbuild/protobuf';
import type { Node } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  type NodeSpec,
  NodeSpec_Availability,
  NodeSpec_Membership,
  NodeSpecSchema,
} from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  type NodeDescription,
  NodeRole,
  NodeStatus_State,
  type NodeTLSInfo,
  RaftMemberStatus_Reachability,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { badRequest } from '../http/api-error.js';
import type { GoStruct } from '../http/go-struct.js';
import { mapUnlessEmpty, unlessEmpty, unlessZero } from '../http/json-text.js';
import {
  annotationFields,
  annotationsFromJson,
  base64,
  enumText,
  enumValue,
  goQuote,
  type JsonFields,
  metaFields,
} from './common.js';
import { resourcesFields } from './task-spec.js';

/** A node as JSON. */
export function nodeFields(node: Node): JsonFields {
  const { spec, status, managerStatus } = node;
  return {
    ID: node.id,
    ...metaFields(node.meta),
    Spec: nodeSpecFields(spec),
    Description: descriptionFields(node.description),
    Status: {
      State: enumText(NodeStatus_State, status?.state ?? NodeStatus_State.UNKNOWN),
      Message: unlessZero(status?.message ?? ''),
      Addr: unlessZero(status?.addr ?? ''),
    },
    ManagerStatus: managerStatus && {
      Leader: unlessZero(managerStatus.leader),
      Reachability: enumText(RaftMemberStatus_Reachability, managerStatus.reachability),
      Addr: unlessZero(managerStatus.addr),
    },
  };
}

/** A node's spec as JSON. */
export function nodeSpecFields(spec: NodeSpec | undefined): JsonFields {
  return {
    ...annotationFields(spec?.annotations),
    Role: enumText(NodeRole, spec?.desiredRole ?? NodeRole.WORKER),
    Availability: enumText(
      NodeSpec_Availability,
      spec?.availability ?? NodeSpec_Availability.ACTIVE,
    ),
  };
}

function descriptionFields(description: NodeDescription | undefined): JsonFields {
  const { platform, engine } = description ?? {};
  return {
    Hostname: unlessZero(description?.hostname ?? ''),
    Platform: {
      Architecture: unlessZero(platform?.architecture ?? ''),
      OS: unlessZero(platform?.os ?? ''),
    },
    Resources: resourcesFields(description?.resources),
    Engine: {
      EngineVersion: unlessZero(engine?.engineVersion ?? ''),
      Labels: mapUnlessEmpty(engine?.labels ?? {}),
      Plugins: unlessEmpty(
        engine?.plugins.map(({ type, name }) => ({
          Type: unlessZero(type),
          Name: unlessZero(name),
        })) ?? [],
      ),
    },
    TLSInfo: tlsFields(description?.tlsInfo),
  };
}

function tlsFields(info: NodeTLSInfo | undefined): JsonFields {
  if (info === undefined) return {};
  return {
    TrustRoot: unlessZero(Buffer.from(info.trustRoot).toString('utf8')),
    CertIssuerSubject: unlessZero(base64(info.certIssuerSubject)),
    CertIssuerPublicKey: unlessZero(base64(info.certIssuerPublicKey)),
  };
}

/**
 * A node spec from JSON. The API has no membership; a node that can be updated is accepted.
 * @throws ApiError 400 `invalid Role: …` | `invalid Availability: …`
 */
export function nodeSpecFromJson(json: GoStruct): NodeSpec {
  const annotations = annotationsFromJson(json);
  const roleText = json.string('Role', 'swarm.NodeRole');
  const role = enumValue(NodeRole, roleText);
  if (role === undefined) throw badRequest(`invalid Role: ${goQuote(roleText)}`);
  const text = json.string('Availability', 'swarm.NodeAvailability');
  const availability = enumValue(NodeSpec_Availability, text);
  if (availability === undefined) throw badRequest(`invalid Availability: ${goQuote(text)}`);
  return create(NodeSpecSchema, {
    annotations,
    desiredRole: role,
    availability,
    membership: NodeSpec_Membership.ACCEPTED,
  });
}
