// NetworkDB's protobuf messages. Each is wrapped in a GossipMessage (type, data).
#pragma once

#include "gossip/protobuf.h"

namespace skep::gossip {

enum class GossipType : uint32_t {
  kNetworkEvent = 1, kTableEvent = 2, kPushPull = 3, kBulkSync = 4, kCompound = 5, kNodeEvent = 6,
};

struct GossipMessage {
  GossipType type{};
  ByteView data;
  static Bytes Encode(GossipType type, ByteView data);
  static std::optional<GossipMessage> Decode(ByteView bytes);
};

/// Kind 1 is join, 2 is leave, in node and network events alike.
struct NodeEvent {
  bool join = false;
  uint64_t ltime = 0;
  std::string node;
  Bytes Encode() const;
  static std::optional<NodeEvent> Decode(ByteView data);
};

struct NetworkEvent {
  bool join = false;
  uint64_t ltime = 0;
  std::string node;
  std::string network;
  Bytes Encode() const;
  static std::optional<NetworkEvent> Decode(ByteView data);
};

enum class TableEventKind : uint32_t { kCreate = 1, kUpdate = 2, kDelete = 3 };

struct TableEvent {
  TableEventKind kind = TableEventKind::kCreate;
  uint64_t ltime = 0;
  std::string node;
  std::string network;
  std::string table;
  std::string key;
  Bytes value;
  uint32_t residual_reap_seconds = 0;
  Bytes Encode() const;
  static std::optional<TableEvent> Decode(ByteView data);
};

struct NetworkPushPull {
  uint64_t ltime = 0;
  std::string node;
  std::vector<NetworkEvent> networks;
  Bytes Encode() const;
  static std::optional<NetworkPushPull> Decode(ByteView data);
};

struct BulkSync {
  uint64_t ltime = 0;
  bool unsolicited = false;
  std::string node;
  std::vector<std::string> networks;
  Bytes payload;  // A GossipMessage of type compound.
  Bytes Encode() const;
  static std::optional<BulkSync> Decode(ByteView data);
};

/// Parts are whole GossipMessages.
Bytes EncodeGossipCompound(const std::vector<Bytes>& parts);
std::optional<std::vector<ByteView>> DecodeGossipCompound(ByteView data);
/// Most bytes that being a part of a compound adds to a message.
inline constexpr size_t kGossipCompoundPartOverhead = 12;
/// Most bytes that the compound itself adds.
inline constexpr size_t kGossipCompoundOverhead = 12;

}  // namespace skep::gossip
