// Nodes and networks of NetworkDB: who is on which network, and what we say about ourselves.
#include "gossip/networkdb.h"

#include <algorithm>

namespace skep::gossip {
namespace {

/// A compound inside a compound is legal, a tower of them is not.
constexpr int kGossipDepthMax = 3;

}  // namespace

NetworkDb::NetworkDb(NetworkDbConfig config, EventSink* sink, Counters* counters)
    : config_(config), sink_(sink), counters_(counters), broadcasts_(limits::kBroadcastsMax) {}

void NetworkDb::PushBroadcast(BroadcastQueue* queue, std::string subject, Bytes message) {
  const size_t dropped = queue->Push(std::move(subject), std::move(message));
  if (dropped == 0) return;
  counters_->Add(queue == &broadcasts_ ? Counter::droppedBroadcasts
                                       : Counter::droppedTableBroadcasts, dropped);
}

NetworkDb::OwnNetwork* NetworkDb::Joined(const std::string& network) {
  const auto found = networks_.find(network);
  return found == networks_.end() || found->second.leaving ? nullptr : &found->second;
}

bool NetworkDb::Active(const std::string& node) const {
  const auto found = nodes_.find(node);
  return found != nodes_.end() && found->second.state == NodeState::kActive;
}

const std::set<std::string>& NetworkDb::NodesOf(const std::string& network) const {
  static const std::set<std::string> kNobody;
  const auto found = network_nodes_.find(network);
  return found == network_nodes_.end() ? kNobody : found->second;
}

// Commands.

void NetworkDb::JoinNetwork(const std::string& id, uint32_t generation) {
  if (Joined(id) != nullptr) return;
  OwnNetwork& network = networks_[id];
  network = OwnNetwork();
  network.ltime = network_clock_.Next();
  network.generation = generation;
  network.joined_at = swim_->now();
  network.digest_due = true;
  former_networks_.erase(id);
  SendNetworkEvent(id, true, network.ltime);
  for (const std::string& node : NodesOf(id)) {
    Event event;
    event.type = Event::Type::kNetworkMember;
    event.generation = generation;
    event.network = id;
    event.node = node;
    event.joined = true;
    sink_->OnEvent(std::move(event), false);
    network.first_syncs.insert(node);
    ScheduleSync(node, 1);
  }
}

void NetworkDb::LeaveNetwork(const std::string& id) {
  OwnNetwork* network = Joined(id);
  if (network == nullptr) return;
  network->leaving = true;
  network->ltime = network_clock_.Next();
  network->reap_at = swim_->now() + config_.reap_network;
  ClearEntries(network);
  network->former.clear();
  network->own.Clear();
  network->relayed.Clear();
  network->first_syncs.clear();
  network->checks.clear();
  SendNetworkEvent(id, false, network->ltime);
  sink_->OnNetworkLeft(id);
}

void NetworkDb::SendNodeEvent(bool join) {
  const NodeEvent event{join, network_clock_.Next(), swim_->name()};
  PushBroadcast(&broadcasts_, "node/" + swim_->name(), event.Encode());
}

void NetworkDb::SendNetworkEvent(const std::string& network, bool join, uint64_t ltime) {
  const NetworkEvent event{join, ltime, swim_->name(), network};
  PushBroadcast(&broadcasts_, "network/" + network + "/" + swim_->name(), event.Encode());
}

// Incoming gossip.

void NetworkDb::OnGossip(ByteView bytes, bool bulk, int depth) {
  const auto message = GossipMessage::Decode(bytes);
  if (!message || depth > kGossipDepthMax) return counters_->Add(Counter::droppedUndecodable);
  switch (message->type) {
    case GossipType::kNodeEvent:
      if (const auto event = NodeEvent::Decode(message->data)) return OnNodeEvent(*event, bytes);
      break;
    case GossipType::kNetworkEvent:
      if (const auto event = NetworkEvent::Decode(message->data)) {
        if (!ApplyNetworkEvent(*event)) return;
        return PushBroadcast(&broadcasts_, "network/" + event->network + "/" + event->node,
                             Bytes(bytes.begin(), bytes.end()));
      }
      break;
    case GossipType::kTableEvent:
      if (const auto event = TableEvent::Decode(message->data)) {
        return OnTableEvent(*event, bytes, bulk);
      }
      break;
    case GossipType::kBulkSync:
      if (depth > 0) break;
      if (const auto sync = BulkSync::Decode(message->data)) return OnBulkSync(*sync);
      break;
    case GossipType::kCompound:
      if (const auto parts = DecodeGossipCompound(message->data)) {
        for (const ByteView part : *parts) OnGossip(part, bulk, depth + 1);
        return;
      }
      break;
    case GossipType::kPushPull: break;
    default: return counters_->Add(Counter::droppedUnknownType);
  }
  counters_->Add(Counter::droppedUndecodable);
}

void NetworkDb::OnNodeEvent(const NodeEvent& event, ByteView raw) {
  if (!ApplyNodeEvent(event)) return;
  PushBroadcast(&broadcasts_, "node/" + event.node, Bytes(raw.begin(), raw.end()));
}

bool NetworkDb::ApplyNodeEvent(const NodeEvent& event) {
  if (event.node == swim_->name()) {
    OnOwnNodeRumour(event);
    return false;
  }
  network_clock_.Witness(event.ltime);
  const auto found = nodes_.find(event.node);
  if (found == nodes_.end() || found->second.ltime >= event.ltime) return false;
  found->second.ltime = event.ltime;
  // A node that membership does not know could never be seen to fail: it is not taken in.
  const Member* member = swim_->FindMember(event.node);
  if (member == nullptr || !member->reachable()) return false;
  if (event.join) {
    const bool moved = found->second.state != NodeState::kActive;
    found->second.state = NodeState::kActive;
    return moved;
  }
  if (found->second.state != NodeState::kActive) return false;
  DropNode(event.node, NodeState::kLeft);
  return true;
}

bool NetworkDb::ApplyNetworkEvent(const NetworkEvent& event) {
  if (event.node == swim_->name()) {
    OnOwnNetworkRumour(event);
    return false;
  }
  network_clock_.Witness(event.ltime);
  return SetAttachment(event);
}

bool NetworkDb::SetAttachment(const NetworkEvent& event) {
  const auto of_node = attachments_.find(event.node);
  const bool known = of_node != attachments_.end() && of_node->second.contains(event.network);
  if (!known) {
    if (!event.join || !Active(event.node)) return false;
    if (attachment_count_ >= limits::kAttachmentsMax) {
      counters_->Add(Counter::droppedAttachmentsFull);
      return false;
    }
    attachment_count_++;
    attachments_[event.node][event.network] = {event.ltime, false, kNever};
    AddNetworkNode(event.network, event.node);
    return true;
  }
  Attachment& attachment = of_node->second[event.network];
  if (attachment.ltime >= event.ltime) return false;
  attachment.ltime = event.ltime;
  attachment.leaving = !event.join;
  attachment.reap_at = event.join ? kNever : swim_->now() + config_.reap_network;
  if (event.join) {
    AddNetworkNode(event.network, event.node);
  } else {
    DropEntriesOf(event.network, event.node, RemovalReason::kOwnerLeftNetwork);
    RemoveNetworkNode(event.network, event.node);
  }
  return true;
}

void NetworkDb::AddNetworkNode(const std::string& network, const std::string& node) {
  if (!network_nodes_[network].insert(node).second) return;
  OwnNetwork* own = Joined(network);
  if (own == nullptr) return;
  Event event;
  event.type = Event::Type::kNetworkMember;
  event.generation = own->generation;
  event.network = network;
  event.node = node;
  event.joined = true;
  sink_->OnEvent(std::move(event), false);
  // The newcomer syncs with us by itself; if nothing came by then, we do it.
  ScheduleSync(node, 5 * swim_->config().gossip_interval);
}

void NetworkDb::RemoveNetworkNode(const std::string& network, const std::string& node) {
  const auto found = network_nodes_.find(network);
  if (found == network_nodes_.end() || found->second.erase(node) == 0) return;
  if (found->second.empty()) network_nodes_.erase(found);
  OwnNetwork* own = Joined(network);
  if (own == nullptr) return;
  own->first_syncs.erase(node);
  own->checks.erase(node);
  own->acked.erase(node);
  Event event;
  event.type = Event::Type::kNetworkMember;
  event.generation = own->generation;
  event.network = network;
  event.node = node;
  event.joined = false;
  sink_->OnEvent(std::move(event), true);
}

void NetworkDb::DropNode(const std::string& node, NodeState state) {
  nodes_[node].state = state;
  const auto reason =
      state == NodeState::kLeft ? RemovalReason::kOwnerLeft : RemovalReason::kOwnerFailed;
  for (auto& [id, network] : networks_) DropEntriesOf(id, node, reason);
  const auto found = attachments_.find(node);
  if (found != attachments_.end()) {
    for (const auto& [network, attachment] : found->second) RemoveNetworkNode(network, node);
    attachment_count_ -= found->second.size();
    attachments_.erase(found);
  }
  pending_syncs_.erase(node);
  awaited_syncs_.erase(node);
  returned_.erase(node);
}

// Rumours about ourselves, of this life or a former one under the same name.

void NetworkDb::OnOwnNodeRumour(const NodeEvent& event) {
  const bool news = event.ltime > network_clock_.time();
  network_clock_.Witness(event.ltime);
  // The farewell of a former life still goes round: say that we are here.
  if (!event.join && news) SendNodeEvent(true);
}

void NetworkDb::OnOwnNetworkRumour(const NetworkEvent& event) {
  network_clock_.Witness(event.ltime);
  const auto found = networks_.find(event.network);
  if (found == networks_.end()) {
    if (event.join && former_networks_.size() < limits::kEntriesMax) {
      former_networks_.emplace(event.network, swim_->now() + config_.former_life_grace);
    }
    return;
  }
  OwnNetwork& network = found->second;
  const bool same = event.join == !network.leaving;
  if (event.ltime < network.ltime || (event.ltime == network.ltime && same)) return;
  network.ltime = network_clock_.Next();
  SendNetworkEvent(event.network, !network.leaving, network.ltime);
}

// Delegate.

void NetworkDb::TakeBroadcasts(size_t overhead, size_t bytes_max, std::vector<Bytes>* out) {
  broadcasts_.Take(overhead, bytes_max, swim_->TransmitsMax(), out);
}

Bytes NetworkDb::LocalState(bool join) {
  NetworkPushPull state;
  state.node = swim_->name();
  for (auto& [id, network] : networks_) {
    // Newer times on a join, so that a peer that saw us leave takes us back at once.
    if (join) network.ltime = network_clock_.Next();
    state.networks.push_back({!network.leaving, network.ltime, state.node, id});
  }
  state.ltime = network_clock_.time();
  for (const auto& [node, of_node] : attachments_) {
    for (const auto& [id, attachment] : of_node) {
      state.networks.push_back({!attachment.leaving, attachment.ltime, node, id});
    }
  }
  return state.Encode();
}

void NetworkDb::MergeState(ByteView state, bool join) {
  (void)join;
  const auto message = GossipMessage::Decode(state);
  if (!message || message->type != GossipType::kPushPull) {
    return counters_->Add(Counter::droppedUndecodable);
  }
  const auto remote = NetworkPushPull::Decode(message->data);
  if (!remote) return counters_->Add(Counter::droppedUndecodable);
  if (remote->node != swim_->name()) ApplyNodeEvent({true, remote->ltime, remote->node});
  network_clock_.Witness(remote->ltime);
  for (const NetworkEvent& event : remote->networks) ApplyNetworkEvent(event);
}

void NetworkDb::OnMember(const Member& member, MemberChange change) {
  if (change == MemberChange::kForgotten) {
    nodes_.erase(member.name);
    return sink_->OnMemberForgotten(member.name);
  }
  Event event;
  event.node = member.name;
  event.address = member.address;
  switch (change) {
    case MemberChange::kSuspected: event.state = "suspect"; break;
    case MemberChange::kFailed: event.state = "failed"; break;
    case MemberChange::kLeft: event.state = "left"; break;
    default: event.state = "alive"; break;
  }
  const bool known = nodes_.contains(member.name);
  if (change == MemberChange::kJoined) {
    Node& node = nodes_[member.name];
    // Its networks were dropped with it; usually it tells them again by itself.
    if (known && node.state == NodeState::kFailed) {
      returned_[member.name] = swim_->now() + 5 * swim_->config().gossip_interval;
    }
    node.state = NodeState::kActive;
  }
  sink_->OnEvent(std::move(event), known);
  if (change == MemberChange::kFailed || change == MemberChange::kLeft) {
    const bool farewell = known && nodes_[member.name].state == NodeState::kLeft;
    const bool left = change == MemberChange::kLeft || farewell;
    DropNode(member.name, left ? NodeState::kLeft : NodeState::kFailed);
  }
}

void NetworkDb::OnRefuted(bool dead) {
  // Whoever buried us has dropped our networks and entries.
  if (dead && reannounce_at_ == kNever) reannounce_at_ = swim_->now() + 1;
}

void NetworkDb::OnJoined(const Endpoint& address) {
  SendNodeEvent(true);
  for (const auto& [name, member] : swim_->members()) {
    if (member.address == address && name != swim_->name()) ScheduleSync(name, 1);
  }
}

void NetworkDb::OnLeaving() { SendNodeEvent(false); }

}  // namespace skep::gossip
