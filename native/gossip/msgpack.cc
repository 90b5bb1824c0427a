// MessagePack writer and bounded reader; see msgpack.h for the dialect.
#include "gossip/msgpack.h"

#include <bit>

namespace skep::gossip {

void MsgpackWriter::Map(uint32_t entries) {
  if (entries < 16) return out_->push_back(static_cast<uint8_t>(0x80 | entries));
  out_->push_back(0xdf);
  AppendU32(out_, entries);
}

void MsgpackWriter::Array(uint32_t elements) {
  if (elements < 16) return out_->push_back(static_cast<uint8_t>(0x90 | elements));
  out_->push_back(0xdd);
  AppendU32(out_, elements);
}

void MsgpackWriter::Uint(uint64_t value) {
  if (value < 0x80) return out_->push_back(static_cast<uint8_t>(value));
  if (value <= 0xff) {
    out_->push_back(0xcc);
    return out_->push_back(static_cast<uint8_t>(value));
  }
  if (value <= 0xffff) {
    out_->push_back(0xcd);
    return AppendU16(out_, static_cast<uint16_t>(value));
  }
  if (value <= 0xffffffff) {
    out_->push_back(0xce);
    return AppendU32(out_, static_cast<uint32_t>(value));
  }
  out_->push_back(0xcf);
  AppendU32(out_, static_cast<uint32_t>(value >> 32));
  AppendU32(out_, static_cast<uint32_t>(value));
}

void MsgpackWriter::Double(double value) {
  const auto bits = std::bit_cast<uint64_t>(value);
  out_->push_back(0xcb);
  AppendU32(out_, static_cast<uint32_t>(bits >> 32));
  AppendU32(out_, static_cast<uint32_t>(bits));
}

void MsgpackWriter::Raw(ByteView bytes) {
  if (bytes.size() < 32) {
    out_->push_back(static_cast<uint8_t>(0xa0 | bytes.size()));
  } else if (bytes.size() <= 0xffff) {
    out_->push_back(0xda);
    AppendU16(out_, static_cast<uint16_t>(bytes.size()));
  } else {
    out_->push_back(0xdb);
    AppendU32(out_, static_cast<uint32_t>(bytes.size()));
  }
  Append(out_, bytes);
}

bool MsgpackReader::Need(size_t bytes) {
  if (status_ != ParseStatus::kOk) return false;
  if (input_.size() - position_ < bytes) return Fail(ParseStatus::kTruncated);
  return true;
}

bool MsgpackReader::BigEndian(size_t bytes, uint64_t* value) {
  if (!Need(bytes)) return false;
  *value = 0;
  for (size_t i = 0; i < bytes; i++) *value = *value << 8 | input_[position_++];
  return true;
}

/// The length behind the tags whose last two bits say 1, 2 or 4 bytes wide.
bool MsgpackReader::Length(uint8_t tag, uint64_t* length) {
  switch (tag) {
    case 0xc4: case 0xd9: return BigEndian(1, length);
    case 0xc5: case 0xda: case 0xdc: case 0xde: return BigEndian(2, length);
    case 0xc6: case 0xdb: case 0xdd: case 0xdf: return BigEndian(4, length);
    default: return Fail(ParseStatus::kInvalid);
  }
}

bool MsgpackReader::Map(uint32_t* entries) {
  if (!Need(1)) return false;
  const uint8_t tag = input_[position_++];
  uint64_t count = 0;
  if ((tag & 0xf0) == 0x80) {
    count = tag & 0x0f;
  } else if (tag == 0xde || tag == 0xdf) {
    if (!Length(tag, &count)) return false;
  } else if (tag != 0xc0) {
    return Fail(ParseStatus::kInvalid);
  }
  *entries = static_cast<uint32_t>(count);
  return true;
}

bool MsgpackReader::Array(uint32_t* elements) {
  if (!Need(1)) return false;
  const uint8_t tag = input_[position_++];
  uint64_t count = 0;
  if ((tag & 0xf0) == 0x90) {
    count = tag & 0x0f;
  } else if (tag == 0xdc || tag == 0xdd) {
    if (!Length(tag, &count)) return false;
  } else if (tag != 0xc0) {
    return Fail(ParseStatus::kInvalid);
  }
  *elements = static_cast<uint32_t>(count);
  return true;
}

bool MsgpackReader::Uint(uint64_t* value) {
  if (!Need(1)) return false;
  const uint8_t tag = input_[position_++];
  if (tag < 0x80) {
    *value = tag;
    return true;
  }
  switch (tag) {
    case 0xc0: *value = 0; return true;
    case 0xcc: return BigEndian(1, value);
    case 0xcd: return BigEndian(2, value);
    case 0xce: return BigEndian(4, value);
    case 0xcf: return BigEndian(8, value);
    case 0xd0: case 0xd1: case 0xd2: case 0xd3: {
      const size_t bytes = size_t{1} << (tag - 0xd0);
      if (!BigEndian(bytes, value)) return false;
      // Signed form: the sign bit of its width must be clear.
      if (*value >> (8 * bytes - 1)) return Fail(ParseStatus::kInvalid);
      return true;
    }
    default: return Fail(ParseStatus::kInvalid);
  }
}

bool MsgpackReader::Bool(bool* value) {
  if (!Need(1)) return false;
  const uint8_t tag = input_[position_++];
  if (tag != 0xc0 && tag != 0xc2 && tag != 0xc3) return Fail(ParseStatus::kInvalid);
  *value = tag == 0xc3;
  return true;
}

bool MsgpackReader::Raw(ByteView* bytes) {
  if (!Need(1)) return false;
  const uint8_t tag = input_[position_++];
  uint64_t length = 0;
  if ((tag & 0xe0) == 0xa0) {
    length = tag & 0x1f;
  } else if ((tag >= 0xc4 && tag <= 0xc6) || (tag >= 0xd9 && tag <= 0xdb)) {
    if (!Length(tag, &length)) return false;
  } else if (tag != 0xc0) {
    return Fail(ParseStatus::kInvalid);
  }
  if (!Need(length)) return false;
  *bytes = input_.subspan(position_, length);
  position_ += length;
  return true;
}

bool MsgpackReader::TextInto(std::string* text, size_t bytes_max) {
  ByteView raw;
  if (!Raw(&raw)) return false;
  if (raw.size() > bytes_max) return Fail(ParseStatus::kInvalid);
  *text = AsText(raw);
  return true;
}

bool MsgpackReader::BytesInto(Bytes* bytes, size_t bytes_max) {
  ByteView raw;
  if (!Raw(&raw)) return false;
  if (raw.size() > bytes_max) return Fail(ParseStatus::kInvalid);
  bytes->assign(raw.begin(), raw.end());
  return true;
}

bool MsgpackReader::Skip() {
  // Each pending value takes at least one byte, so a count beyond the input is never whole.
  for (uint64_t pending = 1; pending > 0; pending--) {
    if (!Need(1)) return false;
    const uint8_t tag = input_[position_++];
    uint64_t bytes = 0, children = 0;
    if ((tag & 0xf0) == 0x80) {
      children = 2 * (tag & 0x0f);
    } else if ((tag & 0xf0) == 0x90) {
      children = tag & 0x0f;
    } else if ((tag & 0xe0) == 0xa0) {
      bytes = tag & 0x1f;
    } else if (tag == 0xdc || tag == 0xdd) {
      if (!Length(tag, &children)) return false;
    } else if (tag == 0xde || tag == 0xdf) {
      if (!Length(tag, &children)) return false;
      children *= 2;
    } else if ((tag >= 0xc4 && tag <= 0xc6) || (tag >= 0xd9 && tag <= 0xdb)) {
      if (!Length(tag, &bytes)) return false;
    } else if (tag >= 0xcc && tag <= 0xcf) {
      bytes = uint64_t{1} << (tag - 0xcc);
    } else if (tag >= 0xd0 && tag <= 0xd3) {
      bytes = uint64_t{1} << (tag - 0xd0);
    } else if (tag == 0xca || tag == 0xcb) {
      bytes = tag == 0xca ? 4 : 8;
    } else if (tag >= 0x80 && tag < 0xe0 && tag != 0xc0 && tag != 0xc2 && tag != 0xc3) {
      return Fail(ParseStatus::kInvalid);
    }
    if (!Need(bytes)) return false;
    position_ += bytes;
    pending += children;
  }
  return true;
}

}  // namespace skep::gossip
