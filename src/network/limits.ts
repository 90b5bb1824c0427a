/**
 * Limits and defaults of the networking room, each with its unit and reason.
 */

/** Name of the network and IPAM driver on the engine: the plugin socket's file name. */
export const DRIVER_NAME = 'skep';

/** Where the engine looks for the plugin. */
export const DEFAULT_PLUGIN_SOCKET = '/run/docker/plugins/skep.sock';

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

/** The same where one change follows the other, as while many containers start: a comparison looks at everything. */
export const RECONCILE_BUSY_DELAY_MS = 30;

/** Changes follow each other where the last comparison is not older. */
export const RECONCILE_BUSY_MS = 100;

/** After a failed write to the data path the next try comes after this. */
export const RECONCILE_RETRY_MS = 1000;

/** A port that is published no more keeps its row this long for connections that go on: as long as those are tracked. */
export const RETIRED_PORT_MS = 432_000_000;

/** Rows of such ports kept at once; beyond it the oldest go. */
export const RETIRED_PORTS_MAX = 1024;

/** Virtual addresses without tasks kept at once; beyond it the oldest go. */
export const RETIRED_ADDRESSES_MAX = 1024;

/** Own addresses and twin networks are looked at again this often. */
export const HOST_ADDRESS_PERIOD_MS = 5000;

/** Routes to other nodes looked at in one turn; with more nodes each is looked at more rarely, new ones first. */
export const ROUTES_PER_TURN = 32;

/** The kernel's tables are compared with what they should hold this often. */
export const REPAIR_PERIOD_MS = 5000;

/** A running trace is read this often; the ring in the kernel holds far more than one period's rows. */
export const TRACE_PERIOD_MS = 100;

/** Container ports a trace of a published port follows beside it. */
export const TRACE_OTHER_PORTS_MAX = 2;

/** Data-path echoes to watched nodes go out this often. */
export const ECHO_PERIOD_MS = 100;

/** A watched node is silent once no echo came back for this long: six echoes lost. */
export const ECHO_SILENCE_MS = 600;

/**
 * Gossip of the `fast` profile doubts a member this long after the first probe that it did not answer, or
 * later: a probe's period.
 */
export const DOUBT_MS_MIN = 200;

/** A node that failed is sent echoes at the full rate for this long, then once in so many periods. */
export const FAILED_WATCH_MS = 60_000;
export const FAILED_WATCH_PERIODS = 20;

/** A node that failed counts as one of the ring, half of which must be reached, for this long. */
export const FAILED_COUNTS_MS = 3_600_000;

/** A node somebody asked about is watched this long after the question. */
export const INTEREST_MS = 60_000;

/** After start, what the last process left in force is kept until gossip had this long to refill the tables. */
export const SETTLE_MS = 5000;

/** Longest time for the same when no other member could be reached. */
export const SETTLE_MAX_MS = 120_000;

/** A node that came back has this long to announce again what it still runs; all are to agree 10 s after. */
export const REFRESH_MS = 7_000;

/** How long leaving waits for the good-bye to be heard. */
export const LEAVE_TIMEOUT_MS = 5000;

/** Waits between looks for the container behind a new endpoint on the engine. */
export const CONTAINER_LOOKUP_DELAYS_MS: readonly number[] = [50, 150, 400, 1000, 2000, 4000, 8000];

/** A plain container's address that no endpoint has is given back after this; the engine makes one within seconds. */
export const LEASE_IDLE_MS = 60_000;

/** Concurrent forwarded questions; more are REFUSED (stock: 1,024). */
export const DNS_FORWARDS_MAX = 1024;

/** Containers on this node whose 127.0.0.11 we answer; five descriptors each. */
export const NAMESPACE_RESOLVERS_MAX = 4096;

/**
 * Concurrent questions of one such container that wait for the engine's resolver (stock: 1,024), and of
 * all together, each with a descriptor of ours; more are REFUSED.
 */
export const NAMESPACE_FORWARDS_MAX = 1024;
export const NAMESPACE_FORWARDS_ALL_MAX = 4096;

/** TCP connections of one such container at once. */
export const NAMESPACE_TCP_CONNECTIONS_MAX = 16;

/** The engine's resolver asks three servers in turn, 4 s each; then it says so itself. */
export const ENGINE_RESOLVER_TIMEOUT_MS = 13_000;

/** Address of the engine's resolver in every container. */
export const ENGINE_RESOLVER_ADDRESS = '127.0.0.11';

/**
 * A container that is starting joins before its namespace exists. It is looked for this often and
 * for this long, so that ours answers before its first process asks; then only by the house keeping.
 */
export const NAMESPACE_LOOK_PERIOD_MS = 10;
export const NAMESPACE_LOOK_MS = 10_000;

/**
 * Time for all upstream servers together: the engine's resolver in the container waits 4 s for ours (and
 * itself gives each upstream server 4 s).
 */
export const DNS_FORWARD_TIMEOUT_MS = 3600;

/** Denials of servers outside that are remembered, how large each may be, and for how long at most, as own answers live. */
export const DNS_DENIALS_MAX = 1024;
export const DNS_DENIAL_BYTES_MAX = 1232;
export const DNS_DENIAL_SECONDS_MAX = 5;

/** A server is asked this long after the one before, if that has not answered: the third one still has time to. */
export const DNS_STAGGER_MS = 1000;

/** A server that did not answer comes last for this long; entries about such servers are few. */
export const DNS_SILENT_MS = 30_000;
export const DNS_SILENT_SERVERS_MAX = 64;

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

/** After its last task a twin is tried to be removed this often and this many times (10 s). */
export const RELEASE_RETRY_MS = 200;
export const RELEASE_ATTEMPTS = 50;

/** Leaving the cluster tries as often to remove a twin whose containers it has taken off (5 s). */
export const FORCED_REMOVAL_ATTEMPTS = 25;

/** The managers' gossip is tried again after this when none of them answered. */
export const REJOIN_PERIOD_MS = 5000;

/** Nodes that a manager without others calls at once, and after this again while none answers. */
export const MEMBERS_CALLED_MAX = 16;
export const MEMBERS_CALL_PERIOD_MS = 10_000;

/** The swarm's data path addresses are IPv4; names of own devices start with this. */
export const OWN_DEVICE_PREFIX = 'sw-';

/** Keys of nodes kept, own cluster's members at most. */
export const KEY_RECORDS_MAX = 16_384;

/** Clocks of nodes may differ by this much before a record counts as expired or a certificate as early. */
export const KEY_CLOCK_SKEW_MS = 300_000;

/** A record is void after this many rotations without a new one. */
export const KEY_LIFE_ROTATIONS = 3;

/** Least life of a record, for rotations that are very short. */
export const KEY_LIFE_MIN_MS = 3_600_000;

/** WireGuard sends something at least this often to each peer: it opens the session, and keeps firewalls open. */
export const WIREGUARD_KEEPALIVE_S = 25;

/** Handshakes are looked at this often while one is awaited, and devices this often at other times. */
export const HANDSHAKE_POLL_MS = 250;
export const DEVICE_POLL_MS = 5000;

/** Handshakes are awaited this closely for so long after a change of keys or peers. */
export const HANDSHAKE_WATCH_MS = 60_000;

/** The old key stays this long after every peer has a session with the new one: the others switch meanwhile. */
export const KEY_SETTLE_MS = 1500;

/** A new key whose device cannot be had is given up after this; then another is tried. */
export const KEY_CHANGE_RETRY_MS = 60_000;

/** Peers that do not answer hold the old key up no longer than this. */
export const KEY_OVERLAP_MAX_MS = 600_000;

/** A session older than this is over for WireGuard (its Reject-After-Time). */
export const WIREGUARD_SESSION_MS = 180_000;

/** A configuration call to a WireGuard device must answer within this. */
export const WIREGUARD_CALL_TIMEOUT_MS = 5000;

/** wireguard-go must be ready within this. */
export const WIREGUARD_START_TIMEOUT_MS = 5000;

/** Longest answer of a WireGuard device: 16,384 peers at about 350 bytes, and room. */
export const WIREGUARD_ANSWER_BYTES_MAX = 16 << 20;

/** Outer IPv4 and UDP header, WireGuard's own 32 bytes: less for the packet inside, bytes. */
export const WIREGUARD_OVERHEAD_BYTES = 60;

/** Bytes a packet grows by in a tunnel: inner Ethernet, VXLAN, UDP and the outer IP header. */
export const TUNNEL_OVERHEAD_BYTES = { 4: 50, 6: 70 } as const;

/** Frames between skepd and the name server's process: the largest, and from when on a frame of rows is full. */
export const NAME_FRAME_BYTES_MAX = 2 << 20;
export const NAME_FRAME_BYTES = 1 << 16;

/** Longest name and key, and names one endpoint may have of each kind: some 400 KiB at most. */
export const NAME_LENGTH_MAX = 255;
export const NAME_KEY_LENGTH_MAX = 1024;
export const NAMES_PER_ROW_MAX = 256;

/** Networks, endpoints on all of them together and containers the name server's process keeps. */
export const NAME_NETWORKS_MAX = 4096;
export const NAME_ROWS_MAX = 1_048_576;
export const NAME_CONTAINERS_MAX = 8192;

/** Addresses and networks of one container; subnets of one network. */
export const NAMES_PER_CONTAINER_MAX = 512;

/** What waits to be read by the other side; then nothing more is made until it has been. */
export const NAME_QUEUE_BYTES_MAX = 1 << 20;

/** A drain waits this long for the name server to have applied it; a stuck one holds up the first only. */
export const NAME_APPLY_MS = 300;

/** The name server's process must be there within this. Node starts in well under a second. */
export const NAME_START_TIMEOUT_MS = 10_000;
export const NAME_START_POLL_MS = 10;

/** One that runs must say who it is within this, and hand over what it knows within that. */
export const NAME_HELLO_TIMEOUT_MS = 1000;
export const NAME_DUMP_TIMEOUT_MS = 5000;

/** It is asked for a sign of life this often, and replaced once it gave none so many times. */
export const NAME_WATCH_PERIOD_MS = 1000;
export const NAME_WATCH_MISSES = 3;

/** Waits before it is started again; it begins anew once one has lived as long as the longest. */
export const NAME_RESTART_DELAYS_MS: readonly number[] = [0, 100, 1000, 5000];

/** One that is told to end answers what it has been asked; then it is ended. */
export const NAME_END_TIMEOUT_MS = 20_000;

/** When the node leaves there is nobody left to answer. */
export const NAME_LEAVE_TIMEOUT_MS = 2000;

/** It looks for namespaces, its socket and its program this often. */
export const NAME_LOOK_PERIOD_MS = 1000;

/** Without its program and without a skepd it ends after this: it was uninstalled. An upgrade is quicker. */
export const NAME_ORPHAN_MS = 60_000;
