// The few protobuf forms that NetworkDB's messages use: varints and length-delimited fields.
#pragma once

#include "gossip/bytes.h"

namespace skep::gossip {

/// Appends fields; proto3 rule: zero and empty are left out.
class ProtobufWriter {
 public:
  explicit ProtobufWriter(Bytes* out) : out_(out) {}

  void Varint(uint32_t field, uint64_t value);
  void Block(uint32_t field, ByteView bytes);
  void Text(uint32_t field, std::string_view text) { Block(field, AsBytes(text)); }
  /// An element of a repeated field: written even when empty.
  void Element(uint32_t field, ByteView bytes);

 private:
  void Raw(uint64_t value);
  Bytes* out_;
};

/// Walks the fields of a message. Unknown wire types end it with `valid() == false`.
class ProtobufReader {
 public:
  explicit ProtobufReader(ByteView input) : input_(input) {}

  /// Moves to the next field; false at the end or on malformed input.
  bool Next();
  bool valid() const { return valid_; }
  uint32_t field() const { return field_; }
  /// The value of a varint field, 0 for another kind.
  uint64_t varint() const { return varint_; }
  /// The content of a length-delimited field, empty for another kind.
  ByteView block() const { return block_; }

 private:
  bool Varint(uint64_t* value);
  bool Fail() { return valid_ = false; }

  ByteView input_;
  size_t position_ = 0;
  bool valid_ = true;
  uint32_t field_ = 0;
  uint64_t varint_ = 0;
  ByteView block_;
};

}  // namespace skep::gossip
