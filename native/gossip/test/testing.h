// A test is a named function; a failed expectation prints where and what, and the run goes on.
#pragma once

#include <cstdio>
#include <sstream>
#include <string>
#include <vector>

namespace skep::gossip::test {

struct Case {
  const char* name;
  void (*run)();
};

inline std::vector<Case>& Cases() {
  static std::vector<Case> cases;
  return cases;
}

inline int& Failures() {
  static int failures = 0;
  return failures;
}

struct Registrar {
  Registrar(const char* name, void (*run)()) { Cases().push_back({name, run}); }
};

template <typename Left, typename Right>
void ExpectEqual(const Left& got, const Right& wanted, const char* what, const char* file,
                 int line) {
  if (got == wanted) return;
  std::ostringstream text;
  if constexpr (requires { text << got << wanted; }) {
    text << ": got " << got << ", wanted " << wanted;
  }
  std::printf("  %s:%d: %s%s\n", file, line, what, text.str().c_str());
  Failures()++;
}

}  // namespace skep::gossip::test

#define TEST(identifier)                                                                \
  static void identifier();                                                             \
  static const skep::gossip::test::Registrar registrar_##identifier(#identifier, identifier); \
  static void identifier()

#define EXPECT_EQ(got, wanted) \
  skep::gossip::test::ExpectEqual(got, wanted, #got " == " #wanted, __FILE__, __LINE__)
#define EXPECT(condition) EXPECT_EQ(static_cast<bool>(condition), true)
