/**
 * Limits and defaults of the node-to-node calls. Every bound on what a peer may make this process
 * keep or wait for is here, with its unit and its reason.
 */

/** TCP port of the managers (Swarm's own). */
export const MANAGER_PORT = 2377;

/** One gRPC message that a server takes; SwarmKit's gRPC default. */
export const REQUEST_BYTES_MAX = 4 * 1024 * 1024;

/**
 * One gRPC message that a manager sends. A node's whole assignment with its secrets may be larger
 * than a request; stock engines refuse more than 4 MiB of it by themselves.
 */
export const RESPONSE_BYTES_MAX = 64 * 1024 * 1024;

/** Longest deadline a caller may ask for: more would overflow a timer and fire at once. */
export const CALL_TIMEOUT_MS_MAX = 2 ** 31 - 1;

/** Calls in flight on one connection. A Docker Engine uses about six. */
export const CONCURRENT_STREAMS_MAX = 128;

/** Compressed header block of one call; a Docker Engine sends about 300 bytes. */
export const HEADER_LIST_BYTES_MAX = 16 * 1024;

/** Memory one HTTP/2 connection may hold, in mebibytes (Node's unit for this option). */
export const SESSION_MEMORY_MIB_MAX = 32;

/** Open connections of nodes with a certificate of this cluster. */
export const MEMBER_CONNECTIONS_MAX = 16_384;

/** Open connections without a certificate (nodes that are joining). */
export const GUEST_CONNECTIONS_MAX = 512;

/** A guest needs two calls to join; afterwards its connection is closed. */
export const GUEST_CONNECTION_LIFETIME_MS = 60_000;

/** TLS handshake, from accept to finished. */
export const TLS_HANDSHAKE_TIMEOUT_MS = 10_000;

/** Handshakes that are on at a time: enough that none waits for the network, few enough that each is over soon. */
export const HANDSHAKES_MAX = 64;

/**
 * Connections that wait for their handshake. At 250 a second the last of them waits for 4 s, and a stock
 * engine hangs up after 5 s; further ones are refused, and come back later.
 */
export const HANDSHAKES_WAITING_MAX = 1000;

/** After so long a handshake no longer keeps others waiting, though it may go on. */
export const HANDSHAKE_TURN_MS = 1_000;

/** Server and client keepalive: a ping after so long a silence; no answer this long after it ends the connection. */
export const PING_INTERVAL_MS = 5_000;
export const PING_TIMEOUT_MS = 5_000;

/** How long `stop` lets calls finish before connections are cut. */
export const DRAIN_TIMEOUT_MS = 2_000;

/** How long the rest of a request is read away after its answer was sent. */
export const DISCARD_TIMEOUT_MS = 1_000;

/** How long a leader's call waits at a manager for a leader; agents give up after 5 s. */
export const LEADER_WAIT_MS = 3_000;
export const LEADER_POLL_MS = 50;

/** Opening a TCP connection to a manager: one that does not answer by then is away. */
export const CLIENT_CONNECT_TIMEOUT_MS = 5_000;

/** From there until TLS is up: a manager that accepted is there, but others may be before us. */
export const CLIENT_HANDSHAKE_TIMEOUT_MS = 15_000;

/** Each unary call of joining and renewing (SwarmKit ca/certificates.go). */
export const CERTIFICATE_CALL_TIMEOUT_MS = 5_000;

/** Joining tries each step so often (SwarmKit ca/config.go). */
export const JOIN_ATTEMPTS_MAX = 5;

/** Pause between attempts of a step of joining (SwarmKit GetCertRetryInterval). */
export const JOIN_RETRY_INTERVAL_MS = 2_000;

/** Polling for an issued certificate: first pause and its limit (doubling). */
export const CERTIFICATE_POLL_MIN_MS = 200;
export const CERTIFICATE_POLL_MAX_MS = 5_000;

/** A CSR in PEM; a P-256 one has about 400 bytes. */
export const CSR_BYTES_MAX = 16 * 1024;

/** Root CA bundle in PEM; a certificate has about 600 bytes, a rotation has three. */
export const ROOT_CA_BYTES_MAX = 64 * 1024;

/** Root certificate: 20 years, as SwarmKit's 630,720,000 s. */
export const ROOT_CA_LIFETIME_MS = 630_720_000_000;

/** Node certificate: 90 days by default, one hour at least. */
export const NODE_CERTIFICATE_LIFETIME_MS = 90 * 24 * 3_600_000;
export const NODE_CERTIFICATE_LIFETIME_MS_MIN = 3_600_000;

/** Certificates are valid from one hour before their issue, for clocks that are behind. */
export const CERTIFICATE_BACKDATE_MS = 3_600_000;

/** Renewal happens at a random point in this part of a certificate's life (SwarmKit). */
export const RENEWAL_LIFE_MIN = 0.5;
export const RENEWAL_LIFE_MAX = 0.8;

/** Weight change of one observation of a manager, and the bound of the sum (SwarmKit remotes). */
export const OBSERVATION_WEIGHT = 10;
export const OBSERVATION_WEIGHT_MAX = 256;
