// See namespace_resolver.h.
#include "netlink/namespace_resolver.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <string>
#include <utility>
#include <vector>

#include "netlink/system_error.h"

namespace skep::netlink {
namespace {

// Questions that may wait while the event loop is busy.
constexpr int kListenBacklog = 64;

sockaddr_in ResolverAddress(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = kResolverAddress;
  address.sin_port = htons(port);
  return address;
}

UniqueFd MakeSocket(int type) {
  UniqueFd socket(::socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.valid()) throw SystemError(errno, "socket");
  return socket;
}

UniqueFd MakeBound(int type) {
  UniqueFd socket = MakeSocket(type);
  const sockaddr_in address = ResolverAddress(0);
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    throw SystemError(errno, "bind");
  }
  return socket;
}

uint16_t PortOf(const UniqueFd& socket) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    throw SystemError(errno, "getsockname");
  }
  return ntohs(address.sin_port);
}

UniqueFd MakeEngineSocket(int type) {
  UniqueFd socket = MakeSocket(type);
  if (::setsockopt(socket.get(), SOL_SOCKET, SO_MARK, &kEngineMark, sizeof kEngineMark) != 0) {
    throw SystemError(errno, "setsockopt(SO_MARK)");
  }
  if (type != SOCK_STREAM) return socket;
  const sockaddr_in address = ResolverAddress(kResolverPort);
  const auto* to = reinterpret_cast<const sockaddr*>(&address);
  if (::connect(socket.get(), to, sizeof address) != 0 && errno != EINPROGRESS) {
    throw SystemError(errno, "connect");
  }
  return socket;
}

std::string TextArgument(const Napi::CallbackInfo& info) {
  if (!info[0].IsString()) throw SystemError(EINVAL, "resolver", "a string is expected");
  return info[0].As<Napi::String>().Utf8Value();
}

Napi::Value Take(Napi::Env env, UniqueFd& socket) {
  return Guarded(env, [&] {
    if (!socket.valid()) throw SystemError(EBADF, "resolver", "the socket was taken before");
    return Napi::Number::New(env, socket.Release());
  });
}

/// Removing a table waits for readers of all rules on all processors, tens of milliseconds: that is
/// done off the main thread.
class RemoveTable : public Napi::AsyncWorker {
 public:
  RemoveTable(Napi::Env env, RedirectTable table)
      : Napi::AsyncWorker(env), table_(std::move(table)), done_(env) {}
  Napi::Promise Promise() const { return done_.Promise(); }
  void Execute() override { table_.Reset(); }
  void OnOK() override { done_.Resolve(Env().Undefined()); }

 private:
  RedirectTable table_;
  Napi::Promise::Deferred done_;
};

}  // namespace

void NamespaceResolver::Register(Napi::Env env, Napi::Object exports) {
  exports.Set(
      "NamespaceResolver",
      DefineClass(env, "NamespaceResolver",
                  {InstanceMethod<&NamespaceResolver::TakeUdp>("takeUdp"),
                   InstanceMethod<&NamespaceResolver::TakeTcp>("takeTcp"),
                   InstanceMethod<&NamespaceResolver::OpenEngineSocket>("openEngineSocket"),
                   InstanceMethod<&NamespaceResolver::IsAt>("isAt"),
                   InstanceMethod<&NamespaceResolver::Release>("release"),
                   InstanceMethod<&NamespaceResolver::Close>("close")}));
}

NamespaceResolver::NamespaceResolver(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<NamespaceResolver>(info) {
  Guarded(info.Env(), [&] {
    namespace_ = std::make_unique<Namespace>(TextArgument(info));
    namespace_->Run([this] {
      udp_ = MakeBound(SOCK_DGRAM);
      tcp_ = MakeBound(SOCK_STREAM);
      if (::listen(tcp_.get(), kListenBacklog) != 0) throw SystemError(errno, "listen");
      // Last: from here on questions come, and wait in the sockets.
      table_ = RedirectTable(PortOf(udp_), PortOf(tcp_));
    });
  });
}

Napi::Value NamespaceResolver::TakeUdp(const Napi::CallbackInfo& info) {
  return Take(info.Env(), udp_);
}

Napi::Value NamespaceResolver::TakeTcp(const Napi::CallbackInfo& info) {
  return Take(info.Env(), tcp_);
}

Napi::Value NamespaceResolver::OpenEngineSocket(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&] {
    const std::string transport = TextArgument(info);
    if (transport != "udp" && transport != "tcp") {
      throw SystemError(EINVAL, "resolver", "transport \"" + transport + "\"");
    }
    UniqueFd socket;
    Open().Run([&] { socket = MakeEngineSocket(transport == "udp" ? SOCK_DGRAM : SOCK_STREAM); });
    return Napi::Number::New(info.Env(), socket.Release());
  });
}

Napi::Value NamespaceResolver::IsAt(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&] {
    return Napi::Boolean::New(info.Env(), namespace_ && namespace_->IsAt(TextArgument(info)));
  });
}

Napi::Value NamespaceResolver::Release(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&] {
    if (!info[0].IsArray()) throw SystemError(EINVAL, "resolver", "an array of ports is expected");
    const auto given = info[0].As<Napi::Array>();
    std::vector<uint16_t> clients;
    for (uint32_t index = 0; index < given.Length(); ++index) {
      const Napi::Value port = given[index];
      if (!port.IsNumber()) throw SystemError(EINVAL, "resolver", "a port is expected");
      clients.push_back(static_cast<uint16_t>(port.As<Napi::Number>().Uint32Value()));
    }
    table_.Release(clients);
    return info.Env().Undefined();
  });
}

Napi::Value NamespaceResolver::Close(const Napi::CallbackInfo& info) {
  udp_.Reset();
  tcp_.Reset();
  namespace_.reset();
  auto* worker = new RemoveTable(info.Env(), std::move(table_));
  const Napi::Promise promise = worker->Promise();
  worker->Queue();  // deletes itself when done
  return promise;
}

const Namespace& NamespaceResolver::Open() const {
  if (!namespace_) throw SystemError(EBADF, "resolver", "closed");
  return *namespace_;
}

}  // namespace skep::netlink
