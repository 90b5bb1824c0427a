// The JavaScript object around a gossip thread: checks arguments, delivers batches of events on the
// event loop, and ends the thread with the environment.
#pragma once

#include <napi.h>

#include <atomic>
#include <map>
#include <memory>

#include "gossip/runtime.h"

namespace skep::gossip {

class NativeGossip final : public Napi::ObjectWrap<NativeGossip> {
 public:
  static Napi::Function Class(Napi::Env env);
  /// (options, onBatch(events, completions)); throws Node-style system errors.
  explicit NativeGossip(const Napi::CallbackInfo& info);
  ~NativeGossip() override;

 private:
  Napi::Value Join(const Napi::CallbackInfo& info);
  Napi::Value Leave(const Napi::CallbackInfo& info);
  Napi::Value JoinNetwork(const Napi::CallbackInfo& info);
  Napi::Value LeaveNetwork(const Napi::CallbackInfo& info);
  Napi::Value PutEntry(const Napi::CallbackInfo& info);
  Napi::Value DeleteEntry(const Napi::CallbackInfo& info);
  Napi::Value Spread(const Napi::CallbackInfo& info);
  Napi::Value Acknowledge(const Napi::CallbackInfo& info);
  Napi::Value Reconnect(const Napi::CallbackInfo& info);
  Napi::Value SetKeys(const Napi::CallbackInfo& info);
  Napi::Value Members(const Napi::CallbackInfo& info);
  Napi::Value ReadCounters(const Napi::CallbackInfo& info);
  Napi::Value Close(const Napi::CallbackInfo& info);

  void Stop();
  /// One batch; on the event loop.
  void Deliver(Napi::Env env, Napi::Function callback);
  Napi::Array EventsToJs(Napi::Env env, const std::vector<Event>& events);
  void Wake();

  /// Tells a wakeup that arrives late that the object is closed or gone.
  struct Link {
    NativeGossip* self = nullptr;
  };
  std::shared_ptr<Link> link_;
  /// A wakeup is on its way: a blocked event loop gets one, not one a batch.
  std::atomic<bool> waking_{false};
  Napi::ThreadSafeFunction deliver_;
  std::unique_ptr<Runtime> runtime_;
  /// The networks joined by JavaScript and which join it was: late events of an earlier one drop.
  std::map<std::string, uint32_t> generations_;
  uint32_t next_generation_ = 1;
};

}  // namespace skep::gossip
