// Work inside another network namespace, done by a thread of its own: the calling thread never
// changes its namespace, whatever fails.
#pragma once

#include <functional>
#include <string>

#include "netlink/unique_fd.h"

namespace skep::netlink {

class Namespace {
 public:
  /// Opens the namespace a path stands for, and keeps it alive.
  /// @throws SystemError ENOENT and the like; EINVAL for what is no network namespace, and for the
  /// caller's own, which nobody means
  explicit Namespace(const std::string& path);

  /// Runs `work` inside and waits for it; its exceptions come out here. Keep it short.
  void Run(const std::function<void()>& work) const;

  /// Whether `path` stands for this namespace now.
  bool IsAt(const std::string& path) const;

 private:
  UniqueFd fd_;
};

}  // namespace skep::netlink
