/* Numbers of the data plane that both the BPF programs and user space must agree on. */
#pragma once

/* Changes whenever rows of a map come to mean something else, and nothing a map's sizes show says so. Fields
 * added at the end of a value need no change: in rows of before they are zero. */
#define SKEP_LAYOUT 2

/* Bytes of a tunnel key's source address, of either family: a power of two. */
#define SKEP_TUNNEL_SOURCE_BYTES 16

/* Numbers below this one stand for tunnel addresses of IPv6: 0.0.0.0/8 is no host's. */
#define SKEP_UNDERLAY6_END (1 << 24)

/* VNI of published-port traffic between nodes; networks start at 4096. */
#define SKEP_MESH_VNI 1

/* First two bytes of the inner MAC addresses on the mesh VNI. Four bytes of id follow. */
#define SKEP_MAC_LOCAL 0x02       /* first byte of all of them: locally administered, unicast */
#define SKEP_MAC_GATEWAY 0x72     /* the gateway every container sees */
#define SKEP_MAC_BACKEND 0x73     /* destination: backend id (its ingress IPv4 address) */
#define SKEP_MAC_NODE 0x74        /* source: node id (its ingress IPv4 address) */
#define SKEP_MAC_RETURN 0x75      /* destination: reply of a backend on its way to the entry node */
#define SKEP_MAC_ECHO_REQUEST 0x76
#define SKEP_MAC_ECHO_REPLY 0x77
#define SKEP_MAC_REFUSAL 0x78     /* destination: backend id that is not on the node that sends it */
/* With SKEP_MAC_BACKEND: the reply may go straight to the client. A bit and no kind of its own, so that
 * the verifier does not walk through all that follows once for each kind. */
#define SKEP_MAC_DIRECT_BIT 0x80

/* Ethertype of the data-path echo (IEEE local experimental 1). */
#define SKEP_ETHERTYPE_ECHO 0x88b5

/* First four bytes of a probe's content (lib/direct.h): "SKPD". */
#define SKEP_DIRECT_MAGIC 0x534b5044

/* Conntrack timeouts in seconds. */
#define SKEP_TIMEOUT_SYN_S 20
#define SKEP_TIMEOUT_TCP_S 432000
#define SKEP_TIMEOUT_HALF_CLOSED_S 3600
#define SKEP_TIMEOUT_TIME_WAIT_S 60
#define SKEP_TIMEOUT_OVER_S 10 /* reset, or ended by the client first; netfilter's for CLOSE */
#define SKEP_TIMEOUT_UDP_S 60
#define SKEP_TIMEOUT_UDP_REPLIED_S 180
#define SKEP_TIMEOUT_ICMP_S 10

/* Linux gives ports from here on to sockets that did not choose one. */
#define SKEP_EPHEMERAL_PORT_FIRST 32768
/* Source ports given to a flow whose own port is taken at the backend, from here on. A proxy that spreads
 * its connections over the nodes may need thousands a second, and each is taken for a while. */
#define SKEP_ALTERNATIVE_PORT_FIRST 1024
#define SKEP_ALTERNATIVE_PORT_TRIES 10

/* Slots looked at before a service counts as having no active backend. */
#define SKEP_CHOICE_TRIES 8
/* Backends compared with each other when the one with the fewest connections is wanted. */
#define SKEP_LOADS_COMPARED 16

/* Cells of a Maglev table: primes. The small one for so many backends, the large one above. */
#define SKEP_MAGLEV_SMALL_BACKENDS 100
#define SKEP_MAGLEV_SMALL_CELLS 1021
#define SKEP_MAGLEV_LARGE_CELLS 4093

/* Nodes asked for one packet before its client is refused. */
#define SKEP_REFUSALS_MAX 3
/* ICMP errors a node makes in one coarse second. */
#define SKEP_ERRORS_PER_SECOND 1000

/* Addresses that stand for single own addresses towards host sockets: a /24 beside the DNS address. */
#define SKEP_FRONTS 256

#define SKEP_COUNTERS 64

/* Programs the others go on in, by their place in sw_calls. */
#define SKEP_CALL_OPEN_PUBLISHED 0
#define SKEP_CALL_OPEN_VIRTUAL 1
#define SKEP_CALL_REFUSED 2
#define SKEP_CALL_FILE_PUBLISHED 3
#define SKEP_CALL_REFUSE_CLIENT 4
#define SKEP_CALL_ANSWER_NEIGHBOUR 5
#define SKEP_CALL_ANSWER_TOO_LONG 6
#define SKEP_CALL_TUNNEL6 7
#define SKEP_CALLS 8

/* Words of sw_scratch. */
#define SKEP_SCRATCH_WORDS 88

/* Rows of the trace ring. */
#define SKEP_TRACE_ROWS 8192
