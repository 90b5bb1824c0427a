// Puts the datapath classes on the addon's exports.
#pragma once

#include <napi.h>

namespace skep::datapath {

void Register(Napi::Env env, Napi::Object exports);

}  // namespace skep::datapath
