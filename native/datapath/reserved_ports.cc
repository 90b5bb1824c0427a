// See reserved_ports.h.
#include "datapath/reserved_ports.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <string>

#include "netlink/unique_fd.h"

namespace skep::datapath {
namespace {

constexpr char kList[] = "/proc/sys/net/ipv4/ip_local_reserved_ports";
// The longest list: every other port, of up to five digits and a comma.
constexpr size_t kListBytes = kPorts / 2 * 6;
// The kernel takes a page at a time.
constexpr size_t kWriteBytes = 4000;

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

bool ReservedPorts::Apply(const PortSet& wanted) {
  const PortSet ours = record_.ports();
  const PortSet list = PortsOf(ReadList());
  const PortSet list_wanted = (list & ~(ours & ~wanted)) | wanted;
  const PortSet ours_wanted = (ours & wanted) | (wanted & ~list);
  // What is in the list and ours is known as such all the time, also if this process ends here.
  record_.SetPorts(ours | ours_wanted);
  const bool differs = list_wanted != list;
  const bool written = differs && WriteList(TextOf(list_wanted));
  record_.SetPorts(ours_wanted);
  return written;
}

}  // namespace skep::datapath
