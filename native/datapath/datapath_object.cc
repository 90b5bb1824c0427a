// See datapath_object.h.
#include "datapath/datapath_object.h"

#include <netinet/in.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "bpf/lib/drop_reasons.h"
#include "datapath/js_values.h"
#include "netlink/system_error.h"

namespace skep::datapath {
namespace {

constexpr uint32_t kVniMax = (1u << 24) - 1;
constexpr uint32_t kEntriesMax = 1u << 24;
constexpr uint32_t kPortMax = 65535;
constexpr uint32_t kMappedBits = 96;
constexpr double kNanosecondsPerMillisecond = 1e6;

/// Which maps each limit of DatapathLimits sizes, and how many entries one of it takes.
struct Limit {
  const char* property;
  const char* map;
  double factor;
};
constexpr Limit kLimits[] = {
    {"services", "sw_service", 1},  {"backends", "sw_backend", 1},
    {"backends", "sw_slot", 2},     {"endpoints", "sw_endpoint", 1},
    {"nodes", "sw_node", 1},        {"nodes", "sw_echo", 1},
    {"nodes", "sw_underlay6", 2},   {"nodes", "sw_underlay6_number", 2},
    {"links", "sw_link", 1},        {"connections", "sw_connection", 1},
    {"services", "sw_maglev", 2},   {"connections", "sw_opening", 0.25},
    {"backends", "sw_load", 1},
};

EngineOptions ReadOptions(const Napi::Object& from) {
  EngineOptions options;
  options.pin_directory = js::Text(from, "pinDirectory");
  options.record_file = js::Text(from, "recordFile");
  js::ForEach(from.Get("underlayInterfaces"), [&options](const Napi::Value& name) {
    options.devices.underlay_interfaces.push_back(name.ToString().Utf8Value());
  });
  options.tunnel_address = js::AnyAddress(from, "tunnelAddress");
  options.devices.tunnel_over_ipv6 = !options.tunnel_address.is_v4();
  options.devices.tunnel_port = static_cast<uint16_t>(js::Unsigned(from, "tunnelPort", kPortMax));
  options.devices.dns_address = js::Address(from, "dnsAddress");
  options.force_clsact = js::Flag(from, "forceClsact");
  options.force_tunnel_device = js::Flag(from, "forceTunnelDevice");
  if (js::Has(from, "limits")) {
    const Napi::Object limits = from.Get("limits").As<Napi::Object>();
    for (const Limit& limit : kLimits) {
      if (!js::Has(limits, limit.property)) continue;
      const double entries = js::Unsigned(limits, limit.property, kEntriesMax) * limit.factor;
      options.entries[limit.map] = std::max(1u, static_cast<uint32_t>(entries));
    }
  }
  return options;
}

Place ReadPlace(const Napi::Value& value) {
  const Napi::Object row = value.As<Napi::Object>();
  return {js::Unsigned(row, "vni", kVniMax), js::Address(row, "address")};
}

uint8_t ReadProtocol(const Napi::Object& row) {
  const std::string protocol = js::Text(row, "protocol");
  if (protocol == "tcp") return IPPROTO_TCP;
  if (protocol == "udp") return IPPROTO_UDP;
  if (protocol == "sctp") return IPPROTO_SCTP;
  throw js::Bad(row.Env(), "protocol", "tcp, udp or sctp");
}

const char* ProtocolName(uint8_t protocol) {
  if (protocol == IPPROTO_TCP) return "tcp";
  return protocol == IPPROTO_UDP ? "udp" : "sctp";
}

ServiceKey ReadServiceKey(const Napi::Value& value) {
  const Napi::Object row = value.As<Napi::Object>();
  ServiceKey key;
  const std::string kind = js::Text(row, "kind");
  if (kind == "vip") {
    key.vni = js::Unsigned(row, "vni", kVniMax);
    key.address = IpAddress::V4(js::Address(row, "address"));
    return key;
  }
  if (kind == "landing") {
    key.vni = js::Unsigned(row, "vni", kVniMax);
    key.address = IpAddress::V4(js::Address(row, "address"));
  } else if (kind == "published") {
    key.address = js::OptionalAnyAddress(row, "address");
  } else {
    throw js::Bad(row.Env(), "kind", "vip, published or landing");
  }
  key.port = htons(static_cast<uint16_t>(js::Unsigned(row, "port", kPortMax)));
  key.protocol = ReadProtocol(row);
  return key;
}

ClientNetwork ReadClientNetwork(const Napi::Value& value) {
  const std::string text = value.ToString();
  const size_t slash = text.find('/');
  const std::string address = text.substr(0, slash);
  ClientNetwork network;
  char* end = nullptr;
  const long length =
      slash == std::string::npos ? -1 : std::strtol(text.c_str() + slash + 1, &end, 10);
  const bool is_ipv4 = ::inet_pton(AF_INET, address.c_str(), network.address.data()) == 1;
  const bool is_ipv6 =
      !is_ipv4 && ::inet_pton(AF_INET6, address.c_str(), network.address.data()) == 1;
  const long length_max = is_ipv4 ? 32 : 128;
  if ((!is_ipv4 && !is_ipv6) || length < 0 || length > length_max || *end != '\0') {
    throw js::Bad(value.Env(), "allow", "a list of CIDRs");
  }
  network.family = is_ipv4 ? SKEP_FAMILY_IPV4 : SKEP_FAMILY_IPV6;
  network.prefix_length = static_cast<uint8_t>(length);
  return network;
}

Napi::String FromClientNetwork(Napi::Env env, const ClientNetwork& network) {
  char text[INET6_ADDRSTRLEN];
  const int family = network.family == SKEP_FAMILY_IPV4 ? AF_INET : AF_INET6;
  ::inet_ntop(family, network.address.data(), text, sizeof text);
  return Napi::String::New(env, std::string(text) + "/" + std::to_string(network.prefix_length));
}

struct PolicyName {
  skep_policy policy;
  const char* name;
};
constexpr PolicyName kPolicies[] = {
    {SKEP_POLICY_MAGLEV, "maglev"},
    {SKEP_POLICY_CLIENT_IP, "client-ip"},
    {SKEP_POLICY_LEAST_CONN, "least-conn"},
    {SKEP_POLICY_LOCAL_FIRST, "local-first"},
};

skep_policy ReadPolicy(const Napi::Object& row) {
  if (!js::Has(row, "policy")) return SKEP_POLICY_MAGLEV;
  const std::string name = js::Text(row, "policy");
  for (const PolicyName& each : kPolicies) {
    if (name == each.name) return each.policy;
  }
  throw js::Bad(row.Env(), "policy", "maglev, client-ip, least-conn or local-first");
}

ServiceRow ReadService(const Napi::Value& value) {
  const Napi::Object object = value.As<Napi::Object>();
  ServiceRow row;
  row.key = ReadServiceKey(object.Get("key"));
  if (js::Has(object, "targetPort")) {
    row.target_port = htons(static_cast<uint16_t>(js::Unsigned(object, "targetPort", kPortMax)));
  } else {
    row.target_port = row.key.port;
  }
  if (js::Has(object, "ports")) {
    row.ports = static_cast<uint16_t>(js::Unsigned(object, "ports", kPortMax));
    const uint32_t highest = std::max(ntohs(row.key.port), ntohs(row.target_port));
    if (row.ports == 0 || highest + row.ports - 1 > kPortMax) {
      throw js::Bad(object.Env(), "ports", "a number of ports that exist");
    }
  }
  row.policy = ReadPolicy(object);
  js::ForEach(object.Get("backends"), [&row](const Napi::Value& backend) {
    row.backends.push_back(ReadPlace(backend));
  });
  row.addressed = js::Flag(object, "addressed");
  row.retired = js::Flag(object, "retired");
  row.direct = js::Flag(object, "direct");
  if (js::Has(object, "allow")) {
    row.allow.emplace();
    js::ForEach(object.Get("allow"), [&row](const Napi::Value& network) {
      row.allow->push_back(ReadClientNetwork(network));
    });
  }
  return row;
}

NetworkRow ReadNetwork(const Napi::Value& value) {
  const Napi::Object object = value.As<Napi::Object>();
  NetworkRow row{};
  row.vni = js::Unsigned(object, "vni", kVniMax);
  const js::Prefix subnet = js::ReadPrefix(object, "subnet");
  if (!subnet.address.is_v4()) throw js::Bad(object.Env(), "subnet", "an IPv4 CIDR");
  row.prefix_length = subnet.length;
  row.subnet = subnet.address.v4();
  if (js::Has(object, "subnet6")) {
    const js::Prefix subnet6 = js::ReadPrefix(object, "subnet6");
    // A member's IPv4 host number must fit behind the IPv6 prefix.
    if (subnet6.address.is_v4() || subnet6.length > kMappedBits + row.prefix_length) {
      throw js::Bad(object.Env(), "subnet6", "an IPv6 CIDR with room for every IPv4 address");
    }
    row.subnet6 = subnet6.address;
    row.prefix6_length = subnet6.length;
  }
  row.gateway = js::Address(object, "gateway");
  row.node_address = js::OptionalAddress(object, "nodeAddress");
  row.internal = js::Flag(object, "internal");
  row.encrypted = js::Flag(object, "encrypted");
  return row;
}

Napi::Object FromPlace(Napi::Env env, const Place& place) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("vni", Napi::Number::New(env, place.first));
  object.Set("address", js::FromAddress(env, place.second));
  return object;
}

Napi::Object FromLink(Napi::Env env, const LinkRow& row) {
  Napi::Object object = FromPlace(env, {row.vni, row.address});
  object.Set("interfaceName", Napi::String::New(env, row.name));
  object.Set("mac", js::FromMac(env, row.mac));
  return object;
}

Napi::Object FromNetwork(Napi::Env env, const NetworkRow& row) {
  Napi::Object object = Napi::Object::New(env);
  const std::string subnet =
      js::FromAddress(env, row.subnet).Utf8Value() + "/" + std::to_string(row.prefix_length);
  object.Set("vni", Napi::Number::New(env, row.vni));
  object.Set("subnet", Napi::String::New(env, subnet));
  object.Set("gateway", js::FromAddress(env, row.gateway));
  object.Set("internal", Napi::Boolean::New(env, row.internal));
  if (row.encrypted) object.Set("encrypted", Napi::Boolean::New(env, true));
  if (row.subnet6.given()) {
    object.Set("subnet6", Napi::String::New(env, row.subnet6.Text() + "/" +
                                                     std::to_string(row.prefix6_length)));
  }
  if (row.node_address != 0) object.Set("nodeAddress", js::FromAddress(env, row.node_address));
  return object;
}

Napi::Object FromService(Napi::Env env, const ServiceRow& row) {
  Napi::Object key = Napi::Object::New(env);
  Napi::Object object = Napi::Object::New(env);
  const bool published = row.key.published();
  const bool landing = row.key.landing();
  key.Set("kind", Napi::String::New(env, published ? "published" : landing ? "landing" : "vip"));
  if (published || landing) {
    key.Set("protocol", Napi::String::New(env, ProtocolName(row.key.protocol)));
    key.Set("port", Napi::Number::New(env, ntohs(row.key.port)));
    object.Set("targetPort", Napi::Number::New(env, ntohs(row.target_port)));
    if (row.ports > 1) object.Set("ports", Napi::Number::New(env, row.ports));
  }
  if (!published) key.Set("vni", Napi::Number::New(env, row.key.vni));
  if (row.key.address.given()) key.Set("address", js::FromAddress(env, row.key.address));
  if (row.addressed) object.Set("addressed", Napi::Boolean::New(env, true));
  if (row.retired) object.Set("retired", Napi::Boolean::New(env, true));
  if (row.direct) object.Set("direct", Napi::Boolean::New(env, true));
  if (row.allow) {
    object.Set("allow", js::FromRows(env, *row.allow, [env](const ClientNetwork& network) {
                 return FromClientNetwork(env, network);
               }));
  }
  object.Set("key", key);
  for (const PolicyName& each : kPolicies) {
    if (each.policy == row.policy && row.policy != SKEP_POLICY_MAGLEV) {
      object.Set("policy", Napi::String::New(env, each.name));
    }
  }
  object.Set("backends", js::FromRows(env, row.backends, [env](const Place& place) {
               return FromPlace(env, place);
             }));
  return object;
}

/// Rows whose endpoint is missing count as missing themselves, so that they are written again whole.
std::vector<LinkRow> WholeLinks(const Tables& tables) {
  std::vector<LinkRow> rows = tables.Links();
  std::erase_if(rows, [&](const LinkRow& row) {
    return !tables.HasEndpoint({row.vni, row.address});
  });
  return rows;
}

std::vector<NetworkRow> WholeNetworks(const Tables& tables) {
  std::vector<NetworkRow> rows = tables.Networks();
  std::erase_if(rows, [&](const NetworkRow& row) {
    return !tables.HasEndpoint({row.vni, row.node_address != 0 ? row.node_address : row.gateway});
  });
  return rows;
}

std::vector<ServiceRow> WholeServices(const Tables& tables) {
  std::vector<ServiceRow> rows = tables.Services();
  std::erase_if(rows, [&](const ServiceRow& row) {
    return !row.key.published() && !tables.HasEndpoint({row.key.vni, row.key.address.v4()});
  });
  return rows;
}

/// Opens an engine on a thread of the pool and hands it to the object, which it keeps alive meanwhile.
class EngineOpener : public Napi::AsyncWorker {
 public:
  using Taker = std::function<void(std::unique_ptr<Engine>)>;

  EngineOpener(Napi::Env env, EngineOptions options, const Napi::Object& owner, Taker taker)
      : AsyncWorker(env),
        deferred_(Napi::Promise::Deferred::New(env)),
        options_(std::move(options)),
        owner_(Napi::Persistent(owner)),
        taker_(std::move(taker)) {}

  Napi::Promise promise() const { return deferred_.Promise(); }

 protected:
  void Execute() override {
    try {
      engine_ = std::make_unique<Engine>(options_);
    } catch (const SystemError& failure) {
      failure_ = failure;
      SetError(failure.what());
    }
  }

  void OnOK() override {
    taker_(std::move(engine_));
    deferred_.Resolve(Env().Undefined());
  }

  void OnError(const Napi::Error& error) override {
    deferred_.Reject(failure_ ? ToNapi(Env(), *failure_).Value() : error.Value());
  }

 private:
  Napi::Promise::Deferred deferred_;
  EngineOptions options_;
  Napi::ObjectReference owner_;
  Taker taker_;
  std::unique_ptr<Engine> engine_;
  std::optional<SystemError> failure_;
};

}  // namespace

Napi::Function DatapathObject::Define(Napi::Env env) {
  using This = DatapathObject;
  return DefineClass(
      env, "NativeDatapath",
      {
          InstanceMethod<&This::OpenEngine>("open"),
          InstanceMethod<&This::ContainerMtu>("containerMtu"),
          InstanceMethod<&This::UsesTcx>("usesTcx"),
          InstanceMethod<&This::RenewedMaps>("renewedMaps"),
          InstanceMethod<&This::SetNodeId>("setNodeId"),
          InstanceMethod<&This::SetUnderlay>("setUnderlay"),
          InstanceMethod<&This::SetLocalAddresses>("setLocalAddresses"),
          InstanceMethod<&This::PutNodes>("putNodes"),
          InstanceMethod<&This::RemoveNodes>("removeNodes"),
          InstanceMethod<&This::PutNetworks>("putNetworks"),
          InstanceMethod<&This::RemoveNetworks>("removeNetworks"),
          InstanceMethod<&This::AttachLink>("attachLink"),
          InstanceMethod<&This::DetachLink>("detachLink"),
          InstanceMethod<&This::Links>("links"),
          InstanceMethod<&This::SetWireguard>("setWireguard"),
          InstanceMethod<&This::PutRemoteEndpoints>("putRemoteEndpoints"),
          InstanceMethod<&This::RemoveRemoteEndpoints>("removeRemoteEndpoints"),
          InstanceMethod<&This::PutBackends>("putBackends"),
          InstanceMethod<&This::RemoveBackends>("removeBackends"),
          InstanceMethod<&This::PutServices>("putServices"),
          InstanceMethod<&This::RemoveServices>("removeServices"),
          InstanceMethod<&This::Dump>("dump"),
          InstanceMethod<&This::SendEchoes>("sendEchoes"),
          InstanceMethod<&This::EchoReplies>("echoReplies"),
          InstanceMethod<&This::SendSummed>("sendSummed"),
          InstanceMethod<&This::SoftwareChecksums>("softwareChecksums"),
          InstanceMethod<&This::UseSoftwareChecksums>("useSoftwareChecksums"),
          InstanceMethod<&This::SetDirectWays>("setDirectWays"),
          InstanceMethod<&This::AwaitDirectProbes>("awaitDirectProbes"),
          InstanceMethod<&This::DirectProbes>("directProbes"),
          InstanceMethod<&This::SendDirectProbe>("sendDirectProbe"),
          InstanceMethod<&This::Counters>("counters"),
          InstanceMethod<&This::Connections>("connections"),
          InstanceMethod<&This::StartTrace>("startTrace"),
          InstanceMethod<&This::ReadTrace>("readTrace"),
          InstanceMethod<&This::StopTrace>("stopTrace"),
          InstanceMethod<&This::Repair>("repair"),
          InstanceMethod<&This::TestRun>("testRun"),
          InstanceMethod<&This::VerifiedInstructions>("verifiedInstructions"),
          InstanceMethod<&This::Close>("close"),
          InstanceMethod<&This::Destroy>("destroy"),
      });
}

DatapathObject::DatapathObject(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<DatapathObject>(info) {}

Napi::Value DatapathObject::OpenEngine(Info info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsObject()) throw js::Bad(env, "options", "an object");
  if (engine_) throw Napi::Error::New(env, "the data path is open");
  EngineOptions options =
      Guarded(env, [&] { return ReadOptions(info[0].As<Napi::Object>()); });
  auto* worker = new EngineOpener(
      env, std::move(options), info.This().As<Napi::Object>(),
      [this](std::unique_ptr<Engine> engine) { engine_ = std::move(engine); });
  const Napi::Promise promise = worker->promise();
  worker->Queue();
  return promise;
}

Engine& DatapathObject::Open(Napi::Env env) {
  if (!engine_) throw Napi::Error::New(env, "the data path is closed");
  return *engine_;
}

Napi::Value DatapathObject::ContainerMtu(Info info) {
  return Napi::Number::New(info.Env(), Open(info.Env()).devices().container_mtu());
}

Napi::Value DatapathObject::UsesTcx(Info info) {
  return Napi::Boolean::New(info.Env(), Open(info.Env()).uses_tcx());
}

Napi::Value DatapathObject::RenewedMaps(Info info) {
  const Napi::Env env = info.Env();
  return js::FromRows(env, Open(env).maps().renewed(), [env](const std::string& name) {
    return Napi::String::New(env, name);
  });
}

void DatapathObject::SetNodeId(Info info) {
  const uint32_t id = js::ParseAddress(info.Env(), info[0].ToString(), "nodeId");
  Guarded(info.Env(), [&] { Open(info.Env()).SetNodeId(id); });
}

Napi::Value DatapathObject::SetUnderlay(Info info) {
  const Napi::Env env = info.Env();
  std::vector<std::string> names;
  js::ForEach(info[0], [&names](const Napi::Value& name) {
    names.push_back(name.ToString().Utf8Value());
  });
  return Guarded(env, [&]() -> Napi::Value {
    return Napi::Boolean::New(env, Open(env).SetUnderlay(names));
  });
}

void DatapathObject::SetLocalAddresses(Info info) {
  std::vector<IpAddress> addresses;
  js::ForEach(info[0], [&](const Napi::Value& address) {
    addresses.push_back(js::ParseIpAddress(info.Env(), address.ToString(), "address"));
  });
  Guarded(info.Env(), [&] { Open(info.Env()).SetLocalAddresses(addresses); });
}

void DatapathObject::PutNodes(Info info) {
  Guarded(info.Env(), [&] {
    js::ForEach(info[0], [&](const Napi::Value& value) {
      const Napi::Object row = value.As<Napi::Object>();
      Open(info.Env()).tables().PutNode(
          {js::Address(row, "nodeId"), js::AnyAddress(row, "tunnelAddress"),
           js::OptionalAddress(row, "wireguardTunnel")});
    });
  });
}

void DatapathObject::RemoveNodes(Info info) {
  Guarded(info.Env(), [&] {
    js::ForEach(info[0], [&](const Napi::Value& value) {
      const uint32_t id = js::ParseAddress(info.Env(), value.ToString(), "nodeId");
      Open(info.Env()).tables().RemoveNode(id);
    });
  });
}

void DatapathObject::PutNetworks(Info info) {
  Guarded(info.Env(), [&] {
    js::ForEach(info[0], [&](const Napi::Value& value) {
      Open(info.Env()).PutNetwork(ReadNetwork(value));
    });
  });
}

void DatapathObject::RemoveNetworks(Info info) {
  Guarded(info.Env(), [&] {
    js::ForEach(info[0], [&](const Napi::Value& value) {
      Open(info.Env()).RemoveNetwork(value.ToNumber().Uint32Value());
    });
  });
}

void DatapathObject::AttachLink(Info info) {
  const Napi::Object object = info[0].As<Napi::Object>();
  LinkRow row{0, js::Text(object, "interfaceName"), js::Unsigned(object, "vni", kVniMax),
              js::Address(object, "address"), js::MacOf(object, "mac")};
  Guarded(info.Env(), [&] { Open(info.Env()).AttachLink(std::move(row)); });
}

void DatapathObject::DetachLink(Info info) {
  const std::string name = info[0].ToString();
  Guarded(info.Env(), [&] { Open(info.Env()).DetachLink(name); });
}

Napi::Value DatapathObject::Links(Info info) {
  const Napi::Env env = info.Env();
  return Guarded(env, [&]() -> Napi::Value {
    return js::FromRows(env, WholeLinks(Open(env).tables()),
                        [env](const LinkRow& row) { return FromLink(env, row); });
  });
}

void DatapathObject::PutRemoteEndpoints(Info info) {
  Guarded(info.Env(), [&] {
    js::ForEach(info[0], [&](const Napi::Value& value) {
      const Napi::Object row = value.As<Napi::Object>();
      const Place place = ReadPlace(value);
      Open(info.Env()).tables().PutRemoteEndpoint({place.first, place.second,
                                                   js::MacOf(row, "mac"),
                                                   js::AnyAddress(row, "tunnelAddress")});
    });
  });
}

void DatapathObject::RemoveRemoteEndpoints(Info info) {
  Guarded(info.Env(), [&] {
    js::ForEach(info[0], [&](const Napi::Value& value) {
      Open(info.Env()).tables().RemoveRemoteEndpoint(ReadPlace(value));
    });
  });
}

void DatapathObject::PutBackends(Info info) {
  std::vector<BackendRow> rows;
  js::ForEach(info[0], [&rows](const Napi::Value& value) {
    const Napi::Object row = value.As<Napi::Object>();
    const Place place = ReadPlace(value);
    rows.push_back({place.first, place.second, js::OptionalAnyAddress(row, "tunnelAddress"),
                    js::Text(row, "state") == "draining"});
  });
  Guarded(info.Env(), [&] { Open(info.Env()).tables().PutBackends(rows); });
}

void DatapathObject::RemoveBackends(Info info) {
  std::vector<Place> places;
  js::ForEach(info[0], [&](const Napi::Value& value) { places.push_back(ReadPlace(value)); });
  Guarded(info.Env(), [&] { Open(info.Env()).tables().RemoveBackends(places); });
}

void DatapathObject::PutServices(Info info) {
  Guarded(info.Env(), [&] {
    js::ForEach(info[0], [&](const Napi::Value& value) {
      Open(info.Env()).tables().PutService(ReadService(value));
    });
    Open(info.Env()).ReservePorts();
  });
}

void DatapathObject::RemoveServices(Info info) {
  Guarded(info.Env(), [&] {
    js::ForEach(info[0], [&](const Napi::Value& value) {
      Open(info.Env()).tables().RemoveService(ReadServiceKey(value));
    });
    Open(info.Env()).ReservePorts();
  });
}

Napi::Value DatapathObject::Dump(Info info) {
  const Napi::Env env = info.Env();
  return Guarded(env, [&]() -> Napi::Value {
    Tables& tables = Open(env).tables();
    tables.Reload();
    Napi::Object state = Napi::Object::New(env);
    state.Set("nodes", js::FromRows(env, tables.Nodes(), [env](const NodeRow& row) {
                Napi::Object object = Napi::Object::New(env);
                object.Set("nodeId", js::FromAddress(env, row.node_id));
                object.Set("tunnelAddress", js::FromAddress(env, row.tunnel));
                if (row.wireguard != 0) {
                  object.Set("wireguardTunnel", js::FromAddress(env, row.wireguard));
                }
                return object;
              }));
    state.Set("networks", js::FromRows(env, WholeNetworks(tables), [env](const NetworkRow& row) {
                return FromNetwork(env, row);
              }));
    state.Set("links", js::FromRows(env, WholeLinks(tables),
                                    [env](const LinkRow& row) { return FromLink(env, row); }));
    state.Set("remoteEndpoints",
              js::FromRows(env, tables.RemoteEndpoints(), [env](const EndpointRow& row) {
                Napi::Object object = FromPlace(env, {row.vni, row.address});
                object.Set("mac", js::FromMac(env, row.mac));
                object.Set("tunnelAddress", js::FromAddress(env, row.tunnel));
                return object;
              }));
    state.Set("backends", js::FromRows(env, tables.Backends(), [env](const BackendRow& row) {
                Napi::Object object = FromPlace(env, {row.vni, row.address});
                object.Set("state", Napi::String::New(env, row.draining ? "draining" : "active"));
                if (row.tunnel.given()) {
                  object.Set("tunnelAddress", js::FromAddress(env, row.tunnel));
                }
                return object;
              }));
    state.Set("services", js::FromRows(env, WholeServices(tables), [env](const ServiceRow& row) {
                return FromService(env, row);
              }));
    return state;
  });
}

void DatapathObject::SendEchoes(Info info) {
  std::vector<IpAddress> tunnels;
  js::ForEach(info[0], [&](const Napi::Value& address) {
    tunnels.push_back(js::ParseIpAddress(info.Env(), address.ToString(), "tunnelAddress"));
  });
  Guarded(info.Env(), [&] { Open(info.Env()).SendEchoes(tunnels); });
}

Napi::Value DatapathObject::EchoReplies(Info info) {
  const Napi::Env env = info.Env();
  return Guarded(env, [&]() -> Napi::Value {
    Napi::Array array = Napi::Array::New(env);
    for (const auto& [tunnel, at_ns] : Open(env).maps().sw_echo().Rows()) {
      Napi::Array pair = Napi::Array::New(env, 2);
      pair.Set(0u, js::FromAddress(env, Open(env).tables().TunnelOf(tunnel)));
      const double at_ms = static_cast<double>(at_ns) / kNanosecondsPerMillisecond;
      pair.Set(1u, Napi::Number::New(env, at_ms));
      array.Set(array.Length(), pair);
    }
    return array;
  });
}

Napi::Value DatapathObject::Counters(Info info) {
  const Napi::Env env = info.Env();
  return Guarded(env, [&]() -> Napi::Value {
    const auto counters = Open(env).maps().Counters();
    Napi::Array array = Napi::Array::New(env);
    const auto add = [&](uint32_t number, const char* reason) {
      Napi::Object row = Napi::Object::New(env);
      row.Set("reason", Napi::String::New(env, reason));
      row.Set("packets", Napi::BigInt::New(env, static_cast<uint64_t>(counters[number].packets)));
      row.Set("bytes", Napi::BigInt::New(env, static_cast<uint64_t>(counters[number].bytes)));
      array.Set(array.Length(), row);
    };
#define SKEP_ADD(number, name, text) add(number, text);
    SKEP_REASONS(SKEP_ADD)
#undef SKEP_ADD
    return array;
  });
}

Napi::Value DatapathObject::TestRun(Info info) {
  const Napi::Env env = info.Env();
  const std::string program = info[0].ToString();
  const auto packet = info[1].As<Napi::Uint8Array>();
  const uint32_t ifindex = info[2].ToNumber().Uint32Value();
  return Guarded(env, [&]() -> Napi::Value {
    const std::vector<uint8_t> bytes(packet.Data(), packet.Data() + packet.ByteLength());
    const bpf::TestResult result =
        bpf::TestRun(Open(env).programs().Fd(program), bytes, ifindex, 1);
    Napi::Object object = Napi::Object::New(env);
    object.Set("verdict", Napi::Number::New(env, result.verdict));
    object.Set("packet", Napi::Buffer<uint8_t>::Copy(env, result.packet.data(),
                                                     result.packet.size()));
    return object;
  });
}

void DatapathObject::Close(Info) { engine_.reset(); }

void DatapathObject::Destroy(Info info) {
  Guarded(info.Env(), [&] {
    if (!engine_) return;
    engine_->Destroy();
    engine_.reset();
  });
}

}  // namespace skep::datapath
