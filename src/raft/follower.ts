/** What a node does on its leader's messages. */
import type { RaftCore } from './core.js';
import type { AppendMessage, HeartbeatMessage, NodeId, SnapshotMessage } from './types.js';

/** Takes entries, or says where the logs part. */
export function handleAppend(core: RaftCore, message: AppendMessage): void {
  const { from, index, logTerm, entries, commit } = message;
  if (entries.some((entry, at) => entry.index !== index + 1 + at)) return;
  if (index < core.log.committed) {
    acknowledge(core, from, core.log.committed);
    return;
  }
  const lastNew = core.log.appendAfter(index, logTerm, entries, commit);
  if (lastNew !== undefined) {
    acknowledge(core, from, lastNew);
    return;
  }
  const hint = core.log.findConflictByTerm(Math.min(index, core.log.lastIndex), logTerm);
  core.send({
    type: 'appendResponse',
    to: from,
    index,
    reject: true,
    rejectHint: hint.index,
    logTerm: hint.term,
  });
}

/** Takes the commit index and confirms that the sender leads. */
export function handleHeartbeat(core: RaftCore, message: HeartbeatMessage): void {
  core.log.commitTo(message.commit);
  core.send({ type: 'heartbeatResponse', to: message.from, context: message.context });
}

/**
 * Replaces the log by a snapshot that is ahead of it. The snapshot may be older than this node's
 * membership: the entries that follow it then make this node a member.
 */
export function handleSnapshot(core: RaftCore, message: SnapshotMessage): void {
  const { snapshot, from } = message;
  if (snapshot.index <= core.log.committed) {
    acknowledge(core, from, core.log.committed);
    return;
  }
  if (core.log.matches(snapshot.index, snapshot.term)) {
    // Everything in it is here already; only its being committed is news.
    core.log.commitTo(snapshot.index);
    acknowledge(core, from, core.log.committed);
    return;
  }
  core.log.restore(snapshot);
  core.tracker.restore(snapshot.conf, core.log.lastIndex + 1);
  acknowledge(core, from, core.log.lastIndex);
}

function acknowledge(core: RaftCore, to: NodeId, index: number): void {
  core.send({ type: 'appendResponse', to, index, reject: false, rejectHint: 0, logTerm: 0 });
}
