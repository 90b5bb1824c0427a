// How tables spread: gossip to the nodes of a network, bulk sync over TCP, and the reaping of what
// is long gone.
#include <algorithm>

#include "gossip/networkdb.h"

namespace skep::gossip {
namespace {

constexpr size_t kGossipNodes = 3;

}  // namespace

Millis NetworkDb::NextDeadline() const {
  Millis next = std::min({next_gossip_, next_sync_, next_reap_, next_digest_, reannounce_at_});
  for (const auto& [node, due] : pending_syncs_) next = std::min(next, due);
  return next;
}

void NetworkDb::Tick() {
  const Millis now = swim_->now();
  if (now >= reannounce_at_) Reannounce();
  if (now >= next_gossip_) {
    next_gossip_ = now + swim_->config().gossip_interval;
    PublishDigests();
    GossipTables();
    CompareWithOwners();
    RefillReturned();
  }
  EndSpreadings();
  StartDueSyncs();
  if (now >= next_digest_) {
    next_digest_ = now + config_.digest_interval;
    TellDigests();
  }
  if (now >= next_sync_) {
    if (next_sync_ != 0) PeriodicSync();
    const auto jitter = static_cast<uint64_t>(config_.bulk_sync_interval / 4);
    next_sync_ = now + config_.bulk_sync_interval +
                 static_cast<Millis>(swim_->host()->Random(jitter));
  }
  if (now >= next_reap_) {
    next_reap_ = now + config_.reap_interval;
    Reap();
  }
  size_t queued = 0;
  for (const auto& [id, network] : networks_) queued += network.own.size() + network.relayed.size();
  counters_->Set(Counter::tableQueue, queued);
  counters_->Set(Counter::entries, entry_count_);
}

// Gossip inside a network.

void NetworkDb::GossipTables() {
  for (auto& [id, network] : networks_) {
    if (!network.leaving) GossipNetwork(id, &network);
  }
}

void NetworkDb::GossipNetwork(const std::string& id, OwnNetwork* network) {
  if (network->own.size() + network->relayed.size() == 0) return;
  std::vector<const Member*> peers;
  for (const std::string& node : NodesOf(id)) {
    const Member* member = swim_->FindMember(node);
    if (member != nullptr && member->reachable()) peers.push_back(member);
  }
  if (peers.empty()) {
    // Nobody to tell; whoever comes gets everything by bulk sync.
    network->own.Clear();
    network->relayed.Clear();
    return;
  }
  const int transmits = TransmitLimit(swim_->config().retransmit_mult, peers.size() + 1);
  for (size_t i = 0; i < std::min(kGossipNodes, peers.size()); i++) {
    std::swap(peers[i], peers[i + swim_->host()->Random(peers.size() - i)]);
  }
  peers.resize(std::min(kGossipNodes, peers.size()));
  const size_t room = swim_->UserPacketBytes() - kGossipCompoundOverhead;
  std::vector<Bytes> messages;
  // Our own news first; what we pass on fills the rest.
  network->own.Take(kGossipCompoundPartOverhead, room, transmits, &messages, true);
  size_t used = 0;
  for (const Bytes& message : messages) used += message.size() + kGossipCompoundPartOverhead;
  if (used < room) {
    network->relayed.Take(kGossipCompoundPartOverhead, room - used, transmits, &messages,
                          messages.empty());
  }
  if (messages.empty()) return;
  const Bytes compound = EncodeGossipCompound(messages);
  for (const Member* peer : peers) swim_->SendUserPacket(*peer, compound);
}

// Bulk sync.

std::vector<std::string> NetworkDb::CommonNetworks(const std::string& node) const {
  std::vector<std::string> common;
  for (const auto& [id, network] : networks_) {
    if (!network.leaving && NodesOf(id).contains(node)) common.push_back(id);
  }
  return common;
}

bool NetworkDb::InSync(const OwnNetwork& network) const {
  return network.first_syncs.empty() ||
         swim_->now() - network.joined_at > config_.bulk_sync_timeout;
}

void NetworkDb::ScheduleSync(const std::string& node, Millis within) {
  // Spread over the second half, so that a ring does not rush to a newcomer at one moment.
  const auto spread = static_cast<uint64_t>(within / 2 + 1);
  const Millis due =
      swim_->now() + within / 2 + static_cast<Millis>(swim_->host()->Random(spread));
  const auto [at, added] = pending_syncs_.emplace(node, due);
  if (!added) at->second = std::min(at->second, due);
}

void NetworkDb::StartDueSyncs() {
  const Millis now = swim_->now();
  for (auto at = awaited_syncs_.begin(); at != awaited_syncs_.end();) {
    const auto next = std::next(at);
    const std::string node = at->first;
    if (now >= at->second) SyncEnded(node, false);
    at = next;
  }
  for (auto at = pending_syncs_.begin(); at != pending_syncs_.end();) {
    if (now < at->second) {
      ++at;
      continue;
    }
    if (awaited_syncs_.size() >= limits::kBulkSyncsMax || awaited_syncs_.contains(at->first)) {
      // Later, one gossip round at a time.
      at->second = now + swim_->config().gossip_interval;
      ++at;
      continue;
    }
    const std::string node = at->first;
    at = pending_syncs_.erase(at);
    const auto networks = CommonNetworks(node);
    if (!networks.empty() && SendBulkSync(node, networks, true)) {
      awaited_syncs_[node] = now + config_.bulk_sync_timeout;
    }
  }
}

void NetworkDb::PeriodicSync() {
  for (const auto& [id, network] : networks_) {
    const std::set<std::string>& nodes = NodesOf(id);
    if (network.leaving || nodes.empty()) continue;
    auto chosen = nodes.begin();
    std::advance(chosen, static_cast<ptrdiff_t>(swim_->host()->Random(nodes.size())));
    ScheduleSync(*chosen, 1);
  }
}

bool NetworkDb::SendBulkSync(const std::string& node, const std::vector<std::string>& networks,
                             bool unsolicited) {
  const Member* member = swim_->FindMember(node);
  if (member == nullptr || !member->reachable()) return false;
  BulkSync sync;
  sync.unsolicited = unsolicited;
  sync.node = swim_->name();
  std::vector<Bytes> messages;
  size_t bytes = 0;
  for (const std::string& id : networks) {
    OwnNetwork* network = Joined(id);
    if (network == nullptr) continue;
    sync.networks.push_back(id);
    // Stands before the entries, so that they are never taken for those of a stranger.
    messages.push_back(NetworkEvent{true, network->ltime, sync.node, id}.Encode());
    for (const auto& [key, entry] : network->entries) {
      messages.push_back(EventOf(id, key, entry).Encode());
      bytes += messages.back().size() + kGossipCompoundPartOverhead;
      if (bytes > limits::kStreamBytesMax - (1 << 20)) break;
    }
  }
  sync.ltime = table_clock_.time();
  sync.payload = EncodeGossipCompound(messages);
  counters_->Add(Counter::bulkSyncs);
  const StreamId id = swim_->SendUserStream(*member, sync.Encode());
  if (unsolicited) sync_streams_[id] = node;
  return true;
}

void NetworkDb::OnUserStreamDone(StreamId id, bool ok) {
  const auto found = sync_streams_.find(id);
  if (found == sync_streams_.end()) return;
  const std::string node = found->second;
  sync_streams_.erase(found);
  if (!ok) SyncEnded(node, false);
}

void NetworkDb::SyncEnded(const std::string& node, bool ok) {
  awaited_syncs_.erase(node);
  for (auto& [id, network] : networks_) network.first_syncs.erase(node);
  if (ok) return;
  counters_->Add(Counter::bulkSyncsFailed);
  // A network's other node is the fallback; the next regular round picks one by chance.
  next_sync_ = std::min(next_sync_, swim_->now() + 5 * swim_->config().gossip_interval);
}

void NetworkDb::OnBulkSync(const BulkSync& message) {
  table_clock_.Witness(message.ltime);
  if (!message.payload.empty()) OnGossip(message.payload, true, 1);
  RemoveGhosts(message);
  if (!message.unsolicited) return SyncEnded(message.node, true);
  if (!Active(message.node)) return;
  const auto common = CommonNetworks(message.node);
  const bool covered = std::all_of(common.begin(), common.end(), [&](const std::string& id) {
    return std::find(message.networks.begin(), message.networks.end(), id) !=
           message.networks.end();
  });
  if (covered) pending_syncs_.erase(message.node);
  SendBulkSync(message.node, message.networks, false);
}

// Coming back, and clearing up.

void NetworkDb::Reannounce() {
  reannounce_at_ = kNever;
  SendNodeEvent(true);
  for (auto& [id, network] : networks_) {
    if (network.leaving) continue;
    network.ltime = network_clock_.Next();
    SendNetworkEvent(id, true, network.ltime);
    for (const std::string& node : NodesOf(id)) {
      ScheduleSync(node, 5 * swim_->config().gossip_interval);
    }
  }
}

void NetworkDb::RefillReturned() {
  for (auto at = returned_.begin(); at != returned_.end();) {
    if (swim_->now() < at->second) {
      ++at;
      continue;
    }
    const Member* member = swim_->FindMember(at->first);
    if (member != nullptr && member->reachable() && !attachments_.contains(at->first)) {
      swim_->PushPullWith(*member);
    }
    at = returned_.erase(at);
  }
}

void NetworkDb::DisownFormerLife() {
  const Millis now = swim_->now();
  for (auto at = former_networks_.begin(); at != former_networks_.end();) {
    const auto next = std::next(at);
    if (now >= at->second) {
      // A record of having left, so that the farewell is repeated to whoever still doubts it.
      const std::string id = at->first;
      OwnNetwork& network = networks_[id];
      network.leaving = true;
      network.ltime = network_clock_.Next();
      network.reap_at = now + config_.reap_network;
      SendNetworkEvent(id, false, network.ltime);
      former_networks_.erase(at);
    }
    at = next;
  }
  for (auto& [id, network] : networks_) {
    for (auto at = network.former.begin(); at != network.former.end();) {
      const auto next = std::next(at);
      if (now >= at->second.until) {
        const EntryKey key = at->first;
        counters_->Add(Counter::entriesDisowned);
        Disown(id, &network, key, std::move(at->second.value));
      }
      at = next;
    }
  }
}

void NetworkDb::Reap() {
  const Millis now = swim_->now();
  DisownFormerLife();
  for (auto at = networks_.begin(); at != networks_.end();) {
    OwnNetwork& network = at->second;
    if (network.leaving && now >= network.reap_at) {
      at = networks_.erase(at);
      continue;
    }
    for (auto entry = network.entries.begin(); entry != network.entries.end();) {
      const auto next = std::next(entry);
      if (entry->second.deleted && now >= entry->second.reap_at) Erase(&network, entry);
      entry = next;
    }
    ++at;
  }
  for (auto& [node, of_node] : attachments_) {
    attachment_count_ -= std::erase_if(of_node, [now](const auto& item) {
      return item.second.leaving && now >= item.second.reap_at;
    });
  }
}

}  // namespace skep::gossip
