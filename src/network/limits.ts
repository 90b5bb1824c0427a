/**
 * Limits and defaults of the networking room, each with its unit and reason.
 */

/** Name of the network and IPAM driver on the engine: the plugin socket's file name. */
export const DRIVER_NAME = 'skep';

/** Where the engine looks for the plugin. */
export const DEFAULT_PLUGIN_SOCKET = '/run/docker/plugins/skep.sock';

/** Gossip port (libnetwork's, fixed in every swarm). */
export const GOSSIP_PORT = 7946;

/** VXLAN port unless `--data-path-port` says otherwise. */
export const DEFAULT_TUNNEL_PORT = 4789;

/** Address of the service DNS server on every node; link-local, so it never meets a real network. */
export const DNS_ADDRESS = '169.254.77.53';

/** DNS port. */
export const DNS_PORT = 53;

/** Largest plugin request; the engine's are a few hundred bytes, discovery data a few thousand. */
export const PLUGIN_BODY_BYTES_MAX = 1 << 20;

/** Connections the plugin socket keeps open at once; the engine uses a handful. */
export const PLUGIN_CONNECTIONS_MAX = 256;

/** Longest time to receive one plugin request. */
export const PLUGIN_REQUEST_TIMEOUT_MS = 10_000;

/** A manager must answer an attachment within this (stock: 20 s, swarm-features 4.10). */
export const ATTACH_TIMEOUT_MS = 20_000;

/** Longest value of a gossip entry (NetworkDB rides on 1,400-byte packets). */
export const ENTRY_BYTES_MAX = 1024;

/** Entries kept per network from other nodes; beyond it new ones are refused and counted. */
export const ENTRIES_PER_NETWORK_MAX = 262_144;

/** Ports one record may publish; a record of 1,024 bytes cannot hold more. */
export const PORTS_PER_RECORD_MAX = 512;

/** Aliases one record may carry. */
export const ALIASES_PER_RECORD_MAX = 128;

/** Changes are gathered this long before the tables are compared again. */
export const RECONCILE_DELAY_MS = 5;

/** After a failed write to the data path the next try comes after this. */
export const RECONCILE_RETRY_MS = 1000;

/** Own addresses and twin networks are looked at again this often. */
export const HOST_ADDRESS_PERIOD_MS = 5000;

/** Data-path echoes to watched nodes go out this often. */
export const ECHO_PERIOD_MS = 300;

/** A watched node is silent once no echo came back for this long: three echoes lost. */
export const ECHO_SILENCE_MS = 1000;

/** A node somebody asked about is watched this long after the question. */
export const INTEREST_MS = 60_000;

/** After start, what the last process left in force is kept until gossip had this long to refill the tables. */
export const SETTLE_MS = 5000;

/** Longest time for the same when no other member could be reached. */
export const SETTLE_MAX_MS = 120_000;

/** A node that came back has this long to announce again what it still runs. */
export const REFRESH_MS = 10_000;

/** Bounds of the wait for a drained endpoint to be known everywhere (stock sleeps 2 s). */
export const DRAIN_SPREAD_MIN_MS = 400;
export const DRAIN_SPREAD_MAX_MS = 2000;

/** Interval between gossip rounds and nodes told per round; they set how fast a drain spreads. */
export const GOSSIP_ROUND_MS = 200;
export const GOSSIP_FANOUT = 3;

/** How long leaving waits for the good-bye to be heard. */
export const LEAVE_TIMEOUT_MS = 5000;

/** Waits between looks for the container behind a new endpoint on the engine. */
export const CONTAINER_LOOKUP_DELAYS_MS: readonly number[] = [50, 150, 400, 1000, 2000, 4000, 8000];

/** Time to live of own DNS answers, seconds (stock: 600). */
export const DNS_TTL_SECONDS = 600;

/** Concurrent forwarded questions; more are REFUSED (stock: 1,024). */
export const DNS_FORWARDS_MAX = 1024;

/** One upstream server's time to answer (stock: 4 s). */
export const DNS_UPSTREAM_TIMEOUT_MS = 4000;

/** Upstream servers asked in turn (stock: 3). */
export const DNS_UPSTREAMS_MAX = 3;

/** Largest DNS message over UDP we read or send on; EDNS senders announce up to 4,096. */
export const DNS_UDP_BYTES_MAX = 4096;

/** A UDP answer to a client that announced no EDNS size. */
export const DNS_UDP_PLAIN_BYTES_MAX = 512;

/** TCP connections to the DNS server at once, and how long one may idle. */
export const DNS_TCP_CONNECTIONS_MAX = 256;
export const DNS_TCP_IDLE_MS = 10_000;

/** Addresses in one answer; more do not fit 64 KiB with room to spare. */
export const DNS_ANSWERS_MAX = 1024;

/** A promised address whose container never came is forgotten after this; a slow image pull fits in. */
export const PLAN_EXPIRY_MS = 3_600_000;

/** An unused twin network is removed after this, unless a task's end removes it at once. */
export const TWIN_IDLE_MS = 600_000;

/** The managers' gossip is tried again after this when none of them answered. */
export const REJOIN_PERIOD_MS = 5000;

/** The swarm's data path addresses are IPv4; names of own devices start with this. */
export const OWN_DEVICE_PREFIX = 'sw-';

/** Bytes a packet grows by in a tunnel: inner Ethernet, VXLAN, UDP and the outer IP header. */
export const TUNNEL_OVERHEAD_BYTES = { 4: 50, 6: 70 } as const;
