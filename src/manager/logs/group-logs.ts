/**
 * Logs of services on any manager: lines gather at the leader, so another manager subscribes there
 * (SwarmKit's Logs service).
 */
import { type ConnectRouter, createClient } from '@connectrpc/connect';
import { create } from '@bufbuild/protobuf';
import {
  type LogMessage,
  Logs,
  LogSelectorSchema,
  type LogSelector,
  type LogSubscriptionOptions,
  LogSubscriptionOptionsSchema,
} from '../../model/gen/docker/swarmkit/v1/logbroker_pb.js';
import { type AccessRules, authorize } from '../../rpc/authorization.js';
import { fromRpcError } from '../../rpc/errors.js';
import type { LeaderLink } from '../../rpc/leader-link.js';
import { callContext, MANAGER_ROLE } from '../../rpc/peer.js';
import type { LogSource } from '../control/types.js';
import { noLeader, type RaftGroup } from '../group/raft-group.js';

/** Registers the service; managers ask for it at the leader. */
export function registerLogs(
  router: ConnectRouter,
  parts: { logs: LogSource; access: AccessRules },
): void {
  const { logs, access } = parts;
  router.service(Logs, {
    subscribeLogs: async function* (request, context) {
      authorize(callContext(context).peer, access, [MANAGER_ROLE]);
      const selector = request.selector ?? create(LogSelectorSchema);
      const options = request.options ?? create(LogSubscriptionOptionsSchema);
      for await (const message of logs.subscribe(selector, options, context.signal)) {
        yield { messages: [message] };
      }
    },
  });
}

/** Lines from the broker of whichever manager leads when the subscription begins. */
export class GroupLogs implements LogSource {
  readonly #local: LogSource;
  readonly #group: RaftGroup;
  readonly #link: LeaderLink;

  constructor(options: { local: LogSource; group: RaftGroup; link: LeaderLink }) {
    this.#local = options.local;
    this.#group = options.group;
    this.#link = options.link;
  }

  async *subscribe(
    selector: LogSelector,
    options: LogSubscriptionOptions,
    signal: AbortSignal,
  ): AsyncIterable<LogMessage> {
    await this.#group.agreed();
    const leader = this.#group.leader();
    if (leader === undefined) throw noLeader();
    if (leader === 'here') {
      yield* this.#local.subscribe(selector, options, signal);
      return;
    }
    const client = createClient(Logs, await this.#link.to(leader.addr));
    try {
      for await (const { messages } of client.subscribeLogs({ selector, options }, { signal })) {
        yield* messages;
      }
    } catch (error) {
      if (signal.aborted) return;
      throw fromRpcError(error);
    }
  }
}
