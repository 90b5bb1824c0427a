// Hostile bytes through every decoder: random, cut off, and mutated valid messages. Nothing may
// crash, read outside its input, or answer with more than its bounds allow; sanitizers watch when
// built in.
#include <cstdlib>
#include <random>

#include "bytes_text.h"
#include "gossip/envelope.h"
#include "gossip/limits.h"
#include "gossip/lzw.h"
#include "gossip/networkdb_messages.h"
#include "simulator.h"
#include "testing.h"

using namespace skep::gossip;
using namespace skep::gossip::test;

namespace {

/// A number from the environment, for long runs.
uint64_t Setting(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

const uint64_t kRounds = Setting("SKEP_FUZZ_ROUNDS", 20'000);
const uint64_t kSeed = Setting("SKEP_FUZZ_SEED", 0);
const Endpoint kAddress = *EndpointFromText("10.0.0.9", 7946);
constexpr Versions kVersions = {1, 5, 2, 0, 0, 0};

/// One valid specimen of everything that can arrive.
std::vector<Bytes> Specimens() {
  PushPull push_pull;
  push_pull.user_state = NetworkPushPull{3, "evil", {{true, 1, "evil", "net"}}}.Encode();
  push_pull.nodes = {{"evil", kAddress, Text("m"), 2, MemberState::kAlive, kVersions},
                     {"node0", kAddress, {}, 2, MemberState::kDead, kVersions}};
  TableEvent event;
  event.ltime = 5;
  event.node = "evil";
  event.network = "net";
  event.table = "t";
  event.key = "k";
  event.value = Bytes(100, 0x55);
  const Bytes payload = EncodeGossipCompound({event.Encode(), event.Encode()});
  const Bytes bulk = BulkSync{9, true, "evil", {"net"}, payload}.Encode();
  Bytes user = {8}, compressed = {9};
  Append(&user, payload);
  MsgpackWriter writer(&compressed);
  writer.Map(2);
  writer.Text("Algo");
  writer.Uint(0);
  writer.Text("Buf");
  writer.Raw(Hex("00c3080c08"));
  IndirectPing indirect;
  indirect.target = kAddress;
  indirect.node = "node0";
  indirect.nack = true;
  Bytes crc = {12, 0xcb, 0xf4, 0x39, 0x26};
  Append(&crc, Text("123456789"));
  Bytes compound = {7, 2, 0, 4, 0, 4};
  Append(&compound, Nack{3}.Encode());
  return {Ping{1, "node0", "evil", kAddress}.Encode(), indirect.Encode(),
          Ack{1, Text("x")}.Encode(), Nack{1}.Encode(),
          Accusation{1, "node0", "evil"}.Encode(MessageType::kSuspect),
          Accusation{1, "node0", "evil"}.Encode(MessageType::kDead),
          Alive{1, "evil", kAddress, Text("m"), kVersions}.Encode(), push_pull.Encode(),
          EncodeUserStream(bulk), EncodeError("x"), user, compressed, crc, compound,
          NodeEvent{true, 4, "evil"}.Encode(), NetworkEvent{true, 4, "evil", "net"}.Encode(),
          event.Encode(), bulk, payload};
}

Bytes Mutate(Bytes bytes, std::mt19937_64* random) {
  const auto pick = [&](size_t below) { return below == 0 ? 0 : (*random)() % below; };
  switch (pick(5)) {
    case 0: bytes.resize(pick(bytes.size() + 1)); break;
    case 1:
      for (size_t i = 0; i < 1 + pick(4) && !bytes.empty(); i++) {
        bytes[pick(bytes.size())] = static_cast<uint8_t>((*random)());
      }
      break;
    case 2:
      if (!bytes.empty()) bytes[pick(bytes.size())] ^= static_cast<uint8_t>(1 << pick(8));
      break;
    case 3: {
      const size_t at = pick(bytes.size() + 1);
      bytes.insert(bytes.begin() + static_cast<ptrdiff_t>(at), 1 + pick(8),
                   static_cast<uint8_t>((*random)()));
      break;
    }
    default: {
      bytes.resize(pick(200));
      for (uint8_t& byte : bytes) byte = static_cast<uint8_t>((*random)());
    }
  }
  return bytes;
}

void DecodeEverything(ByteView bytes) {
  Ping::Decode(bytes);
  IndirectPing::Decode(bytes);
  Ack::Decode(bytes);
  Nack::Decode(bytes);
  Accusation::Decode(bytes);
  Alive::Decode(bytes);
  PushPull::Decode(bytes);
  DecodeUserStream(bytes);
  GossipMessage::Decode(bytes);
  NodeEvent::Decode(bytes);
  NetworkEvent::Decode(bytes);
  TableEvent::Decode(bytes);
  NetworkPushPull::Decode(bytes);
  BulkSync::Decode(bytes);
  DecodeGossipCompound(bytes);
  OpenCompressed(bytes, 1 << 16);
  Bytes out;
  if (LzwDecode(bytes, 4096, &out)) EXPECT(out.size() <= 4096);
  MsgpackReader reader(bytes);
  reader.Skip();
  EXPECT(reader.position() <= bytes.size());
}

}  // namespace

TEST(fuzz_decoders) {
  std::mt19937_64 random(1 + kSeed);
  const auto specimens = Specimens();
  for (uint64_t i = 0; i < kRounds; i++) {
    const Bytes bytes = Mutate(specimens[random() % specimens.size()], &random);
    DecodeEverything(bytes);
    if (bytes.size() > 1) DecodeEverything(ByteView(bytes).subspan(1));
  }
}

TEST(fuzz_streams_in_pieces) {
  std::mt19937_64 random(2 + kSeed);
  const auto specimens = Specimens();
  Counters counters;
  Envelope plain("", [](uint8_t* b, size_t n) { std::fill_n(b, n, 7); }, &counters);
  Envelope sealed("", [](uint8_t* b, size_t n) { std::fill_n(b, n, 7); }, &counters);
  sealed.SetKeys({Bytes(16, 1)});
  for (uint64_t i = 0; i < kRounds; i++) {
    Envelope* envelope = i % 2 ? &plain : &sealed;
    Bytes bytes = specimens[random() % specimens.size()];
    if (i % 4 == 2) bytes = Mutate(bytes, &random);
    bytes = Mutate(envelope->SealStream(bytes), &random);
    StreamAssembler assembler(envelope);
    const size_t step = 1 + random() % 64;
    for (size_t at = 0; at < bytes.size(); at += step) {
      const auto result =
          assembler.Feed(ByteView(bytes).subspan(at, std::min(step, bytes.size() - at)));
      if (result != StreamAssembler::Result::kMore) break;
    }
  }
}

TEST(fuzz_a_running_ring) {
  // The insider: mutated messages straight into a node's core, which must go on working.
  Simulator ring(3, {});
  ring.StartAll();
  for (int i = 0; i < 3; i++) ring.JoinNetwork(i, "net");
  ring.Run(2000);
  std::mt19937_64 random(3 + kSeed);
  const auto specimens = Specimens();
  for (uint64_t i = 0; i < kRounds; i++) {
    const Bytes bytes = Mutate(specimens[random() % specimens.size()], &random);
    ring.Inject(0, kAddress, bytes, random() % 2 == 0);
    if (i % 500 == 0) ring.Run(20);
  }
  ring.Put(1, "net", "t", "after", "still here");
  // Who was talked dead is found again by an exchange of all state, for which invented members are chosen as well.
  ring.Run(180'000);
  EXPECT(ring.Sees(0, "net", "t", "after", "still here"));
  EXPECT(ring.Sees(2, "net", "t", "after", "still here"));
}
