#include "lbfgs.h"

#include <cmath>
#include <deque>
#include <numeric>
#include <optional>

namespace kanbench {
namespace {

using Vector = std::vector<double>;

// Of decrease and of curvature.
constexpr double kDecrease = 1e-4, kCurvature = 0.9;
constexpr int kSearchEvaluations = 12;

double dot(const Vector& a, const Vector& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

// A place on the line of a search: how far, its value and slope along the line.
struct Place {
  double at = 0, value = 0, slope = 0;
};

class Minimiser {
 public:
  Minimiser(const Differentiate& differentiate, const LbfgsSettings& settings, Vector& x)
      : differentiate_(differentiate), settings_(settings), x_(x), gradient_(x.size()) {}

  LbfgsResult run() {
    result_.value = result_.first_value = evaluate(x_, gradient_);
    if (!std::isfinite(result_.value)) return result_;
    while (left() > 0) {
      set_direction();
      if (dot(gradient_, gradient_) == 0) break;
      if (search()) continue;
      // The curvature that was remembered leads nowhere; along the gradient itself once more.
      if (pairs_.empty()) break;
      pairs_.clear();
    }
    return result_;
  }

 private:
  struct Pair {
    Vector step, change;
    double product;
  };

  int left() const { return settings_.evaluations - result_.evaluations; }

  double evaluate(const Vector& x, Vector& gradient) {
    ++result_.evaluations;
    return differentiate_(x, gradient);
  }

  // Minus the gradient, times the inverse Hessian that the pairs stand for.
  void set_direction() {
    direction_ = gradient_;
    std::vector<double> alpha(pairs_.size());
    for (std::size_t i = pairs_.size(); i-- > 0;) {
      alpha[i] = dot(pairs_[i].step, direction_) / pairs_[i].product;
      add(-alpha[i], pairs_[i].change, direction_);
    }
    if (!pairs_.empty()) {
      const Pair& last = pairs_.back();
      const double size = last.product / dot(last.change, last.change);
      for (double& d : direction_) d *= size;
    }
    for (std::size_t i = 0; i < pairs_.size(); ++i) {
      const double beta = dot(pairs_[i].change, direction_) / pairs_[i].product;
      add(alpha[i] - beta, pairs_[i].step, direction_);
    }
    for (double& d : direction_) d = -d;
    if (dot(direction_, gradient_) < 0) return;
    pairs_.clear();
    for (std::size_t i = 0; i < direction_.size(); ++i) direction_[i] = -gradient_[i];
  }

  static void add(double factor, const Vector& from, Vector& to) {
    for (std::size_t i = 0; i < to.size(); ++i) to[i] += factor * from[i];
  }

  Place look(double at) {
    trial_ = x_;
    add(at, direction_, trial_);
    trial_gradient_.resize(x_.size());
    Place place{at, evaluate(trial_, trial_gradient_), 0};
    if (!std::isfinite(place.value)) place.value = INFINITY;
    place.slope = dot(trial_gradient_, direction_);
    if (decreases(place) && (!best_ || place.value < best_->value)) {
      best_ = place;
      best_x_ = trial_;
      best_gradient_ = trial_gradient_;
    }
    return place;
  }

  bool decreases(const Place& p) const {
    return p.value <= start_.value + kDecrease * p.at * start_.slope;
  }
  bool flat(const Place& p) const { return std::abs(p.slope) <= -kCurvature * start_.slope; }

  // Goes to the best place found along the direction; false where there is none.
  bool search() {
    start_ = {0, result_.value, dot(gradient_, direction_)};
    best_.reset();
    const int end = std::max(0, left() - kSearchEvaluations);
    Place before = start_;
    double at = pairs_.empty() ? settings_.first_length / std::sqrt(dot(gradient_, gradient_)) : 1;
    for (bool first = true; left() > end; first = false, at *= 2) {
      const Place place = look(at);
      if (!decreases(place) || (!first && place.value >= before.value)) {
        zoom(before, place, end);
        break;
      }
      if (flat(place)) break;
      if (place.slope >= 0) {
        zoom(place, before, end);
        break;
      }
      before = place;
    }
    return accept();
  }

  // Between `low`, the better, and `high` lies what is looked for.
  void zoom(Place low, Place high, int end) {
    while (left() > end) {
      const Place place = look(between(low, high));
      if (!decreases(place) || place.value >= low.value) {
        high = place;
      } else {
        if (flat(place)) return;
        if (place.slope * (high.at - low.at) >= 0) high = low;
        low = place;
      }
    }
  }

  // Where a parabola of both values and low's slope is least, well within.
  static double between(const Place& low, const Place& high) {
    const double width = high.at - low.at;
    const double bend = high.value - low.value - low.slope * width;
    double share = -low.slope * width / (2 * bend);
    if (!(share > 0.1)) share = std::isfinite(bend) && bend > 0 ? 0.1 : 0.5;
    if (!std::isfinite(bend)) share = 0.1;
    return low.at + std::min(share, 0.9) * width;
  }

  bool accept() {
    if (!best_) return false;
    Pair pair{best_x_, best_gradient_, 0};
    add(-1, x_, pair.step);
    add(-1, gradient_, pair.change);
    pair.product = dot(pair.step, pair.change);
    if (pair.product > 1e-12 * dot(pair.change, pair.change)) pairs_.push_back(std::move(pair));
    if (static_cast<int>(pairs_.size()) > settings_.history) pairs_.pop_front();
    x_ = best_x_;
    gradient_ = best_gradient_;
    result_.value = best_->value;
    return true;
  }

  const Differentiate& differentiate_;
  const LbfgsSettings& settings_;
  Vector& x_;
  Vector gradient_, direction_, trial_, trial_gradient_, best_x_, best_gradient_;
  std::deque<Pair> pairs_;
  std::optional<Place> best_;
  Place start_;
  LbfgsResult result_;
};

}  // namespace

LbfgsResult minimise(const Differentiate& differentiate, const LbfgsSettings& settings,
                     std::vector<double>& x) {
  return Minimiser(differentiate, settings, x).run();
}

}  // namespace kanbench
