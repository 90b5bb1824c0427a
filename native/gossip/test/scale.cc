// A ring of very many SWIM cores in one process and virtual time: how fast news spread, how soon a
// dead member is found, how often a living one is called dead, and what it costs. Begins with all
// members known to each other; prints one line of figures.
//   gossip-scale MEMBERS fast|lan LOSS_PERCENT PAUSES_PER_NODE_HOUR SECONDS SEED
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <queue>
#include <random>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "gossip/swim.h"

namespace skep::gossip {

/// The other members as if all had met long ago.
struct FullView {
  static void Give(Swim* swim, const std::vector<Alive>& all, Millis now) {
    for (const Alive& alive : all) {
      if (alive.node == swim->name()) continue;
      Member member;
      member.name = alive.node;
      member.address = alive.address;
      member.versions = alive.versions;
      member.incarnation = alive.incarnation;
      member.state = MemberState::kAlive;
      member.changed = now;
      swim->Enrol(std::move(member));
    }
  }
};

namespace {

constexpr Versions kVersions = {1, 5, 2, 0, 0, 0};
constexpr Millis kDelayMin = 1, kDelayMax = 5;
constexpr int kNews = 20;
constexpr int kDeaths = 10;
/// Longer than any timer of the detector: what a stopped process or machine looks like.
constexpr Millis kPauseMin = 500, kPauseMax = 3000;

struct Options {
  int members;
  bool fast;
  double loss;
  double pauses;  // Per node and hour.
  Millis duration;
  uint64_t seed;
};

class Ring;

/// One member with a queue of news as NetworkDB has one.
class Node final : public Host, public Delegate {
 public:
  Node(Ring* ring, int index, SwimConfig config);

  // Host.
  void SendPacket(const Endpoint& to, Bytes datagram) override;
  void OpenStream(StreamId id, const Endpoint& to, Bytes request, bool reply,
                  Millis timeout) override;
  void JoinDone(uint64_t, size_t) override {}
  uint64_t Random(uint64_t below) override;
  // Delegate.
  Bytes Meta() const override { return {}; }
  Bytes AckPayload() const override { return {}; }
  void OnUserMessage(ByteView message) override { Hear(Bytes(message.begin(), message.end())); }
  void TakeBroadcasts(size_t overhead, size_t bytes_max, std::vector<Bytes>* out) override {
    news.Take(overhead, bytes_max, swim.TransmitsMax(), out);
  }
  bool HasBroadcasts() const override { return news.size() > 0; }
  Bytes LocalState(bool) override { return {}; }
  void MergeState(ByteView, bool) override {}
  void OnMember(const Member& member, MemberChange change) override;
  void OnRefuted(bool) override {}
  void OnJoined(const Endpoint&) override {}
  void OnLeaving() override {}
  void OnUserStreamDone(StreamId, bool) override {}
  void Tick() override {}
  Millis NextDeadline() const override { return kNever; }

  void Hear(Bytes message);
  void Schedule();

  Ring* ring;
  int index;
  Counters counters;
  Envelope envelope;
  BroadcastQueue news{1024};
  std::unordered_set<uint32_t> heard;
  Swim swim;
  bool alive = true;
  bool paused = false;
  Millis scheduled = kNever;
  uint64_t stream_bytes = 0;
  std::vector<std::function<void()>> waiting;
};

class Ring {
 public:
  explicit Ring(const Options& options_in) : options(options_in), random(options_in.seed) {
    SwimConfig config = options.fast ? SwimConfig::Fast() : SwimConfig::Lan();
    config.versions = kVersions;
    std::vector<Alive> all;
    for (int i = 0; i < options.members; i++) {
      config.name = "n" + std::to_string(i);
      config.advertise = AddressOf(i);
      all.push_back({1, config.name, config.advertise, {}, kVersions});
      nodes.push_back(std::make_unique<Node>(this, i, config));
    }
    for (auto& node : nodes) {
      node->swim.Start(now);
      FullView::Give(&node->swim, all, now);
      node->Schedule();
    }
  }

  static Endpoint AddressOf(int index) {
    Endpoint endpoint;
    endpoint.ip_length = 4;
    endpoint.ip[0] = 10;
    for (int i = 0; i < 3; i++) endpoint.ip[3 - i] = static_cast<uint8_t>(index >> (8 * i));
    endpoint.port = 7946;
    return endpoint;
  }
  Node& At(const Endpoint& address) {
    return *nodes[static_cast<size_t>(address.ip[1] << 16 | address.ip[2] << 8 | address.ip[3])];
  }

  uint64_t Below(uint64_t limit) { return random() % limit; }
  bool Chance(double probability) {
    return static_cast<double>(random() % 1'000'000'000) < probability * 1e9;
  }
  Millis Delay() {
    return kDelayMin + static_cast<Millis>(Below(static_cast<uint64_t>(kDelayMax - kDelayMin + 1)));
  }

  void After(Millis delay, std::function<void()> what) {
    happenings.push({now + delay, order++, std::move(what)});
  }

  void Run(Millis duration) {
    const Millis end = now + duration;
    while (!happenings.empty() && happenings.top().at <= end) {
      now = happenings.top().at;
      const auto what = std::move(happenings.top().what);
      happenings.pop();
      what();
    }
    now = end;
  }

  void Pause(Node* node) {
    if (!node->alive || node->paused) return;
    node->paused = true;
    const auto length = static_cast<uint64_t>(kPauseMax - kPauseMin);
    After(kPauseMin + static_cast<Millis>(Below(length)), [this, node] {
      node->paused = false;
      for (const auto& one : std::exchange(node->waiting, {})) one();
      node->swim.Tick(now);
      node->Schedule();
    });
  }

  Options options;
  std::mt19937_64 random;
  Millis now = 1000;
  std::vector<std::unique_ptr<Node>> nodes;
  /// Times from a piece of news until each member heard it.
  std::vector<double> spread;
  std::unordered_map<uint32_t, Millis> told;
  /// Of each dead member, when it died; times until it was called dead first, and by each.
  std::unordered_map<std::string, Millis> died;
  std::unordered_set<std::string> found;
  std::vector<double> first_found, found_by_all;
  uint64_t false_deaths = 0;
  std::unordered_set<std::string> falsely_dead;

 private:
  struct Happening {
    Millis at = 0;
    uint64_t order = 0;
    mutable std::function<void()> what;
    bool operator<(const Happening& other) const {
      return at != other.at ? at > other.at : order > other.order;
    }
  };
  std::priority_queue<Happening> happenings;
  uint64_t order = 0;
};

Node::Node(Ring* ring_in, int index_in, SwimConfig config)
    : ring(ring_in),
      index(index_in),
      envelope("", [](uint8_t* bytes, size_t count) { std::fill_n(bytes, count, 7); }, &counters),
      swim(std::move(config), &envelope, this, this, &counters) {}

void Node::Schedule() {
  const Millis due = std::max(swim.NextDeadline(), ring->now + 1);
  if (due >= scheduled || !alive) return;
  scheduled = due;
  ring->After(due - ring->now, [this, due] {
    // An earlier one was put in before it.
    if (scheduled != due) return;
    scheduled = kNever;
    if (!alive || paused) return;
    swim.Tick(ring->now);
    Schedule();
  });
}

uint64_t Node::Random(uint64_t below) { return ring->Below(below); }

void Node::SendPacket(const Endpoint& to, Bytes datagram) {
  if (ring->Chance(ring->options.loss)) return;
  Node* target = &ring->At(to);
  ring->After(ring->Delay(), [this, target, datagram = std::move(datagram)] {
    if (!target->alive) return;
    const auto arrive = [this, target, datagram] {
      target->swim.OnPacket(ring->now, Ring::AddressOf(index), datagram);
      target->Schedule();
    };
    target->paused ? target->waiting.push_back(arrive) : arrive();
  });
}

void Node::OpenStream(StreamId id, const Endpoint& to, Bytes request, bool reply, Millis timeout) {
  Node* target = &ring->At(to);
  const auto fail = [this, id] {
    if (!alive) return;
    swim.OnStreamFailed(ring->now, id);
    Schedule();
  };
  if (!target->alive || target->paused) return ring->After(timeout, fail);
  stream_bytes += request.size();
  ring->After(2 * ring->Delay(), [this, id, target, request = std::move(request), reply, fail] {
    if (!target->alive) return fail();
    StreamAssembler there(&target->envelope);
    if (there.Feed(request) != StreamAssembler::Result::kMessage) return fail();
    const Bytes answer = target->swim.OnStream(ring->now, there.message());
    target->Schedule();
    target->stream_bytes += answer.size();
    ring->After(ring->Delay(), [this, id, answer, reply, fail] {
      if (!alive) return;
      StreamAssembler back(&envelope);
      if (reply && back.Feed(answer) != StreamAssembler::Result::kMessage) return fail();
      swim.OnStreamReply(ring->now, id, reply ? back.message() : ByteView());
      Schedule();
    });
  });
}

void Node::OnMember(const Member& member, MemberChange change) {
  if (change == MemberChange::kJoined) ring->falsely_dead.erase(member.name);
  if (change != MemberChange::kFailed) return;
  const auto died = ring->died.find(member.name);
  if (died == ring->died.end()) {
    // Counted once however many hear of it.
    if (ring->falsely_dead.insert(member.name).second) ring->false_deaths++;
    return;
  }
  const auto took = static_cast<double>(ring->now - died->second);
  ring->found_by_all.push_back(took);
  if (ring->found.insert(member.name).second) ring->first_found.push_back(took);
}

void Node::Hear(Bytes message) {
  if (message.size() < 4) return;
  const uint32_t id = ReadU32(message, 0);
  if (!heard.insert(id).second) return;
  const auto told = ring->told.find(id);
  if (told != ring->told.end()) ring->spread.push_back(static_cast<double>(ring->now - told->second));
  news.Push(std::to_string(id), std::move(message));
}

double At(std::vector<double> values, double share) {
  if (values.empty()) return -1;
  const auto at = static_cast<size_t>(share * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(at), values.end());
  return values[at];
}

struct Traffic {
  uint64_t packets = 0;
  uint64_t bytes = 0;
};

Traffic Sent(const Ring& ring) {
  Traffic traffic;
  for (const auto& node : ring.nodes) {
    traffic.packets += node->counters.Get(Counter::packetsOut);
    traffic.bytes += node->counters.Get(Counter::packetBytesOut) + node->stream_bytes;
  }
  return traffic;
}

/// Quiet first, with loss and pauses only: what it costs, and who is wrongly called dead.
void Steady(Ring* ring) {
  const Millis step = 1000;
  const double paused_a_second = ring->options.pauses / 3600 * ring->options.members;
  for (Millis passed = 0; passed < ring->options.duration; passed += step) {
    const auto pauses = static_cast<int>(paused_a_second) +
                        ring->Chance(paused_a_second - std::floor(paused_a_second));
    for (int i = 0; i < pauses; i++) ring->Pause(ring->nodes[ring->Below(ring->nodes.size())].get());
    ring->Run(step);
  }
}

void Run(const Options& options) {
  const auto began = std::chrono::steady_clock::now();
  Ring ring(options);
  ring.Run(5000);
  const Traffic before = Sent(ring);
  Steady(&ring);
  const Traffic after = Sent(ring);
  const uint64_t false_deaths = ring.false_deaths;
  for (uint32_t id = 1; id <= kNews; id++) {
    Bytes message;
    AppendU32(&message, id);
    message.resize(120);
    ring.told[id] = ring.now;
    ring.nodes[ring.Below(ring.nodes.size())]->Hear(message);
    ring.Run(options.fast ? 3000 : 10'000);
  }
  const auto wanted = static_cast<double>(kNews) * options.members;
  const double reached = static_cast<double>(ring.spread.size()) / wanted;
  const int deaths = std::clamp(options.members / 4, 1, kDeaths);
  for (int i = 0; i < deaths; i++) {
    Node& victim = *ring.nodes[static_cast<size_t>(i) * ring.nodes.size() / static_cast<size_t>(deaths)];
    ring.died[victim.swim.name()] = ring.now;
    victim.alive = false;
    ring.Run(options.fast ? 6000 : 40'000);
  }
  const double seconds = static_cast<double>(options.duration) / 1000;
  const double node_days = seconds * options.members / 86'400;
  const auto took = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  std::printf(
      "{\"members\":%d,\"profile\":\"%s\",\"loss\":%g,\"pausesPerNodeHour\":%g,\"nodeDays\":%.2f,"
      "\"falseDeaths\":%llu,\"packetsPerSecond\":%.1f,\"bytesPerSecond\":%.0f,"
      "\"spreadP50Ms\":%.0f,\"spreadP99Ms\":%.0f,\"spreadMaxMs\":%.0f,\"reached\":%.6f,"
      "\"foundFirstP50Ms\":%.0f,\"foundFirstMaxMs\":%.0f,\"foundByAllP50Ms\":%.0f,"
      "\"foundByAllP99Ms\":%.0f,\"tookSeconds\":%.1f}\n",
      options.members, options.fast ? "fast" : "lan", options.loss, options.pauses, node_days,
      static_cast<unsigned long long>(false_deaths),
      static_cast<double>(after.packets - before.packets) / seconds / options.members,
      static_cast<double>(after.bytes - before.bytes) / seconds / options.members,
      At(ring.spread, 0.5), At(ring.spread, 0.99), At(ring.spread, 1), reached,
      At(ring.first_found, 0.5), At(ring.first_found, 1), At(ring.found_by_all, 0.5),
      At(ring.found_by_all, 0.99), took);
}

}  // namespace
}  // namespace skep::gossip

int main(int argc, char** argv) {
  if (argc != 7) {
    std::fprintf(stderr, "usage: gossip-scale MEMBERS fast|lan LOSS_PERCENT PAUSES SECONDS SEED\n");
    return 2;
  }
  skep::gossip::Run({std::atoi(argv[1]), std::string(argv[2]) == "fast", std::atof(argv[3]) / 100,
                     std::atof(argv[4]), std::atoll(argv[5]) * 1000,
                     std::strtoull(argv[6], nullptr, 10)});
  return 0;
}
