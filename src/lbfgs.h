#pragma once
// L-BFGS (Liu and Nocedal, Mathematical Programming 45, 1989): the two-loop recursion, and a line
// search for the strong Wolfe conditions (Nocedal and Wright, Numerical Optimization, 3.5 and 3.6).

#include <functional>
#include <vector>

namespace kanbench {

/// The value at `x`, whose gradient it writes.
using Differentiate =
    std::function<double(const std::vector<double>& x, std::vector<double>& gradient)>;

struct LbfgsSettings {
  /// Pairs of steps and changes of the gradient that are kept.
  int history = 10;
  /// Evaluations at most, all of which are made but where nothing is left to be gained.
  int evaluations = 32;
  /// Length of the first step that is tried.
  double first_length = 1;
};

struct LbfgsResult {
  double first_value = 0, value = 0;
  int evaluations = 0;
};

/// Brings `x` to a place of smaller value. Where the value at the start is not finite it stays;
/// elsewhere such a value is one not to go to.
LbfgsResult minimise(const Differentiate& differentiate, const LbfgsSettings& settings,
                     std::vector<double>& x);

}  // namespace kanbench
