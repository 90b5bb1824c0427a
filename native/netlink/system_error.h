// A failed system call, the only exception type of the native rooms. It never crosses the Node-API
// boundary as it is: ToNapi turns it into an Error shaped like Node's own (code, errno, syscall).
#pragma once

#include <napi.h>
#include <uv.h>

#include <cerrno>
#include <exception>
#include <string>
#include <utility>

namespace skep {

/// A system call that failed with `error` (a positive errno value).
class SystemError : public std::exception {
 public:
  SystemError(int error, std::string syscall, std::string detail = {})
      : error_(error), syscall_(std::move(syscall)) {
    char name[64];
    uv_err_name_r(-error_, name, sizeof name);
    code_ = name;
    message_ = syscall_ + " " + code_;
    if (!detail.empty()) message_ += ": " + detail;
  }

  const char* what() const noexcept override { return message_.c_str(); }
  int error() const { return error_; }
  const std::string& code() const { return code_; }
  const std::string& syscall() const { return syscall_; }

 private:
  int error_;
  std::string syscall_;
  std::string code_;
  std::string message_;
};

/// The JavaScript face of a SystemError.
inline Napi::Error ToNapi(Napi::Env env, const SystemError& failure) {
  Napi::Error error = Napi::Error::New(env, failure.what());
  error.Set("code", Napi::String::New(env, failure.code()));
  error.Set("errno", Napi::Number::New(env, -failure.error()));
  error.Set("syscall", Napi::String::New(env, failure.syscall()));
  return error;
}

/// Runs `body` and rethrows its C++ exceptions as JavaScript ones.
template <typename Body>
auto Guarded(Napi::Env env, Body&& body) -> decltype(body()) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;
  } catch (const SystemError& failure) {
    throw ToNapi(env, failure);
  } catch (const std::exception& failure) {
    throw Napi::Error::New(env, failure.what());
  }
}

}  // namespace skep
