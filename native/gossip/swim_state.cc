// The life of a member: alive, suspect, dead or left, decided by incarnation numbers that only the
// member itself raises.
#include <algorithm>
#include <array>

#include "gossip/limits.h"
#include "gossip/swim.h"

namespace skep::gossip {
namespace {

/// Each one's current protocol and delegate version lies in the other's range. Checked on every
/// alive message: one misfit taken in would make every later push/pull fail.
bool VersionsFit(const Versions& ours, const Versions& theirs) {
  for (const size_t at : {0, 3}) {
    const auto covers = [at](const Versions& range, const Versions& current) {
      return range[at] <= current[at + 2] && current[at + 2] <= range[at + 1];
    };
    if (!covers(ours, theirs) || !covers(theirs, ours)) return false;
  }
  return true;
}

}  // namespace

Alive Swim::OwnAlive() const {
  return {incarnation_, config_.name, config_.advertise, delegate_->Meta(), config_.versions};
}

void Swim::Broadcast(const std::string& about, Bytes message) {
  const size_t dropped = broadcasts_.Push(about, std::move(message));
  if (dropped > 0) counters_->Add(Counter::droppedBroadcasts, dropped);
}

PushPull Swim::LocalState(bool join) {
  PushPull state;
  state.join = join;
  state.nodes.reserve(roster_.size());
  for (const Member* member : roster_) {
    state.nodes.push_back({member->name, member->address, member->meta, member->incarnation,
                           member->state, member->versions});
  }
  state.user_state = delegate_->LocalState(join);
  return state;
}

Member* Swim::AddMember(const Alive& alive) {
  if (members_.size() >= limits::kMembersMax) {
    counters_->Add(Counter::droppedMembersFull);
    return nullptr;
  }
  Member member;
  member.name = alive.node;
  member.address = alive.address;
  member.meta = alive.meta;
  member.versions = alive.versions;
  member.changed = now_;
  Member& added = Enrol(std::move(member));
  ForgetLater(added);
  // Somewhere among those still to be probed in this round.
  const size_t left = probe_order_.size() - probe_index_;
  const size_t at = probe_index_ + host_->Random(left + 1);
  probe_order_.insert(probe_order_.begin() + static_cast<ptrdiff_t>(at), &added);
  return &added;
}

void Swim::OnAlive(const Alive& alive) {
  const bool self = alive.node == config_.name;
  if (self && leaving_) return;
  if (!VersionsFit(config_.versions, alive.versions)) {
    return counters_->Add(Counter::droppedProtocolVersion);
  }
  const auto found = members_.find(alive.node);
  Member* member = found == members_.end() ? AddMember(alive) : &found->second;
  if (member == nullptr) return;
  const bool known = found != members_.end();
  bool moved = false;
  if (known && member->address != alive.address) {
    // The name comes back at another address: believed only when the old owner is gone.
    if (self || member->reachable()) return counters_->Add(Counter::droppedNameConflict);
    moved = true;
  }
  if (self) {
    if (alive.incarnation < incarnation_) return;
    const bool ours = alive.incarnation == incarnation_ && alive.meta == member->meta &&
                      alive.versions == member->versions;
    // A rumour of our own former life: outbid it.
    if (!ours) Refute(alive.incarnation, false);
    return;
  }
  if (known && alive.incarnation <= member->incarnation && !moved) return;
  const MemberState before = member->state;
  const bool changed = member->meta != alive.meta || member->address != alive.address;
  member->suspicion.reset();
  suspects_.erase(member->name);
  Broadcast(member->name, alive.Encode());
  member->incarnation = alive.incarnation;
  member->meta = alive.meta;
  member->versions = alive.versions;
  member->address = alive.address;
  if (before != MemberState::kAlive) {
    member->state = MemberState::kAlive;
    member->changed = now_;
  }
  failed_.erase(member->name);
  if (before == MemberState::kDead || before == MemberState::kLeft) {
    delegate_->OnMember(*member, MemberChange::kJoined);
  } else if (before == MemberState::kSuspect) {
    delegate_->OnMember(*member, MemberChange::kCleared);
  } else if (changed) {
    delegate_->OnMember(*member, MemberChange::kUpdated);
  }
}

void Swim::OnSuspect(const Accusation& accusation, bool buried) {
  const auto found = members_.find(accusation.node);
  if (found == members_.end()) return;
  Member& member = found->second;
  if (accusation.incarnation < member.incarnation) return;
  if (member.suspicion) {
    if (member.suspicion->Confirm(accusation.from)) {
      Broadcast(member.name, accusation.Encode(MessageType::kSuspect));
    }
    return;
  }
  if (member.state != MemberState::kAlive) return;
  if (member.name == config_.name) return Refute(accusation.incarnation, buried);
  Broadcast(member.name, accusation.Encode(MessageType::kSuspect));
  counters_->Add(Counter::suspicions);
  member.incarnation = accusation.incarnation;
  member.state = MemberState::kSuspect;
  member.changed = now_;
  const auto count = static_cast<int>(members_.size());
  int confirmations = config_.suspicion_mult - 2;
  if (count - 2 < confirmations) confirmations = 0;
  const Millis shortest =
      SuspicionTimeout(config_.suspicion_mult, members_.size(), config_.probe_interval);
  member.suspicion = std::make_unique<Suspicion>(accusation.from, confirmations, shortest,
                                                 config_.suspicion_max_mult * shortest, now_);
  suspects_.insert(member.name);
  delegate_->OnMember(member, MemberChange::kSuspected);
}

void Swim::SuspicionTimers() {
  std::vector<std::string> due;
  for (const std::string& name : suspects_) {
    const Member* member = FindMember(name);
    if (member == nullptr || !member->suspicion || now_ >= member->suspicion->deadline()) {
      due.push_back(name);
    }
  }
  for (const std::string& name : due) {
    suspects_.erase(name);
    const Member* member = FindMember(name);
    if (member != nullptr && member->suspicion) OnDead({member->incarnation, name, config_.name});
  }
}

void Swim::OnDead(const Accusation& accusation) {
  const auto found = members_.find(accusation.node);
  if (found == members_.end()) return;
  Member& member = found->second;
  if (accusation.incarnation < member.incarnation) return;
  if (!member.reachable()) return;
  const bool self = member.name == config_.name;
  if (self && !leaving_) return Refute(accusation.incarnation, true);
  member.suspicion.reset();
  suspects_.erase(member.name);
  Broadcast(member.name, accusation.Encode(MessageType::kDead));
  member.incarnation = accusation.incarnation;
  const bool left = accusation.node == accusation.from;
  member.state = left ? MemberState::kLeft : MemberState::kDead;
  member.changed = now_;
  if (self) return;
  ForgetLater(member);
  counters_->Add(left ? Counter::membersLeft : Counter::membersFailed);
  if (left) {
    failed_.erase(member.name);
  } else if (failed_.size() < limits::kMembersMax) {
    failed_[member.name] = {member.address, now_};
  }
  delegate_->OnMember(member, left ? MemberChange::kLeft : MemberChange::kFailed);
}

void Swim::Refute(uint32_t accused, bool dead) {
  // Beyond this a number cannot be outbid much longer; no honest member counts that far.
  if (accused > limits::kIncarnationMax) return counters_->Add(Counter::droppedUndecodable);
  counters_->Add(Counter::refutations);
  incarnation_ = std::max(incarnation_, accused) + 1;
  Member& self = members_[config_.name];
  self.incarnation = incarnation_;
  self.meta = delegate_->Meta();
  AdjustAwareness(+1);
  Broadcast(config_.name, OwnAlive().Encode());
  delegate_->OnRefuted(dead);
}

bool Swim::VersionsAgree(const std::vector<PushNode>& remote) const {
  // Protocol and delegate ranges, each as [min, max, current] at offset 0 and 3. Everyone's current version
  // has to be within everyone's range.
  struct Range {
    uint8_t low = 0, high = 255, least = 255, most = 0;
  };
  std::array<Range, 2> ranges;
  const auto add = [&ranges](const Versions& versions) {
    for (size_t i = 0; i < ranges.size(); i++) {
      Range& range = ranges[i];
      range.low = std::max(range.low, versions[3 * i]);
      range.high = std::min(range.high, versions[3 * i + 1]);
      range.least = std::min(range.least, versions[3 * i + 2]);
      range.most = std::max(range.most, versions[3 * i + 2]);
    }
  };
  for (const Member* member : roster_) {
    if (member->state == MemberState::kAlive) add(member->versions);
  }
  for (const PushNode& node : remote) {
    if (node.state == MemberState::kAlive) add(node.versions);
  }
  return std::ranges::all_of(ranges, [](const Range& range) {
    return range.least >= range.low && range.most <= range.high;
  });
}

bool Swim::MergeRemote(const PushPull& remote) {
  if (!VersionsAgree(remote.nodes)) {
    counters_->Add(Counter::droppedProtocolVersion);
    return false;
  }
  for (const PushNode& node : remote.nodes) {
    switch (node.state) {
      case MemberState::kAlive:
        OnAlive({node.incarnation, node.name, node.address, node.meta, node.versions});
        break;
      case MemberState::kLeft:
        OnDead({node.incarnation, node.name, node.name});
        break;
      case MemberState::kDead:
        // What the other believes dead may only be unreachable for it.
        OnSuspect({node.incarnation, node.name, config_.name}, true);
        break;
      case MemberState::kSuspect:
        OnSuspect({node.incarnation, node.name, config_.name}, false);
        break;
    }
  }
  return true;
}

}  // namespace skep::gossip
