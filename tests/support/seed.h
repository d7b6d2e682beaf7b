// The seed of a randomized test: a new one each time, printed; MAYFLY_SEED=n repeats one.
#ifndef MAYFLY_TESTS_SUPPORT_SEED_H_
#define MAYFLY_TESTS_SUPPORT_SEED_H_

#include <cstdlib>
#include <iostream>
#include <random>

#include "absl/strings/numbers.h"

namespace mayfly {

inline unsigned TestSeed() {
  static const unsigned seed = [] {
    unsigned chosen = std::random_device()();
    const char* given = std::getenv("MAYFLY_SEED");
    if (given != nullptr && !absl::SimpleAtoi(given, &chosen)) {
      std::cerr << "MAYFLY_SEED is not a number: " << given << "\n";
      std::abort();
    }
    std::cout << "MAYFLY_SEED=" << chosen << "\n";
    return chosen;
  }();
  return seed;
}

}  // namespace mayfly

#endif  // MAYFLY_TESTS_SUPPORT_SEED_H_
