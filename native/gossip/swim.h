// The SWIM core: who is a member, who is suspect, who is dead, and the rumours about it. Pure: time
// comes in with each call, randomness and outgoing bytes go through `Host`. Compatible with
// memberlist's LAN protocol (protocol versions 1 to 5, current 2).
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <map>
#include <set>

#include "gossip/broadcast_queue.h"
#include "gossip/envelope.h"
#include "gossip/suspicion.h"
#include "gossip/swim_config.h"

namespace skep::gossip {

using StreamId = uint64_t;

/// What the core asks of the world.
class Host {
 public:
  virtual ~Host() = default;
  virtual void SendPacket(const Endpoint& to, Bytes datagram) = 0;
  /// Connects, writes `request`, and if `reply` is wanted reads one message. The outcome comes back
  /// as Swim::OnStreamReply (reply or, without one, an empty message) or Swim::OnStreamFailed.
  virtual void OpenStream(StreamId id, const Endpoint& to, Bytes request, bool reply,
                          Millis timeout) = 0;
  virtual void JoinDone(uint64_t join_id, size_t reached) = 0;
  /// Uniform in [0, below); `below` is at least 1.
  virtual uint64_t Random(uint64_t below) = 0;
};

struct Member {
  std::string name;
  Endpoint address;
  Bytes meta;
  Versions versions{};
  uint32_t incarnation = 0;
  MemberState state = MemberState::kDead;
  Millis changed = 0;
  /// Few have one at a time, so its room is not part of every member.
  std::unique_ptr<Suspicion> suspicion;

  bool reachable() const { return state == MemberState::kAlive || state == MemberState::kSuspect; }
};

enum class MemberChange { kJoined, kUpdated, kSuspected, kCleared, kFailed, kLeft, kForgotten };

/// What rides on the membership: NetworkDB, or serf's minimum.
class Delegate {
 public:
  virtual ~Delegate() = default;
  virtual Bytes Meta() const = 0;
  virtual Bytes AckPayload() const = 0;
  virtual void OnUserMessage(ByteView message) = 0;
  /// Appends user messages of at most `bytes_max` bytes together, `overhead` each.
  virtual void TakeBroadcasts(size_t overhead, size_t bytes_max, std::vector<Bytes>* out) = 0;
  virtual bool HasBroadcasts() const = 0;
  virtual Bytes LocalState(bool join) = 0;
  virtual void MergeState(ByteView state, bool join) = 0;
  /// Never called about ourselves.
  virtual void OnMember(const Member& member, MemberChange change) = 0;
  /// We had to contradict a rumour about us; `dead`: somebody had buried us already.
  virtual void OnRefuted(bool dead) = 0;
  /// A join, reconnect or rejoin of ours reached the member at this address.
  virtual void OnJoined(const Endpoint& address) = 0;
  virtual void OnLeaving() = 0;
  /// Outcome of SendUserStream.
  virtual void OnUserStreamDone(StreamId id, bool ok) = 0;
  virtual void Tick() = 0;
  virtual Millis NextDeadline() const = 0;
};

class Swim {
  /// Lets a simulation of very many members begin with all of them known to each other.
  friend struct FullView;

 public:
  /// Everything passed must outlive the core.
  Swim(SwimConfig config, Envelope* envelope, Host* host, Delegate* delegate, Counters* counters);

  void Start(Millis now);
  /// Does everything that is due. Call at NextDeadline() or any other time.
  void Tick(Millis now);
  Millis NextDeadline() const;

  void OnPacket(Millis now, const Endpoint& from, ByteView datagram);
  /// A whole message of a stream that a peer opened. Returns the sealed answer, empty for none.
  Bytes OnStream(Millis now, ByteView message);
  void OnStreamReply(Millis now, StreamId id, ByteView message);
  void OnStreamFailed(Millis now, StreamId id);

  /// Push/pull with each address; Host::JoinDone tells how many answered. Seeds are remembered.
  void Join(Millis now, uint64_t join_id, const std::vector<Endpoint>& addresses);
  /// Tries a member that failed at once: something says that it is back.
  void Reconnect(Millis now, const std::string& name);
  void Leave(Millis now);
  /// The farewell has been told often enough, or there is nobody to tell.
  bool LeaveDone() const;

  // For delegates, valid inside calls into the core.
  Millis now() const { return now_; }
  /// Sets the time for commands that go to the delegate directly.
  void SetNow(Millis now) { now_ = now; }
  const SwimConfig& config() const { return config_; }
  const std::string& name() const { return config_.name; }
  const std::map<std::string, Member>& members() const { return members_; }
  const Member* FindMember(const std::string& name) const;
  Host* host() { return host_; }
  int awareness() const { return awareness_; }
  size_t queued() const { return broadcasts_.size(); }
  /// How often a rumour is told at the present size of the ring.
  int TransmitsMax() const;
  /// Room for user messages in one datagram.
  size_t UserPacketBytes() const;
  void SendUserPacket(const Member& to, const Bytes& message);
  StreamId SendUserStream(const Member& to, const Bytes& message);
  /// A push/pull outside the regular ones (a member returned and we know nothing of its state).
  void PushPullWith(const Member& member);

 private:
  enum class StreamKind { kJoin, kPushPull, kReconnect, kReturn, kProbe, kUser };
  struct OpenedStream {
    StreamKind kind;
    uint64_t tag = 0;  // Join id, or probe sequence.
    Endpoint to;
  };
  struct Probe {
    std::string target;
    uint32_t sequence = 0;
    Millis ack_by = 0;
    Millis ends = 0;
    bool indirect = false;
    int nacks_expected = 0;
    int nacks = 0;
  };
  struct Relay {
    Endpoint asker;
    uint32_t asker_sequence = 0;
    bool nack = false;
    Millis deadline = 0;
  };
  struct PendingJoin {
    size_t waiting = 0;
    size_t reached = 0;
  };

  // swim.cc: timers and transport.
  void NoticeStall(Millis now);
  void OnMessage(const Endpoint& from, ByteView message);
  void Gossip();
  void Reconnect();
  void Rejoin();
  void Forget();
  void TakeBroadcasts(size_t overhead, size_t bytes_max, std::vector<Bytes>* out);
  void SendWithGossip(const Endpoint& to, Bytes message);
  void SendParts(const Endpoint& to, const std::vector<Bytes>& parts, bool crc);
  StreamId OpenStream(StreamKind kind, uint64_t tag, const Endpoint& to, const Bytes& message,
                      bool reply, Millis timeout);
  void StartPushPull(StreamKind kind, uint64_t tag, const Endpoint& to, bool join, Millis timeout);
  void FinishJoin(uint64_t join_id, bool reached);
  bool OnPushPullReply(const OpenedStream& stream, ByteView message);
  Member& Enrol(Member member);
  std::vector<const Member*> RandomMembers(size_t count,
                                           const std::function<bool(const Member&)>& wanted);
  Millis PushPullInterval() const;
  bool Alone() const;

  // swim_probe.cc: the failure detector.
  const Member* NextProbeTarget();
  void StartProbe();
  void ProbeIndirectly();
  void ProbeSucceeded();
  void ProbeFailed();
  void ProbeTimers();
  void AdjustAwareness(int by);
  void OnPing(const Endpoint& from, ByteView body);
  void OnIndirectPing(const Endpoint& from, ByteView body);
  void OnAck(ByteView body);
  void OnNack(ByteView body);
  void RelayTimers();

  // swim_state.cc: the state machine of a member.
  void OnAlive(const Alive& alive);
  void OnSuspect(const Accusation& accusation, bool buried);
  void OnDead(const Accusation& accusation);
  bool MergeRemote(const PushPull& remote);
  bool VersionsAgree(const std::vector<PushNode>& remote) const;
  Member* AddMember(const Alive& alive);
  void Refute(uint32_t accused, bool dead);
  void SuspicionTimers();
  void Broadcast(const std::string& about, Bytes message);
  PushPull LocalState(bool join);
  Alive OwnAlive() const;
  /// `member` is dead or gone since `changed`.
  void ForgetLater(const Member& member);

  SwimConfig config_;
  Envelope* envelope_;
  Host* host_;
  Delegate* delegate_;
  Counters* counters_;

  Millis now_ = 0;
  Millis stall_reference_ = 0;
  uint32_t incarnation_ = 1;
  uint32_t sequence_ = 0;
  StreamId next_stream_ = 1;
  int awareness_ = 0;
  bool leaving_ = false;

  std::map<std::string, Member> members_;
  std::set<std::string> suspects_;
  /// All of them, in no order, to pick at random from.
  std::vector<const Member*> roster_;
  /// Those still to be probed in this round; null for one that was forgotten meanwhile.
  std::vector<const Member*> probe_order_;
  size_t probe_index_ = 0;
  std::optional<Probe> probe_;
  std::map<uint32_t, Relay> relays_;
  BroadcastQueue broadcasts_;
  std::map<StreamId, OpenedStream> streams_;
  std::map<uint64_t, PendingJoin> joins_;
  std::set<Endpoint> seeds_;
  struct Failed {
    Endpoint address;
    Millis since = 0;
  };
  std::map<std::string, Failed> failed_;
  bool reconnecting_ = false;

  Millis next_probe_ = 0;
  Millis next_gossip_ = 0;
  Millis next_push_pull_ = 0;
  Millis next_reconnect_ = 0;
  Millis next_rejoin_ = 0;
  Millis next_forget_ = 0;
  /// No member is to be forgotten before: a ring of many is not looked through every second.
  Millis forget_due_ = kNever;
};

}  // namespace skep::gossip
