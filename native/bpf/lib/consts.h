/* Numbers of the data plane that both the BPF programs and user space must agree on. */
#pragma once

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

/* Ethertype of the data-path echo (IEEE local experimental 1). */
#define SKEP_ETHERTYPE_ECHO 0x88b5

/* Conntrack timeouts in seconds. */
#define SKEP_TIMEOUT_SYN_S 20
#define SKEP_TIMEOUT_TCP_S 432000
#define SKEP_TIMEOUT_HALF_CLOSED_S 3600
#define SKEP_TIMEOUT_TIME_WAIT_S 60
#define SKEP_TIMEOUT_UDP_S 60
#define SKEP_TIMEOUT_UDP_REPLIED_S 180
#define SKEP_TIMEOUT_ICMP_S 10

/* Source ports given to a flow whose own port is taken at the backend. */
#define SKEP_ALTERNATIVE_PORT_FIRST 20000
#define SKEP_ALTERNATIVE_PORT_COUNT 10000
#define SKEP_ALTERNATIVE_PORT_TRIES 8

/* Slots looked at before a service counts as having no active backend. */
#define SKEP_CHOICE_TRIES 4

/* ICMP errors about too long packets a CPU sends in a second. */
#define SKEP_COMPLAINTS_PER_SECOND 100

#define SKEP_COUNTERS 64
