// memberlist's messages: one struct each, with `Encode` (type byte included) and a bounded `Decode`
// of the body behind the type byte. Keys are written in alphabetical order, as Go writes them.
#pragma once

#include "gossip/msgpack.h"

namespace skep::gossip {

enum class MessageType : uint8_t {
  kPing = 0, kIndirectPing = 1, kAck = 2, kSuspect = 3, kAlive = 4, kDead = 5, kPushPull = 6,
  kCompound = 7, kUser = 8, kCompress = 9, kEncrypt = 10, kNack = 11, kCrc = 12, kError = 13,
  kLabel = 244,
};

/// [protocol min, max, current, delegate min, max, current].
using Versions = std::array<uint8_t, 6>;

struct Ping {
  uint32_t sequence = 0;
  std::string node;         // Who is meant.
  std::string source_node;  // Who asks; empty with old peers.
  Endpoint source;          // `ip_length` 0 when absent.
  Bytes Encode() const;
  static std::optional<Ping> Decode(ByteView body);
};

struct IndirectPing {
  uint32_t sequence = 0;
  Endpoint target;
  std::string node;
  bool nack = false;  // The asker understands a nack.
  std::string source_node;
  Endpoint source;
  Bytes Encode() const;
  static std::optional<IndirectPing> Decode(ByteView body);
};

struct Ack {
  uint32_t sequence = 0;
  Bytes payload;
  Bytes Encode() const;
  static std::optional<Ack> Decode(ByteView body);
};

struct Nack {
  uint32_t sequence = 0;
  Bytes Encode() const;
  static std::optional<Nack> Decode(ByteView body);
};

/// Body of both `suspect` and `dead`.
struct Accusation {
  uint32_t incarnation = 0;
  std::string node;
  std::string from;
  Bytes Encode(MessageType type) const;
  static std::optional<Accusation> Decode(ByteView body);
};

struct Alive {
  uint32_t incarnation = 0;
  std::string node;
  Endpoint address;
  Bytes meta;
  Versions versions{};
  Bytes Encode() const;
  static std::optional<Alive> Decode(ByteView body);
};

/// memberlist's numbers, as they travel in push/pull.
enum class MemberState : uint8_t { kAlive = 0, kSuspect = 1, kDead = 2, kLeft = 3 };

/// One member in a push/pull.
struct PushNode {
  std::string name;
  Endpoint address;
  Bytes meta;
  uint32_t incarnation = 0;
  MemberState state = MemberState::kAlive;
  Versions versions{};
};

struct PushPull {
  bool join = false;
  std::vector<PushNode> nodes;
  Bytes user_state;
  Bytes Encode() const;
  static std::optional<PushPull> Decode(ByteView body);
};

/// Over TCP a user message has a length before it; as a packet it is the rest of the message.
Bytes EncodeUserStream(ByteView message);
std::optional<ByteView> DecodeUserStream(ByteView body);

Bytes EncodeError(std::string_view text);

/// How long a plaintext stream message (type byte first) is. `kTruncated`: read more.
struct StreamExtent {
  ParseStatus status = ParseStatus::kTruncated;
  size_t length = 0;
};

/// Finds the end of an unencrypted stream message without decoding it twice: keeps what it has
/// passed, so that feeding a long push/pull piece by piece stays linear.
class StreamScanner {
 public:
  /// `bytes` is the whole message so far, starting with the type byte.
  StreamExtent Scan(ByteView bytes);

 private:
  StreamExtent ScanHeader(ByteView bytes);

  bool have_header_ = false;
  size_t passed_ = 0;
  uint64_t nodes_left_ = 0;
  uint64_t tail_bytes_ = 0;
};

}  // namespace skep::gossip
