// Puts the datapath classes on the addon's exports.
#include "datapath/register.h"

#include <string>

#include "datapath/datapath_object.h"
#include "datapath/js_values.h"
#include "datapath/maglev.h"

namespace skep::datapath {
namespace {

/// maglevTable(identities: string[], cells: number): number[]. For tests of its properties.
Napi::Value MaglevTableOf(const Napi::CallbackInfo& info) {
  std::vector<std::string> texts;
  js::ForEach(info[0], [&](const Napi::Value& text) { texts.push_back(text.ToString()); });
  const std::vector<std::string_view> identities(texts.begin(), texts.end());
  const auto table = MaglevTable(identities, info[1].ToNumber().Uint32Value());
  Napi::Array array = Napi::Array::New(info.Env(), table.size());
  for (uint32_t cell = 0; cell < table.size(); cell++) array.Set(cell, table[cell]);
  return array;
}

}  // namespace

void Register(Napi::Env env, Napi::Object exports) {
  exports.Set("NativeDatapath", DatapathObject::Define(env));
  exports.Set("maglevTable", Napi::Function::New(env, MaglevTableOf));
}

}  // namespace skep::datapath
