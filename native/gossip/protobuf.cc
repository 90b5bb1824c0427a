// Protobuf writer and bounded reader.
#include "gossip/protobuf.h"

namespace skep::gossip {

void ProtobufWriter::Raw(uint64_t value) {
  for (; value >= 0x80; value >>= 7) out_->push_back(static_cast<uint8_t>(value | 0x80));
  out_->push_back(static_cast<uint8_t>(value));
}

void ProtobufWriter::Varint(uint32_t field, uint64_t value) {
  if (value == 0) return;
  Raw(uint64_t{field} << 3);
  Raw(value);
}

void ProtobufWriter::Block(uint32_t field, ByteView bytes) {
  if (!bytes.empty()) Element(field, bytes);
}

void ProtobufWriter::Element(uint32_t field, ByteView bytes) {
  Raw(uint64_t{field} << 3 | 2);
  Raw(bytes.size());
  Append(out_, bytes);
}

bool ProtobufReader::Varint(uint64_t* value) {
  *value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    if (position_ >= input_.size()) return Fail();
    const uint8_t byte = input_[position_++];
    *value |= uint64_t{byte & 0x7fu} << shift;
    if ((byte & 0x80) == 0) return true;
  }
  return Fail();
}

bool ProtobufReader::Next() {
  if (!valid_ || position_ >= input_.size()) return false;
  uint64_t key = 0;
  if (!Varint(&key)) return false;
  varint_ = 0;
  block_ = {};
  field_ = static_cast<uint32_t>(key >> 3);
  if (field_ == 0 || key >> 32 != 0) return Fail();
  uint64_t length = 0;
  switch (key & 7) {
    case 0: return Varint(&varint_);
    case 1: length = 8; break;
    case 2:
      if (!Varint(&length)) return false;
      break;
    case 5: length = 4; break;
    default: return Fail();
  }
  if (length > input_.size() - position_) return Fail();
  if ((key & 7) == 2) block_ = input_.subspan(position_, length);
  position_ += length;
  return true;
}

}  // namespace skep::gossip
