// Runs the tests of the gossip core: all, or those whose name contains an argument. Prints one line
// a test in TAP form; exits 1 if any failed.
#include <cstring>

#include "testing.h"

int main(int argc, char** argv) {
  using namespace skep::gossip::test;
  int number = 0, failed = 0;
  for (const Case& test : Cases()) {
    if (argc > 1 && std::strstr(test.name, argv[1]) == nullptr) continue;
    const int before = Failures();
    test.run();
    const bool ok = Failures() == before;
    if (!ok) failed++;
    std::printf("%s %d - %s\n", ok ? "ok" : "not ok", ++number, test.name);
    std::fflush(stdout);
  }
  std::printf("1..%d\n", number);
  return failed == 0 && number > 0 ? 0 : 1;
}
