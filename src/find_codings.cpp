// Steps for each tensor. Rounding errors of different tensors add up, each as the square of its
// step, and a step twice as wide saves every number of its tensor a bit; so the file is smallest
// for a given error where each tensor's share of the error is as its share of the numbers (reverse
// water-filling: Cover and Thomas, Elements of Information Theory, 10.3.3).

#include <algorithm>
#include <cmath>

#include "kanbench/stored_model.h"

namespace kanbench {
namespace {

constexpr std::size_t kMostGroups = 48;
constexpr int kTrials = 40, kChecks = 8;
constexpr double kWidestTried = 4, kNarrower = 0.89, kWider = 1.3;
constexpr double kFirstRatio = 1.0 / 128, kWidest = 0.5;

/// Neighbouring tensors whose steps are one share of their ranges.
struct Group {
  std::vector<std::size_t> slices;
  double ratio = kFirstRatio;
  /// The error that a ratio of 1 would make, and the numbers that a wider step saves a bit of.
  double cost = 0, numbers = 0;
};

class Search {
 public:
  Search(const ModelFile& file, double decibels, Judge& judge)
      : file_(file), layout_(make_layout(file.spec)), decibels_(decibels), judge_(judge) {
    std::vector<std::size_t> free;
    for (std::size_t i = 0; i < layout_.slices.size(); ++i) {
      ranges_.push_back(range(layout_.slices[i]));
      if (!layout_.slices[i].exact) free.push_back(i);
    }
    groups_.resize(std::min(kMostGroups, free.size()));
    for (std::size_t i = 0; i < free.size(); ++i)
      groups_[i * groups_.size() / free.size()].slices.push_back(free[i]);
    for (Group& group : groups_)
      for (const std::size_t i : group.slices)
        group.numbers += static_cast<double>(layout_.slices[i].size());
  }

  std::vector<Coding> run() {
    const double exact = judge_.sampled_error(file_.parameters);
    const double budget = exact * (std::pow(10.0, decibels_ / 10) - 1);
    // An error of zero has none to lose.
    if (groups_.empty() || !(budget > 0)) return floats();
    judge_.keep(file_.parameters);
    find_costs();
    spread(budget);
    // Again where the steps will be.
    find_costs();
    find_numbers();
    widen(exact, budget);
    return make_sure();
  }

 private:
  double range(const Slice& slice) const {
    const float* begin = file_.parameters.data() + slice.offset;
    if (slice.size() == 0) return 0;
    const auto [low, high] = std::minmax_element(begin, begin + slice.size());
    return double{*high} - double{*low};
  }

  std::vector<Coding> floats() const { return std::vector<Coding>(layout_.slices.size()); }

  void put(const Group& group, double ratio, std::vector<Coding>& codings) const {
    for (const std::size_t i : group.slices)
      codings[i] = {Coding::Kind::steps, ratio * ranges_[i], 0};
  }

  // Each group alone at its ratio.
  void find_costs() {
    for (Group& group : groups_) {
      std::vector<Coding> codings = floats();
      put(group, group.ratio, codings);
      group.cost = judge_.sampled_change(rounded(file_, codings)) / (group.ratio * group.ratio);
    }
  }

  double bits(const Group& group, double ratio) const {
    double all = 0;
    for (const std::size_t i : group.slices) {
      const Slice& slice = layout_.slices[i];
      const std::span<const float> values(file_.parameters.data() + slice.offset,
                                          static_cast<std::size_t>(slice.size()));
      const Coded coded =
          encode(values, slice.rows, slice.columns, {Coding::Kind::steps, ratio * ranges_[i], 0});
      all += static_cast<double>(slice.size()) *
             (coded.kind == Coding::Kind::steps ? entropy(coded.codes) : 32);
    }
    return all;
  }

  // Of numbers that mostly lie within one step a wider one saves less than a bit each.
  void find_numbers() {
    for (Group& group : groups_) {
      const double saved = bits(group, group.ratio / M_SQRT2) - bits(group, group.ratio * M_SQRT2);
      double all = 0;
      for (const std::size_t i : group.slices) all += static_cast<double>(layout_.slices[i].size());
      group.numbers = std::clamp(saved, 0.02 * all, all);
    }
  }

  // Shares `error` out.
  void spread(double error) {
    double all = 0;
    for (const Group& group : groups_) all += group.numbers;
    for (Group& group : groups_) {
      const double share = error * group.numbers / all;
      group.ratio =
          group.cost * kWidest * kWidest > share ? std::sqrt(share / group.cost) : kWidest;
    }
  }

  std::vector<Coding> codings() const {
    std::vector<Coding> all = floats();
    for (const Group& group : groups_) put(group, group.ratio, all);
    return all;
  }

  // The widest steps whose error together is within the budget, on the sample. What rounding adds
  // to errors that are there already may be more or less than nothing, a little at random; so all
  // widths are tried, from some that are too wide down.
  void widen(double exact, double budget) {
    double error = kWidestTried * budget;
    for (int trial = 0; trial < kTrials; ++trial, error *= kNarrower) {
      spread(error);
      if (fits(exact, budget)) return widen_each(exact, budget);
    }
  }

  bool fits(double exact, double budget) {
    return judge_.sampled_error(rounded(file_, codings())) - exact <= budget;
  }

  // What is left of the budget goes to those that save most by it, one after the other.
  void widen_each(double exact, double budget) {
    std::vector<Group*> order;
    for (Group& group : groups_) order.push_back(&group);
    std::stable_sort(order.begin(), order.end(),
                     [](const Group* a, const Group* b) { return a->numbers > b->numbers; });
    for (Group* group : order) {
      const double before = group->ratio;
      group->ratio = std::min(kWidest, kWider * before);
      if (group->ratio == before || !fits(exact, budget)) group->ratio = before;
    }
  }

  // On all voxels, with narrower steps where the sample promised too much.
  std::vector<Coding> make_sure() {
    const double most = judge_.error(file_.parameters) * std::pow(10.0, decibels_ / 10);
    for (int check = 0; check < kChecks; ++check) {
      const std::vector<Coding> found = codings();
      if (judge_.error(rounded(file_, found)) <= most) return found;
      for (Group& group : groups_) group.ratio *= check < kChecks / 2 ? 0.95 : 0.3;
    }
    return floats();
  }

  const ModelFile& file_;
  Layout layout_;
  double decibels_;
  Judge& judge_;
  std::vector<double> ranges_;
  std::vector<Group> groups_;
};

}  // namespace

std::vector<Coding> find_codings(const ModelFile& file, double decibels, Judge& judge) {
  return Search(file, decibels, judge).run();
}

}  // namespace kanbench
