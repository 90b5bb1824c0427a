// Sealing and opening of packets and streams; see envelope.h.
#include "gossip/envelope.h"

#include <algorithm>

#include "gossip/crc32.h"
#include "gossip/limits.h"
#include "gossip/lzw.h"

namespace skep::gossip {
namespace {

constexpr uint8_t kVersionPadded = 0;
constexpr uint8_t kVersionPlain = 1;
constexpr size_t kSealedOverhead = 1 + kNonceBytes + kTagBytes;
constexpr size_t kStreamFrameBytes = 5;  // Type byte and length.
constexpr size_t kCompoundPartsMax = 255;

uint8_t Byte(MessageType type) { return static_cast<uint8_t>(type); }

bool Is(ByteView message, MessageType type) {
  return !message.empty() && message[0] == Byte(type);
}

}  // namespace

std::optional<Bytes> OpenSealed(const KeyRing& keys, ByteView sealed, ByteView associated) {
  if (sealed.size() < kSealedOverhead || sealed[0] > kVersionPlain) return std::nullopt;
  auto plain = keys.Open(sealed.subspan(1, kNonceBytes), associated,
                         sealed.subspan(1 + kNonceBytes));
  if (plain && sealed[0] == kVersionPadded) {
    // PKCS#7: the last byte says how many to cut.
    const size_t padding = plain->empty() ? 0 : plain->back();
    if (padding == 0 || padding > 16 || padding > plain->size()) return std::nullopt;
    plain->resize(plain->size() - padding);
  }
  return plain;
}

std::optional<Bytes> OpenCompressed(ByteView body, size_t bytes_max) {
  MsgpackReader reader(body);
  ByteView folded;
  uint8_t algorithm = 0;
  const bool ok = reader.Struct([&](std::string_view key) {
    if (key == "Algo") return reader.UintInto(&algorithm);
    if (key == "Buf") return reader.Raw(&folded);
    return false;
  });
  Bytes out;
  if (!ok || algorithm != 0 || !LzwDecode(folded, bytes_max, &out)) return std::nullopt;
  return out;
}

Envelope::Envelope(std::string label, RandomFill random, Counters* counters)
    : label_(std::move(label)), random_(std::move(random)), counters_(counters) {}

size_t Envelope::PacketOverhead() const {
  constexpr size_t kCrcBytes = 5;
  return kCrcBytes + (encrypted() ? kSealedOverhead : 0) + (label_.empty() ? 0 : 2 + label_.size());
}

void Envelope::SealInto(ByteView plain, ByteView associated, Bytes* out) {
  std::array<uint8_t, kNonceBytes> nonce;
  random_(nonce.data(), nonce.size());
  out->push_back(kVersionPlain);
  Append(out, nonce);
  if (!AeadSeal(keys_.primary(), nonce, associated, plain, out)) {
    // Never fall back to plaintext: an empty buffer is sent as nothing.
    out->clear();
  }
}

Bytes Envelope::SealPacket(const std::vector<Bytes>& messages, bool crc) {
  Bytes plain;
  const size_t count = std::min(messages.size(), kCompoundPartsMax);
  if (count == 1) {
    plain = messages[0];
  } else {
    plain = {Byte(MessageType::kCompound), static_cast<uint8_t>(count)};
    for (size_t i = 0; i < count; i++) AppendU16(&plain, static_cast<uint16_t>(messages[i].size()));
    for (size_t i = 0; i < count; i++) Append(&plain, messages[i]);
  }
  if (crc) {
    Bytes summed = {Byte(MessageType::kCrc)};
    AppendU32(&summed, Crc32(plain));
    Append(&summed, plain);
    plain = std::move(summed);
  }
  Bytes out;
  if (!label_.empty()) {
    out = {Byte(MessageType::kLabel), static_cast<uint8_t>(label_.size())};
    Append(&out, AsBytes(label_));
  }
  if (encrypted()) {
    SealInto(plain, AsBytes(label_), &out);
  } else {
    Append(&out, plain);
  }
  return out;
}

bool Envelope::StripLabel(ByteView* datagram) {
  ByteView found;
  if (Is(*datagram, MessageType::kLabel)) {
    if (datagram->size() < 2 || datagram->size() < 2u + (*datagram)[1]) return false;
    found = datagram->subspan(2, (*datagram)[1]);
    *datagram = datagram->subspan(2 + found.size());
  }
  return AsText(found) == label_;
}

void Envelope::OpenPacket(ByteView datagram, const std::function<void(ByteView)>& message) {
  if (!StripLabel(&datagram)) return counters_->Add(Counter::droppedLabel);
  Bytes plain;
  if (encrypted()) {
    auto opened = OpenSealed(keys_, datagram, AsBytes(label_));
    if (!opened) return counters_->Add(Counter::droppedUndecryptable);
    plain = std::move(*opened);
    datagram = plain;
  }
  size_t parts = 0;
  OpenPart(datagram, 0, &parts, message);
}

void Envelope::OpenPart(ByteView part, int depth, size_t* parts,
                        const std::function<void(ByteView)>& message) {
  if (part.empty() || depth > limits::kEnvelopeDepthMax) {
    return counters_->Add(Counter::droppedUndecodable);
  }
  if (Is(part, MessageType::kCrc)) {
    if (part.size() < 5) return counters_->Add(Counter::droppedUndecodable);
    if (Crc32(part.subspan(5)) != ReadU32(part, 1)) return counters_->Add(Counter::droppedCrc);
    return OpenPart(part.subspan(5), depth + 1, parts, message);
  }
  if (Is(part, MessageType::kCompress)) {
    // Several compressed parts together may not unfold to more than one alone.
    if (++*parts > 16) return counters_->Add(Counter::droppedOversize);
    const auto unfolded = OpenCompressed(part.subspan(1), limits::kPacketInflatedBytesMax);
    if (!unfolded) return counters_->Add(Counter::droppedUndecodable);
    return OpenPart(*unfolded, depth + 1, parts, message);
  }
  if (Is(part, MessageType::kCompound)) {
    return OpenCompound(part.subspan(1), depth, parts, message);
  }
  if (++*parts > limits::kPacketPartsMax) return counters_->Add(Counter::droppedOversize);
  message(part);
}

void Envelope::OpenCompound(ByteView body, int depth, size_t* parts,
                            const std::function<void(ByteView)>& message) {
  if (body.empty() || body.size() < 1 + 2u * body[0]) {
    return counters_->Add(Counter::droppedUndecodable);
  }
  const size_t count = body[0];
  size_t at = 1 + 2 * count;
  for (size_t i = 0; i < count; i++) {
    const size_t length = ReadU16(body, 1 + 2 * i);
    // A cut-off compound still delivers its whole parts.
    if (length > body.size() - at) return counters_->Add(Counter::droppedUndecodable);
    OpenPart(body.subspan(at, length), depth + 1, parts, message);
    at += length;
  }
}

Bytes Envelope::SealStream(ByteView message) {
  Bytes out;
  if (!label_.empty()) {
    out = {Byte(MessageType::kLabel), static_cast<uint8_t>(label_.size())};
    Append(&out, AsBytes(label_));
  }
  if (!encrypted()) {
    Append(&out, message);
    return out;
  }
  Bytes frame = {Byte(MessageType::kEncrypt)};
  AppendU32(&frame, static_cast<uint32_t>(message.size() + kSealedOverhead));
  Bytes associated = frame;
  Append(&associated, AsBytes(label_));
  Bytes sealed;
  SealInto(message, associated, &sealed);
  if (sealed.empty()) return {};
  Append(&out, frame);
  Append(&out, sealed);
  return out;
}

StreamAssembler::Result StreamAssembler::Broken(Counter cause) {
  envelope_->counters()->Add(cause);
  return Result::kBroken;
}

StreamAssembler::Result StreamAssembler::Feed(ByteView bytes) {
  if (buffer_.size() + bytes.size() > limits::kStreamBytesMax + 1024) {
    return Broken(Counter::droppedOversize);
  }
  Append(&buffer_, bytes);
  return Advance();
}

StreamAssembler::Result StreamAssembler::Advance() {
  if (!label_done_) {
    if (buffer_.empty()) return Result::kMore;
    size_t label_bytes = 0;
    if (buffer_[0] == Byte(MessageType::kLabel)) {
      if (buffer_.size() < 2 || buffer_.size() < 2u + buffer_[1]) return Result::kMore;
      label_bytes = buffer_[1];
      start_ = 2 + label_bytes;
    }
    if (AsText(ByteView(buffer_).subspan(start_ - label_bytes, label_bytes)) !=
        envelope_->label()) {
      return Broken(Counter::droppedLabel);
    }
    label_done_ = true;
  }
  const ByteView rest = ByteView(buffer_).subspan(start_);
  if (rest.empty()) return Result::kMore;
  if (Is(rest, MessageType::kEncrypt)) return FinishEncrypted(rest);
  if (envelope_->encrypted()) return Broken(Counter::droppedPlaintext);
  return FinishPlain(rest);
}

StreamAssembler::Result StreamAssembler::FinishEncrypted(ByteView frame) {
  if (!envelope_->encrypted()) return Broken(Counter::droppedUndecryptable);
  if (frame.size() < kStreamFrameBytes) return Result::kMore;
  const size_t length = ReadU32(frame, 1);
  if (length > limits::kStreamBytesMax) return Broken(Counter::droppedOversize);
  if (frame.size() - kStreamFrameBytes < length) return Result::kMore;
  Bytes associated(frame.begin(), frame.begin() + kStreamFrameBytes);
  Append(&associated, AsBytes(envelope_->label()));
  auto plain = OpenSealed(envelope_->keys(), frame.subspan(kStreamFrameBytes, length), associated);
  if (!plain) return Broken(Counter::droppedUndecryptable);
  scanner_ = StreamScanner();
  const Result result = FinishPlain(*plain);
  // The frame is whole: a message that is not will never be.
  return result == Result::kMore ? Broken(Counter::droppedUndecodable) : result;
}

StreamAssembler::Result StreamAssembler::FinishPlain(ByteView message) {
  const StreamExtent extent = scanner_.Scan(message);
  if (extent.status == ParseStatus::kTruncated) return Result::kMore;
  if (extent.status == ParseStatus::kInvalid) return Broken(Counter::droppedUndecodable);
  message = message.first(extent.length);
  if (!Is(message, MessageType::kCompress)) {
    message_.assign(message.begin(), message.end());
    return Result::kMessage;
  }
  auto unfolded = OpenCompressed(message.subspan(1), limits::kStreamBytesMax);
  if (!unfolded || unfolded->empty()) return Broken(Counter::droppedUndecodable);
  message_ = std::move(*unfolded);
  return Result::kMessage;
}

}  // namespace skep::gossip
