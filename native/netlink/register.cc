// Puts the netlink classes on the addon's exports.
#include "netlink/register.h"

#include "netlink/kernel_probe.h"
#include "netlink/namespace_resolver.h"
#include "netlink/netlink.h"

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

}  // namespace

void Register(Napi::Env env, Napi::Object exports) {
  Netlink::Register(env, exports);
  NamespaceResolver::Register(env, exports);
  exports.Set("probeKernel", Napi::Function::New<ProbeKernelFor>(env, "probeKernel"));
}

}  // namespace skep::netlink
