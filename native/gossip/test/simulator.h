// A ring of gossip cores in one process and one virtual time, replayable from a seed: packets are
// delayed, lost and doubled, links cut, nodes killed, restarted under their name, and stopped
// for a while. What JavaScript would hold is replayed from the event stream beside each core.
#pragma once

#include <memory>
#include <queue>
#include <random>
#include <set>

#include "gossip/networkdb.h"
#include "gossip/outbox.h"

namespace skep::gossip::test {

struct SimulatorOptions {
  uint64_t seed = 1;
  double loss = 0;
  double duplicate = 0;
  Millis delay_min = 1;
  Millis delay_max = 5;
  bool fast = true;
  bool encrypted = false;
};

class Simulator {
 public:
  Simulator(int nodes, SimulatorOptions options);
  ~Simulator();

  /// Starts a fresh core under the node's name: also the restart after Kill.
  void Start(int node);
  /// All start, and join through node 0.
  void StartAll();
  void Kill(int node);
  /// The node neither runs nor answers until Resume; what arrives waits.
  void Stop(int node);
  void Resume(int node);
  /// Cuts both directions between the two sets.
  void Cut(const std::set<int>& left, const std::set<int>& right);
  void CutUdp(int from, int to);
  void Heal();
  void SetLoss(double loss) { options_.loss = loss; }

  void Join(int node, int via);
  void Leave(int node);
  void JoinNetwork(int node, const std::string& network);
  void LeaveNetwork(int node, const std::string& network);
  void Put(int node, const std::string& network, const std::string& table, const std::string& key,
           const std::string& value);
  void Delete(int node, const std::string& network, const std::string& table,
              const std::string& key);
  /// Asks the node's networks to confirm; SpreadMissing tells the outcome, -1 while there is none.
  void Spread(int node, uint64_t id, const std::vector<std::string>& networks);
  int SpreadMissing(int node, uint64_t id);
  /// While true, JavaScript on that node takes no events.
  void BlockEventLoop(int node, bool blocked);
  void SetKeys(int node, std::vector<Bytes> keys);
  /// A message as if it had come from an insider, as a packet or as a stream.
  void Inject(int node, const Endpoint& from, const Bytes& message, bool stream);

  void Run(Millis duration);
  /// Runs until the condition holds; -1 if it did not within `limit`, else how long it took.
  Millis RunUntil(const std::function<bool()>& condition, Millis limit);

  Millis now() const { return now_; }
  bool running(int node) const;
  Swim& swim(int node);
  NetworkDb& networkdb(int node);
  uint64_t Count(int node, Counter which);
  /// State of `of` as node `at` told JavaScript; "" if never told.
  std::string MemberState(int at, int of);
  /// What JavaScript on that node holds.
  bool Sees(int node, const std::string& network, const std::string& table, const std::string& key,
            const std::string& value);
  size_t Seen(int node, const std::string& network);
  /// Reasons of removals told to JavaScript on that node, newest last.
  const std::vector<RemovalReason>& Removals(int node);
  /// Every running node holds exactly what the running owners put; "" or what differs.
  std::string Difference();

  static std::string Name(int node) { return "node" + std::to_string(node); }
  static Endpoint Address(int node);
  std::mt19937_64& random() { return random_; }

 private:
  struct Node;
  struct Happening {
    Millis at = 0;
    uint64_t order = 0;
    std::function<void()> what;
    bool operator<(const Happening& other) const {
      return at != other.at ? at > other.at : order > other.order;
    }
  };
  friend struct Node;

  void After(Millis delay, std::function<void()> what);
  Millis Delay();
  bool Chance(double probability);
  bool Linked(int from, int to) const;
  int Find(const Endpoint& address) const;
  void Deliver(int from, const Endpoint& to, const Bytes& datagram);
  void Stream(int from, uint64_t life, StreamId id, const Endpoint& to, const Bytes& request,
              bool reply, Millis timeout);
  Node& Get(int node);

  SimulatorOptions options_;
  std::mt19937_64 random_;
  Millis now_ = 1000;
  uint64_t next_order_ = 0;
  std::priority_queue<Happening> happenings_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::set<std::pair<int, int>> cut_;
  std::set<std::pair<int, int>> cut_udp_;
};

}  // namespace skep::gossip::test
