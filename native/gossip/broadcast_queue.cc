// Retransmit-limited queue; see broadcast_queue.h.
#include "gossip/broadcast_queue.h"

#include <cmath>

namespace skep::gossip {

int TransmitLimit(int multiplier, size_t members) {
  return multiplier * static_cast<int>(std::ceil(std::log10(static_cast<double>(members + 1))));
}

size_t BroadcastQueue::Push(std::string subject, Bytes message) {
  Remove(subject);
  size_t dropped = 0;
  if (items_.size() >= messages_max_) {
    // The last in order has been told most often: the least is lost with it.
    const auto last = std::prev(items_.end());
    by_subject_.erase(last->subject);
    items_.erase(last);
    dropped = 1;
  }
  const auto [at, added] = items_.insert(Item{0, next_age_++, subject, std::move(message)});
  by_subject_.emplace(std::move(subject), at);
  return dropped;
}

void BroadcastQueue::Remove(const std::string& subject) {
  const auto found = by_subject_.find(subject);
  if (found == by_subject_.end()) return;
  items_.erase(found->second);
  by_subject_.erase(found);
}

void BroadcastQueue::Clear() {
  items_.clear();
  by_subject_.clear();
}

void BroadcastQueue::Take(size_t overhead, size_t bytes_max, int transmits_max,
                          std::vector<Bytes>* out, bool oversize) {
  constexpr size_t kShortestMessage = 8;
  constexpr size_t kPartsMax = 255;
  size_t used = 0;
  std::vector<Items::node_type> taken;
  for (auto at = items_.begin(); at != items_.end();) {
    const size_t cost = overhead + at->message.size();
    const bool alone = oversize && taken.empty() && cost > bytes_max;
    if (!alone && used + cost > bytes_max) {
      ++at;
      continue;
    }
    used += cost;
    out->push_back(at->message);
    taken.push_back(items_.extract(at++));
    if (used + overhead + kShortestMessage > bytes_max || taken.size() >= kPartsMax) break;
  }
  for (auto& node : taken) {
    Item& item = node.value();
    item.transmits++;
    if (item.transmits >= transmits_max) {
      by_subject_.erase(item.subject);
      continue;
    }
    const auto at = items_.insert(std::move(node)).position;
    by_subject_[at->subject] = at;
  }
}

}  // namespace skep::gossip
