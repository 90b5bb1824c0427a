// The least that a stock serf agent expects of a ring mate: its push/pull state and a leave intent.
// It is there so that the SWIM core can be held against an independent implementation.
#pragma once

#include "gossip/events.h"
#include "gossip/swim.h"

namespace skep::gossip {

class SerfDelegate final : public Delegate {
 public:
  SerfDelegate(EventSink* sink, Counters* counters) : sink_(sink), counters_(counters) {}
  void Attach(Swim* swim) { swim_ = swim; }

  Bytes Meta() const override { return {}; }
  Bytes AckPayload() const override { return {}; }
  void OnUserMessage(ByteView message) override;
  void TakeBroadcasts(size_t, size_t, std::vector<Bytes>*) override {}
  bool HasBroadcasts() const override { return false; }
  Bytes LocalState(bool join) override;
  void MergeState(ByteView state, bool join) override;
  void OnMember(const Member& member, MemberChange change) override;
  void OnRefuted(bool) override {}
  void OnJoined(const Endpoint&) override {}
  void OnLeaving() override;
  void OnUserStreamDone(StreamId, bool) override {}
  void Tick() override {}
  Millis NextDeadline() const override { return kNever; }

 private:
  void Witness(ByteView body);

  EventSink* sink_;
  Counters* counters_;
  Swim* swim_ = nullptr;
  uint64_t ltime_ = 1;
};

}  // namespace skep::gossip
