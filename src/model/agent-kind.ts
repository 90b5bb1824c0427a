/**
 * Tells nodes that run skepd from nodes that run a stock Docker Engine. A node of ours says so twice
 * in its description: by an engine label with its version, and by a plugin of a type that no engine
 * has. The label alone proves nothing, since any engine can be started with labels.
 */
import type { Node } from './gen/docker/swarmkit/v1/objects_pb.js';
import { AGENT_VERSION_LABEL } from './labels/keys.js';

/** The plugin in the description of a node of ours. Engines only have Authorization, Log, Network, Volume. */
export const AGENT_PLUGIN = { type: 'Agent', name: 'skepd' } as const;

/** Whether the node runs skepd: it follows changes of its tasks that a stock engine would ignore. */
export function runsSkepd(node: Node | undefined): boolean {
  const engine = node?.description?.engine;
  if (engine?.labels[AGENT_VERSION_LABEL] === undefined) return false;
  return engine.plugins.some(
    ({ type, name }) => type === AGENT_PLUGIN.type && name === AGENT_PLUGIN.name,
  );
}
