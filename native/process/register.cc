// See register.h.
#include "process/register.h"

#include <cerrno>

#include "netlink/system_error.h"
#include "process/passed_socket.h"
#include "process/process_watch.h"

namespace skep::process {
namespace {

/// (descriptor) -> [whether it is a listening unix stream socket, its path]
Napi::Value TakePassedSocketFor(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&] {
    if (!info[0].IsNumber()) throw SystemError(EBADF, "getsockopt", "a descriptor is expected");
    const PassedSocket taken = TakePassedSocket(info[0].As<Napi::Number>().Int32Value());
    auto both = Napi::Array::New(info.Env(), 2);
    both.Set(0u, taken.is_listening_stream);
    both.Set(1u, taken.path);
    return both;
  });
}

}  // namespace

void Register(Napi::Env env, Napi::Object exports) {
  ProcessWatch::Register(env, exports);
  exports.Set("takePassedSocket",
              Napi::Function::New<TakePassedSocketFor>(env, "takePassedSocket"));
}

}  // namespace skep::process
