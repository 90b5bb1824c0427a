/* Why a packet was dropped, and how packets were forwarded. The number is the index in sw_counter;
 * a number is never given to another meaning. SKEP_REASON(number, NAME, "text"). Mirrored by
 * src/native/drop-reasons.ts, which a test compares with this file. */
#pragma once

#define SKEP_REASONS(SKEP_REASON)                                       \
  SKEP_REASON(1, NOT_IP, "drop-not-ip")                                 \
  SKEP_REASON(2, MALFORMED, "drop-malformed")                           \
  SKEP_REASON(3, SPOOFED_MAC, "drop-spoofed-mac")                       \
  SKEP_REASON(4, SPOOFED_ADDRESS, "drop-spoofed-address")               \
  SKEP_REASON(5, MULTICAST, "drop-multicast")                           \
  SKEP_REASON(6, UNKNOWN_DESTINATION, "drop-unknown-destination")       \
  SKEP_REASON(7, INTERNAL_NETWORK, "drop-internal-network")             \
  SKEP_REASON(8, ISOLATION, "drop-network-isolation")                   \
  SKEP_REASON(9, TUNNEL_KEY, "drop-tunnel-key")                         \
  SKEP_REASON(10, FOREIGN_TUNNEL, "drop-foreign-tunnel")                \
  SKEP_REASON(11, MESH_KIND, "drop-mesh-kind")                          \
  SKEP_REASON(12, MESH_BACKEND, "drop-mesh-unknown-backend")            \
  SKEP_REASON(13, MESH_RETURN, "drop-mesh-return-source")               \
  SKEP_REASON(14, NO_SERVICE, "drop-no-service")                        \
  SKEP_REASON(15, NO_BACKEND, "drop-no-backend")                        \
  SKEP_REASON(16, BACKEND_GONE, "drop-backend-gone")                    \
  SKEP_REASON(17, NO_PORT, "drop-no-free-port")                         \
  SKEP_REASON(18, FRAGMENT, "drop-fragment-without-first")              \
  SKEP_REASON(19, TTL, "drop-ttl-exceeded")                             \
  SKEP_REASON(20, REWRITE, "drop-rewrite-failed")                       \
  SKEP_REASON(21, TUNNEL_SEND, "drop-tunnel-send")                      \
  SKEP_REASON(22, DNS_PORT, "drop-dns-port")                            \
  SKEP_REASON(23, NOT_CONFIGURED, "drop-not-configured")                \
  SKEP_REASON(24, CONNECTION_TABLE, "drop-connection-table")            \
  SKEP_REASON(25, CONTAINER_TUNNEL, "drop-tunnel-from-container")       \
  SKEP_REASON(26, ARP_UNANSWERED, "drop-arp-unanswered")                \
  SKEP_REASON(27, NEIGHBOUR, "drop-neighbour-discovery")                \
  SKEP_REASON(28, TOO_LONG, "drop-too-long")                            \
  SKEP_REASON(30, NOT_ALLOWED, "drop-not-allowed")                      \
  SKEP_REASON(31, MESH_REFUSAL, "drop-mesh-refusal")                    \
  SKEP_REASON(32, CLEAR_SEND, "drop-clear-send")                        \
  SKEP_REASON(33, CLEAR_RECEIVED, "drop-clear-received")                \
  SKEP_REASON(34, NO_KEY, "drop-no-encryption-key")                     \
  SKEP_REASON(35, WIREGUARD_CONTENT, "drop-wireguard-content")          \
  SKEP_REASON(36, LOOPBACK, "drop-loopback-address")                    \
  SKEP_REASON(37, DIRECT_PROBE, "drop-direct-probe")                    \
  SKEP_REASON(38, DIRECT_PROBE_SEEN, "direct-probe-seen")               \
  SKEP_REASON(39, PORT_IN_USE, "drop-port-in-use")                      \
  SKEP_REASON(40, TO_CONTAINER, "forward-container")                    \
  SKEP_REASON(41, TO_TUNNEL, "forward-tunnel")                          \
  SKEP_REASON(42, TO_HOST, "forward-host")                              \
  SKEP_REASON(43, TO_UPLINK, "forward-uplink")                          \
  SKEP_REASON(44, MESH_SENT, "mesh-sent")                               \
  SKEP_REASON(45, MESH_RETURNED, "mesh-returned")                       \
  SKEP_REASON(46, ARP_ANSWERED, "arp-answered")                         \
  SKEP_REASON(47, ECHO_ANSWERED, "echo-answered")                       \
  SKEP_REASON(48, ECHO_RECEIVED, "echo-received")                       \
  SKEP_REASON(49, SERVICE_CHOSEN, "service-connection")                 \
  SKEP_REASON(50, PORT_BORROWED, "service-port-borrowed")               \
  SKEP_REASON(51, REFUSED, "refused-by-host")                           \
  SKEP_REASON(52, RESET_SENT, "reset-sent")                             \
  SKEP_REASON(53, ICMP_ERROR, "icmp-error-rewritten")                   \
  SKEP_REASON(54, NEIGHBOUR_ANSWERED, "neighbour-answered")             \
  SKEP_REASON(55, TOO_LONG_ANSWERED, "too-long-answered")               \
  SKEP_REASON(56, ENCRYPTED_SENT, "encrypted-sent")                     \
  SKEP_REASON(57, UNREACHABLE_SENT, "unreachable-sent")                 \
  SKEP_REASON(58, MESH_REFUSED, "mesh-refused")                         \
  SKEP_REASON(59, RESELECTED, "service-reselected")                     \
  SKEP_REASON(60, ENCRYPTED_RECEIVED, "encrypted-received")             \
  SKEP_REASON(61, DIRECT_RETURNED, "direct-returned")                   \
  SKEP_REASON(62, DIRECT_WITHHELD, "direct-withheld")                   \
  SKEP_REASON(63, DIRECT_REPEATED, "direct-repeated")

#define SKEP_REASON_ENUM(number, name, text) SKEP_##name = number,
enum skep_reason { SKEP_REASONS(SKEP_REASON_ENUM) };
#undef SKEP_REASON_ENUM
