// The thread that runs the gossip core: its own epoll loop over the UDP and TCP sockets, a mailbox
// of commands, and an outbox of events. Nothing here waits for JavaScript.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <random>
#include <thread>

#include "gossip/networkdb.h"
#include "gossip/outbox.h"
#include "gossip/serf_delegate.h"
#include "gossip/sockets.h"

namespace skep::gossip {

struct RuntimeOptions {
  SwimConfig swim;
  NetworkDbConfig networkdb;
  Endpoint bind;
  std::vector<Bytes> keys;
  bool serf = false;
};

class Runtime final : public Host {
 public:
  /// Binds the sockets; throws SystemFailure. `wake`: called on the gossip thread when the outbox
  /// has something for JavaScript.
  Runtime(RuntimeOptions options, std::function<void()> wake);
  ~Runtime() override;

  void Start();
  /// Ends the thread at once; the sockets close with it. Idempotent.
  void Stop();

  /// Commands; false when the mailbox is full.
  bool Join(uint64_t id, std::vector<Endpoint> addresses);
  bool Leave(uint64_t id, Millis timeout);
  bool JoinNetwork(std::string network, uint32_t generation);
  bool LeaveNetwork(std::string network);
  bool PutEntry(std::string network, std::string table, std::string key, Bytes value);
  bool DeleteEntry(std::string network, std::string table, std::string key);
  bool Spread(uint64_t id, std::vector<std::string> networks);
  bool Acknowledge(std::string network, std::string owner, uint64_t version);
  bool Reconnect(std::string name);
  bool SetKeys(std::vector<Bytes> keys);

  Outbox& outbox() { return outbox_; }
  Counters& counters() { return counters_; }
  const RuntimeOptions& options() const { return options_; }

 private:
  struct Connection {
    Fd fd;
    StreamId id = 0;         // Of the core, when we opened it; 0 when a peer did.
    Endpoint peer;
    Millis deadline = 0;
    bool connecting = false;
    bool wants_reply = false;
    Bytes output;
    size_t written = 0;
    std::unique_ptr<StreamAssembler> input;
  };
  struct Waiting {
    StreamId id = 0;
    Endpoint to;
    Bytes request;
    bool reply = false;
    Millis deadline = 0;
  };

  // Host.
  void SendPacket(const Endpoint& to, Bytes datagram) override;
  void OpenStream(StreamId id, const Endpoint& to, Bytes request, bool reply,
                  Millis timeout) override;
  void JoinDone(uint64_t join_id, size_t reached) override;
  uint64_t Random(uint64_t below) override;

  bool Post(std::function<void()> command);
  void Run();
  void RunMailbox();
  void CheckLeave(Millis now);
  void ReceiveDatagrams();
  // runtime_streams.cc
  void Accept();
  void OnConnectionEvent(uint64_t key, uint32_t events);
  void Write(uint64_t key, Connection* connection);
  void Read(uint64_t key, Connection* connection);
  void OnWhole(uint64_t key, Connection* connection);
  void Close(uint64_t key);
  void Fail(uint64_t key);
  void Watch(uint64_t key, const Connection& connection, bool add);
  void StartWaiting();
  void StartConnection(Waiting waiting);
  void ExpireStreams(Millis now);
  Millis NextStreamDeadline() const;

  RuntimeOptions options_;
  std::function<void()> wake_;
  Counters counters_;
  Outbox outbox_;
  Envelope envelope_;
  std::unique_ptr<NetworkDb> networkdb_;
  std::unique_ptr<SerfDelegate> serf_;
  std::unique_ptr<Swim> swim_;
  std::mt19937_64 random_;

  Fd udp_;
  Fd tcp_;
  Fd epoll_;
  Fd wakeup_;
  /// Given up for a moment when descriptors run out, so that a connection can be taken and refused.
  Fd spare_;
  std::thread thread_;
  std::atomic<bool> stopping_{false};

  std::mutex mailbox_mutex_;
  std::deque<std::function<void()>> mailbox_;

  uint64_t next_key_;
  std::map<uint64_t, Connection> connections_;
  std::map<Endpoint, size_t> incoming_by_address_;
  size_t incoming_ = 0;
  size_t outgoing_ = 0;
  size_t input_bytes_ = 0;
  std::deque<Waiting> waiting_;
  /// Outcomes that came while the core was in a call of its own; told right after it.
  std::vector<StreamId> failed_at_once_;

  uint64_t leave_id_ = 0;
  Millis leave_deadline_ = 0;
};

/// CLOCK_MONOTONIC.
Millis MonotonicMillis();

}  // namespace skep::gossip
