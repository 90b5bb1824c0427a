// Events on their way to JavaScript. While the event loop is blocked, what is waiting about the
// same thing is merged, so that memory is bounded by the state itself and never by how long it
// takes.
#pragma once

#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <unordered_map>

#include "gossip/counters.h"
#include "gossip/events.h"

namespace skep::gossip {

/// A finished join (result: members reached), leave, or spreading (result: nodes that did not confirm).
struct Completion {
  uint64_t id = 0;
  size_t result = 0;
};

struct MemberView {
  Endpoint address;
  const char* state = "";
};

class Outbox final : public EventSink {
 public:
  explicit Outbox(Counters* counters) : counters_(counters) {}

  // The gossip thread.
  void OnEvent(Event event, bool known) override;
  void OnNetworkLeft(const std::string& network) override;
  void OnSpread(uint64_t id, size_t missing) override { Complete({id, missing}); }
  void OnMemberForgotten(const std::string& name) override;
  void Complete(Completion completion);
  /// True once after anything was added since the last Take: the moment to wake JavaScript.
  bool TakeWakeup();

  // The JavaScript thread.
  /// At most `events_max` events, oldest first; `more` tells that others still wait.
  void Take(size_t events_max, std::vector<Event>* events, std::vector<Completion>* completions,
            bool* more);
  std::map<std::string, MemberView> Members() const;

 private:
  struct Record {
    Event event;
    std::string key;
    /// JavaScript holds the thing from an earlier batch, so its removal must be told.
    bool known = false;
  };
  using Records = std::list<Record>;

  mutable std::mutex mutex_;
  Counters* counters_;
  Records records_;
  std::unordered_map<std::string, Records::iterator> by_key_;
  std::vector<Completion> completions_;
  std::map<std::string, MemberView> members_;
  bool fresh_ = false;
};

}  // namespace skep::gossip
