// Behaviour of whole rings in virtual time. Bounds follow from the formulas of the protocol, not
// from how fast a machine is: a seed gives the same run everywhere.
#include <algorithm>

#include "bytes_text.h"
#include "simulator.h"
#include "testing.h"

using namespace skep::gossip;
using namespace skep::gossip::test;

namespace {

constexpr uint64_t kSeeds = 8;

void JoinAll(Simulator* ring, int nodes, const std::string& network) {
  for (int i = 0; i < nodes; i++) ring->JoinNetwork(i, network);
}

/// A ring in which everyone is on "net" and owns one entry, converged.
std::unique_ptr<Simulator> Converged(int nodes, SimulatorOptions options) {
  auto ring = std::make_unique<Simulator>(nodes, options);
  ring->StartAll();
  JoinAll(ring.get(), nodes, "net");
  for (int i = 0; i < nodes; i++) ring->Put(i, "net", "t", "k" + std::to_string(i), "v");
  EXPECT(ring->RunUntil([&] { return ring->Difference().empty(); }, 60'000) >= 0);
  return ring;
}

/// Runs until everyone holds what everyone put; prints what is missing if it does not come to that.
Millis Agree(Simulator* ring, Millis limit) {
  Millis last_check = 0;
  const Millis took = ring->RunUntil(
      [&] {
        if (ring->now() - last_check < 100) return false;
        last_check = ring->now();
        return ring->Difference().empty();
      },
      limit);
  if (took < 0) std::printf("  no agreement: %s\n", ring->Difference().c_str());
  return took;
}

uint64_t Sum(Simulator* ring, int nodes, Counter which) {
  uint64_t sum = 0;
  for (int i = 0; i < nodes; i++) sum += ring->Count(i, which);
  return sum;
}

SimulatorOptions Seeded(uint64_t seed, bool fast) {
  SimulatorOptions options;
  options.seed = seed;
  options.fast = fast;
  return options;
}

}  // namespace

TEST(entries_spread_within_a_few_gossip_rounds) {
  for (uint64_t seed = 1; seed <= kSeeds; seed++) {
    auto ring = Converged(6, Seeded(seed, true));
    ring->Put(3, "net", "t", "new", "x");
    const Millis took = Agree(ring.get(), 10'000);
    EXPECT(took >= 0 && took <= 1000);
  }
}

TEST(entries_reach_only_those_on_the_network) {
  Simulator ring(3, Seeded(1, true));
  ring.StartAll();
  ring.JoinNetwork(0, "a");
  ring.JoinNetwork(1, "a");
  ring.JoinNetwork(2, "b");
  ring.Put(0, "a", "t", "k", "v");
  EXPECT(Agree(&ring, 10'000) >= 0);
  EXPECT(ring.Sees(1, "a", "t", "k", "v"));
  EXPECT_EQ(ring.Count(2, Counter::tableEventsIn), 0u);
}

TEST(nobody_is_suspected_without_a_fault) {
  for (const bool fast : {false, true}) {
    auto ring = Converged(8, Seeded(3, fast));
    ring->Run(600'000);
    EXPECT_EQ(Sum(ring.get(), 8, Counter::suspicions), 0u);
    EXPECT_EQ(Sum(ring.get(), 8, Counter::droppedUndecodable), 0u);
  }
}

TEST(killed_member_is_found_in_about_a_second_with_the_fast_profile) {
  for (const int nodes : {3, 10}) {
    for (uint64_t seed = 1; seed <= kSeeds; seed++) {
      auto ring = Converged(nodes, Seeded(seed, true));
      ring->Kill(1);
      const Millis took = Agree(ring.get(), 20'000);
      EXPECT(took >= 800 && took <= 2500);
      for (int i = 0; i < nodes; i++) {
        if (i == 1) continue;
        EXPECT_EQ(ring->MemberState(i, 1), "failed");
        EXPECT(!ring->Removals(i).empty() &&
               ring->Removals(i).back() == RemovalReason::kOwnerFailed);
      }
    }
  }
}

TEST(killed_member_is_found_by_the_lan_profile_as_memberlist_does) {
  auto ring = Converged(3, Seeded(1, false));
  ring->Kill(1);
  // At most two probe rounds, then 4 s flat.
  const Millis took = Agree(ring.get(), 60'000);
  EXPECT(took >= 4000 && took <= 8000);
}

TEST(farewell_is_not_a_failure) {
  auto ring = Converged(4, Seeded(1, true));
  ring->Leave(2);
  EXPECT(ring->RunUntil([&] { return ring->swim(2).LeaveDone(); }, 5000) >= 0);
  ring->Kill(2);
  EXPECT(Agree(ring.get(), 5000) >= 0);
  for (const int i : {0, 1, 3}) {
    EXPECT_EQ(ring->MemberState(i, 2), "left");
    EXPECT(ring->Removals(i).back() == RemovalReason::kOwnerLeft);
    EXPECT_EQ(ring->Count(i, Counter::suspicions), 0u);
  }
}

TEST(heavy_packet_loss_kills_nobody) {
  for (uint64_t seed = 1; seed <= 3; seed++) {
    auto ring = Converged(6, Seeded(seed, true));
    ring->SetLoss(0.25);
    ring->Run(120'000);
    EXPECT_EQ(Sum(ring.get(), 6, Counter::membersFailed), 0u);
    ring->Put(0, "net", "t", "lossy", "x");
    EXPECT(Agree(ring.get(), 30'000) >= 0);
  }
}

TEST(one_broken_link_is_bridged) {
  auto ring = Converged(4, Seeded(2, true));
  ring->Cut({0}, {1});
  ring->Run(60'000);
  EXPECT_EQ(Sum(ring.get(), 4, Counter::membersFailed), 0u);
  EXPECT(Sum(ring.get(), 4, Counter::indirectPings) > 0);
}

TEST(two_members_that_hear_each_other_over_tcp_only_stay_alive) {
  auto ring = Converged(2, Seeded(2, true));
  ring->CutUdp(0, 1);
  ring->CutUdp(1, 0);
  ring->Run(30'000);
  EXPECT_EQ(Sum(ring.get(), 2, Counter::membersFailed), 0u);
  EXPECT(Sum(ring.get(), 2, Counter::tcpPings) > 0);
}

TEST(halves_find_each_other_after_a_long_partition) {
  for (const bool fast : {true, false}) {
    for (uint64_t seed = 1; seed <= 3; seed++) {
      auto ring = Converged(5, Seeded(seed, fast));
      ring->Cut({0, 1}, {2, 3, 4});
      // Long enough to be forgotten on both sides.
      ring->Run(120'000);
      EXPECT_EQ(ring->MemberState(0, 4), "failed");
      ring->Put(0, "net", "t", "left", "1");
      ring->Put(4, "net", "t", "right", "2");
      ring->Delete(3, "net", "t", "k3");
      ring->Heal();
      EXPECT(Agree(ring.get(), 5000) >= 0);
      EXPECT_EQ(ring->MemberState(0, 4), "alive");
    }
  }
}

TEST(deletion_reaches_who_was_cut_off_meanwhile) {
  auto ring = Converged(4, Seeded(4, true));
  ring->Run(5000);
  ring->Put(0, "net", "t", "gone", "x");
  EXPECT(Agree(ring.get(), 5000) >= 0);
  // Too short to be declared dead, long enough to miss the gossip.
  ring->Cut({3}, {0, 1, 2});
  ring->Delete(0, "net", "t", "gone");
  ring->Run(400);
  ring->Heal();
  EXPECT(Agree(ring.get(), 2000) >= 0);
  EXPECT(!ring->Sees(3, "net", "t", "gone", "x"));
}

TEST(quick_restart_under_the_same_name_keeps_and_drops_entries) {
  for (uint64_t seed = 1; seed <= kSeeds; seed++) {
    auto ring = Converged(4, Seeded(seed, true));
    ring->Put(1, "net", "t", "kept", "1");
    ring->Put(1, "net", "t", "changed", "1");
    ring->Put(1, "net", "t", "stale", "1");
    EXPECT(Agree(ring.get(), 5000) >= 0);
    // A later life of Lamport clocks that have seen little.
    for (int i = 0; i < 20; i++) ring->Put(0, "net", "t", "busy", std::to_string(i));
    ring->Kill(1);
    ring->Start(1);
    ring->Join(1, 0);
    ring->JoinNetwork(1, "net");
    ring->Put(1, "net", "t", "k1", "v");
    ring->Put(1, "net", "t", "kept", "1");
    ring->Put(1, "net", "t", "changed", "2");
    ring->Run(5000);
    // Nobody saw a thing that still holds go away; the stale one has its grace.
    EXPECT(ring->Removals(0).empty() && ring->Removals(2).empty());
    EXPECT(ring->Sees(2, "net", "t", "kept", "1") && ring->Sees(2, "net", "t", "changed", "2"));
    EXPECT(ring->Sees(2, "net", "t", "stale", "1"));
    EXPECT(Agree(ring.get(), 60'000) >= 0);
    EXPECT(!ring->Sees(2, "net", "t", "stale", "1"));
    EXPECT_EQ(ring->MemberState(2, 1), "alive");
  }
}

TEST(all_restart_at_once) {
  for (const int nodes : {3, 8}) {
    for (uint64_t seed = 1; seed <= kSeeds; seed++) {
      auto ring = Converged(nodes, Seeded(seed, true));
      ring->Run(5000);
      for (int i = 0; i < nodes; i++) ring->Kill(i);
      ring->Run(1000);
      for (int i = 0; i < nodes; i++) {
        ring->Start(i);
        ring->Run(static_cast<Millis>(ring->random()() % 300));
        if (i > 0) ring->Join(i, 0);
        ring->JoinNetwork(i, "net");
        ring->Put(i, "net", "t", "k" + std::to_string(i), "v");
      }
      const Millis took = Agree(ring.get(), 5000);
      EXPECT(took >= 0 && took <= 2000);
    }
  }
}

TEST(restart_without_its_network_takes_the_old_entries_away) {
  auto ring = Converged(3, Seeded(5, true));
  ring->Kill(1);
  ring->Start(1);
  ring->Join(1, 0);
  EXPECT(Agree(ring.get(), 60'000) >= 0);
  EXPECT(ring->Removals(0).back() == RemovalReason::kOwnerLeftNetwork);
}

TEST(restart_after_detection_and_after_a_farewell) {
  for (const bool farewell : {false, true}) {
    auto ring = Converged(4, Seeded(6, true));
    if (farewell) {
      ring->Leave(1);
      ring->Run(2000);
    }
    ring->Kill(1);
    ring->Run(10'000);
    ring->Start(1);
    ring->Join(1, 2);
    ring->JoinNetwork(1, "net");
    ring->Put(1, "net", "t", "k1", "again");
    EXPECT(Agree(ring.get(), 3000) >= 0);
    for (const int i : {0, 2, 3}) EXPECT_EQ(ring->MemberState(i, 1), "alive");
  }
}

TEST(owner_takes_an_entry_of_its_former_life_away_at_once) {
  auto ring = Converged(3, Seeded(7, true));
  ring->Kill(1);
  ring->Start(1);
  ring->Join(1, 0);
  ring->JoinNetwork(1, "net");
  ring->Run(1000);
  ring->Delete(1, "net", "t", "k1");
  EXPECT(Agree(ring.get(), 2000) >= 0);
}

TEST(standing_still_accuses_nobody) {
  for (uint64_t seed = 1; seed <= 3; seed++) {
    auto ring = Converged(4, Seeded(seed, true));
    ring->Stop(2);
    ring->Run(8000);
    EXPECT_EQ(ring->MemberState(0, 2), "failed");
    ring->Resume(2);
    EXPECT(Agree(ring.get(), 3000) >= 0);
    EXPECT_EQ(ring->Count(2, Counter::membersFailed), 0u);
    EXPECT(ring->Count(2, Counter::stalls) > 0);
    for (const int i : {0, 1, 3}) EXPECT_EQ(ring->MemberState(i, 2), "alive");
  }
}

TEST(leaving_and_joining_a_network_again) {
  auto ring = Converged(4, Seeded(8, true));
  ring->LeaveNetwork(1, "net");
  EXPECT(Agree(ring.get(), 5000) >= 0);
  EXPECT(ring->Removals(0).back() == RemovalReason::kOwnerLeftNetwork);
  EXPECT_EQ(ring->Seen(1, "net"), 0u);
  ring->JoinNetwork(1, "net");
  ring->Put(1, "net", "t", "k1", "back");
  EXPECT(Agree(ring.get(), 5000) >= 0);
}

TEST(keys_rotate_node_by_node_without_a_suspicion) {
  SimulatorOptions options = Seeded(9, true);
  options.encrypted = true;
  auto ring = Converged(3, options);
  for (uint8_t first = 2; first < 8; first++) {
    for (int i = 0; i < 3; i++) {
      ring->SetKeys(i, {Bytes(16, static_cast<uint8_t>(first - 1)), Bytes(16, first),
                        Bytes(16, static_cast<uint8_t>(first + 1))});
      ring->Run(3000);
    }
  }
  EXPECT_EQ(Sum(ring.get(), 3, Counter::suspicions), 0u);
  EXPECT_EQ(Sum(ring.get(), 3, Counter::droppedUndecryptable), 0u);
}

TEST(a_name_is_not_taken_over_while_its_owner_lives) {
  auto ring = Converged(3, Seeded(10, true));
  const Alive thief{9, Simulator::Name(1), *EndpointFromText("10.66.0.1", 7946), {},
                    {1, 5, 2, 0, 0, 0}};
  ring->Inject(0, Simulator::Address(2), thief.Encode(), false);
  EXPECT_EQ(ring->Count(0, Counter::droppedNameConflict), 1u);
  EXPECT(ring->swim(0).FindMember(Simulator::Name(1))->address == Simulator::Address(1));
  // Other versions never enter: they would make every later push/pull fail.
  const Alive serf{1, "serf", *EndpointFromText("10.66.0.2", 7946), {}, {1, 5, 2, 2, 5, 5}};
  ring->Inject(0, Simulator::Address(2), serf.Encode(), false);
  EXPECT_EQ(ring->Count(0, Counter::droppedProtocolVersion), 1u);
}

TEST(accusations_are_refuted_with_a_higher_incarnation) {
  auto ring = Converged(3, Seeded(11, true));
  const uint32_t before = ring->swim(1).FindMember(Simulator::Name(1))->incarnation;
  const Accusation lie{before + 5, Simulator::Name(1), Simulator::Name(2)};
  ring->Inject(0, Simulator::Address(2), lie.Encode(MessageType::kSuspect), false);
  ring->Run(2000);
  EXPECT_EQ(ring->MemberState(0, 1), "alive");
  EXPECT(ring->swim(0).FindMember(Simulator::Name(1))->incarnation > before + 5);
  EXPECT_EQ(Sum(ring.get(), 3, Counter::membersFailed), 0u);
}

TEST(old_accusations_are_ignored) {
  auto ring = Converged(3, Seeded(11, true));
  const Accusation lie{5, Simulator::Name(1), Simulator::Name(2)};
  ring->Inject(0, Simulator::Address(2), lie.Encode(MessageType::kSuspect), false);
  ring->Run(2000);
  EXPECT_EQ(ring->Count(0, Counter::suspicions), 1u);
  for (const MessageType type : {MessageType::kSuspect, MessageType::kDead}) {
    ring->Inject(0, Simulator::Address(2), lie.Encode(type), false);
  }
  EXPECT_EQ(ring->MemberState(0, 1), "alive");
  EXPECT_EQ(ring->Count(0, Counter::suspicions), 1u);
}

TEST(newest_value_wins_whatever_the_order_of_arrival) {
  for (uint64_t seed = 1; seed <= kSeeds; seed++) {
    SimulatorOptions options = Seeded(seed, true);
    options.delay_max = 60;
    options.duplicate = 0.2;
    auto ring = Converged(5, options);
    for (int i = 0; i < 40; i++) {
      ring->Put(2, "net", "t", "hot", std::to_string(i));
      ring->Run(60);
      if (i % 7 == 0) ring->Delete(2, "net", "t", "hot");
    }
    const Millis took = Agree(ring.get(), 5000);
    EXPECT(took >= 0 && took <= 1500);
    // No older value ever came back on its way.
    for (const int i : {0, 1, 3, 4}) EXPECT(ring->Sees(i, "net", "t", "hot", "39"));
  }
}

TEST(events_merge_while_nobody_takes_them) {
  Counters counters;
  Outbox outbox(&counters);
  const auto entry = [&](const std::string& key, bool removed, bool known) {
    Event event;
    event.type = removed ? Event::Type::kEntryRemoved : Event::Type::kEntry;
    event.network = "net";
    event.key = key;
    outbox.OnEvent(event, known);
  };
  entry("known", true, true);
  for (int i = 0; i < 1000; i++) {
    entry("flaps", false, i > 0);
    entry("brief" + std::to_string(i), false, false);
    entry("brief" + std::to_string(i), true, true);
  }
  std::vector<Event> events;
  std::vector<Completion> completions;
  bool more = false;
  outbox.Take(100, &events, &completions, &more);
  EXPECT(events.size() == 2 && !more && events[0].key == "known" && events[1].key == "flaps");
}

namespace {

/// A table event as an insider could gossip it in another's name.
Bytes Forged(int owner, TableEventKind kind, uint64_t ltime, const std::string& key) {
  TableEvent event;
  event.kind = kind;
  event.ltime = ltime;
  event.node = Simulator::Name(owner);
  event.network = "net";
  event.table = "t";
  event.key = key;
  event.value = Text("forged");
  Bytes message = {static_cast<uint8_t>(MessageType::kUser)};
  Append(&message, event.Encode());
  return message;
}

}  // namespace

TEST(what_the_owner_does_not_know_is_removed_everywhere) {
  for (uint64_t seed = 1; seed <= kSeeds; seed++) {
    auto ring = Converged(5, Seeded(seed, true));
    ring->Run(40'000);
    // To one node only, which passes it on to all; the owner may be among them or not.
    ring->Inject(0, Simulator::Address(2), Forged(1, TableEventKind::kCreate, 50, "ghost"), false);
    ring->Inject(3, Simulator::Address(2), Forged(1, TableEventKind::kDelete, 900, "k1"), false);
    ring->Run(1);
    EXPECT(ring->Sees(0, "net", "t", "ghost", "forged"));
    EXPECT(Agree(ring.get(), 2000) >= 0);
    ring->Run(30'000);
    EXPECT_EQ(ring->Difference(), "");
  }
}

TEST(a_ghost_that_only_one_node_holds_is_removed) {
  auto ring = Converged(4, Seeded(3, true));
  ring->Run(40'000);
  // Cut off while it hears of it, so that nobody else does.
  ring->Cut({0}, {1, 2, 3});
  ring->Inject(0, Simulator::Address(2), Forged(1, TableEventKind::kCreate, 50, "ghost"), false);
  ring->Run(300);
  ring->Heal();
  EXPECT(Agree(ring.get(), 2000) >= 0);
  EXPECT_EQ(ring->Count(0, Counter::ghostsRemoved) + ring->Count(1, Counter::droppedTableStale) > 0,
            true);
}

TEST(missed_gossip_is_made_up_for_within_two_seconds) {
  for (uint64_t seed = 1; seed <= kSeeds; seed++) {
    auto ring = Converged(6, Seeded(seed, true));
    ring->Run(40'000);
    // Shorter than it takes to be suspected and dead.
    ring->Cut({5}, {0, 1, 2, 3, 4});
    for (int i = 0; i < 3; i++) ring->Put(i, "net", "t", "missed" + std::to_string(i), "x");
    ring->Run(500);
    ring->Heal();
    EXPECT(Agree(ring.get(), 2000) >= 0);
  }
}

TEST(a_change_is_confirmed_by_all_who_have_it_in_force) {
  for (const int nodes : {2, 3, 10, 50}) {
    for (uint64_t seed = 1; seed <= 3; seed++) {
      auto ring = Converged(nodes, Seeded(seed, true));
      ring->Run(5000);
      ring->Put(0, "net", "t", "k0", "draining");
      ring->Spread(0, 7, {"net", "elsewhere"});
      const Millis took = ring->RunUntil([&] { return ring->SpreadMissing(0, 7) >= 0; }, 3000);
      EXPECT_EQ(ring->SpreadMissing(0, 7), 0);
      for (int i = 1; i < nodes; i++) EXPECT(ring->Sees(i, "net", "t", "k0", "draining"));
      EXPECT(took >= 0 && took <= (nodes <= 10 ? 400 : 1000));
    }
  }
}

TEST(nobody_waits_for_the_dead_nor_longer_than_two_seconds) {
  auto ring = Converged(5, Seeded(2, true));
  ring->Run(5000);
  ring->Kill(4);
  ring->Run(5000);
  ring->Put(0, "net", "t", "k0", "draining");
  ring->Spread(0, 1, {"net"});
  EXPECT(ring->RunUntil([&] { return ring->SpreadMissing(0, 1) == 0; }, 500) >= 0);
  // One that holds the news but has not put them in force.
  ring->BlockEventLoop(3, true);
  ring->Put(0, "net", "t", "k0", "gone");
  ring->Spread(0, 2, {"net"});
  const Millis took = ring->RunUntil([&] { return ring->SpreadMissing(0, 2) >= 0; }, 5000);
  EXPECT(took >= 1900 && took <= 2100);
  EXPECT_EQ(ring->SpreadMissing(0, 2), 1);
  ring->BlockEventLoop(3, false);
  // Confirmed under loss as well, within the bound.
  ring->SetLoss(0.1);
  ring->Put(0, "net", "t", "k0", "again");
  ring->Spread(0, 3, {"net"});
  EXPECT(ring->RunUntil([&] { return ring->SpreadMissing(0, 3) == 0; }, 2000) >= 0);
  // Alone there is nobody to wait for.
  Simulator alone(1, Seeded(1, true));
  alone.StartAll();
  alone.JoinNetwork(0, "net");
  alone.Spread(0, 1, {"net"});
  alone.Run(1);
  EXPECT_EQ(alone.SpreadMissing(0, 1), 0);
}

TEST(bulk_sync_carries_many_entries_and_packets_stay_small) {
  auto ring = Converged(3, Seeded(12, true));
  for (int i = 0; i < 3000; i++) {
    ring->Put(0, "net", "t", "many" + std::to_string(i), std::string(200, 'x'));
  }
  ring->Start(2);  // A newcomer under an old name gets it all in one stream.
  ring->Join(2, 0);
  ring->JoinNetwork(2, "net");
  const Millis took = ring->RunUntil([&] { return ring->Seen(2, "net") >= 3000; }, 10'000);
  EXPECT(took >= 0 && took <= 1000);
  EXPECT(Agree(ring.get(), 60'000) >= 0);
}

TEST(fifty_members_converge) {
  auto ring = Converged(50, Seeded(13, true));
  ring->Kill(7);
  ring->Put(20, "net", "t", "new", "x");
  const Millis took = Agree(ring.get(), 30'000);
  EXPECT(took >= 0 && took <= 4000);
}

namespace {

/// One random step: a fault, a repair, or a change of what is announced.
void Disturb(Simulator* ring, int nodes) {
  auto& random = ring->random();
  const int node = static_cast<int>(random() % static_cast<uint64_t>(nodes));
  const std::string key = "k" + std::to_string(node) + "-" + std::to_string(random() % 4);
  switch (random() % 10) {
    case 0:
      if (node != 0 && ring->running(node)) ring->Kill(node);
      break;
    case 1:
      if (ring->running(node)) return;
      ring->Start(node);
      ring->Join(node, 0);
      ring->JoinNetwork(node, "net");
      break;
    case 2: {
      std::set<int> left, right;
      for (int i = 0; i < nodes; i++) (random() % 2 ? left : right).insert(i);
      ring->Cut(left, right);
      break;
    }
    case 3: ring->Heal(); break;
    case 4:
      if (ring->running(node)) ring->LeaveNetwork(node, "net");
      break;
    case 5:
      if (ring->running(node)) ring->JoinNetwork(node, "net");
      break;
    case 6:
      if (ring->running(node)) ring->Delete(node, "net", "t", key);
      break;
    default:
      if (ring->running(node)) ring->Put(node, "net", "t", key, std::to_string(random() % 100));
  }
}

}  // namespace

TEST(random_faults_end_in_agreement) {
  for (uint64_t seed = 100; seed < 100 + 5 * kSeeds; seed++) {
    constexpr int kNodes = 6;
    SimulatorOptions options = Seeded(seed, true);
    options.loss = 0.02;
    options.duplicate = 0.02;
    options.delay_max = 20;
    Simulator ring(kNodes, options);
    ring.StartAll();
    JoinAll(&ring, kNodes, "net");
    for (int step = 0; step < 60; step++) {
      Disturb(&ring, kNodes);
      ring.Run(static_cast<Millis>(ring.random()() % 3000));
    }
    ring.Heal();
    ring.SetLoss(0);
    for (int i = 0; i < kNodes; i++) {
      if (ring.running(i)) continue;
      ring.Start(i);
      ring.Join(i, 0);
      ring.JoinNetwork(i, "net");
    }
    const bool agreed = Agree(&ring, 120'000) >= 0;
    if (!agreed) std::printf("  seed %llu\n", static_cast<unsigned long long>(seed));
    EXPECT(agreed);
  }
}
