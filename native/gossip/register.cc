// Puts the gossip classes on the addon's exports.
#include "gossip/register.h"

namespace skep::gossip {

void Register(Napi::Env env, Napi::Object exports) {
  (void)env;
  (void)exports;
}

}  // namespace skep::gossip
