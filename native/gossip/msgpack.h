// MessagePack in the dialect of go-msgpack's default handle: strings and byte slices are both
// "raw", written without str8 and bin; read in every form. The reader is total and bounded by its
// input.
#pragma once

#include <string>

#include "gossip/bytes.h"

namespace skep::gossip {

class MsgpackWriter {
 public:
  explicit MsgpackWriter(Bytes* out) : out_(out) {}

  void Map(uint32_t entries);
  void Array(uint32_t elements);
  void Uint(uint64_t value);
  void Double(double value);
  void Bool(bool value) { out_->push_back(value ? 0xc3 : 0xc2); }
  void Nil() { out_->push_back(0xc0); }
  void Raw(ByteView bytes);
  void Text(std::string_view text) { Raw(AsBytes(text)); }

 private:
  Bytes* out_;
};

/// How reading ended. `kTruncated`: more bytes could make it whole.
enum class ParseStatus { kOk, kTruncated, kInvalid };

/// Reads values one after the other; the first failure sticks, later reads fail too.
class MsgpackReader {
 public:
  explicit MsgpackReader(ByteView input) : input_(input) {}

  /// Each returns false on failure. Nil is read as 0, false, or empty, as Go's decoder does.
  bool Map(uint32_t* entries);
  bool Array(uint32_t* elements);
  bool Uint(uint64_t* value);
  bool Bool(bool* value);
  bool Raw(ByteView* bytes);
  /// Jumps over any value, however deep, without recursion.
  bool Skip();

  /// Uint that must fit the type.
  template <typename Unsigned>
  bool UintInto(Unsigned* value) {
    uint64_t wide = 0;
    if (!Uint(&wide)) return false;
    if (wide > std::numeric_limits<Unsigned>::max()) return Fail(ParseStatus::kInvalid);
    *value = static_cast<Unsigned>(wide);
    return true;
  }
  /// Raw as text of at most `bytes_max` bytes.
  bool TextInto(std::string* text, size_t bytes_max);
  bool BytesInto(Bytes* bytes, size_t bytes_max);

  /// Reads a struct written as a map: calls `field(name)`, which reads the value and returns true,
  /// or returns false for a name it does not know (the value is then skipped).
  template <typename Field>
  bool Struct(Field field) {
    uint32_t entries = 0;
    if (!Map(&entries)) return false;
    for (uint32_t i = 0; i < entries; i++) {
      ByteView name;
      if (!Raw(&name)) return false;
      if (!field(AsText(name)) && status_ == ParseStatus::kOk) Skip();
      if (status_ != ParseStatus::kOk) return false;
    }
    return true;
  }

  ParseStatus status() const { return status_; }
  size_t position() const { return position_; }
  ByteView rest() const { return input_.subspan(position_); }

 private:
  bool Fail(ParseStatus status) {
    if (status_ == ParseStatus::kOk) status_ = status;
    return false;
  }
  bool Need(size_t bytes);
  bool BigEndian(size_t bytes, uint64_t* value);
  bool Length(uint8_t tag, uint64_t* length);

  ByteView input_;
  size_t position_ = 0;
  ParseStatus status_ = ParseStatus::kOk;
};

}  // namespace skep::gossip
