// Reads rows out of JavaScript objects and makes them: addresses as text, numbers in host
// order. A value of the wrong type or form is a TypeError that names the property.
#pragma once

#include <arpa/inet.h>
#include <napi.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "netlink/ip_address.h"

namespace skep::datapath::js {

inline Napi::Error Bad(Napi::Env env, const std::string& property, const char* wanted) {
  return Napi::TypeError::New(env, property + " must be " + wanted);
}

inline std::string Text(const Napi::Object& row, const char* property) {
  const Napi::Value value = row.Get(property);
  if (!value.IsString()) throw Bad(row.Env(), property, "a string");
  return value.As<Napi::String>().Utf8Value();
}

inline bool Has(const Napi::Object& row, const char* property) {
  return !row.Get(property).IsUndefined() && !row.Get(property).IsNull();
}

inline bool Flag(const Napi::Object& row, const char* property) {
  return Has(row, property) && row.Get(property).ToBoolean().Value();
}

inline uint32_t Unsigned(const Napi::Object& row, const char* property, uint32_t maximum) {
  const Napi::Value value = row.Get(property);
  if (!value.IsNumber()) throw Bad(row.Env(), property, "a number");
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!(number >= 0) || number > maximum || number != static_cast<uint32_t>(number)) {
    throw Bad(row.Env(), property, "a whole number in range");
  }
  return static_cast<uint32_t>(number);
}

inline IpAddress ParseIpAddress(Napi::Env env, const std::string& text, const char* property) {
  const auto address = IpAddress::Parse(text);
  if (!address || !address->given()) throw Bad(env, property, "an IP address");
  return *address;
}

inline IpAddress AnyAddress(const Napi::Object& row, const char* property) {
  return ParseIpAddress(row.Env(), Text(row, property), property);
}

inline uint32_t ParseAddress(Napi::Env env, const std::string& text, const char* property) {
  in_addr address{};
  if (::inet_pton(AF_INET, text.c_str(), &address) != 1) {
    throw Bad(env, property, "a dotted IPv4 address");
  }
  return address.s_addr;
}

inline uint32_t Address(const Napi::Object& row, const char* property) {
  return ParseAddress(row.Env(), Text(row, property), property);
}

inline IpAddress OptionalAnyAddress(const Napi::Object& row, const char* property) {
  return Has(row, property) ? AnyAddress(row, property) : IpAddress{};
}

struct Prefix {
  IpAddress address;  // host bits are zero
  uint8_t length;     // of its own family
};

/// A CIDR of either family.
inline Prefix ReadPrefix(const Napi::Object& row, const char* property) {
  const std::string text = Text(row, property);
  const size_t slash = text.find('/');
  if (slash == std::string::npos) throw Bad(row.Env(), property, "a CIDR");
  IpAddress address = ParseIpAddress(row.Env(), text.substr(0, slash), property);
  char* end = nullptr;
  const long length = std::strtol(text.c_str() + slash + 1, &end, 10);
  if (length < 1 || length > address.bits() || *end != '\0') {
    throw Bad(row.Env(), property, "a CIDR");
  }
  const long first_host_bit = 128 - address.bits() + length;
  for (long at = first_host_bit; at < 128; at++) {
    address.word[at / 32] &= ~htonl(uint32_t{1} << (31 - at % 32));
  }
  return {address, static_cast<uint8_t>(length)};
}

inline uint32_t OptionalAddress(const Napi::Object& row, const char* property) {
  return Has(row, property) ? Address(row, property) : 0;
}

using Mac = std::array<uint8_t, 6>;

inline Mac MacOf(const Napi::Object& row, const char* property) {
  const std::string text = Text(row, property);
  unsigned part[6];
  char rest = 0;
  const int count = std::sscanf(text.c_str(), "%2x:%2x:%2x:%2x:%2x:%2x%c", &part[0], &part[1],
                                &part[2], &part[3], &part[4], &part[5], &rest);
  if (count != 6) throw Bad(row.Env(), property, "a MAC address");
  Mac mac;
  for (size_t i = 0; i < mac.size(); i++) mac[i] = static_cast<uint8_t>(part[i]);
  return mac;
}

inline Napi::String FromAddress(Napi::Env env, uint32_t address) {
  char text[INET_ADDRSTRLEN];
  ::inet_ntop(AF_INET, &address, text, sizeof text);
  return Napi::String::New(env, text);
}

inline Napi::String FromAddress(Napi::Env env, const IpAddress& address) {
  return Napi::String::New(env, address.Text());
}

inline Napi::String FromMac(Napi::Env env, const Mac& mac) {
  char text[18];
  std::snprintf(text, sizeof text, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3],
                mac[4], mac[5]);
  return Napi::String::New(env, text);
}

/// Calls `each` with every object of an array argument.
template <typename Each>
void ForEach(const Napi::Value& value, Each&& each) {
  if (!value.IsArray()) throw Bad(value.Env(), "argument", "an array");
  const Napi::Array rows = value.As<Napi::Array>();
  for (uint32_t i = 0; i < rows.Length(); i++) {
    const Napi::HandleScope scope(value.Env());
    each(rows.Get(i));
  }
}

template <typename Row, typename Make>
Napi::Array FromRows(Napi::Env env, const std::vector<Row>& rows, Make&& make) {
  Napi::Array array = Napi::Array::New(env, rows.size());
  for (uint32_t i = 0; i < rows.size(); i++) array.Set(i, make(rows[i]));
  return array;
}

}  // namespace skep::datapath::js
