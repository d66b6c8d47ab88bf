#include "kanbench/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace kanbench {
namespace {

struct Factor {
  const ScheduleSettings& settings;
  const ScheduleMoment& at;
  const PlateauState& plateau;

  double every(double factor) const {
    return settings.lrate_decay > 0 ? std::pow(factor, at.epoch / settings.lrate_decay) : 1;
  }
  double operator()(const schedule::Default&) const {
    if (settings.anneal <= 0) return every(0.5);
    return every(0.5) * std::clamp((at.all - at.done) / (at.all * settings.anneal), 0.01, 1.0);
  }
  double operator()(const schedule::Constant&) const { return 1; }
  double operator()(const schedule::Step& s) const { return every(s.factor); }
  double operator()(const schedule::Cosine& s) const {
    return s.last + (1 - s.last) * (1 + std::cos(std::numbers::pi * at.done / at.all)) / 2;
  }
  double operator()(const schedule::Exponential& s) const { return std::pow(s.factor, at.epochs); }
  double operator()(const schedule::Plateau& s) const {
    return std::pow(s.factor, plateau.reductions);
  }
};

}  // namespace

double rate_factor(const ScheduleSettings& settings, const ScheduleMoment& moment,
                   const PlateauState& plateau) {
  const double factor = std::visit(Factor{settings, moment, plateau}, settings.schedule);
  if (settings.warmup <= 0) return factor;
  return factor * std::min(1.0, (moment.epochs + moment.step) / settings.warmup);
}

void note_epoch(const schedule::Plateau& plateau, double loss, PlateauState& state) {
  constexpr double kBetter = 1 - 1e-4;
  if (loss < state.best * kBetter) {
    state.best = loss;
    state.stale_epochs = 0;
  } else if (++state.stale_epochs >= plateau.patience) {
    ++state.reductions;
    state.stale_epochs = 0;
  }
}

}  // namespace kanbench
