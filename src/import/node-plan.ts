/** Labels and availability of a node, for the node here whose host has the same name. */
import { clone, create } from '@bufbuild/protobuf';
import {
  NodeSpec_Availability as Availability,
  NodeSpecSchema,
} from '../model/gen/docker/swarmkit/v1/specs_pb.js';
import { AnnotationsSchema, NodeRole } from '../model/gen/docker/swarmkit/v1/types_pb.js';
import type { Outcome, Step } from './plan.js';
import type { Rehearsal } from './rehearsal.js';
import type { SeenNode, SwarmView } from './swarm-view.js';

/** The step of one node; its role stays what it is here. */
export async function planNode(
  node: SeenNode,
  others: readonly SeenNode[],
  here: SwarmView,
  rehearsal: Rehearsal,
): Promise<Step> {
  const { name } = node;
  const step = (outcome: Outcome, notes: readonly string[] = []): Step => {
    return { kind: 'node', name, outcome, notes };
  };
  const leftOut = (text: string, notes: readonly string[] = []) =>
    step({ kind: 'left-out', text }, notes);
  // What is down has left, or is about to be forgotten: its twin that is up counts.
  const twins = others.filter((other) => other !== node && other.name === name);
  if (node.isDown && twins.some(({ isDown }) => !isDown))
    return leftOut('is down there, and another of its name is up');
  if (twins.some(({ isDown }) => isDown === node.isDown))
    return leftOut('several nodes there have this name');
  const matches = here.nodes.filter((other) => other.name === name);
  const notes =
    node.spec?.desiredRole === NodeRole.MANAGER ? ['a manager there; its role is not taken'] : [];
  const [match] = matches;
  if (match === undefined) return leftOut('is not here yet: import again once it is', notes);
  if (matches.length > 1) return leftOut('several nodes here have this name');
  if (node.spec === undefined || match.spec === undefined)
    return step({ kind: 'refused', text: node.fault || match.fault });
  const spec = clone(NodeSpecSchema, match.spec);
  const { labels } = (spec.annotations ??= create(AnnotationsSchema));
  const changes: string[] = [];
  for (const [key, value] of Object.entries(node.spec.annotations?.labels ?? {})) {
    if (Object.hasOwn(labels, key)) {
      if (labels[key] !== value) notes.push(`differs here: label ${key}`);
      continue;
    }
    Object.defineProperty(labels, key, { value, enumerable: true });
    changes.push(`label ${key}`);
  }
  const { availability } = node.spec;
  if (node.isDown) {
    if (availability !== Availability.ACTIVE)
      notes.push('is down there: whether it was drained before is not known, and not taken');
  } else if (availability !== spec.availability) {
    // A node that has just joined is active; whatever else it is here was somebody's wish.
    if (spec.availability === Availability.ACTIVE) {
      spec.availability = availability;
      changes.push(`availability ${Availability[availability].toLowerCase()}`);
    } else notes.push('differs here: availability');
  }
  if (changes.length === 0) return step({ kind: 'present', text: 'is there already' }, notes);
  const refusal = await rehearsal.node(match.id, spec);
  if (refusal !== undefined) return step({ kind: 'refused', text: refusal }, notes);
  const change = { kind: 'node', id: match.id, version: match.version, spec } as const;
  return step({ kind: 'change', change, text: changes.join(', ') }, notes);
}
