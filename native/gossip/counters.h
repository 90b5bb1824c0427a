// What the gossip thread counts: written by one thread without locks, read by any.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace skep::gossip {

#define SKEP_GOSSIP_COUNTERS(X)                                                                    \
  X(packetsIn) X(packetsOut) X(packetBytesIn) X(packetBytesOut) X(streamsIn) X(streamsOut)         \
  X(messagesIn) X(messagesOut) X(probes) X(probesFailed) X(indirectPings) X(tcpPings)              \
  X(suspicions) X(refutations) X(membersFailed) X(membersLeft) X(pushPulls) X(pushPullsFailed)     \
  X(reconnects) X(stalls) X(bulkSyncs) X(bulkSyncsFailed) X(tableEventsIn) X(tableEventsRelayed)   \
  X(digestMismatches) X(ghostsRemoved) X(spreadings) X(spreadingsLate) X(entriesDisowned) X(entriesAdopted) X(eventBatches) X(droppedUndecodable)                       \
  X(droppedUndecryptable) X(droppedPlaintext) X(droppedLabel) X(droppedCrc) X(droppedOversize)     \
  X(droppedUnknownType) X(droppedWrongNode) X(droppedUnknownAck) X(droppedNameConflict)            \
  X(droppedProtocolVersion) X(droppedMembersFull) X(droppedBroadcasts) X(droppedRelays)            \
  X(droppedStreamsBusy) X(droppedStreamBacklog) X(droppedStreamTimeout) X(droppedStreamBroken)     \
  X(droppedSendFailed) X(droppedNetworkUnknown) X(droppedTableStale) X(droppedEntriesFull)         \
  X(droppedAttachmentsFull) X(droppedTableBroadcasts) X(droppedLamport) X(droppedMailbox)          \
  X(droppedEvents) X(members) X(broadcastQueue) X(tableQueue) X(entries) X(pendingEvents)          \
  X(awareness)

/// Names are the keys that JavaScript sees; the last few (from `members` on) are gauges.
enum class Counter : uint32_t {
#define X(name) name,
  SKEP_GOSSIP_COUNTERS(X)
#undef X
      kCount
};

class Counters {
 public:
  void Add(Counter which, uint64_t by = 1) {
    values_[static_cast<size_t>(which)].fetch_add(by, std::memory_order_relaxed);
  }
  void Set(Counter which, uint64_t value) {
    values_[static_cast<size_t>(which)].store(value, std::memory_order_relaxed);
  }
  uint64_t Get(Counter which) const {
    return values_[static_cast<size_t>(which)].load(std::memory_order_relaxed);
  }

 private:
  std::array<std::atomic<uint64_t>, static_cast<size_t>(Counter::kCount)> values_{};
};

}  // namespace skep::gossip
