// The queue behind every rumour: a message is handed out a limited number of times, those told
// least often first, and a newer message about the same subject takes the older one's place.
#pragma once

#include <map>
#include <set>
#include <string>

#include "gossip/bytes.h"

namespace skep::gossip {

class BroadcastQueue {
 public:
  explicit BroadcastQueue(size_t messages_max) : messages_max_(messages_max) {}

  /// `subject` names what the message is about. Returns the number of messages dropped for room.
  size_t Push(std::string subject, Bytes message);
  void Remove(const std::string& subject);
  bool Has(const std::string& subject) const { return by_subject_.contains(subject); }

  /// Appends messages that fit into `bytes_max`, each counted with `overhead` more bytes. A message
  /// is gone after `transmits_max` hand-outs. `oversize`: one too long for any packet is given
  /// alone.
  void Take(size_t overhead, size_t bytes_max, int transmits_max, std::vector<Bytes>* out,
            bool oversize = false);

  size_t size() const { return items_.size(); }
  void Clear();

 private:
  struct Item {
    int transmits = 0;
    uint64_t age = 0;  // Larger is newer.
    std::string subject;
    Bytes message;
  };
  /// Fewest transmits, then longest, then newest.
  struct Order {
    bool operator()(const Item& a, const Item& b) const {
      if (a.transmits != b.transmits) return a.transmits < b.transmits;
      if (a.message.size() != b.message.size()) return a.message.size() > b.message.size();
      return a.age > b.age;
    }
  };
  using Items = std::set<Item, Order>;

  size_t messages_max_;
  uint64_t next_age_ = 0;
  Items items_;
  std::map<std::string, Items::iterator, std::less<>> by_subject_;
};

/// How often a message is told in a ring of `members`: multiplier x ceil(log10(members + 1)).
int TransmitLimit(int multiplier, size_t members);

}  // namespace skep::gossip
