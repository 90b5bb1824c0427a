// Codecs against byte literals, as stock peers write them.
#include <map>

#include "bytes_text.h"
#include "gossip/broadcast_queue.h"
#include "gossip/crc32.h"
#include "gossip/envelope.h"
#include "gossip/limits.h"
#include "gossip/lzw.h"
#include "gossip/networkdb_messages.h"
#include "gossip/suspicion.h"
#include "testing.h"

using namespace skep::gossip;
using namespace skep::gossip::test;

namespace {

const Endpoint kAddress = *EndpointFromText("10.1.2.3", 7946);
constexpr Versions kVersions = {1, 5, 2, 0, 0, 0};

RandomFill CountingRandom() {
  return [next = uint8_t{0}](uint8_t* bytes, size_t count) mutable {
    for (size_t i = 0; i < count; i++) bytes[i] = next++;
  };
}

std::vector<std::string> OpenAll(Envelope* envelope, ByteView datagram) {
  std::vector<std::string> out;
  envelope->OpenPacket(datagram, [&](ByteView m) { out.push_back(ToHex(m)); });
  return out;
}

/// LZW encoder in the manner of Go's compress/lzw (clear first, and again when codes run out).
Bytes LzwFold(ByteView text) {
  Bytes out;
  uint32_t bits = 0, width = 9, next = 257, code = 0xffff;
  int count = 0;
  std::map<uint32_t, uint32_t> table;
  const auto emit = [&](uint32_t value) {
    bits |= value << count;
    for (count += static_cast<int>(width); count >= 8; count -= 8) {
      out.push_back(static_cast<uint8_t>(bits));
      bits >>= 8;
    }
  };
  const auto advance = [&] {
    if (++next == 1u << width) width++;
    if (next != 4095) return true;
    emit(256);
    width = 9;
    next = 257;
    table.clear();
    return false;
  };
  emit(256);
  for (const uint8_t byte : text) {
    const auto found = table.find(code << 8 | byte);
    if (code == 0xffff) {
      code = byte;
    } else if (found != table.end()) {
      code = found->second;
    } else {
      emit(code);
      if (advance()) table[code << 8 | byte] = next;
      code = byte;
    }
  }
  if (code != 0xffff) {
    emit(code);
    advance();
  }
  emit(257);
  if (count > 0) out.push_back(static_cast<uint8_t>(bits));
  return out;
}

}  // namespace

TEST(ping_has_sorted_keys_and_raw_strings) {
  const Ping ping{0x1234, "nö", "", {}};
  EXPECT_EQ(ToHex(ping.Encode()), "0082a44e6f6465a36ec3b6a55365714e6fcd1234");
  const auto back = Ping::Decode(ByteView(ping.Encode()).subspan(1));
  EXPECT(back && back->sequence == 0x1234 && back->node == "nö" && back->source.ip_length == 0);
}

TEST(ack_without_payload_is_nil) {
  EXPECT_EQ(ToHex(Ack{7, {}}.Encode()), "0282a75061796c6f6164c0a55365714e6f07");
}

TEST(alive_round_trip_and_literal) {
  const Alive alive{1, "us", kAddress, {}, kVersions};
  EXPECT_EQ(ToHex(alive.Encode()),
            "0486a441646472a40a010203ab496e6361726e6174696f6e01a44d657461a0a44e6f6465a27573"
            "a4506f7274cd1f0aa356736ea6010502000000");
  const auto back = Alive::Decode(ByteView(alive.Encode()).subspan(1));
  EXPECT(back && back->address == kAddress && back->versions == kVersions);
}

TEST(decoders_take_what_newer_peers_write) {
  // str8, bin8, a signed integer, unknown keys of any type, nil for every field, any order.
  const auto alive = Alive::Decode(
      Hex("88 d9044e6f6465 d9027573 a3586c6c 92c0cb3ff0000000000000 a44d657461 c0 a356736e"
          "c406010502000000 a4506f7274 d11f0a a441646472 c4040a010203 ab496e6361726e6174696f6e"
          "d20000 0100 a47a7a7a7a 81a16101"));
  EXPECT(alive && alive->node == "us" && alive->address == kAddress && alive->incarnation == 256);
  EXPECT(!Alive::Decode(Hex("81a44e6f6465a27573")));  // No address.
  EXPECT(!Accusation::Decode(Hex("81a44e6f6465a0")));  // No name.
  EXPECT(!Ack::Decode(Hex("81a55365714e6fd0ff")));     // A negative number.
  EXPECT(!Ack::Decode(Hex("81a55365714e6fcf0000000100000000")));  // More than 32 bits.
}

TEST(mapped_ipv4_becomes_ipv4) {
  const auto endpoint =
      EndpointFromBytes(Hex("00000000000000000000ffff0a010203"), 7946);
  EXPECT(endpoint && *endpoint == kAddress && IpText(*endpoint) == "10.1.2.3");
  EXPECT(!EndpointFromBytes(Hex("0a0102"), 1));
}

TEST(push_pull_round_trip) {
  PushPull message;
  message.join = true;
  message.user_state = Text("state");
  message.nodes.push_back({"us", kAddress, Text("m"), 3, MemberState::kLeft, kVersions});
  message.nodes.push_back({"them", kAddress, {}, 1u << 20, MemberState::kSuspect, kVersions});
  const Bytes wire = message.Encode();
  EXPECT_EQ(ToHex(ByteView(wire).first(29)),
            "0683a44a6f696ec3a54e6f64657302ac557365725374617465" "4c656e05");
  const auto back = PushPull::Decode(ByteView(wire).subspan(1));
  EXPECT(back && back->join && back->nodes.size() == 2 && back->user_state == Text("state"));
  EXPECT(back && back->nodes[0].state == MemberState::kLeft && back->nodes[1].name == "them");
  EXPECT(back && back->nodes[1].incarnation == 1u << 20);
}

TEST(stream_scanner_finds_the_end_byte_by_byte) {
  PushPull message;
  for (int i = 0; i < 40; i++) {
    message.nodes.push_back({"node" + std::to_string(i), kAddress, {}, 1, MemberState::kAlive,
                             kVersions});
  }
  message.user_state = Text("tail");
  Bytes wire = message.Encode();
  const size_t length = wire.size();
  Append(&wire, Text("more"));
  StreamScanner scanner;
  for (size_t i = 0; i < length; i++) {
    EXPECT(scanner.Scan(ByteView(wire).first(i)).status == ParseStatus::kTruncated);
  }
  const StreamExtent extent = scanner.Scan(wire);
  EXPECT(extent.status == ParseStatus::kOk && extent.length == length);
}

TEST(crc32_is_ieee) { EXPECT_EQ(Crc32(Text("123456789")), 0xcbf43926u); }

TEST(lzw_literals) {
  Bytes out;
  // Clear, 'a', code 258 (which "aa" becomes only by using it), end: packed by hand in 9 bits.
  EXPECT(LzwDecode(Hex("00c3080c08"), 64, &out));
  EXPECT_EQ(std::string(out.begin(), out.end()), "aaa");
  EXPECT(!LzwDecode(Hex("00c3080c08"), 2, &out));  // More than allowed.
  EXPECT(!LzwDecode(Hex("00c308"), 64, &out));     // No end.
  EXPECT(!LzwDecode(Hex("00fe07"), 64, &out));     // A code that cannot exist yet.
}

TEST(lzw_unfolds_all_widths_and_clears) {
  for (const size_t length : {0u, 1u, 300u, 5000u, 200'000u}) {
    Bytes text;
    uint32_t state = 1;
    for (size_t i = 0; i < length; i++) {
      state = state * 1664525 + 1013904223;
      text.push_back(static_cast<uint8_t>(state >> 24 & 0x1f));
    }
    Bytes out;
    EXPECT(LzwDecode(LzwFold(text), length, &out));
    EXPECT(out == text);
  }
}

TEST(compound_keeps_whole_parts_of_a_cut_one) {
  Counters counters;
  Envelope envelope("", CountingRandom(), &counters);
  const Bytes wire = envelope.SealPacket({Hex("0b01"), Hex("0202ff")}, false);
  EXPECT_EQ(ToHex(wire), "0702000200030b010202ff");
  EXPECT_EQ(OpenAll(&envelope, wire).size(), 2u);
  EXPECT_EQ(OpenAll(&envelope, ByteView(wire).first(wire.size() - 1)).size(), 1u);
  EXPECT_EQ(counters.Get(Counter::droppedUndecodable), 1u);
}

TEST(crc_is_written_and_checked) {
  Counters counters;
  Envelope envelope("", CountingRandom(), &counters);
  Bytes wire = envelope.SealPacket({Text("123456789")}, true);
  EXPECT_EQ(ToHex(ByteView(wire).first(5)), "0ccbf43926");
  EXPECT_EQ(OpenAll(&envelope, wire).size(), 1u);
  wire[6] ^= 1;
  EXPECT_EQ(OpenAll(&envelope, wire).size(), 0u);
  EXPECT_EQ(counters.Get(Counter::droppedCrc), 1u);
}

TEST(aes_gcm_matches_a_published_vector) {
  // McGrew and Viega, test case 4 (AES-128, 96-bit nonce, associated data).
  const Bytes key = Hex("feffe9928665731c6d6a8f9467308308");
  const Bytes nonce = Hex("cafebabefacedbaddecaf888");
  const Bytes associated = Hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
  const Bytes plain = Hex(
      "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449"
      "a6b525b16aedf5aa0de657ba637b39");
  Bytes sealed;
  EXPECT(AeadSeal(key, nonce, associated, plain, &sealed));
  EXPECT_EQ(ToHex(sealed),
            "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a"
            "5aac84aa051ba30b396a0aac973d58e0915bc94fbc3221a5db94fae95ae7121a47");
  EXPECT(AeadOpen(key, nonce, associated, sealed) == plain);
  sealed[0] ^= 1;
  EXPECT(!AeadOpen(key, nonce, associated, sealed));
}

TEST(second_oldest_key_encrypts_and_all_decrypt) {
  const Bytes oldest(16, 1), primary(16, 2), next(16, 3);
  Counters counters;
  Envelope sender("", CountingRandom(), &counters);
  sender.SetKeys({oldest, primary, next});
  const Bytes wire = sender.SealPacket({Text("!x")}, false);
  EXPECT_EQ(wire.size(), 2u + 29u);
  EXPECT_EQ(wire[0], 1);
  for (const auto& [key, opens] : {std::pair(oldest, 0u), {primary, 1u}, {next, 0u}}) {
    Envelope receiver("", CountingRandom(), &counters);
    receiver.SetKeys({key});
    EXPECT_EQ(OpenAll(&receiver, wire).size(), opens);
  }
  // One rotation later the receiver holds it as its oldest.
  Envelope rotated("", CountingRandom(), &counters);
  rotated.SetKeys({primary, next, Bytes(16, 4)});
  EXPECT_EQ(OpenAll(&rotated, wire).size(), 1u);
  Envelope plain("", CountingRandom(), &counters);
  EXPECT_EQ(OpenAll(&rotated, plain.SealPacket({Text("!x")}, false)).size(), 0u);
}

TEST(label_must_be_the_same) {
  Counters counters;
  Envelope ours("ring", CountingRandom(), &counters), none("", CountingRandom(), &counters);
  ours.SetKeys({Bytes(16, 1)});
  const Bytes wire = ours.SealPacket({Text("!x")}, true);
  EXPECT_EQ(ToHex(ByteView(wire).first(6)), "f40472696e67");
  EXPECT_EQ(OpenAll(&ours, wire).size(), 1u);
  EXPECT_EQ(OpenAll(&none, wire).size(), 0u);
  EXPECT_EQ(counters.Get(Counter::droppedLabel), 1u);
  StreamAssembler assembler(&ours);
  EXPECT(assembler.Feed(ours.SealStream(Ack{1, {}}.Encode())) ==
         StreamAssembler::Result::kMessage);
}

TEST(stream_is_framed_encrypted_and_bounded) {
  Counters counters;
  Envelope envelope("", CountingRandom(), &counters);
  envelope.SetKeys({Bytes(16, 1), Bytes(16, 2)});
  const Bytes message = EncodeUserStream(Text("hello"));
  const Bytes wire = envelope.SealStream(message);
  EXPECT_EQ(ToHex(ByteView(wire).first(6)), "0a0000003001" + std::string());
  StreamAssembler assembler(&envelope);
  for (size_t i = 0; i + 1 < wire.size(); i++) {
    EXPECT(assembler.Feed({&wire[i], 1}) == StreamAssembler::Result::kMore);
  }
  EXPECT(assembler.Feed({&wire.back(), 1}) == StreamAssembler::Result::kMessage);
  EXPECT(assembler.message() == message);
  StreamAssembler plaintext(&envelope), huge(&envelope);
  EXPECT(plaintext.Feed(message) == StreamAssembler::Result::kBroken);
  EXPECT(huge.Feed(Hex("0affffffff")) == StreamAssembler::Result::kBroken);
  EXPECT_EQ(counters.Get(Counter::droppedPlaintext), 1u);
  EXPECT_EQ(counters.Get(Counter::droppedOversize), 1u);
}

TEST(networkdb_literals) {
  const NetworkEvent join{true, 5, "us", "net"};
  EXPECT_EQ(ToHex(join.Encode()), "0801120d080110051a02757322036e6574");
  TableEvent event;
  event.kind = TableEventKind::kDelete;
  event.ltime = 300;
  event.node = "us";
  event.network = "net";
  event.table = "t";
  event.key = "k";
  event.residual_reap_seconds = 1800;
  EXPECT_EQ(ToHex(event.Encode()), "0802" "1217" "0803" "10ac02" "1a027573" "22036e6574" "2a0174"
                                   "32016b" "40880e");
  const Bytes wire = event.Encode();
  const auto outer = GossipMessage::Decode(wire);
  const auto back = outer ? TableEvent::Decode(outer->data) : std::nullopt;
  EXPECT(back && back->ltime == 300 && back->residual_reap_seconds == 1800 && back->key == "k");
  EXPECT(!TableEvent::Decode(Hex("0803")));                      // No names.
  EXPECT(!NodeEvent::Decode(Hex("080110ffffffffffffffffff011a0161")));  // A clock at its end.
}

TEST(networkdb_push_pull_and_bulk_sync_round_trip) {
  NetworkPushPull state{9, "us", {{true, 1, "us", "n1"}, {false, 2, "them", "n2"}}};
  const Bytes wire = state.Encode();
  const auto outer = GossipMessage::Decode(wire);
  const auto back = outer ? NetworkPushPull::Decode(outer->data) : std::nullopt;
  EXPECT(back && back->networks.size() == 2 && !back->networks[1].join && back->ltime == 9);
  BulkSync sync{4, true, "us", {"n1"}, EncodeGossipCompound({Text("a"), Text("bc")})};
  const Bytes sync_wire = sync.Encode();
  const auto sync_outer = GossipMessage::Decode(sync_wire);
  const auto sync_back = sync_outer ? BulkSync::Decode(sync_outer->data) : std::nullopt;
  EXPECT(sync_back && sync_back->unsolicited && sync_back->networks.size() == 1);
  const auto compound = sync_back ? GossipMessage::Decode(sync_back->payload) : std::nullopt;
  const auto parts = compound ? DecodeGossipCompound(compound->data) : std::nullopt;
  EXPECT(parts && parts->size() == 2 && AsText((*parts)[1]) == "bc");
}

TEST(broadcast_queue_order_and_limits) {
  BroadcastQueue queue(3);
  queue.Push("short", Text("12345678"));
  queue.Push("long", Text("1234567890"));
  queue.Push("newer", Text("abcdefgh"));
  std::vector<Bytes> taken;
  queue.Take(2, 23, 2, &taken);  // Room for two: the longest, then the newest of equals.
  EXPECT(taken.size() == 2 && taken[0] == Text("1234567890") && taken[1] == Text("abcdefgh"));
  taken.clear();
  queue.Take(2, 100, 2, &taken);  // Those told least come first; told twice, they are gone.
  EXPECT(taken.size() == 3 && taken[0] == Text("12345678"));
  EXPECT_EQ(queue.size(), 1u);
  queue.Push("short", Text("replaced"));
  EXPECT_EQ(queue.size(), 1u);
  queue.Push("b", Text("1"));
  queue.Push("c", Text("2"));
  EXPECT_EQ(queue.Push("d", Text("3")), 1u);
  EXPECT_EQ(queue.size(), 3u);
  EXPECT_EQ(TransmitLimit(4, 2), 4);
  EXPECT_EQ(TransmitLimit(4, 10), 8);
}

TEST(suspicion_shrinks_with_confirmations) {
  Suspicion suspicion("a", 2, 4000, 24000, 0);
  EXPECT_EQ(suspicion.deadline(), 24000);
  EXPECT(!suspicion.Confirm("a"));
  EXPECT(suspicion.Confirm("b"));
  EXPECT_EQ(suspicion.deadline(), 11381);
  EXPECT(!suspicion.Confirm("b"));
  EXPECT(suspicion.Confirm("c"));
  EXPECT_EQ(suspicion.deadline(), 4000);
  EXPECT(!suspicion.Confirm("d"));
  EXPECT_EQ(Suspicion("a", 0, 4000, 24000, 0).deadline(), 4000);
}
