// See netlink.h. Arguments are checked here because they may come from a socket far above.
#include "netlink/netlink.h"

#include <net/if.h>

#include <cstdio>
#include <string>
#include <unordered_map>

#include "netlink/namespace.h"
#include "netlink/system_error.h"

namespace skep::netlink {
namespace {

std::string TextArgument(const Napi::CallbackInfo& info, size_t index) {
  if (!info[index].IsString()) throw SystemError(EINVAL, "netlink", "a string is expected");
  return info[index].As<Napi::String>().Utf8Value();
}

/// A device name the kernel can hold; truncating one silently would hit another device.
std::string NameArgument(const Napi::CallbackInfo& info, size_t index) {
  std::string name = TextArgument(info, index);
  if (name.empty() || name.size() >= IFNAMSIZ) {
    throw SystemError(EINVAL, "netlink", "interface name \"" + name + "\"");
  }
  return name;
}

MacAddress MacArgument(const Napi::CallbackInfo& info, size_t index) {
  const std::string text = TextArgument(info, index);
  MacAddress mac{};
  char rest = 0;
  const int fields = std::sscanf(text.c_str(), "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%c", &mac[0],
                                 &mac[1], &mac[2], &mac[3], &mac[4], &mac[5], &rest);
  if (fields != 6) throw SystemError(EINVAL, "netlink", "MAC address \"" + text + "\"");
  return mac;
}

IpAddress AddressArgument(const Napi::CallbackInfo& info, size_t index) {
  const std::string text = TextArgument(info, index);
  const auto address = IpAddress::Parse(text);
  if (!address) throw SystemError(EINVAL, "netlink", "address \"" + text + "\"");
  return *address;
}

}  // namespace

void Netlink::Register(Napi::Env env, Napi::Object exports) {
  exports.Set("Netlink",
              DefineClass(env, "Netlink",
                          {InstanceMethod<&Netlink::CreateVethPair>("createVethPair"),
                           InstanceMethod<&Netlink::CreateWireguard>("createWireguard"),
                           InstanceMethod<&Netlink::SetLinkMtu>("setLinkMtu"),
                           InstanceMethod<&Netlink::SetPairMtu>("setPairMtu"),
                           InstanceMethod<&Netlink::SetRouteInside>("setRouteInside"),
                           InstanceMethod<&Netlink::LinkKind>("linkKind"),
                           InstanceMethod<&Netlink::SetLinkUp>("setLinkUp"),
                           InstanceMethod<&Netlink::SetLinkDown>("setLinkDown"),
                           InstanceMethod<&Netlink::DeleteLink>("deleteLink"),
                           InstanceMethod<&Netlink::LinkNames>("linkNames"),
                           InstanceMethod<&Netlink::Addresses>("addresses"),
                           InstanceMethod<&Netlink::RouteTo>("routeTo")}));
}

Netlink::Netlink(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<Netlink>(info),
      rtnetlink_(Guarded(info.Env(), [] { return Rtnetlink(); })) {}

void Netlink::CreateVethPair(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] {
    if (!info[3].IsNumber()) throw SystemError(EINVAL, "netlink", "MTU");
    VethPair pair;
    pair.name = NameArgument(info, 0);
    pair.peer = NameArgument(info, 1);
    pair.peer_mac = MacArgument(info, 2);
    pair.mtu = info[3].As<Napi::Number>().Uint32Value();
    rtnetlink_.CreateVethPair(pair);
  });
}

void Netlink::CreateWireguard(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] { rtnetlink_.CreateWireguard(NameArgument(info, 0)); });
}

void Netlink::SetLinkMtu(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] {
    if (!info[1].IsNumber()) throw SystemError(EINVAL, "netlink", "MTU");
    rtnetlink_.SetMtu(rtnetlink_.GetLink(NameArgument(info, 0)).index,
                      info[1].As<Napi::Number>().Uint32Value());
  });
}

void Netlink::SetPairMtu(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] {
    if (!info[2].IsNumber()) throw SystemError(EINVAL, "netlink", "MTU");
    const uint32_t mtu = info[2].As<Napi::Number>().Uint32Value();
    const Link link = rtnetlink_.GetLink(NameArgument(info, 0));
    const auto fit = [&link, mtu](Rtnetlink& there) {
      const Link peer = there.GetLink(link.peer);
      // What is below was set inside, and somebody knows why.
      if (peer.mtu > mtu || peer.mtu == link.mtu) there.SetMtu(peer.index, mtu);
    };
    if (link.peer_is_away) {
      Namespace(TextArgument(info, 1)).Run([&fit] {
        Rtnetlink inside;
        fit(inside);
      });
    } else {
      fit(rtnetlink_);
    }
    rtnetlink_.SetMtu(link.index, mtu);
  });
}

void Netlink::SetRouteInside(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] {
    if (!info[3].IsNumber() || !info[5].IsNumber()) throw SystemError(EINVAL, "netlink", "a number");
    const IpAddress own = AddressArgument(info, 1);
    Route route;
    route.destination = AddressArgument(info, 2);
    route.prefix_length = static_cast<uint8_t>(info[3].As<Napi::Number>().Uint32Value());
    if (route.prefix_length > route.destination.bits()) throw SystemError(EINVAL, "netlink", "prefix");
    if (info[4].IsString()) route.gateway = AddressArgument(info, 4);
    route.metric = info[5].As<Napi::Number>().Uint32Value();
    Namespace(TextArgument(info, 0)).Run([&own, &route] {
      Rtnetlink inside;
      for (const Address& address : inside.Addresses()) {
        if (address.address == own) route.ifindex = address.ifindex;
      }
      if (route.ifindex == 0) throw SystemError(ENODEV, "netlink(RTM_GETADDR)", own.Text());
      inside.ReplaceRoute(route);
    });
  });
}

Napi::Value Netlink::LinkKind(const Napi::CallbackInfo& info) {
  const auto link = Guarded(info.Env(), [&] { return rtnetlink_.FindLink(NameArgument(info, 0)); });
  if (!link) return info.Env().Undefined();
  return Napi::String::New(info.Env(), link->kind);
}

void Netlink::SetLinkUp(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] { rtnetlink_.SetUp(rtnetlink_.GetLink(NameArgument(info, 0)).index, true); });
}

void Netlink::SetLinkDown(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] { rtnetlink_.SetUp(rtnetlink_.GetLink(NameArgument(info, 0)).index, false); });
}

Napi::Value Netlink::DeleteLink(const Napi::CallbackInfo& info) {
  const bool existed =
      Guarded(info.Env(), [&] { return rtnetlink_.DeleteLink(NameArgument(info, 0)); });
  return Napi::Boolean::New(info.Env(), existed);
}

Napi::Value Netlink::LinkNames(const Napi::CallbackInfo& info) {
  const auto links = Guarded(info.Env(), [&] { return rtnetlink_.Links(); });
  auto names = Napi::Array::New(info.Env(), links.size());
  for (size_t index = 0; index < links.size(); ++index) {
    names.Set(static_cast<uint32_t>(index), links[index].name);
  }
  return names;
}

Napi::Value Netlink::Addresses(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  std::unordered_map<int, std::string> names;
  const auto addresses = Guarded(env, [&] {
    for (const Link& link : rtnetlink_.Links()) names[link.index] = link.name;
    return rtnetlink_.Addresses();
  });
  auto rows = Napi::Array::New(env, addresses.size());
  for (size_t index = 0; index < addresses.size(); ++index) {
    auto row = Napi::Object::New(env);
    row.Set("interfaceName", names[addresses[index].ifindex]);
    row.Set("address", addresses[index].address.Text());
    row.Set("prefixLength", Napi::Number::New(env, addresses[index].prefix_length));
    rows.Set(static_cast<uint32_t>(index), row);
  }
  return rows;
}

Napi::Value Netlink::RouteTo(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return Guarded(env, [&]() -> Napi::Value {
    const IpAddress destination = AddressArgument(info, 0);
    const RouteAnswer answer = rtnetlink_.RouteTo(destination);
    for (const Link& link : rtnetlink_.Links()) {
      if (link.index != answer.ifindex) continue;
      auto row = Napi::Object::New(env);
      row.Set("interfaceName", link.name);
      row.Set("source", answer.preferred_source.Text());
      row.Set("mtu", Napi::Number::New(env, link.mtu));
      return row;
    }
    throw SystemError(ENETUNREACH, "netlink(RTM_GETROUTE)", destination.Text());
  });
}

}  // namespace skep::netlink
