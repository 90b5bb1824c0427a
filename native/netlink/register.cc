// Puts the netlink classes on the addon's exports.
#include "netlink/register.h"

#include <cerrno>

#include "netlink/kernel_probe.h"
#include "netlink/namespace_resolver.h"
#include "netlink/namespace_socket.h"
#include "netlink/netlink.h"
#include "netlink/ruleset_generation.h"
#include "netlink/shared_sockets.h"
#include "netlink/system_error.h"

namespace skep::netlink {
namespace {

/// [[feature, code, message], ...]
Napi::Value ProbeKernelFor(const Napi::CallbackInfo& info) {
  const auto probes = ProbeKernel();
  auto rows = Napi::Array::New(info.Env(), probes.size());
  for (uint32_t index = 0; index < probes.size(); ++index) {
    auto row = Napi::Array::New(info.Env(), 3);
    row.Set(0u, probes[index].feature);
    row.Set(1u, probes[index].code);
    row.Set(2u, probes[index].message);
    rows.Set(index, row);
  }
  return rows;
}

/// The descriptor; the caller closes it.
Napi::Value OpenTcpSocketFor(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&] {
    if (!info[0].IsString()) throw SystemError(EINVAL, "socket", "a path is expected");
    UniqueFd opened = OpenTcpSocketIn(info[0].As<Napi::String>().Utf8Value());
    return Napi::Number::New(info.Env(), opened.Release());
  });
}

/// (address, port) -> [udp, tcp]; the caller closes them.
Napi::Value OpenSharedSocketsFor(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&] {
    if (!info[0].IsString() || !info[1].IsNumber()) {
      throw SystemError(EINVAL, "socket", "an address and a port are expected");
    }
    const auto port = static_cast<uint16_t>(info[1].As<Napi::Number>().Uint32Value());
    SharedSockets opened = OpenSharedSockets(info[0].As<Napi::String>().Utf8Value(), port);
    auto both = Napi::Array::New(info.Env(), 2);
    both.Set(0u, opened.udp.Release());
    both.Set(1u, opened.tcp.Release());
    return both;
  });
}

Napi::Value TurnAwayFor(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&] {
    if (!info[0].IsNumber()) throw SystemError(EBADF, "connect", "a descriptor is expected");
    TurnAway(info[0].As<Napi::Number>().Int32Value());
    return info.Env().Undefined();
  });
}

Napi::Value RulesetGenerationFor(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(),
                 [&] { return Napi::Number::New(info.Env(), RulesetGeneration()); });
}

}  // namespace

void Register(Napi::Env env, Napi::Object exports) {
  Netlink::Register(env, exports);
  NamespaceResolver::Register(env, exports);
  exports.Set("openTcpSocketIn",
              Napi::Function::New<OpenTcpSocketFor>(env, "openTcpSocketIn"));
  exports.Set("openSharedSockets",
              Napi::Function::New<OpenSharedSocketsFor>(env, "openSharedSockets"));
  exports.Set("turnAway", Napi::Function::New<TurnAwayFor>(env, "turnAway"));
  exports.Set("rulesetGeneration",
              Napi::Function::New<RulesetGenerationFor>(env, "rulesetGeneration"));
  exports.Set("probeKernel", Napi::Function::New<ProbeKernelFor>(env, "probeKernel"));
}

}  // namespace skep::netlink
