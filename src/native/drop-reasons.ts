/**
 * Names of the data path's counters, as `Datapath.counters()` reports them. The numbers are those of
 * native/bpf/lib/drop_reasons.h; a test compares the two. A number is never given another meaning.
 */
export const DATAPATH_REASONS = {
  'drop-not-ipv4': 1,
  'drop-malformed': 2,
  'drop-spoofed-mac': 3,
  'drop-spoofed-address': 4,
  'drop-multicast': 5,
  'drop-unknown-destination': 6,
  'drop-internal-network': 7,
  'drop-network-isolation': 8,
  'drop-tunnel-key': 9,
  'drop-foreign-tunnel': 10,
  'drop-mesh-kind': 11,
  'drop-mesh-unknown-backend': 12,
  'drop-mesh-return-source': 13,
  'drop-no-service': 14,
  'drop-no-backend': 15,
  'drop-backend-gone': 16,
  'drop-no-free-port': 17,
  'drop-fragment-without-first': 18,
  'drop-ttl-exceeded': 19,
  'drop-rewrite-failed': 20,
  'drop-tunnel-send': 21,
  'drop-dns-port': 22,
  'drop-not-configured': 23,
  'drop-connection-table': 24,
  'drop-tunnel-from-container': 25,
  'drop-arp-unanswered': 26,
  'forward-container': 40,
  'forward-tunnel': 41,
  'forward-host': 42,
  'forward-uplink': 43,
  'mesh-sent': 44,
  'mesh-returned': 45,
  'arp-answered': 46,
  'echo-answered': 47,
  'echo-received': 48,
  'service-connection': 49,
  'service-port-borrowed': 50,
  'refused-by-host': 51,
  'reset-sent': 52,
  'icmp-error-rewritten': 53,
} as const;

/** One counter's name. */
export type DatapathReason = keyof typeof DATAPATH_REASONS;
