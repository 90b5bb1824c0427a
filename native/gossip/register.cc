// Puts the gossip classes on the addon's exports.
#include "gossip/register.h"

#include "gossip/native_gossip.h"

namespace skep::gossip {

void Register(Napi::Env env, Napi::Object exports) {
  exports.Set("NativeGossip", NativeGossip::Class(env));
}

}  // namespace skep::gossip
