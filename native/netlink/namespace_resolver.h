// The NamespaceResolver class on the addon: what a name server needs in a container's network
// namespace. Two sockets on 127.0.0.11 that get the questions meant for port 53 of it, and new
// sockets that still reach the engine's resolver there. Ports are ours to choose: port 53 itself
// stays free for a name server in the container. Everything goes with its process.
#pragma once

#include <napi.h>

#include <memory>

#include "netlink/namespace.h"
#include "netlink/redirect_table.h"
#include "netlink/unique_fd.h"

namespace skep::netlink {

class NamespaceResolver : public Napi::ObjectWrap<NamespaceResolver> {
 public:
  static void Register(Napi::Env env, Napi::Object exports);
  /// (path of the namespace)
  explicit NamespaceResolver(const Napi::CallbackInfo& info);

 private:
  /// () -> descriptor of the bound UDP socket; the caller closes it. Once.
  Napi::Value TakeUdp(const Napi::CallbackInfo& info);
  /// () -> descriptor of the listening TCP socket; the caller closes it. Once.
  Napi::Value TakeTcp(const Napi::CallbackInfo& info);
  /// ("udp" | "tcp") -> descriptor of a socket that reaches the engine's resolver: unconnected for
  /// UDP, connecting for TCP. The caller closes it.
  Napi::Value OpenEngineSocket(const Napi::CallbackInfo& info);
  /// (path) -> whether the path stands for the namespace this was opened in.
  Napi::Value IsAt(const Napi::CallbackInfo& info);
  /// (source ports of TCP clients that stay) Questions go on to whoever is next.
  Napi::Value Release(const Napi::CallbackInfo& info);
  /// () -> promise that nothing of this is left in the namespace's rules. Safe to repeat.
  Napi::Value Close(const Napi::CallbackInfo& info);

  const Namespace& Open() const;

  std::unique_ptr<Namespace> namespace_;
  UniqueFd udp_;
  UniqueFd tcp_;
  RedirectTable table_;
};

}  // namespace skep::netlink
