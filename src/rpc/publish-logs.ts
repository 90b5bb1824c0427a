/**
 * PublishLogs with its one known trap removed: a stock manager ends the call without the empty
 * response message, after it has taken all logs, and the client library calls that an error.
 */
import { type CallOptions, type Client, Code, ConnectError } from '@connectrpc/connect';
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import {
  type LogBroker,
  type PublishLogsMessageSchema,
  type PublishLogsResponse,
  PublishLogsResponseSchema,
} from '../model/gen/docker/swarmkit/v1/logbroker_pb.js';

const MISSING_RESPONSE = 'missing response message';

/** `client.publishLogs` that takes a missing response of an otherwise successful call for success. */
export function publishLogs(
  client: Client<typeof LogBroker>,
): Client<typeof LogBroker>['publishLogs'] {
  return async (
    messages: AsyncIterable<MessageInitShape<typeof PublishLogsMessageSchema>>,
    options?: CallOptions,
  ): Promise<PublishLogsResponse> => {
    try {
      return await client.publishLogs(messages, options);
    } catch (reason) {
      const error = ConnectError.from(reason);
      const isMissingResponse =
        error.code === Code.Unimplemented && error.rawMessage.includes(MISSING_RESPONSE);
      if (!isMissingResponse) throw reason;
      return create(PublishLogsResponseSchema);
    }
  };
}
