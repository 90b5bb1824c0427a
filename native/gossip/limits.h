// Every bound of the gossip room, each with its reason. Nothing here grows with what a peer sends.
#pragma once

#include <cstddef>
#include <cstdint>

namespace skep::gossip::limits {

/// Members of one ring, as many as the data path has room for nodes. NetworkDB itself is known to work
/// into the low thousands.
inline constexpr size_t kMembersMax = 16384;
/// Longest node name; a swarm node id has 25 characters, a serf name is a host name.
inline constexpr size_t kNameBytesMax = 255;
/// Member metadata: memberlist's own limit.
inline constexpr size_t kMetaBytesMax = 512;
/// Largest datagram that UDP can carry.
inline constexpr size_t kDatagramBytesMax = 65535;
/// Messages inside one datagram (a compound holds 255; nested ones are counted together).
inline constexpr size_t kPacketPartsMax = 512;
/// Envelopes inside envelopes: crc, compression and compounds.
inline constexpr int kEnvelopeDepthMax = 6;
/// What a compressed datagram may unfold to.
inline constexpr size_t kPacketInflatedBytesMax = 1 << 20;
/// One push/pull or user message over TCP, also after decompression: memberlist's own limit.
inline constexpr size_t kStreamBytesMax = 20u << 20;
/// Bytes waiting in all unfinished incoming streams together.
inline constexpr size_t kStreamBufferBytesMax = 64u << 20;
/// Incoming streams at once (memberlist refuses from 128 push/pulls on), and of one address.
inline constexpr size_t kStreamsMax = 128;
inline constexpr size_t kStreamsPerAddressMax = 24;
/// Outgoing streams at once; more wait in line, up to kStreamBacklogMax.
inline constexpr size_t kOutgoingStreamsMax = 64;
inline constexpr size_t kStreamBacklogMax = 1024;
/// Membership broadcasts waiting: one a member can wait (a newer one replaces the older).
inline constexpr size_t kBroadcastsMax = 2 * kMembersMax;
/// Pings relayed for others at once.
inline constexpr size_t kRelayedPingsMax = 1024;
/// An accusation that would lift our own incarnation beyond this is noise, not gossip.
inline constexpr uint32_t kIncarnationMax = 0x7fffffff;

/// Our own entries: fits into one datagram together with its names.
inline constexpr size_t kOwnValueBytesMax = 1024;
/// Entries of others (stock engines may carry larger ones by bulk sync).
inline constexpr size_t kValueBytesMax = 16384;
inline constexpr size_t kKeyBytesMax = 255;
/// Entries and tombstones of all networks together, and the bytes of their values.
inline constexpr size_t kEntriesMax = 131072;
inline constexpr size_t kEntryBytesMax = 128u << 20;
/// (node, network) pairs.
inline constexpr size_t kAttachmentsMax = 131072;
/// Table events waiting to be gossiped, a network: own ones, and relayed ones.
inline constexpr size_t kTableBroadcastsMax = 16384;
/// Beyond this many waiting relays, what comes by bulk sync is not gossiped on (NetworkDB's rule).
inline constexpr size_t kBulkSyncRelaysMax = 500;
/// Owners that one node confirms at a time, a network: what fits into one entry.
inline constexpr size_t kAcksMax = 24;
/// Spreadings that wait for confirmations at once.
inline constexpr size_t kSpreadingsMax = 4096;
/// Bulk syncs under way at once.
inline constexpr size_t kBulkSyncsMax = 16;
/// Lamport times beyond this are refused: a clock must not be driven to its end.
inline constexpr uint64_t kLamportMax = uint64_t{1} << 62;

/// Commands from JavaScript waiting for the thread.
inline constexpr size_t kMailboxMax = 131072;
/// Member changes waiting for JavaScript beyond the members known (only forged names reach it).
inline constexpr size_t kPendingMembersMax = 4 * kMembersMax;
/// Seeds remembered for rejoining after a partition.
inline constexpr size_t kSeedsMax = 256;

}  // namespace skep::gossip::limits
