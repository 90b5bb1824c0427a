// See port_set.h.
#include "datapath/port_set.h"

#include <algorithm>
#include <charconv>

namespace skep::datapath {

std::string TextOf(const PortSet& ports) {
  std::string text;
  for (size_t first = 0; first < kPorts; first++) {
    if (!ports.test(first)) continue;
    size_t last = first;
    while (last + 1 < kPorts && ports.test(last + 1)) last++;
    if (!text.empty()) text += ',';
    text += std::to_string(first);
    if (last > first) text += '-' + std::to_string(last);
    first = last;
  }
  return text;
}

PortSet PortsOf(const std::string& text) {
  PortSet ports;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at < end) {
    size_t first = 0;
    auto read = std::from_chars(at, end, first);
    size_t last = first;
    if (read.ec == std::errc() && read.ptr < end && *read.ptr == '-') {
      read = std::from_chars(read.ptr + 1, end, last);
    }
    if (read.ec == std::errc()) {
      for (size_t port = first; port <= last && port < kPorts; port++) ports.set(port);
    }
    at = std::max(read.ptr, at) + 1;
  }
  return ports;
}

}  // namespace skep::datapath
