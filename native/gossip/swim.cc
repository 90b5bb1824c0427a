// Timers, transport and gossip of the SWIM core; probing and state are in their own files.
#include "gossip/swim.h"

#include <algorithm>
#include <cmath>

#include "gossip/limits.h"

namespace skep::gossip {
namespace {

constexpr Millis kForgetInterval = 1000;
constexpr size_t kCompoundHeader = 2;
constexpr size_t kCompoundPart = 2;
/// Join ids of our own rejoins; nobody waits for them.
constexpr uint64_t kNobodyWaits = 0;

}  // namespace

Swim::Swim(SwimConfig config, Envelope* envelope, Host* host, Delegate* delegate,
           Counters* counters)
    : config_(std::move(config)),
      envelope_(envelope),
      host_(host),
      delegate_(delegate),
      counters_(counters),
      broadcasts_(limits::kBroadcastsMax) {}

void Swim::Start(Millis now) {
  now_ = now;
  stall_reference_ = now;
  sequence_ = static_cast<uint32_t>(host_->Random(1u << 20));
  // Started at random moments, so that members do not beat in step.
  const auto stagger = [this](Millis interval) {
    return now_ + static_cast<Millis>(host_->Random(static_cast<uint64_t>(interval)));
  };
  next_probe_ = stagger(config_.probe_interval);
  next_gossip_ = stagger(config_.gossip_interval);
  next_push_pull_ = stagger(config_.push_pull_interval);
  next_reconnect_ = stagger(config_.reconnect_interval);
  next_rejoin_ = now + config_.rejoin_interval;
  next_forget_ = now + kForgetInterval;
  Member self;
  self.name = config_.name;
  self.address = config_.advertise;
  self.meta = delegate_->Meta();
  self.versions = config_.versions;
  self.incarnation = incarnation_;
  self.state = MemberState::kAlive;
  self.changed = now;
  Enrol(std::move(self));
  Broadcast(config_.name, OwnAlive().Encode());
}

Millis Swim::NextDeadline() const {
  Millis next = std::min({next_probe_, next_gossip_, next_push_pull_, next_reconnect_,
                          next_rejoin_, next_forget_, delegate_->NextDeadline()});
  if (probe_) next = std::min(next, probe_->indirect ? probe_->ends : probe_->ack_by);
  for (const std::string& name : suspects_) {
    const auto found = members_.find(name);
    if (found != members_.end() && found->second.suspicion) {
      next = std::min(next, found->second.suspicion->deadline());
    }
  }
  for (const auto& [sequence, relay] : relays_) next = std::min(next, relay.deadline);
  return next;
}

void Swim::NoticeStall(Millis now) {
  // Called much later than the shortest timer asked for: we stood still (SIGSTOP, starved of CPU),
  // and silence meanwhile says nothing about the others.
  const Millis stalled = now - stall_reference_ - config_.gossip_interval;
  stall_reference_ = now;
  if (stalled < config_.probe_interval) return;
  counters_->Add(Counter::stalls);
  AdjustAwareness(+1);
  probe_.reset();
  for (const std::string& name : suspects_) {
    const auto found = members_.find(name);
    if (found != members_.end() && found->second.suspicion) found->second.suspicion->Shift(stalled);
  }
}

void Swim::Tick(Millis now) {
  NoticeStall(now);
  now_ = now;
  ProbeTimers();
  RelayTimers();
  SuspicionTimers();
  if (now_ >= next_probe_ && !probe_) StartProbe();
  if (now_ >= next_probe_) next_probe_ = now_ + config_.probe_interval;
  if (now_ >= next_gossip_) {
    next_gossip_ = now_ + config_.gossip_interval;
    Gossip();
  }
  if (now_ >= next_push_pull_) {
    next_push_pull_ = now_ + PushPullInterval();
    const auto peers = RandomMembers(1, [this](const Member& member) {
      return member.name != config_.name && member.state == MemberState::kAlive;
    });
    if (!peers.empty()) PushPullWith(*peers[0]);
  }
  if (now_ >= next_reconnect_) {
    next_reconnect_ = now_ + config_.reconnect_interval;
    if (Alone()) next_rejoin_ = std::min(next_rejoin_, now_);
    Reconnect();
  }
  if (now_ >= next_rejoin_) {
    next_rejoin_ = now_ + config_.rejoin_interval;
    Rejoin();
  }
  if (now_ >= next_forget_) {
    next_forget_ = now_ + kForgetInterval;
    Forget();
  }
  delegate_->Tick();
  counters_->Set(Counter::members, members_.size());
  counters_->Set(Counter::broadcastQueue, broadcasts_.size());
  counters_->Set(Counter::awareness, static_cast<uint64_t>(awareness_));
}

const Member* Swim::FindMember(const std::string& name) const {
  const auto found = members_.find(name);
  return found == members_.end() ? nullptr : &found->second;
}

int Swim::TransmitsMax() const { return TransmitLimit(config_.retransmit_mult, members_.size()); }

size_t Swim::UserPacketBytes() const {
  constexpr size_t kTypeByte = 1;
  return config_.packet_bytes - envelope_->PacketOverhead() - kTypeByte;
}

Millis Swim::PushPullInterval() const {
  constexpr double kScaleFrom = 32;
  const auto members = static_cast<double>(members_.size());
  if (members <= kScaleFrom) return config_.push_pull_interval;
  const double factor = std::ceil(std::log2(members) - std::log2(kScaleFrom)) + 1;
  return static_cast<Millis>(factor) * config_.push_pull_interval;
}

Member& Swim::Enrol(Member member) {
  const std::string name = member.name;
  const auto [at, added] = members_.insert_or_assign(name, std::move(member));
  if (added) roster_.push_back(&at->second);
  return at->second;
}

std::vector<const Member*> Swim::RandomMembers(
    size_t count, const std::function<bool(const Member&)>& wanted) {
  std::vector<const Member*> found;
  // In a large ring a few tries find enough; only then, or among few, all are looked at.
  constexpr size_t kFew = 64;
  for (size_t tries = 8 * count; roster_.size() > kFew && tries > 0 && found.size() < count;
       tries--) {
    const Member* member = roster_[host_->Random(roster_.size())];
    const bool taken = std::find(found.begin(), found.end(), member) != found.end();
    if (!taken && wanted(*member)) found.push_back(member);
  }
  if (found.size() == count) return found;
  found.clear();
  for (const Member* member : roster_) {
    if (wanted(*member)) found.push_back(member);
  }
  for (size_t i = 0; i < std::min(count, found.size()); i++) {
    std::swap(found[i], found[i + host_->Random(found.size() - i)]);
  }
  found.resize(std::min(count, found.size()));
  return found;
}

bool Swim::Alone() const {
  return std::none_of(members_.begin(), members_.end(), [this](const auto& item) {
    return item.first != config_.name && item.second.reachable();
  });
}

// Packets.

void Swim::OnPacket(Millis now, const Endpoint& from, ByteView datagram) {
  now_ = now;
  counters_->Add(Counter::packetsIn);
  counters_->Add(Counter::packetBytesIn, datagram.size());
  envelope_->OpenPacket(datagram, [&](ByteView message) { OnMessage(from, message); });
}

void Swim::OnMessage(const Endpoint& from, ByteView message) {
  counters_->Add(Counter::messagesIn);
  const ByteView body = message.subspan(1);
  switch (static_cast<MessageType>(message[0])) {
    case MessageType::kPing: return OnPing(from, body);
    case MessageType::kIndirectPing: return OnIndirectPing(from, body);
    case MessageType::kAck: return OnAck(body);
    case MessageType::kNack: return OnNack(body);
    case MessageType::kUser: return delegate_->OnUserMessage(body);
    case MessageType::kAlive:
      if (const auto alive = Alive::Decode(body)) return OnAlive(*alive);
      break;
    case MessageType::kSuspect:
      if (const auto accusation = Accusation::Decode(body)) return OnSuspect(*accusation, false);
      break;
    case MessageType::kDead:
      if (const auto accusation = Accusation::Decode(body)) return OnDead(*accusation);
      break;
    default: return counters_->Add(Counter::droppedUnknownType);
  }
  counters_->Add(Counter::droppedUndecodable);
}

void Swim::SendParts(const Endpoint& to, const std::vector<Bytes>& parts, bool crc) {
  Bytes datagram = envelope_->SealPacket(parts, crc);
  if (datagram.empty()) return counters_->Add(Counter::droppedSendFailed);
  counters_->Add(Counter::packetsOut);
  counters_->Add(Counter::packetBytesOut, datagram.size());
  counters_->Add(Counter::messagesOut, parts.size());
  host_->SendPacket(to, std::move(datagram));
}

void Swim::SendWithGossip(const Endpoint& to, Bytes message) {
  std::vector<Bytes> parts;
  const size_t used =
      envelope_->PacketOverhead() + kCompoundHeader + kCompoundPart + message.size();
  parts.push_back(std::move(message));
  if (used < config_.packet_bytes) {
    TakeBroadcasts(kCompoundPart, config_.packet_bytes - used, &parts);
  }
  SendParts(to, parts, false);
}

void Swim::TakeBroadcasts(size_t overhead, size_t bytes_max, std::vector<Bytes>* out) {
  const size_t before = out->size();
  broadcasts_.Take(overhead, bytes_max, TransmitsMax(), out);
  size_t used = 0;
  for (size_t i = before; i < out->size(); i++) used += overhead + (*out)[i].size();
  if (used >= bytes_max) return;
  std::vector<Bytes> user;
  delegate_->TakeBroadcasts(overhead + 1, bytes_max - used, &user);
  for (const Bytes& message : user) {
    Bytes wrapped = {static_cast<uint8_t>(MessageType::kUser)};
    Append(&wrapped, message);
    out->push_back(std::move(wrapped));
  }
}

void Swim::Gossip() {
  if (broadcasts_.size() == 0 && !delegate_->HasBroadcasts()) return;
  const auto peers = RandomMembers(
      static_cast<size_t>(config_.gossip_nodes), [this](const Member& member) {
        if (member.name == config_.name) return false;
        // The dead hear of their death for a while, so that the wrongly accused can object.
        return member.reachable() || (member.state == MemberState::kDead &&
                                      now_ - member.changed <= config_.gossip_to_dead);
      });
  const size_t room = config_.packet_bytes - envelope_->PacketOverhead() - kCompoundHeader;
  for (const Member* peer : peers) {
    std::vector<Bytes> parts;
    TakeBroadcasts(kCompoundPart, room, &parts);
    if (parts.empty()) return;
    SendParts(peer->address, parts, peer->versions[1] >= 5);
  }
}

void Swim::SendUserPacket(const Member& to, const Bytes& message) {
  Bytes wrapped = {static_cast<uint8_t>(MessageType::kUser)};
  Append(&wrapped, message);
  SendParts(to.address, {std::move(wrapped)}, to.versions[1] >= 5);
}

// Streams.

StreamId Swim::OpenStream(StreamKind kind, uint64_t tag, const Endpoint& to, const Bytes& message,
                          bool reply, Millis timeout) {
  const StreamId id = next_stream_++;
  streams_[id] = {kind, tag, to};
  counters_->Add(Counter::streamsOut);
  host_->OpenStream(id, to, envelope_->SealStream(message), reply, timeout);
  return id;
}

StreamId Swim::SendUserStream(const Member& to, const Bytes& message) {
  return OpenStream(StreamKind::kUser, 0, to.address, EncodeUserStream(message), false,
                    config_.stream_timeout);
}

void Swim::StartPushPull(StreamKind kind, uint64_t tag, const Endpoint& to, bool join,
                         Millis timeout) {
  counters_->Add(Counter::pushPulls);
  OpenStream(kind, tag, to, LocalState(join).Encode(), true, timeout);
}

void Swim::PushPullWith(const Member& member) {
  StartPushPull(StreamKind::kPushPull, 0, member.address, false, config_.stream_timeout);
}

void Swim::Join(Millis now, uint64_t join_id, const std::vector<Endpoint>& addresses) {
  now_ = now;
  size_t others = 0;
  for (const Endpoint& address : addresses) {
    if (address == config_.advertise) continue;
    // Full only after hundreds of changes of managers; any old one may then go.
    if (seeds_.size() >= limits::kSeedsMax) seeds_.erase(seeds_.begin());
    seeds_.insert(address);
    others++;
  }
  if (others == 0) {
    host_->JoinDone(join_id, 0);
    return;
  }
  joins_[join_id] = {others, 0};
  for (const Endpoint& address : addresses) {
    if (address == config_.advertise) continue;
    StartPushPull(StreamKind::kJoin, join_id, address, true, config_.stream_timeout);
  }
}

void Swim::FinishJoin(uint64_t join_id, bool reached) {
  const auto found = joins_.find(join_id);
  if (found == joins_.end()) return;
  if (reached) found->second.reached++;
  if (--found->second.waiting > 0) return;
  const size_t total = found->second.reached;
  joins_.erase(found);
  if (join_id != kNobodyWaits) host_->JoinDone(join_id, total);
}

void Swim::Reconnect() {
  if (failed_.empty() || reconnecting_ || leaving_) return;
  auto chosen = failed_.begin();
  std::advance(chosen, static_cast<ptrdiff_t>(host_->Random(failed_.size())));
  reconnecting_ = true;
  counters_->Add(Counter::reconnects);
  StartPushPull(StreamKind::kReconnect, 0, chosen->second.address, true,
                config_.reconnect_timeout);
}

void Swim::Reconnect(Millis now, const std::string& name) {
  now_ = now;
  const auto found = failed_.find(name);
  if (found == failed_.end() || leaving_) return;
  counters_->Add(Counter::reconnects);
  StartPushPull(StreamKind::kReturn, 0, found->second.address, true, config_.reconnect_timeout);
}

void Swim::Rejoin() {
  if (seeds_.empty() || leaving_ || joins_.contains(kNobodyWaits)) return;
  for (const auto& [name, member] : members_) {
    const bool other = name != config_.name;
    if (other && member.reachable() && seeds_.contains(member.address)) return;
  }
  const std::vector<Endpoint> seeds(seeds_.begin(), seeds_.end());
  joins_[kNobodyWaits] = {seeds.size(), 0};
  counters_->Add(Counter::reconnects);
  for (const Endpoint& seed : seeds) {
    StartPushPull(StreamKind::kJoin, kNobodyWaits, seed, true, config_.reconnect_timeout);
  }
}

void Swim::ForgetLater(const Member& member) {
  forget_due_ = std::min(forget_due_, member.changed + config_.gossip_to_dead);
}

void Swim::Forget() {
  const bool due = now_ >= forget_due_;
  if (due) forget_due_ = kNever;
  for (auto at = members_.begin(); due && at != members_.end();) {
    const Member& member = at->second;
    if (member.reachable() || member.name == config_.name) {
      ++at;
      continue;
    }
    if (now_ - member.changed < config_.gossip_to_dead) {
      ForgetLater(member);
      ++at;
      continue;
    }
    if (!failed_.contains(member.name)) delegate_->OnMember(member, MemberChange::kForgotten);
    std::erase(roster_, &member);
    std::replace(probe_order_.begin(), probe_order_.end(), static_cast<const Member*>(&member),
                 static_cast<const Member*>(nullptr));
    at = members_.erase(at);
  }
  for (auto at = failed_.begin(); at != failed_.end();) {
    if (now_ - at->second.since < config_.failed_retention) {
      ++at;
      continue;
    }
    Member gone;
    gone.name = at->first;
    gone.address = at->second.address;
    delegate_->OnMember(gone, MemberChange::kForgotten);
    at = failed_.erase(at);
  }
}

Bytes Swim::OnStream(Millis now, ByteView message) {
  now_ = now;
  counters_->Add(Counter::streamsIn);
  if (message.empty()) return {};
  const ByteView body = message.subspan(1);
  switch (static_cast<MessageType>(message[0])) {
    case MessageType::kPing: {
      const auto ping = Ping::Decode(body);
      if (!ping) break;
      if (!ping->node.empty() && ping->node != config_.name) {
        counters_->Add(Counter::droppedWrongNode);
        return {};
      }
      return envelope_->SealStream(Ack{ping->sequence, {}}.Encode());
    }
    case MessageType::kPushPull: {
      const auto remote = PushPull::Decode(body);
      if (!remote) break;
      // Our state as it was before theirs is merged, as memberlist answers.
      Bytes answer = envelope_->SealStream(LocalState(remote->join).Encode());
      if (MergeRemote(*remote)) delegate_->MergeState(remote->user_state, remote->join);
      return answer;
    }
    case MessageType::kUser:
      if (const auto user = DecodeUserStream(body)) {
        delegate_->OnUserMessage(*user);
        return {};
      }
      break;
    default:
      counters_->Add(Counter::droppedUnknownType);
      return {};
  }
  counters_->Add(Counter::droppedUndecodable);
  return envelope_->SealStream(EncodeError("malformed message"));
}

bool Swim::OnPushPullReply(const OpenedStream& stream, ByteView message) {
  const bool join = stream.kind != StreamKind::kPushPull;
  if (message.empty() || static_cast<MessageType>(message[0]) != MessageType::kPushPull) {
    return false;
  }
  const auto remote = PushPull::Decode(message.subspan(1));
  if (!remote || !MergeRemote(*remote)) return false;
  delegate_->MergeState(remote->user_state, join);
  if (join) delegate_->OnJoined(stream.to);
  return true;
}

void Swim::OnStreamReply(Millis now, StreamId id, ByteView message) {
  now_ = now;
  const auto found = streams_.find(id);
  if (found == streams_.end()) return;
  const OpenedStream stream = found->second;
  if (stream.kind == StreamKind::kUser) {
    streams_.erase(found);
    return delegate_->OnUserStreamDone(id, true);
  }
  if (stream.kind == StreamKind::kProbe) {
    streams_.erase(found);
    if (message.empty() || static_cast<MessageType>(message[0]) != MessageType::kAck) return;
    const auto ack = Ack::Decode(message.subspan(1));
    if (ack && probe_ && ack->sequence == probe_->sequence) ProbeSucceeded();
    return;
  }
  if (!OnPushPullReply(stream, message)) return OnStreamFailed(now, id);
  streams_.erase(id);
  if (stream.kind == StreamKind::kReconnect) reconnecting_ = false;
  if (stream.kind == StreamKind::kJoin) FinishJoin(stream.tag, true);
}

void Swim::OnStreamFailed(Millis now, StreamId id) {
  now_ = now;
  const auto found = streams_.find(id);
  if (found == streams_.end()) return;
  const OpenedStream stream = found->second;
  streams_.erase(found);
  switch (stream.kind) {
    case StreamKind::kUser: return delegate_->OnUserStreamDone(id, false);
    case StreamKind::kProbe: return;
    case StreamKind::kReconnect: reconnecting_ = false; break;
    case StreamKind::kJoin: FinishJoin(stream.tag, false); break;
    case StreamKind::kPushPull:
    case StreamKind::kReturn: break;
  }
  counters_->Add(Counter::pushPullsFailed);
}

// Leaving.

void Swim::Leave(Millis now) {
  now_ = now;
  if (leaving_) return;
  delegate_->OnLeaving();
  leaving_ = true;
  OnDead({incarnation_, config_.name, config_.name});
}

bool Swim::LeaveDone() const {
  return leaving_ && (Alone() || !broadcasts_.Has(config_.name));
}

}  // namespace skep::gossip
