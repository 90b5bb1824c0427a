// The ProcessWatch class on the addon: calls back once when a process ends. It holds a pidfd, which
// stands for that very process whoever gets its number later, and has node's event loop poll it: no
// thread, no signal, nothing that keeps the process of skepd alive.
#pragma once

#include <napi.h>

#include "netlink/unique_fd.h"

namespace skep::process {

/// Watches open at once in this process, each a descriptor: as many as a node has tasks.
inline constexpr int kWatchesMax = 10'000;

class ProcessWatch : public Napi::ObjectWrap<ProcessWatch> {
 public:
  static void Register(Napi::Env env, Napi::Object exports);
  /// (pid, path of the network namespace it must be in, callback)
  explicit ProcessWatch(const Napi::CallbackInfo& info);
  ~ProcessWatch() override;

 private:
  struct Poll;

  /// () No callback from now on. Safe to repeat.
  Napi::Value Close(const Napi::CallbackInfo& info);

  void Begin(UniqueFd process);
  void OnReadable(int status);
  void Stop();

  Poll* poll_ = nullptr;
  Napi::FunctionReference on_end_;
};

}  // namespace skep::process
