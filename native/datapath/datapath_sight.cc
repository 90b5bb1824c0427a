// The part of NativeDatapath (see datapath_object.h) that shows what the data path does and puts it
// right: connections, traces, repair, self-test.
#include <arpa/inet.h>
#include <net/if.h>

#include <cstring>

#include "bpf/lib/drop_reasons.h"
#include "datapath/coarse_clock.h"
#include "datapath/datapath_object.h"
#include "datapath/js_values.h"
#include "datapath/self_test.h"
#include "netlink/system_error.h"

namespace skep::datapath {
namespace {

constexpr uint32_t kConnectionsMax = 1u << 24;
constexpr uint32_t kPortMax = 65535;
constexpr uint32_t kProtocolMax = 255;
constexpr uint32_t kDurationMsMax = 24u * 3600 * 1000;
constexpr uint64_t kNanosecondsPerMillisecond = 1'000'000;
constexpr int kVerdictShot = 2;
constexpr int kVerdictRedirect = 7;

std::array<uint8_t, 16> Mapped(Napi::Env env, const std::string& text) {
  std::array<uint8_t, 16> address{};
  if (::inet_pton(AF_INET6, text.c_str(), address.data()) == 1) return address;
  if (::inet_pton(AF_INET, text.c_str(), address.data() + 12) != 1) {
    throw js::Bad(env, "address", "an IP address");
  }
  address[10] = address[11] = 0xff;
  return address;
}

Napi::String FromMapped(Napi::Env env, const uint32_t (&words)[4]) {
  char text[INET6_ADDRSTRLEN];
  if (words[0] == 0 && words[1] == 0 && words[2] == htonl(0xffff)) {
    ::inet_ntop(AF_INET, &words[3], text, sizeof text);
  } else {
    ::inet_ntop(AF_INET6, words, text, sizeof text);
  }
  return Napi::String::New(env, text);
}

const char* KindName(uint8_t kind) {
  switch (kind) {
    case SKEP_FLOW_SERVICE: return "service";
    case SKEP_FLOW_REPLY: return "reply";
    default: return "borrowed";
  }
}

const char* StateName(uint8_t state) {
  switch (state) {
    case SKEP_STATE_ESTABLISHED: return "established";
    case SKEP_STATE_CLOSING: return "closing";
    case SKEP_STATE_RESET: return "reset";
    default: return "new";
  }
}

const char* ProgramName(uint8_t program) {
  switch (program) {
    case SKEP_PROGRAM_CONTAINER: return "from_container";
    case SKEP_PROGRAM_OVERLAY: return "from_overlay";
    case SKEP_PROGRAM_UPLINK: return "from_uplink";
    case SKEP_PROGRAM_WIREGUARD: return "from_wireguard";
    default: return "from_host";
  }
}

const char* ReasonName(uint8_t reason) {
  switch (reason) {
#define SKEP_NAME(number, name, text) \
  case number: return text;
    SKEP_REASONS(SKEP_NAME)
#undef SKEP_NAME
    default: return "unknown";
  }
}

const char* VerdictName(int32_t verdict) {
  if (verdict == kVerdictShot) return "dropped";
  return verdict == kVerdictRedirect ? "forwarded" : "host";
}

std::string IndexLabel(uint32_t ifindex) {
  std::string label("#");
  return label.append(std::to_string(ifindex));
}

Napi::Object FromConnection(Napi::Env env, const skep_flow& flow,
                            const skep_connection& connection, uint32_t now) {
  const auto number = [env](double value) { return Napi::Number::New(env, value); };
  Napi::Object row = Napi::Object::New(env);
  row.Set("kind", Napi::String::New(env, KindName(flow.kind)));
  row.Set("protocol", number(flow.protocol));
  row.Set("vni", number(flow.vni));
  row.Set("source", js::FromAddress(env, FromMap(flow.source)));
  row.Set("sourcePort", number(ntohs(flow.source_port_be)));
  row.Set("destination", js::FromAddress(env, FromMap(flow.destination)));
  row.Set("destinationPort", number(ntohs(flow.destination_port_be)));
  row.Set("state", Napi::String::New(env, StateName(connection.state)));
  row.Set("other", js::FromAddress(env, FromMap(connection.address)));
  row.Set("otherPort", number(ntohs(connection.port_be)));
  const uint32_t idle = now > connection.last ? now - connection.last : 0;
  row.Set("idleSeconds", number(idle));
  return row;
}

Napi::Object FromTraceRow(Napi::Env env, const skep_trace_row& from) {
  const auto number = [env](double value) { return Napi::Number::New(env, value); };
  Napi::Object row = Napi::Object::New(env);
  char name[IF_NAMESIZE];
  const bool known = ::if_indextoname(from.ifindex, name) != nullptr;
  row.Set("timeNs", Napi::BigInt::New(env, static_cast<uint64_t>(from.time_ns)));
  row.Set("program", Napi::String::New(env, ProgramName(from.program)));
  row.Set("interfaceName",
          Napi::String::New(env, known ? std::string(name) : IndexLabel(from.ifindex)));
  row.Set("protocol", number(from.protocol));
  row.Set("source", FromMapped(env, from.source_be));
  row.Set("sourcePort", number(ntohs(from.source_port_be)));
  row.Set("destination", FromMapped(env, from.destination_be));
  row.Set("destinationPort", number(ntohs(from.destination_port_be)));
  row.Set("tcpFlags", number(from.tcp_flags));
  row.Set("bytes", number(from.bytes));
  Napi::Array steps = Napi::Array::New(env);
  const uint64_t packed = static_cast<uint64_t>(from.steps[1]) << 32 | from.steps[0];
  for (int shift = 56; shift >= 0; shift -= 8) {
    const auto reason = static_cast<uint8_t>(packed >> shift);
    if (reason != 0) steps.Set(steps.Length(), Napi::String::New(env, ReasonName(reason)));
  }
  row.Set("steps", steps);
  row.Set("verdict", Napi::String::New(env, VerdictName(from.verdict)));
  return row;
}

}  // namespace

Napi::Value DatapathObject::Connections(Info info) {
  const Napi::Env env = info.Env();
  const uint32_t max = std::min(info[0].ToNumber().Uint32Value(), kConnectionsMax);
  return Guarded(env, [&]() -> Napi::Value {
    Napi::Array rows = Napi::Array::New(env);
    const uint32_t now = CoarseNow();
    const auto add = [&](const skep_flow& flow, const skep_connection& connection) {
      const Napi::HandleScope scope(env);
      rows.Set(rows.Length(), FromConnection(env, flow, connection, now));
    };
    Open(env).maps().sw_connection().Some(max, add);
    Open(env).maps().sw_opening().Some(max - rows.Length(), add);
    return rows;
  });
}

void DatapathObject::StartTrace(Info info) {
  const Napi::Object from = info[0].As<Napi::Object>();
  TraceFilter filter;
  filter.address = Mapped(info.Env(), js::Text(from, "address"));
  filter.port = htons(static_cast<uint16_t>(js::Unsigned(from, "port", kPortMax)));
  if (js::Has(from, "otherPorts")) {
    size_t index = 0;
    js::ForEach(from.Get("otherPorts"), [&](const Napi::Value& value) {
      if (!value.IsNumber() || index >= filter.other_ports.size()) {
        throw js::Bad(info.Env(), "otherPorts", "at most two ports");
      }
      const uint32_t port = value.As<Napi::Number>().Uint32Value();
      filter.other_ports[index++] = htons(static_cast<uint16_t>(port));
    });
  }
  filter.protocol = static_cast<uint8_t>(js::Unsigned(from, "protocol", kProtocolMax));
  filter.duration_ns =
      js::Unsigned(from, "durationMs", kDurationMsMax) * kNanosecondsPerMillisecond;
  Guarded(info.Env(), [&] { Open(info.Env()).trace().Start(filter); });
}

Napi::Value DatapathObject::ReadTrace(Info info) {
  const Napi::Env env = info.Env();
  return Guarded(env, [&]() -> Napi::Value {
    uint64_t lost = 0;
    const auto rows = Open(env).trace().Read(&lost);
    Napi::Object object = Napi::Object::New(env);
    object.Set("rows", js::FromRows(env, rows, [env](const skep_trace_row& row) {
                 return FromTraceRow(env, row);
               }));
    object.Set("lost", Napi::Number::New(env, static_cast<double>(lost)));
    return object;
  });
}

void DatapathObject::StopTrace(Info info) {
  Guarded(info.Env(), [&] { Open(info.Env()).trace().Stop(); });
}

Napi::Value DatapathObject::VerifiedInstructions(Info info) {
  const Napi::Env env = info.Env();
  return Guarded(env, [&]() -> Napi::Value {
    Napi::Object object = Napi::Object::New(env);
    for (const auto& [name, count] : Open(env).programs().VerifiedInstructions()) {
      object.Set(name, Napi::Number::New(env, count));
    }
    return object;
  });
}

Napi::Value DatapathObject::Repair(Info info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    return Napi::Number::New(info.Env(), Open(info.Env()).Repair());
  });
}

void DatapathObject::SendSummed(Info info) {
  const Napi::Env env = info.Env();
  Datagram datagram;
  datagram.destination = js::ParseAddress(env, info[0].ToString(), "nodeId");
  datagram.port = static_cast<uint16_t>(info[1].ToNumber().Uint32Value());
  if (!info[2].IsTypedArray()) throw js::Bad(env, "payload", "bytes");
  const auto payload = info[2].As<Napi::Uint8Array>();
  datagram.payload.assign(payload.Data(), payload.Data() + payload.ByteLength());
  Guarded(env, [&] {
    datagram.source = Open(env).tables().Config().node_id_be;
    skep::datapath::SendSummed(datagram);
  });
}

Napi::Value DatapathObject::SoftwareChecksums(Info info) {
  return Napi::Boolean::New(info.Env(), Open(info.Env()).software_checksums());
}

void DatapathObject::UseSoftwareChecksums(Info info) {
  Guarded(info.Env(), [&] { Open(info.Env()).UseSoftwareChecksums(); });
}

}  // namespace skep::datapath
