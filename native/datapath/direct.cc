// See direct.h. Also the methods of NativeDatapath behind it.
#include "datapath/direct.h"

#include <arpa/inet.h>
#include <netinet/ip.h>
#include <netinet/udp.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "datapath/datapath_object.h"
#include "datapath/js_values.h"
#include "datapath/self_test.h"
#include "netlink/system_error.h"

namespace skep::datapath {
namespace {

constexpr uint32_t kHeaderBytes = sizeof(iphdr) + sizeof(udphdr);
constexpr uint32_t kProbeBytesMin = kHeaderBytes + sizeof(uint32_t) + sizeof(skep_direct_nonce);

skep_direct_nonce KeyOf(const DirectNonce& nonce) {
  skep_direct_nonce key{};
  std::memcpy(&key, nonce.data(), sizeof key);
  return key;
}

DirectNonce ReadNonce(const Napi::Value& value) {
  if (!value.IsTypedArray()) throw js::Bad(value.Env(), "nonce", "bytes");
  const auto bytes = value.As<Napi::Uint8Array>();
  DirectNonce nonce{};
  if (bytes.ByteLength() != nonce.size()) throw js::Bad(value.Env(), "nonce", "16 bytes");
  std::memcpy(nonce.data(), bytes.Data(), nonce.size());
  return nonce;
}

}  // namespace

void SetDirectWays(const MapSet& maps, const std::map<uint32_t, uint32_t>& ways) {
  for (const auto& [tunnel, way] : maps.sw_direct().Rows()) {
    if (!ways.contains(tunnel)) maps.sw_direct().Remove(tunnel);
  }
  for (const auto& [tunnel, way] : ways) maps.sw_direct().Put(tunnel, way);
}

void AwaitProbes(const MapSet& maps, const std::vector<DirectNonce>& nonces) {
  for (const auto& [key, probe] : maps.sw_direct_probe().Rows()) {
    const bool wanted = std::any_of(nonces.begin(), nonces.end(), [&key = key](const auto& nonce) {
      return std::memcmp(&key, nonce.data(), sizeof key) == 0;
    });
    if (!wanted) maps.sw_direct_probe().Remove(key);
  }
  for (const DirectNonce& nonce : nonces) {
    skep_direct_probe known{};
    const skep_direct_nonce key = KeyOf(nonce);
    if (!maps.sw_direct_probe().Get(key, &known)) maps.sw_direct_probe().Put(key, {0});
  }
}

std::vector<AwaitedProbe> AwaitedProbes(const MapSet& maps) {
  std::vector<AwaitedProbe> probes;
  for (const auto& [key, probe] : maps.sw_direct_probe().Rows()) {
    AwaitedProbe awaited;
    std::memcpy(awaited.nonce.data(), &key, sizeof key);
    awaited.bytes = probe.bytes;
    probes.push_back(awaited);
  }
  return probes;
}

bool SendProbe(const skep_config& config, uint32_t tunnel, const DirectNonce& nonce,
               uint32_t bytes) {
  if (bytes < kProbeBytesMin || bytes > IP_MAXPACKET) throw SystemError(EINVAL, "probe");
  if (config.uplink_ifindex == 0) return false;
  Datagram datagram;
  datagram.source = tunnel;
  datagram.destination = tunnel;
  datagram.port = ntohs(config.tunnel_port_be);
  datagram.payload.resize(bytes - kHeaderBytes);
  const uint32_t magic = htonl(SKEP_DIRECT_MAGIC);
  std::memcpy(datagram.payload.data(), &magic, sizeof magic);
  std::memcpy(datagram.payload.data() + sizeof magic, nonce.data(), nonce.size());
  SendSummed(datagram);
  return true;
}

void DatapathObject::SetDirectWays(Info info) {
  std::map<uint32_t, uint32_t> ways;
  js::ForEach(info[0], [&ways](const Napi::Value& value) {
    const Napi::Object row = value.As<Napi::Object>();
    const uint32_t way = (js::Flag(row, "asEntry") ? SKEP_DIRECT_ENTRY : 0) |
                         (js::Flag(row, "asBackend") ? SKEP_DIRECT_BACKEND : 0);
    if (way != 0) ways[ntohl(js::Address(row, "tunnelAddress"))] = way;
  });
  Guarded(info.Env(), [&] { datapath::SetDirectWays(Open(info.Env()).maps(), ways); });
}

void DatapathObject::AwaitDirectProbes(Info info) {
  std::vector<DirectNonce> nonces;
  js::ForEach(info[0], [&nonces](const Napi::Value& value) { nonces.push_back(ReadNonce(value)); });
  Guarded(info.Env(), [&] { AwaitProbes(Open(info.Env()).maps(), nonces); });
}

Napi::Value DatapathObject::DirectProbes(Info info) {
  const Napi::Env env = info.Env();
  return Guarded(env, [&]() -> Napi::Value {
    return js::FromRows(env, AwaitedProbes(Open(env).maps()), [env](const AwaitedProbe& probe) {
      Napi::Object row = Napi::Object::New(env);
      row.Set("nonce", Napi::Buffer<uint8_t>::Copy(env, probe.nonce.data(), probe.nonce.size()));
      row.Set("bytes", Napi::Number::New(env, probe.bytes));
      return row;
    });
  });
}

Napi::Value DatapathObject::SendDirectProbe(Info info) {
  const Napi::Env env = info.Env();
  const uint32_t tunnel = js::ParseAddress(env, info[0].ToString(), "tunnelAddress");
  const DirectNonce nonce = ReadNonce(info[1]);
  const uint32_t bytes = info[2].ToNumber().Uint32Value();
  return Guarded(env, [&]() -> Napi::Value {
    const skep_config config = Open(env).tables().Config();
    return Napi::Boolean::New(env, SendProbe(config, tunnel, nonce, bytes));
  });
}

}  // namespace skep::datapath
