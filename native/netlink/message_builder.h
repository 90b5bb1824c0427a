// Builds one netlink request: a header, a fixed body, then attributes that may nest.
#pragma once

#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace skep::netlink {

class MessageBuilder {
 public:
  template <typename Body>
  MessageBuilder(uint16_t type, uint16_t flags, const Body& body) : bytes_(sizeof(nlmsghdr)) {
    auto* header = reinterpret_cast<nlmsghdr*>(bytes_.data());
    header->nlmsg_type = type;
    header->nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
    Raw(&body, sizeof body);
  }

  MessageBuilder& Attribute(uint16_t type, const void* data, size_t size) {
    const rtattr header{static_cast<uint16_t>(RTA_LENGTH(size)), type};
    Raw(&header, sizeof header);
    Raw(data, size);
    return *this;
  }
  template <typename Plain>
  MessageBuilder& Value(uint16_t type, const Plain& value) {
    return Attribute(type, &value, sizeof value);
  }
  MessageBuilder& Text(uint16_t type, const std::string& text) {
    return Attribute(type, text.c_str(), text.size() + 1);
  }
  /// Opens a nested attribute; give the result to `Close`.
  size_t Open(uint16_t type) {
    const size_t at = bytes_.size();
    const rtattr header{0, type};
    Raw(&header, sizeof header);
    return at;
  }
  /// Appends a plain struct inside the attribute that is open (as veth's peer needs).
  template <typename Body>
  MessageBuilder& Struct(const Body& body) {
    Raw(&body, sizeof body);
    return *this;
  }
  void Close(size_t at) {
    auto length = static_cast<uint16_t>(bytes_.size() - at);
    std::memcpy(bytes_.data() + at, &length, sizeof length);
  }
  std::vector<uint8_t>& Finish() {
    auto length = static_cast<uint32_t>(bytes_.size());
    std::memcpy(bytes_.data(), &length, sizeof length);
    return bytes_;
  }

 private:
  void Raw(const void* data, size_t size) {
    // Not insert(): GCC 12 warns of an overflow in it that cannot happen.
    const size_t at = bytes_.size();
    bytes_.resize(at + ((size + 3) & ~size_t{3}));
    std::memcpy(bytes_.data() + at, data, size);
  }

  std::vector<uint8_t> bytes_;
};

}  // namespace skep::netlink
