// The JavaScript class NativeDatapath: the data path's engine behind the interface `Datapath` of
// src/native/datapath-types.ts.
#pragma once

#include <napi.h>

#include <memory>

#include "datapath/engine.h"

namespace skep::datapath {

class DatapathObject : public Napi::ObjectWrap<DatapathObject> {
 public:
  static Napi::Function Define(Napi::Env env);
  explicit DatapathObject(const Napi::CallbackInfo& info);

 private:
  using Info = const Napi::CallbackInfo&;

  /// open(options): Promise<void>, on a thread of the pool: the kernel takes seconds to verify the programs.
  Napi::Value OpenEngine(Info info);
  Napi::Value ContainerMtu(Info info);
  Napi::Value UsesTcx(Info info);
  Napi::Value RenewedMaps(Info info);
  void SetNodeId(Info info);
  Napi::Value SetUnderlay(Info info);
  void SetLocalAddresses(Info info);
  void PutNodes(Info info);
  void RemoveNodes(Info info);
  void PutNetworks(Info info);
  void RemoveNetworks(Info info);
  void AttachLink(Info info);
  void DetachLink(Info info);
  Napi::Value Links(Info info);
  void SetWireguard(Info info);
  void PutRemoteEndpoints(Info info);
  void RemoveRemoteEndpoints(Info info);
  void PutBackends(Info info);
  void RemoveBackends(Info info);
  void PutServices(Info info);
  void RemoveServices(Info info);
  Napi::Value Dump(Info info);
  void SendEchoes(Info info);
  Napi::Value EchoReplies(Info info);
  void SendSummed(Info info);
  Napi::Value SoftwareChecksums(Info info);
  void UseSoftwareChecksums(Info info);
  void SetDirectWays(Info info);
  void AwaitDirectProbes(Info info);
  Napi::Value DirectProbes(Info info);
  Napi::Value SendDirectProbe(Info info);
  Napi::Value Counters(Info info);
  Napi::Value Connections(Info info);
  void StartTrace(Info info);
  Napi::Value ReadTrace(Info info);
  void StopTrace(Info info);
  Napi::Value Repair(Info info);
  Napi::Value TestRun(Info info);
  Napi::Value VerifiedInstructions(Info info);
  void Close(Info info);
  void Destroy(Info info);

  /// The engine; a closed object throws.
  Engine& Open(Napi::Env env);

  std::unique_ptr<Engine> engine_;
};

}  // namespace skep::datapath
