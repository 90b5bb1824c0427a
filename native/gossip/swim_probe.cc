// The failure detector: one member is pinged at a time; silent, it is asked through others and over
// TCP; still silent at the end of the interval, it is suspected. Awareness of our own health
// (Lifeguard) stretches the interval.
#include <algorithm>

#include "gossip/limits.h"
#include "gossip/swim.h"

namespace skep::gossip {
namespace {

/// Peers that speak this protocol version answer an indirect ping with a nack when it fails...
constexpr uint8_t kNackProtocol = 4;
/// ... and this one a ping over TCP.
constexpr uint8_t kStreamPingProtocol = 3;
/// A helper gives up after this share of the probe timeout: its nack must arrive before the asker's
/// interval ends, or the asker doubts its own link for nothing.
constexpr Millis kRelayPercent = 80;

}  // namespace

void Swim::AdjustAwareness(int by) {
  awareness_ = std::clamp(awareness_ + by, 0, config_.awareness_max - 1);
}

const Member* Swim::NextProbeTarget() {
  // Twice around at most: once over what is left of this round, once over a fresh one.
  for (int round = 0; round < 2; round++) {
    for (; probe_index_ < probe_order_.size(); probe_index_++) {
      const Member* member = probe_order_[probe_index_];
      if (member != nullptr && member->name != config_.name && member->reachable()) {
        probe_index_++;
        return member;
      }
    }
    probe_order_.clear();
    probe_index_ = 0;
    for (const Member* member : roster_) {
      if (member->name != config_.name && member->reachable()) probe_order_.push_back(member);
    }
    for (size_t i = probe_order_.size(); i > 1; i--) {
      std::swap(probe_order_[i - 1], probe_order_[host_->Random(i)]);
    }
  }
  return nullptr;
}

void Swim::StartProbe() {
  const Member* target = NextProbeTarget();
  if (target == nullptr) return;
  counters_->Add(Counter::probes);
  Probe probe;
  probe.target = target->name;
  probe.sequence = ++sequence_;
  // Awareness scales the interval, not the wait for the first ack.
  probe.ends = now_ + config_.probe_interval * (awareness_ + 1);
  probe.ack_by = std::min(now_ + config_.probe_timeout, probe.ends);
  probe_ = probe;
  Bytes ping = Ping{probe.sequence, target->name, config_.name, config_.advertise}.Encode();
  if (target->state != MemberState::kSuspect) return SendWithGossip(target->address, ping);
  // A suspect hears the accusation together with the ping, so that it can object at once.
  const Accusation accusation{target->incarnation, target->name, config_.name};
  SendParts(target->address, {ping, accusation.Encode(MessageType::kSuspect)}, false);
}

void Swim::ProbeIndirectly() {
  probe_->indirect = true;
  const Member* target = FindMember(probe_->target);
  if (target == nullptr) return;
  const auto helpers = RandomMembers(
      static_cast<size_t>(config_.indirect_checks), [&](const Member& member) {
        return member.name != config_.name && member.name != target->name &&
               member.state == MemberState::kAlive;
      });
  for (const Member* helper : helpers) {
    IndirectPing ping;
    ping.sequence = probe_->sequence;
    ping.target = target->address;
    ping.node = target->name;
    ping.nack = helper->versions[1] >= kNackProtocol;
    ping.source = config_.advertise;
    ping.source_node = config_.name;
    if (ping.nack) probe_->nacks_expected++;
    counters_->Add(Counter::indirectPings);
    SendWithGossip(helper->address, ping.Encode());
  }
  if (target->versions[1] >= kStreamPingProtocol) {
    counters_->Add(Counter::tcpPings);
    const Bytes ping =
        Ping{probe_->sequence, target->name, config_.name, config_.advertise}.Encode();
    OpenStream(StreamKind::kProbe, probe_->sequence, target->address, ping, true,
               std::max<Millis>(probe_->ends - now_, 1));
  }
}

void Swim::ProbeSucceeded() {
  probe_.reset();
  AdjustAwareness(-1);
}

void Swim::ProbeFailed() {
  const Probe probe = *probe_;
  probe_.reset();
  counters_->Add(Counter::probesFailed);
  // Helpers that answered "I cannot reach it either" prove that our own link is fine.
  AdjustAwareness(probe.nacks_expected > 0 ? std::max(0, probe.nacks_expected - probe.nacks) : 1);
  const Member* target = FindMember(probe.target);
  if (target == nullptr) return;
  OnSuspect({target->incarnation, target->name, config_.name}, false);
}

void Swim::ProbeTimers() {
  if (probe_ && !probe_->indirect && now_ >= probe_->ack_by) ProbeIndirectly();
  if (probe_ && now_ >= probe_->ends) ProbeFailed();
}

void Swim::OnPing(const Endpoint& from, ByteView body) {
  const auto ping = Ping::Decode(body);
  if (!ping) return counters_->Add(Counter::droppedUndecodable);
  if (!ping->node.empty() && ping->node != config_.name) {
    return counters_->Add(Counter::droppedWrongNode);
  }
  // Answered to where it came from: an address named inside could be anybody's.
  SendWithGossip(from, Ack{ping->sequence, delegate_->AckPayload()}.Encode());
}

void Swim::OnIndirectPing(const Endpoint& from, ByteView body) {
  const auto asked = IndirectPing::Decode(body);
  if (!asked) return counters_->Add(Counter::droppedUndecodable);
  if (relays_.size() >= limits::kRelayedPingsMax) return counters_->Add(Counter::droppedRelays);
  const uint32_t sequence = ++sequence_;
  relays_[sequence] = {from, asked->sequence, asked->nack,
                       now_ + config_.probe_timeout * kRelayPercent / 100};
  SendWithGossip(asked->target,
                 Ping{sequence, asked->node, config_.name, config_.advertise}.Encode());
}

void Swim::OnAck(ByteView body) {
  const auto ack = Ack::Decode(body);
  if (!ack) return counters_->Add(Counter::droppedUndecodable);
  if (probe_ && probe_->sequence == ack->sequence) return ProbeSucceeded();
  const auto relay = relays_.find(ack->sequence);
  if (relay == relays_.end()) return counters_->Add(Counter::droppedUnknownAck);
  const Relay done = relay->second;
  relays_.erase(relay);
  SendWithGossip(done.asker, Ack{done.asker_sequence, {}}.Encode());
}

void Swim::OnNack(ByteView body) {
  const auto nack = Nack::Decode(body);
  if (!nack) return counters_->Add(Counter::droppedUndecodable);
  if (!probe_ || probe_->sequence != nack->sequence) {
    return counters_->Add(Counter::droppedUnknownAck);
  }
  probe_->nacks++;
}

void Swim::RelayTimers() {
  for (auto at = relays_.begin(); at != relays_.end();) {
    if (now_ < at->second.deadline) {
      ++at;
      continue;
    }
    const Relay relay = at->second;
    at = relays_.erase(at);
    if (relay.nack) SendWithGossip(relay.asker, Nack{relay.asker_sequence}.Encode());
  }
}

}  // namespace skep::gossip
