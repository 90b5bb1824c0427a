// Puts the gossip classes on the addon's exports.
#pragma once

#include <napi.h>

namespace skep::gossip {

void Register(Napi::Env env, Napi::Object exports);

}  // namespace skep::gossip
