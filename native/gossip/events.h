// What the gossip core tells JavaScript.
#pragma once

#include <string>

#include "gossip/bytes.h"

namespace skep::gossip {

enum class RemovalReason : uint8_t { kDeleted, kOwnerLeftNetwork, kOwnerLeft, kOwnerFailed };

struct Event {
  enum class Type : uint8_t { kMember, kNetworkMember, kEntry, kEntryRemoved, kInSync };
  Type type = Type::kMember;
  /// Which joinNetwork call of ours it belongs to: what is late from an earlier one is dropped.
  uint32_t generation = 0;
  std::string network;
  std::string table;
  std::string key;
  /// The owner of an entry, or the name of a member.
  std::string node;
  Bytes value;
  RemovalReason reason = RemovalReason::kDeleted;
  bool joined = false;  // kNetworkMember
  /// kInSync: everything that `node` had announced on the network up to this version has been told.
  uint64_t version = 0;
  // kMember
  Endpoint address;
  const char* state = "";
};

/// Takes events in the order in which they happen.
class EventSink {
 public:
  virtual ~EventSink() = default;
  /// `known`: the receiver of earlier events already holds the thing that this one is about.
  virtual void OnEvent(Event event, bool known) = 0;
  /// We left the network: what was said about it and not yet delivered is void.
  virtual void OnNetworkLeft(const std::string& network) = 0;
  /// What SpreadOwn asked for is over; `missing` nodes did not confirm in time.
  virtual void OnSpread(uint64_t id, size_t missing) = 0;
  /// The name is forgotten; not an event.
  virtual void OnMemberForgotten(const std::string& name) = 0;
};

}  // namespace skep::gossip
