// serf's minimum; see serf_delegate.h.
#include "gossip/serf_delegate.h"

#include <algorithm>

#include "gossip/limits.h"

namespace skep::gossip {
namespace {

// serf's message types.
constexpr uint8_t kLeaveIntent = 0;
constexpr uint8_t kPushPullState = 2;

}  // namespace

void SerfDelegate::Witness(ByteView body) {
  MsgpackReader reader(body);
  uint64_t seen = 0;
  reader.Struct([&](std::string_view key) { return key == "LTime" && reader.Uint(&seen); });
  if (seen > limits::kLamportMax) return counters_->Add(Counter::droppedLamport);
  ltime_ = std::max(ltime_, seen + 1);
}

void SerfDelegate::OnUserMessage(ByteView message) {
  // Intents of others (leave 0, join 1) move the clock; everything else is no business of ours.
  if (message.size() > 1 && message[0] <= 1) Witness(message.subspan(1));
}

Bytes SerfDelegate::LocalState(bool) {
  Bytes out = {kPushPullState};
  MsgpackWriter writer(&out);
  writer.Map(7);
  writer.Text("EventLTime");
  writer.Uint(1);
  writer.Text("Events");
  writer.Array(0);
  writer.Text("LTime");
  writer.Uint(ltime_);
  writer.Text("LeftMembers");
  writer.Array(0);
  writer.Text("QueryLTime");
  writer.Uint(1);
  writer.Text("StatusLTimes");
  writer.Map(1);
  writer.Text(swim_->name());
  writer.Uint(ltime_);
  writer.Text("Version");
  writer.Nil();
  return out;
}

void SerfDelegate::MergeState(ByteView state, bool) {
  if (state.empty() || state[0] != kPushPullState) {
    return counters_->Add(Counter::droppedUndecodable);
  }
  Witness(state.subspan(1));
}

void SerfDelegate::OnMember(const Member& member, MemberChange change) {
  if (change == MemberChange::kForgotten) return sink_->OnMemberForgotten(member.name);
  Event event;
  event.node = member.name;
  event.address = member.address;
  switch (change) {
    case MemberChange::kSuspected: event.state = "suspect"; break;
    case MemberChange::kFailed: event.state = "failed"; break;
    case MemberChange::kLeft: event.state = "left"; break;
    default: event.state = "alive"; break;
  }
  sink_->OnEvent(std::move(event), false);
}

void SerfDelegate::OnLeaving() {
  Bytes intent = {kLeaveIntent};
  MsgpackWriter writer(&intent);
  writer.Map(3);
  writer.Text("LTime");
  writer.Uint(++ltime_);
  writer.Text("Node");
  writer.Text(swim_->name());
  writer.Text("Prune");
  writer.Bool(false);
  // Straight to everyone, so that it is there before the farewell of the membership layer: serf
  // calls a member without an intent failed, not left.
  for (const auto& [name, member] : swim_->members()) {
    if (name != swim_->name() && member.reachable()) swim_->SendUserPacket(member, intent);
  }
}

}  // namespace skep::gossip
