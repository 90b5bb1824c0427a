// The Netlink class on the addon: the few device operations the TypeScript side needs, one rtnetlink
// socket for the life of the object, in the namespace of the thread that made it.
#pragma once

#include <napi.h>

#include "netlink/rtnetlink.h"

namespace skep::netlink {

class Netlink : public Napi::ObjectWrap<Netlink> {
 public:
  static void Register(Napi::Env env, Napi::Object exports);
  explicit Netlink(const Napi::CallbackInfo& info);

 private:
  /// (name, peer, peerMac, mtu)
  void CreateVethPair(const Napi::CallbackInfo& info);
  void CreateWireguard(const Napi::CallbackInfo& info);
  void SetLinkMtu(const Napi::CallbackInfo& info);
  /// (name, peerNamespace, mtu)
  void SetPairMtu(const Napi::CallbackInfo& info);
  /// (namespace, ownAddress, destination, prefixLength, gateway, metric)
  void SetRouteInside(const Napi::CallbackInfo& info);
  Napi::Value LinkKind(const Napi::CallbackInfo& info);
  void SetLinkUp(const Napi::CallbackInfo& info);
  void SetLinkDown(const Napi::CallbackInfo& info);
  Napi::Value DeleteLink(const Napi::CallbackInfo& info);
  Napi::Value LinkNames(const Napi::CallbackInfo& info);
  Napi::Value Addresses(const Napi::CallbackInfo& info);
  Napi::Value RouteTo(const Napi::CallbackInfo& info);

  Rtnetlink rtnetlink_;
};

}  // namespace skep::netlink
