// Puts the datapath classes on the addon's exports.
#include "datapath/register.h"

#include "datapath/datapath_object.h"

namespace skep::datapath {

void Register(Napi::Env env, Napi::Object exports) {
  exports.Set("NativeDatapath", DatapathObject::Define(env));
}

}  // namespace skep::datapath
