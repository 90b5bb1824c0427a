// The one entry point of the addon: lets each native room register its classes on the exports.
#include <napi.h>

#include "datapath/register.h"
#include "gossip/register.h"
#include "netlink/register.h"
#include "process/register.h"

namespace {

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  skep::datapath::Register(env, exports);
  skep::netlink::Register(env, exports);
  skep::gossip::Register(env, exports);
  skep::process::Register(env, exports);
  return exports;
}

NODE_API_MODULE(NODE_GYP_MODULE_NAME, Init)

}  // namespace
