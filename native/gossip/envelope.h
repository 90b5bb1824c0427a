// What wraps memberlist's messages on the wire: compound, compression, checksum, encryption, label.
// Packets and streams are sealed here and opened here; what comes out is plain messages.
#pragma once

#include <functional>

#include "gossip/aead.h"
#include "gossip/counters.h"
#include "gossip/swim_messages.h"

namespace skep::gossip {

/// Fills the buffer with random bytes; real ones on the wire, seeded ones in a simulator.
using RandomFill = std::function<void(uint8_t* bytes, size_t count)>;

class Envelope {
 public:
  /// `label`: both ends must have the same one; empty for none.
  Envelope(std::string label, RandomFill random, Counters* counters);

  /// Oldest first; empty switches encryption off. Plaintext is refused while there are keys.
  void SetKeys(std::vector<Bytes> keys) { keys_.Set(std::move(keys)); }
  bool encrypted() const { return !keys_.empty(); }

  /// Bytes of a datagram that are not message: label, encryption, checksum.
  size_t PacketOverhead() const;

  /// Joins messages into one datagram. `crc`: the receiver is known to understand checksums.
  Bytes SealPacket(const std::vector<Bytes>& messages, bool crc);
  /// Calls `message` for each plain message of a datagram; drops are counted.
  void OpenPacket(ByteView datagram, const std::function<void(ByteView)>& message);

  Bytes SealStream(ByteView message);

  const std::string& label() const { return label_; }
  const KeyRing& keys() const { return keys_; }
  Counters* counters() { return counters_; }

 private:
  void OpenPart(ByteView part, int depth, size_t* parts,
                const std::function<void(ByteView)>& message);
  void OpenCompound(ByteView body, int depth, size_t* parts,
                    const std::function<void(ByteView)>& message);
  bool StripLabel(ByteView* datagram);
  void SealInto(ByteView plain, ByteView associated, Bytes* out);

  std::string label_;
  RandomFill random_;
  Counters* counters_;
  KeyRing keys_;
};

/// `[version][nonce][ciphertext][tag]`, versions 0 (padded) and 1.
std::optional<Bytes> OpenSealed(const KeyRing& keys, ByteView sealed, ByteView associated);

/// Unfolds the body of a compress message, whose content is again a message.
std::optional<Bytes> OpenCompressed(ByteView body, size_t bytes_max);

/// Collects one incoming stream until its message is whole, deciphers and decompresses it.
class StreamAssembler {
 public:
  enum class Result { kMore, kMessage, kBroken };
  explicit StreamAssembler(Envelope* envelope) : envelope_(envelope) {}

  Result Feed(ByteView bytes);
  size_t buffered() const { return buffer_.size(); }
  /// Valid after kMessage: type byte and body.
  const Bytes& message() const { return message_; }

 private:
  Result Advance();
  Result FinishPlain(ByteView message);
  Result FinishEncrypted(ByteView frame);
  Result Broken(Counter cause);

  Envelope* envelope_;
  Bytes buffer_;
  Bytes message_;
  size_t start_ = 0;  // Behind the label.
  bool label_done_ = false;
  StreamScanner scanner_;
};

}  // namespace skep::gossip
