// Puts the datapath classes on the addon's exports.
#include "datapath/register.h"

namespace skep::datapath {

void Register(Napi::Env env, Napi::Object exports) {
  (void)env;
  (void)exports;
}

}  // namespace skep::datapath
