// See reserved_ports.h.
#include "datapath/reserved_ports.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstddef>

#include "netlink/unique_fd.h"

namespace skep::datapath {
namespace {

constexpr char kList[] = "/proc/sys/net/ipv4/ip_local_reserved_ports";
// The longest list: every other port, of up to five digits and a comma.
constexpr size_t kListBytes = kPorts / 2 * 6;
// The kernel takes a page at a time.
constexpr size_t kWriteBytes = 4000;
constexpr size_t kBits = 64;
static_assert(kPorts / kBits == SKEP_PORT_WORDS);

/// The kernel gives the whole list to one read.
std::string ReadList() {
  const UniqueFd file(::open(kList, O_RDONLY | O_CLOEXEC));
  std::string text(kListBytes, '\0');
  const ssize_t size = file.valid() ? ::read(file.get(), text.data(), text.size()) : -1;
  text.resize(size > 0 ? static_cast<size_t>(size) : 0);
  return text;
}

/// Writes the list; the first piece replaces it, the kernel adds those at later positions. False if it
/// cannot be written.
bool WriteList(const std::string& text) {
  const UniqueFd file(::open(kList, O_WRONLY | O_CLOEXEC));
  if (!file.valid()) return false;
  size_t at = 0;
  do {
    size_t end = std::min(at + kWriteBytes, text.size());
    if (end < text.size()) end = text.rfind(',', end) + 1;
    const std::string piece = text.substr(at, end - at) + "\n";
    if (::pwrite(file.get(), piece.data(), piece.size(), static_cast<off_t>(at)) < 0) return false;
    at = end;
  } while (at < text.size());
  return true;
}

}  // namespace

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

bool ReservedPorts::Apply(const PortSet& wanted) const {
  const PortSet ours = Ours();
  const PortSet list = PortsOf(ReadList());
  const PortSet list_wanted = (list & ~(ours & ~wanted)) | wanted;
  const PortSet ours_wanted = (ours & wanted) | (wanted & ~list);
  // What is in the list and ours is known as such all the time, also if this process ends here.
  SetOurs(ours | ours_wanted);
  const bool differs = list_wanted != list;
  const bool written = differs && WriteList(TextOf(list_wanted));
  SetOurs(ours_wanted);
  return written;
}

PortSet ReservedPorts::Ours() const {
  PortSet ports;
  for (uint32_t word = 0; word < SKEP_PORT_WORDS; word++) {
    __u64 bits = 0;
    if (!maps_.sw_reserved().Get(word, &bits) || bits == 0) continue;
    for (size_t bit = 0; bit < kBits; bit++) {
      if ((bits >> bit) & 1) ports.set(word * kBits + bit);
    }
  }
  return ports;
}

void ReservedPorts::SetOurs(const PortSet& ports) const {
  for (uint32_t word = 0; word < SKEP_PORT_WORDS; word++) {
    __u64 bits = 0;
    for (size_t bit = 0; bit < kBits; bit++) {
      if (ports.test(word * kBits + bit)) bits |= __u64{1} << bit;
    }
    maps_.sw_reserved().Put(word, bits);
  }
}

}  // namespace skep::datapath
