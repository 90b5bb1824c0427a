// Node-API side of the gossip thread; see native_gossip.h.
#include "gossip/native_gossip.h"

#include <cstring>

namespace skep::gossip {
namespace {

constexpr Versions kNetworkDbVersions = {1, 5, 2, 0, 0, 0};
constexpr Versions kSerfVersions = {1, 5, 2, 2, 5, 4};
/// Events in one call into JavaScript: long enough to be cheap, short enough not to block.
constexpr size_t kBatchMax = 1024;

/// EADDRINUSE and the like, in the shape of Node's own system errors.
Napi::Error SystemError(Napi::Env env, const SystemFailure& failure, const std::string& address,
                        uint16_t port) {
  const char* name = strerrorname_np(failure.error);
  const std::string code = name != nullptr ? name : "EIO";
  const std::string at = address + ":" + std::to_string(port);
  Napi::Error error = Napi::Error::New(
      env, failure.syscall + " " + code + " " + at + ": " + std::strerror(failure.error));
  error.Set("code", Napi::String::New(env, code));
  error.Set("errno", Napi::Number::New(env, -failure.error));
  error.Set("syscall", Napi::String::New(env, failure.syscall));
  error.Set("address", Napi::String::New(env, address));
  error.Set("port", Napi::Number::New(env, port));
  return error;
}

Bytes BytesOf(const Napi::Value& value) {
  if (!value.IsTypedArray()) throw Napi::TypeError::New(value.Env(), "expected a Uint8Array");
  const auto array = value.As<Napi::TypedArray>();
  if (array.TypedArrayType() != napi_uint8_array) {
    throw Napi::TypeError::New(value.Env(), "expected a Uint8Array");
  }
  const auto bytes = value.As<Napi::Uint8Array>();
  return Bytes(bytes.Data(), bytes.Data() + bytes.ByteLength());
}

std::vector<Bytes> KeysOf(const Napi::Value& value) {
  const auto array = value.As<Napi::Array>();
  std::vector<Bytes> keys;
  for (uint32_t i = 0; i < array.Length(); i++) {
    keys.push_back(BytesOf(array.Get(i)));
    const size_t size = keys.back().size();
    if (size != 16 && size != 24 && size != 32) {
      throw Napi::RangeError::New(value.Env(), "gossip keys have 16, 24 or 32 bytes");
    }
  }
  if (!keys.empty() && !AeadAvailable()) {
    throw Napi::Error::New(value.Env(), "this Node.js has no AES-GCM for the gossip keys");
  }
  return keys;
}

Endpoint EndpointOf(const Napi::Value& ip, const Napi::Value& port) {
  const auto number = port.As<Napi::Number>().Int64Value();
  const auto endpoint =
      EndpointFromText(ip.As<Napi::String>(), static_cast<uint16_t>(number));
  if (!endpoint || number < 0 || number > 65535) {
    throw Napi::TypeError::New(ip.Env(), "not an IP address and port");
  }
  return *endpoint;
}

std::string Text(const Napi::CallbackInfo& info, size_t at) {
  return info[at].As<Napi::String>();
}

RuntimeOptions OptionsOf(const Napi::Object& from) {
  RuntimeOptions options;
  const bool fast = from.Get("profile").As<Napi::String>().Utf8Value() == "fast";
  options.serf = from.Get("delegate").As<Napi::String>().Utf8Value() == "serf";
  options.swim = fast ? SwimConfig::Fast() : SwimConfig::Lan();
  options.networkdb = fast ? NetworkDbConfig::Fast() : NetworkDbConfig::Lan();
  options.swim.name = from.Get("nodeName").As<Napi::String>();
  options.swim.versions = options.serf ? kSerfVersions : kNetworkDbVersions;
  options.swim.advertise = EndpointOf(from.Get("advertiseAddress"), from.Get("port"));
  options.bind = EndpointOf(from.Get("bindAddress"), from.Get("port"));
  options.keys = KeysOf(from.Get("keys"));
  return options;
}

const char* ReasonText(RemovalReason reason) {
  switch (reason) {
    case RemovalReason::kDeleted: return "deleted";
    case RemovalReason::kOwnerLeftNetwork: return "owner-left-network";
    case RemovalReason::kOwnerLeft: return "owner-left";
    case RemovalReason::kOwnerFailed: return "owner-failed";
  }
  return "deleted";
}

Napi::Object MemberToJs(Napi::Env env, const std::string& name, const Endpoint& address,
                        const char* state) {
  Napi::Object member = Napi::Object::New(env);
  member.Set("name", name);
  member.Set("address", IpText(address));
  member.Set("port", Napi::Number::New(env, address.port));
  member.Set("state", state);
  return member;
}

}  // namespace

Napi::Function NativeGossip::Class(Napi::Env env) {
  return DefineClass(env, "NativeGossip",
                     {InstanceMethod<&NativeGossip::Join>("join"),
                      InstanceMethod<&NativeGossip::Leave>("leave"),
                      InstanceMethod<&NativeGossip::JoinNetwork>("joinNetwork"),
                      InstanceMethod<&NativeGossip::LeaveNetwork>("leaveNetwork"),
                      InstanceMethod<&NativeGossip::PutEntry>("putEntry"),
                      InstanceMethod<&NativeGossip::DeleteEntry>("deleteEntry"),
                      InstanceMethod<&NativeGossip::Spread>("spread"),
                      InstanceMethod<&NativeGossip::Acknowledge>("acknowledge"),
                      InstanceMethod<&NativeGossip::Reconnect>("reconnect"),
                      InstanceMethod<&NativeGossip::SetKeys>("setKeys"),
                      InstanceMethod<&NativeGossip::Members>("members"),
                      InstanceMethod<&NativeGossip::ReadCounters>("counters"),
                      InstanceMethod<&NativeGossip::Close>("close")});
}

NativeGossip::NativeGossip(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<NativeGossip>(info), link_(std::make_shared<Link>()) {
  Napi::Env env = info.Env();
  const auto object = info[0].As<Napi::Object>();
  RuntimeOptions options = OptionsOf(object);
  const Endpoint bind = options.bind;
  try {
    runtime_ = std::make_unique<Runtime>(std::move(options), [this] { Wake(); });
  } catch (const SystemFailure& failure) {
    throw SystemError(env, failure, IpText(bind), bind.port);
  }
  deliver_ = Napi::ThreadSafeFunction::New(env, info[1].As<Napi::Function>(), "skep-gossip", 0, 1);
  link_->self = this;
  // A running thread keeps its object alive; so does the environment's end reach it.
  Ref();
  env.AddCleanupHook([link = link_] {
    if (link->self != nullptr) link->self->Stop();
  });
  runtime_->Start();
}

NativeGossip::~NativeGossip() { Stop(); }

void NativeGossip::Wake() {
  if (waking_.exchange(true)) return;
  deliver_.NonBlockingCall([link = link_](Napi::Env env, Napi::Function callback) {
    if (link->self != nullptr) link->self->Deliver(env, callback);
  });
}

void NativeGossip::Deliver(Napi::Env env, Napi::Function callback) {
  // Cleared before the take: what is added after it wakes again.
  waking_ = false;
  std::vector<Event> events;
  std::vector<Completion> completions;
  bool more = false;
  runtime_->outbox().Take(kBatchMax, &events, &completions, &more);
  runtime_->counters().Add(Counter::eventBatches);
  if (more) Wake();
  Napi::Array done = Napi::Array::New(env);
  for (const Completion& completion : completions) {
    Napi::Array pair = Napi::Array::New(env, 2);
    pair.Set(0u, Napi::Number::New(env, static_cast<double>(completion.id)));
    pair.Set(1u, Napi::Number::New(env, static_cast<double>(completion.result)));
    done.Set(done.Length(), pair);
  }
  callback.Call({EventsToJs(env, events), done});
}

Napi::Array NativeGossip::EventsToJs(Napi::Env env, const std::vector<Event>& events) {
  Napi::Array out = Napi::Array::New(env);
  for (const Event& event : events) {
    const Napi::HandleScope scope(env);
    Napi::Object object = Napi::Object::New(env);
    if (event.type == Event::Type::kMember) {
      object.Set("type", "member");
      object.Set("member", MemberToJs(env, event.node, event.address, event.state));
      out.Set(out.Length(), object);
      continue;
    }
    const auto joined = generations_.find(event.network);
    if (joined == generations_.end() || joined->second != event.generation) continue;
    object.Set("networkId", event.network);
    if (event.type == Event::Type::kNetworkMember) {
      object.Set("type", "network-member");
      object.Set("nodeName", event.node);
      object.Set("joined", Napi::Boolean::New(env, event.joined));
      out.Set(out.Length(), object);
      continue;
    }
    if (event.type == Event::Type::kInSync) {
      object.Set("type", "in-sync");
      object.Set("owner", event.node);
      object.Set("version", Napi::Number::New(env, static_cast<double>(event.version)));
      out.Set(out.Length(), object);
      continue;
    }
    object.Set("table", event.table);
    object.Set("key", event.key);
    object.Set("owner", event.node);
    if (event.type == Event::Type::kEntry) {
      object.Set("type", "entry");
      Napi::Uint8Array value = Napi::Uint8Array::New(env, event.value.size());
      if (!event.value.empty()) std::memcpy(value.Data(), event.value.data(), event.value.size());
      object.Set("value", value);
    } else {
      object.Set("type", "entry-removed");
      object.Set("reason", ReasonText(event.reason));
    }
    out.Set(out.Length(), object);
  }
  return out;
}

// Methods. The typed wrapper checks lengths and names; here only types. Each returns false when the
// mailbox is full or the thread has ended.

Napi::Value NativeGossip::Join(const Napi::CallbackInfo& info) {
  std::vector<Endpoint> addresses;
  const auto list = info[1].As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); i++) {
    const auto pair = Napi::Value(list.Get(i)).As<Napi::Array>();
    addresses.push_back(EndpointOf(pair.Get(0u), pair.Get(1u)));
  }
  const auto id = static_cast<uint64_t>(info[0].As<Napi::Number>().Int64Value());
  return Napi::Boolean::New(info.Env(), runtime_ && runtime_->Join(id, std::move(addresses)));
}

Napi::Value NativeGossip::Leave(const Napi::CallbackInfo& info) {
  const auto id = static_cast<uint64_t>(info[0].As<Napi::Number>().Int64Value());
  const Millis timeout = info[1].As<Napi::Number>().Int64Value();
  return Napi::Boolean::New(info.Env(), runtime_ && runtime_->Leave(id, timeout));
}

Napi::Value NativeGossip::JoinNetwork(const Napi::CallbackInfo& info) {
  const std::string network = Text(info, 0);
  if (generations_.contains(network)) return Napi::Boolean::New(info.Env(), true);
  const uint32_t generation = next_generation_++;
  const bool ok = runtime_ && runtime_->JoinNetwork(network, generation);
  if (ok) generations_[network] = generation;
  return Napi::Boolean::New(info.Env(), ok);
}

Napi::Value NativeGossip::LeaveNetwork(const Napi::CallbackInfo& info) {
  const bool ok = runtime_ && runtime_->LeaveNetwork(Text(info, 0));
  if (ok) generations_.erase(Text(info, 0));
  return Napi::Boolean::New(info.Env(), ok);
}

Napi::Value NativeGossip::PutEntry(const Napi::CallbackInfo& info) {
  const bool ok =
      runtime_ && runtime_->PutEntry(Text(info, 0), Text(info, 1), Text(info, 2), BytesOf(info[3]));
  return Napi::Boolean::New(info.Env(), ok);
}

Napi::Value NativeGossip::DeleteEntry(const Napi::CallbackInfo& info) {
  const bool ok = runtime_ && runtime_->DeleteEntry(Text(info, 0), Text(info, 1), Text(info, 2));
  return Napi::Boolean::New(info.Env(), ok);
}

Napi::Value NativeGossip::Spread(const Napi::CallbackInfo& info) {
  const auto id = static_cast<uint64_t>(info[0].As<Napi::Number>().Int64Value());
  const auto list = info[1].As<Napi::Array>();
  std::vector<std::string> networks;
  for (uint32_t i = 0; i < list.Length(); i++) {
    networks.push_back(Napi::Value(list.Get(i)).As<Napi::String>());
  }
  return Napi::Boolean::New(info.Env(), runtime_ && runtime_->Spread(id, std::move(networks)));
}

Napi::Value NativeGossip::Acknowledge(const Napi::CallbackInfo& info) {
  const auto version = static_cast<uint64_t>(info[2].As<Napi::Number>().Int64Value());
  const bool ok = runtime_ && runtime_->Acknowledge(Text(info, 0), Text(info, 1), version);
  return Napi::Boolean::New(info.Env(), ok);
}

Napi::Value NativeGossip::Reconnect(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), runtime_ && runtime_->Reconnect(Text(info, 0)));
}

Napi::Value NativeGossip::SetKeys(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), runtime_ && runtime_->SetKeys(KeysOf(info[0])));
}

Napi::Value NativeGossip::Members(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Array out = Napi::Array::New(env);
  if (!runtime_) return out;
  const SwimConfig& self = runtime_->options().swim;
  out.Set(0u, MemberToJs(env, self.name, self.advertise, "alive"));
  for (const auto& [name, member] : runtime_->outbox().Members()) {
    out.Set(out.Length(), MemberToJs(env, name, member.address, member.state));
  }
  return out;
}

Napi::Value NativeGossip::ReadCounters(const Napi::CallbackInfo& info) {
  static constexpr const char* kNames[] = {
#define X(name) #name,
      SKEP_GOSSIP_COUNTERS(X)
#undef X
  };
  Napi::Object out = Napi::Object::New(info.Env());
  if (!runtime_) return out;
  for (size_t i = 0; i < static_cast<size_t>(Counter::kCount); i++) {
    const auto value = static_cast<double>(runtime_->counters().Get(static_cast<Counter>(i)));
    out.Set(kNames[i], Napi::Number::New(info.Env(), value));
  }
  return out;
}

Napi::Value NativeGossip::Close(const Napi::CallbackInfo& info) {
  const bool open = link_->self != nullptr;
  Stop();
  if (open) Unref();
  return info.Env().Undefined();
}

void NativeGossip::Stop() {
  if (link_->self == nullptr) return;
  link_->self = nullptr;
  // The thread first: it must not wake a function that is gone.
  runtime_->Stop();
  runtime_.reset();
  deliver_.Release();
}

}  // namespace skep::gossip
