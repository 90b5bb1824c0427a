// Merging queue of events; see outbox.h.
#include "gossip/outbox.h"

#include <utility>

#include "gossip/limits.h"

namespace skep::gossip {
namespace {

char LetterOf(Event::Type type) {
  switch (type) {
    case Event::Type::kMember: return 'm';
    case Event::Type::kNetworkMember: return 'n';
    case Event::Type::kInSync: return 's';
    case Event::Type::kEntry:
    case Event::Type::kEntryRemoved: return 'e';
  }
  return 'e';
}

/// Entry and its removal share a key, as do joining and leaving a network.
std::string KeyOf(const Event& event) {
  std::string key(1, LetterOf(event.type));
  for (const std::string* part : {&event.network, &event.table, &event.key, &event.node}) {
    key += *part;
    key += '\0';
  }
  return key;
}

bool IsRemoval(const Event& event) {
  return event.type == Event::Type::kEntryRemoved ||
         (event.type == Event::Type::kNetworkMember && !event.joined);
}

}  // namespace

void Outbox::OnEvent(Event event, bool known) {
  const std::lock_guard lock(mutex_);
  std::string key = KeyOf(event);
  if (event.type == Event::Type::kMember) {
    if (!members_.contains(event.node) && members_.size() >= limits::kPendingMembersMax) {
      return counters_->Add(Counter::droppedEvents);
    }
    members_[event.node] = {event.address, event.state};
  }
  if (key[0] == 'e') {
    // Newer than what the owner was in sync with: that would now be told too early.
    Event sync;
    sync.type = Event::Type::kInSync;
    sync.network = event.network;
    sync.node = event.node;
    const auto early = by_key_.find(KeyOf(sync));
    if (early != by_key_.end()) {
      records_.erase(early->second);
      by_key_.erase(early);
    }
  }
  const auto found = by_key_.find(key);
  if (found != by_key_.end()) {
    known = found->second->known;
    records_.erase(found->second);
    by_key_.erase(found);
    // It came and went before JavaScript looked.
    if (IsRemoval(event) && !known) return;
  }
  records_.push_back({std::move(event), key, known});
  by_key_.emplace(std::move(key), std::prev(records_.end()));
  counters_->Set(Counter::pendingEvents, records_.size());
  fresh_ = true;
}

void Outbox::OnNetworkLeft(const std::string& network) {
  const std::lock_guard lock(mutex_);
  for (auto at = records_.begin(); at != records_.end();) {
    const auto next = std::next(at);
    if (at->event.type != Event::Type::kMember && at->event.network == network) {
      by_key_.erase(at->key);
      records_.erase(at);
    }
    at = next;
  }
}

void Outbox::OnMemberForgotten(const std::string& name) {
  const std::lock_guard lock(mutex_);
  members_.erase(name);
}

void Outbox::Complete(Completion completion) {
  const std::lock_guard lock(mutex_);
  completions_.push_back(completion);
  fresh_ = true;
}

bool Outbox::TakeWakeup() {
  const std::lock_guard lock(mutex_);
  return std::exchange(fresh_, false);
}

void Outbox::Take(size_t events_max, std::vector<Event>* events,
                  std::vector<Completion>* completions, bool* more) {
  const std::lock_guard lock(mutex_);
  while (!records_.empty() && events->size() < events_max) {
    by_key_.erase(records_.front().key);
    events->push_back(std::move(records_.front().event));
    records_.pop_front();
  }
  *more = !records_.empty();
  completions->swap(completions_);
  counters_->Set(Counter::pendingEvents, records_.size());
}

std::map<std::string, MemberView> Outbox::Members() const {
  const std::lock_guard lock(mutex_);
  return members_;
}

}  // namespace skep::gossip
