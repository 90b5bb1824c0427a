// LZW decoder, bounded in its output; see lzw.h.
#include "gossip/lzw.h"

#include <algorithm>

namespace skep::gossip {
namespace {

constexpr uint32_t kClear = 256;
constexpr uint32_t kEnd = 257;
constexpr uint32_t kNone = 0xffff;
constexpr int kWidthMax = 12;

/// The dictionary. Every prefix is smaller than its code, so walks towards a literal always end.
class Dictionary {
 public:
  void Clear() {
    next_ = kEnd;
    last_ = kNone;
    width_ = 9;
  }
  int width() const { return width_; }

  /// Appends what `code` stands for, and learns the next code. False when the code cannot exist
  /// yet.
  bool Expand(uint32_t code, Bytes* out) {
    if (code > next_) return false;
    const size_t start = out->size();
    const bool repeats = code == next_ && last_ != kNone;
    if (repeats) out->push_back(0);  // The head of the last expansion, known after the walk.
    uint32_t walk = repeats ? last_ : code;
    for (; walk >= kClear; walk = prefix_[walk]) {
      if (walk == kClear || walk == kEnd) return false;
      out->push_back(suffix_[walk]);
    }
    const auto head = static_cast<uint8_t>(walk);
    out->push_back(head);
    if (repeats) (*out)[start] = head;
    std::reverse(out->begin() + static_cast<ptrdiff_t>(start), out->end());
    Learn(code, head);
    return true;
  }

 private:
  void Learn(uint32_t code, uint8_t head) {
    if (last_ != kNone) {
      suffix_[next_] = head;
      prefix_[next_] = static_cast<uint16_t>(last_);
    }
    last_ = code;
    next_++;
    if (next_ < (1u << width_)) return;
    if (width_ < kWidthMax) {
      width_++;
    } else {
      // A full dictionary learns no more until it is cleared.
      last_ = kNone;
      next_--;
    }
  }

  std::array<uint16_t, 1 << kWidthMax> prefix_{};
  std::array<uint8_t, 1 << kWidthMax> suffix_{};
  uint32_t next_ = kEnd;
  uint32_t last_ = kNone;
  int width_ = 9;
};

}  // namespace

bool LzwDecode(ByteView input, size_t bytes_max, Bytes* out) {
  Dictionary dictionary;
  out->clear();
  uint32_t bits = 0;
  int bit_count = 0;
  size_t position = 0;
  while (true) {
    while (bit_count < dictionary.width()) {
      if (position >= input.size()) return false;
      bits |= uint32_t{input[position++]} << bit_count;
      bit_count += 8;
    }
    const uint32_t code = bits & ((1u << dictionary.width()) - 1);
    bits >>= dictionary.width();
    bit_count -= dictionary.width();
    if (code == kEnd) return true;
    if (code == kClear) {
      dictionary.Clear();
      continue;
    }
    if (!dictionary.Expand(code, out) || out->size() > bytes_max) return false;
  }
}

}  // namespace skep::gossip
