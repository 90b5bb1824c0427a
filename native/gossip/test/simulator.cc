// See simulator.h.
#include "simulator.h"

#include <algorithm>
#include <utility>

namespace skep::gossip::test {

struct Simulator::Node final : Host {
  Node(Simulator* simulator_in, int index_in) : simulator(simulator_in), index(index_in) {}

  /// One life: everything that a process has in memory.
  struct Life {
    Life(Simulator* simulator, Node* node, uint64_t number_in)
        : number(number_in),
          outbox(&counters),
          envelope("", [simulator](uint8_t* bytes, size_t count) {
            std::generate_n(bytes, count, [&] { return simulator->random_() & 0xff; });
          }, &counters),
          networkdb(simulator->options_.fast ? NetworkDbConfig::Fast() : NetworkDbConfig::Lan(),
                    &outbox, &counters),
          swim(ConfigOf(simulator, node->index), &envelope, node, &networkdb, &counters) {
      if (simulator->options_.encrypted) envelope.SetKeys({Bytes(16, 1), Bytes(16, 2)});
      networkdb.Attach(&swim);
    }
    static SwimConfig ConfigOf(Simulator* simulator, int index) {
      SwimConfig config = simulator->options_.fast ? SwimConfig::Fast() : SwimConfig::Lan();
      config.name = Name(index);
      config.advertise = Address(index);
      config.versions = {1, 5, 2, 0, 0, 0};
      return config;
    }
    uint64_t number;
    Counters counters;
    Outbox outbox;
    Envelope envelope;
    NetworkDb networkdb;
    Swim swim;
  };

  void SendPacket(const Endpoint& to, Bytes datagram) override {
    simulator->Deliver(index, to, datagram);
  }
  void OpenStream(StreamId id, const Endpoint& to, Bytes request, bool reply,
                  Millis timeout) override {
    simulator->Stream(index, life->number, id, to, request, reply, timeout);
  }
  void JoinDone(uint64_t, size_t) override {}
  uint64_t Random(uint64_t below) override { return simulator->random_() % below; }

  /// JavaScript takes a batch now and then; its picture is built from nothing else.
  void TakeEvents() {
    std::vector<Event> events;
    std::vector<Completion> completions;
    bool more = false;
    if (blocked) return;
    life->outbox.Take(1 << 20, &events, &completions, &more);
    for (const Event& event : events) Replay(event);
    for (const Completion& one : completions) {
      completed[one.id] = static_cast<int>(one.result);
    }
    // What was told is in force now.
    for (const Event& event : events) {
      if (event.type != Event::Type::kInSync) continue;
      life->swim.SetNow(simulator->now_);
      life->networkdb.Acknowledge(event.network, event.node, event.version);
    }
  }
  void Replay(const Event& event) {
    if (event.type == Event::Type::kMember) members[event.node] = event.state;
    if (event.type != Event::Type::kEntry && event.type != Event::Type::kEntryRemoved) return;
    if (event.generation != generations[event.network]) return;
    auto& seen = entries[event.network];
    const auto key = std::pair(event.table, event.key);
    if (event.type == Event::Type::kEntry) {
      seen[key] = {event.node, std::string(event.value.begin(), event.value.end())};
      return;
    }
    removals.push_back(event.reason);
    const auto found = seen.find(key);
    if (found != seen.end() && found->second.first == event.node) seen.erase(found);
  }

  using Key = std::pair<std::string, std::string>;
  Simulator* simulator;
  int index;
  std::unique_ptr<Life> life;
  uint64_t lives = 0;
  bool stopped = false;
  std::vector<std::function<void()>> arrived;  // While stopped.
  std::map<std::string, std::string> members;
  std::map<std::string, uint32_t> generations;
  uint32_t next_generation = 1;
  std::map<std::string, std::map<Key, std::pair<std::string, std::string>>> entries;
  std::vector<RemovalReason> removals;
  std::map<uint64_t, int> completed;
  bool blocked = false;
  /// What this node put: the model that everyone must agree with.
  std::map<std::string, std::map<Key, std::string>> own;
};

Simulator::Simulator(int nodes, SimulatorOptions options)
    : options_(options), random_(options.seed) {
  for (int i = 0; i < nodes; i++) nodes_.push_back(std::make_unique<Node>(this, i));
}

Simulator::~Simulator() = default;

Endpoint Simulator::Address(int node) {
  const std::string subnet = "10.9." + std::to_string(node / 250) + ".";
  return *EndpointFromText(subnet + std::to_string(node % 250 + 1), 7946);
}

Simulator::Node& Simulator::Get(int node) { return *nodes_[static_cast<size_t>(node)]; }
bool Simulator::running(int node) const {
  return nodes_[static_cast<size_t>(node)]->life != nullptr;
}
Swim& Simulator::swim(int node) { return Get(node).life->swim; }
NetworkDb& Simulator::networkdb(int node) { return Get(node).life->networkdb; }
uint64_t Simulator::Count(int node, Counter which) { return Get(node).life->counters.Get(which); }

void Simulator::After(Millis delay, std::function<void()> what) {
  happenings_.push({now_ + delay, next_order_++, std::move(what)});
}

Millis Simulator::Delay() {
  const auto span = static_cast<uint64_t>(options_.delay_max - options_.delay_min + 1);
  return options_.delay_min + static_cast<Millis>(random_() % span);
}

bool Simulator::Chance(double probability) {
  return static_cast<double>(random_() % 1'000'000) < probability * 1e6;
}

bool Simulator::Linked(int from, int to) const { return !cut_.contains({from, to}); }

int Simulator::Find(const Endpoint& address) const {
  for (int i = 0; i < static_cast<int>(nodes_.size()); i++) {
    if (Address(i) == address) return i;
  }
  return -1;
}

void Simulator::Deliver(int from, const Endpoint& to, const Bytes& datagram) {
  const int target = Find(to);
  if (target < 0 || cut_udp_.contains({from, target})) return;
  const int copies = Chance(options_.duplicate) ? 2 : 1;
  for (int i = 0; i < copies; i++) {
    if (!Linked(from, target) || Chance(options_.loss)) continue;
    After(Delay(), [this, from, target, datagram] {
      Node& node = Get(target);
      const auto arrive = [this, &node, from, datagram] {
        if (node.life) node.life->swim.OnPacket(now_, Address(from), datagram);
      };
      node.stopped ? node.arrived.push_back(arrive) : arrive();
    });
  }
}

void Simulator::Stream(int from, uint64_t life, StreamId id, const Endpoint& to,
                       const Bytes& request, bool reply, Millis timeout) {
  const int target = Find(to);
  const auto finish = [this, from, life, id](bool ok, const Bytes& answer) {
    Node& node = Get(from);
    const auto tell = [this, &node, life, id, ok, answer] {
      if (!node.life || node.life->number != life) return;
      Swim& swim = node.life->swim;
      ok ? swim.OnStreamReply(now_, id, answer) : swim.OnStreamFailed(now_, id);
    };
    node.stopped ? node.arrived.push_back(tell) : tell();
  };
  const bool reachable = target >= 0 && Linked(from, target) && Linked(target, from);
  if (!reachable || Get(target).stopped) {
    return After(timeout, [finish] { finish(false, {}); });
  }
  After(Delay(), [this, from, target, request, reply, finish] {
    Node& node = Get(target);
    if (!node.life) return finish(false, {});
    StreamAssembler assembler(&node.life->envelope);
    if (assembler.Feed(request) != StreamAssembler::Result::kMessage) return finish(false, {});
    const Bytes answer = node.life->swim.OnStream(now_, assembler.message());
    if (!reply) return finish(true, {});
    After(Delay(), [this, from, answer, finish] {
      if (!Get(from).life) return;
      StreamAssembler back(&Get(from).life->envelope);
      const bool whole = back.Feed(answer) == StreamAssembler::Result::kMessage;
      finish(whole, whole ? back.message() : Bytes());
    });
  });
}

void Simulator::Start(int index) {
  Node& node = Get(index);
  node.life = std::make_unique<Node::Life>(this, &node, ++node.lives);
  node.members.clear();
  node.entries.clear();
  node.generations.clear();
  node.own.clear();
  node.stopped = false;
  node.life->swim.Start(now_);
}

void Simulator::StartAll() {
  for (int i = 0; i < static_cast<int>(nodes_.size()); i++) Start(i);
  for (int i = 1; i < static_cast<int>(nodes_.size()); i++) Join(i, 0);
}

void Simulator::Kill(int node) { Get(node).life.reset(); }
void Simulator::Stop(int node) { Get(node).stopped = true; }

void Simulator::Resume(int index) {
  Node& node = Get(index);
  node.stopped = false;
  const auto arrived = std::exchange(node.arrived, {});
  for (const auto& one : arrived) one();
}

void Simulator::Cut(const std::set<int>& left, const std::set<int>& right) {
  for (const int a : left) {
    for (const int b : right) {
      cut_.insert({a, b});
      cut_.insert({b, a});
    }
  }
}

void Simulator::CutUdp(int from, int to) { cut_udp_.insert({from, to}); }

void Simulator::Heal() {
  cut_.clear();
  cut_udp_.clear();
}

void Simulator::Join(int node, int via) { swim(node).Join(now_, 1, {Address(via)}); }
void Simulator::Leave(int node) { swim(node).Leave(now_); }

void Simulator::JoinNetwork(int index, const std::string& network) {
  Node& node = Get(index);
  if (node.generations.contains(network)) return;
  swim(index).SetNow(now_);
  node.generations[network] = node.next_generation++;
  node.own.try_emplace(network);
  networkdb(index).JoinNetwork(network, node.generations[network]);
}

void Simulator::LeaveNetwork(int index, const std::string& network) {
  Node& node = Get(index);
  swim(index).SetNow(now_);
  node.generations.erase(network);
  node.own.erase(network);
  node.entries.erase(network);
  networkdb(index).LeaveNetwork(network);
}

void Simulator::Put(int index, const std::string& network, const std::string& table,
                    const std::string& key, const std::string& value) {
  if (!Get(index).generations.contains(network)) return;
  swim(index).SetNow(now_);
  Get(index).own[network][{table, key}] = value;
  networkdb(index).PutEntry(network, table, key, Bytes(value.begin(), value.end()));
}

void Simulator::Delete(int index, const std::string& network, const std::string& table,
                       const std::string& key) {
  if (!Get(index).generations.contains(network)) return;
  swim(index).SetNow(now_);
  Get(index).own[network].erase({table, key});
  networkdb(index).DeleteEntry(network, table, key);
}

void Simulator::Spread(int index, uint64_t id, const std::vector<std::string>& networks) {
  swim(index).SetNow(now_);
  networkdb(index).SpreadOwn(id, networks);
}

int Simulator::SpreadMissing(int index, uint64_t id) {
  Node& node = Get(index);
  node.TakeEvents();
  return node.completed.contains(id) ? node.completed[id] : -1;
}

void Simulator::BlockEventLoop(int node, bool blocked) { Get(node).blocked = blocked; }

void Simulator::SetKeys(int node, std::vector<Bytes> keys) {
  Get(node).life->envelope.SetKeys(std::move(keys));
}

void Simulator::Inject(int node, const Endpoint& from, const Bytes& message, bool stream) {
  if (stream) {
    swim(node).OnStream(now_, message);
  } else {
    swim(node).OnPacket(now_, from, message);
  }
}

Millis Simulator::RunUntil(const std::function<bool()>& condition, Millis limit) {
  const Millis start = now_;
  while (now_ < start + limit) {
    Millis next = start + limit;
    if (!happenings_.empty()) next = std::min(next, happenings_.top().at);
    for (const auto& node : nodes_) {
      if (node->life && !node->stopped) next = std::min(next, node->life->swim.NextDeadline());
    }
    now_ = std::max(now_, next);
    while (!happenings_.empty() && happenings_.top().at <= now_) {
      const auto what = happenings_.top().what;
      happenings_.pop();
      what();
    }
    for (const auto& node : nodes_) {
      if (!node->life || node->stopped) continue;
      if (node->life->swim.NextDeadline() <= now_) node->life->swim.Tick(now_);
      // Sometimes late, so that the merging of waiting events is at work too.
      if (random_() % 8 == 0) node->TakeEvents();
    }
    if (condition && condition()) return now_ - start;
  }
  for (const auto& node : nodes_) {
    if (node->life && !node->stopped) node->TakeEvents();
  }
  return condition && condition() ? now_ - start : -1;
}

void Simulator::Run(Millis duration) { RunUntil({}, duration); }

std::string Simulator::MemberState(int at, int of) {
  Get(at).TakeEvents();
  return Get(at).members[Name(of)];
}

bool Simulator::Sees(int index, const std::string& network, const std::string& table,
                     const std::string& key, const std::string& value) {
  Node& node = Get(index);
  node.TakeEvents();
  const auto found = node.entries[network].find({table, key});
  return found != node.entries[network].end() && found->second.second == value;
}

size_t Simulator::Seen(int node, const std::string& network) {
  Get(node).TakeEvents();
  return Get(node).entries[network].size();
}

const std::vector<RemovalReason>& Simulator::Removals(int node) {
  Get(node).TakeEvents();
  return Get(node).removals;
}

std::string Simulator::Difference() {
  for (const auto& node : nodes_) {
    if (!node->life || node->stopped) continue;
    node->TakeEvents();
    for (const auto& [network, ignored] : node->own) {
      std::map<Node::Key, std::pair<std::string, std::string>> wanted;
      for (const auto& other : nodes_) {
        const bool counts = other != node && other->life && !other->stopped;
        const auto theirs = other->own.find(network);
        if (!counts || theirs == other->own.end()) continue;
        for (const auto& [key, value] : theirs->second) wanted[key] = {Name(other->index), value};
      }
      if (node->entries[network] == wanted) continue;
      std::string text = Name(node->index) + " on " + network + ":";
      for (const auto& [key, entry] : wanted) {
        if (!node->entries[network].contains(key)) text += " lacks " + key.second;
      }
      for (const auto& [key, entry] : node->entries[network]) {
        const auto found = wanted.find(key);
        if (found == wanted.end()) text += " still has " + key.second + " of " + entry.first;
        if (found != wanted.end() && found->second != entry) text += " differs in " + key.second;
      }
      return text;
    }
  }
  return "";
}

}  // namespace skep::gossip::test
