// See process_watch.h.
#include "process/process_watch.h"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <uv.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cmath>
#include <memory>
#include <string>
#include <utility>

#include "netlink/namespace.h"
#include "netlink/system_error.h"

namespace skep::process {
namespace {

// Of all environments (worker threads) of the process.
std::atomic<int> open_watches{0};

pid_t PidOf(const Napi::Value& value) {
  const double given = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : 0;
  if (given < 1 || given > INT_MAX || std::floor(given) != given) {
    throw SystemError(EINVAL, "pidfd_open", "a process id is expected");
  }
  return static_cast<pid_t>(given);
}

UniqueFd OpenProcess(pid_t pid) {
  UniqueFd opened(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!opened.valid()) throw SystemError(errno, "pidfd_open", std::to_string(pid));
  return opened;
}

bool HasEnded(const UniqueFd& process) {
  pollfd asked{process.get(), POLLIN, 0};
  return ::poll(&asked, 1, 0) != 0;
}

/// Opened first, then looked at, then still there: so the one looked at is the one opened.
UniqueFd OpenProcessIn(pid_t pid, const std::string& path) {
  const netlink::Namespace expected(path);
  UniqueFd process = OpenProcess(pid);
  const std::string number = std::to_string(pid);
  if (!expected.IsAt("/proc/" + number + "/ns/net")) {
    throw SystemError(ESRCH, "pidfd_open", number + " is not in " + path);
  }
  if (HasEnded(process)) throw SystemError(ESRCH, "pidfd_open", number + " has ended");
  return process;
}

}  // namespace

/// What libuv holds on to until it has closed the handle, which is after `close`.
struct ProcessWatch::Poll {
  Poll(UniqueFd opened, ProcessWatch* watch) : process(std::move(opened)), owner(watch) {
    handle.data = this;
  }
  ~Poll() { --open_watches; }

  uv_poll_t handle{};
  UniqueFd process;
  ProcessWatch* owner;
};

void ProcessWatch::Register(Napi::Env env, Napi::Object exports) {
  exports.Set("ProcessWatch", DefineClass(env, "ProcessWatch",
                                          {InstanceMethod<&ProcessWatch::Close>("close")}));
}

ProcessWatch::ProcessWatch(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<ProcessWatch>(info) {
  Guarded(info.Env(), [&] {
    if (!info[1].IsString() || !info[2].IsFunction()) {
      throw SystemError(EINVAL, "pidfd_open", "a path and a function are expected");
    }
    Begin(OpenProcessIn(PidOf(info[0]), info[1].As<Napi::String>().Utf8Value()));
    on_end_ = Napi::Persistent(info[2].As<Napi::Function>());
    // Whoever waits for the call need not hold on to the object.
    Ref();
  });
}

ProcessWatch::~ProcessWatch() { Stop(); }

void ProcessWatch::Begin(UniqueFd process) {
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(Env(), &loop) != napi_ok) throw SystemError(EINVAL, "uv_poll_init");
  const int others = open_watches++;
  auto poll = std::make_unique<Poll>(std::move(process), this);
  if (others >= kWatchesMax) {
    throw SystemError(EMFILE, "pidfd_open", std::to_string(kWatchesMax) + " are watched");
  }
  const int failure = uv_poll_init(loop, &poll->handle, poll->process.get());
  if (failure != 0) throw SystemError(-failure, "uv_poll_init");
  // From here on it goes by uv_close only.
  poll_ = poll.release();
  uv_unref(reinterpret_cast<uv_handle_t*>(&poll_->handle));
  const int refusal = uv_poll_start(&poll_->handle, UV_READABLE, [](uv_poll_t* handle, int status,
                                                                    int /* events */) {
    if (ProcessWatch* owner = static_cast<Poll*>(handle->data)->owner) owner->OnReadable(status);
  });
  if (refusal == 0) return;
  Stop();
  throw SystemError(-refusal, "uv_poll_start");
}

void ProcessWatch::OnReadable(int status) {
  const Napi::Env env = Env();
  const Napi::HandleScope scope(env);
  const Napi::Function callback = on_end_.Value();
  Stop();
  Unref();
  // A poll that failed says nothing about the process.
  if (status < 0) return;
  const Napi::AsyncContext context(env, "skep-process-watch");
  try {
    callback.MakeCallback(env.Global(), std::initializer_list<napi_value>{}, context);
  } catch (const Napi::Error& thrown) {
    napi_fatal_exception(env, thrown.Value());
  }
}

void ProcessWatch::Stop() {
  Poll* poll = std::exchange(poll_, nullptr);
  if (poll == nullptr) return;
  poll->owner = nullptr;
  on_end_.Reset();
  uv_close(reinterpret_cast<uv_handle_t*>(&poll->handle), [](uv_handle_t* handle) {
    delete static_cast<Poll*>(handle->data);
  });
}

Napi::Value ProcessWatch::Close(const Napi::CallbackInfo& info) {
  if (poll_ != nullptr) {
    Stop();
    Unref();
  }
  return info.Env().Undefined();
}

}  // namespace skep::process
