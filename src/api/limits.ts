/**
 * Limits and defaults of the Docker API room, each with the reason for its value.
 */

/** Total bytes of a request's head; Go's net/http, which the engine uses, takes 1 MiB as well. */
export const REQUEST_HEAD_BYTES_MAX = 1024 * 1024;

/** A client must have sent its request head after this long. */
export const REQUEST_HEAD_TIMEOUT_MS = 60_000;

/** An idle keep-alive connection is closed after this long; SDKs keep theirs for about 90 s. */
export const CONNECTION_IDLE_TIMEOUT_MS = 180_000;

/** Connections served at the same time; further ones wait in the kernel's backlog. */
export const CONNECTIONS_MAX = 4096;

/** Body of a request that we answer ourselves: a config of 1000 KiB in base64, with room to spare. */
export const REQUEST_BODY_BYTES_MAX = 4 * 1024 * 1024;

/** An engine's JSON answer that we read whole (lists of networks, `/info`, one container). */
export const ENGINE_BODY_BYTES_MAX = 64 * 1024 * 1024;

/** One line of the engine's `/events`. */
export const EVENT_LINE_BYTES_MAX = 1024 * 1024;

/** Our own questions to the engine (not passed-on requests) get this long. */
export const ENGINE_REQUEST_TIMEOUT_MS = 20_000;

/** Nesting of JSON. Go stops at 10,000; nothing in the API nests deeper than a few dozen. */
export const JSON_DEPTH_MAX = 1000;

/** Elements of one `filters` query, over all keys. */
export const FILTER_VALUES_MAX = 10_000;

/** Oldest API version that we and the engine's 20.10 answer. */
export const API_VERSION_MIN = '1.12';

/** Newest API version we answer while the engine's own is not known. */
export const API_VERSION_DEFAULT = '1.41';

/** The question for the engine's version gets this long; our answers wait for it. */
export const ENGINE_DESCRIBE_TIMEOUT_MS = 2000;

/** The engine's version is asked again after this long. */
export const ENGINE_VERSION_TTL_MS = 30_000;

/** Permission bits of the API socket. */
export const SOCKET_MODE = 0o660;

/** Group that may use the API socket, where it exists. */
export const SOCKET_GROUP = 'docker';

/** Unsent bytes of `/events` after which a reader that does not keep up is cut off. */
export const EVENT_QUEUE_BYTES_MAX = 4 * 1024 * 1024;

/** How often an open `/events` looks whether this host became a manager or ceased to be one. */
export const STORE_POLL_MS = 1000;

/** Connections that `/skep/net/connections` lists unless asked for more, and at most. */
export const CONNECTIONS_LISTED_DEFAULT = 1000;
export const CONNECTIONS_LISTED_MAX = 1_000_000;

/** How long a trace runs unless asked otherwise, and at most. */
export const TRACE_SECONDS_DEFAULT = 10;
export const TRACE_SECONDS_MAX = 3600;
