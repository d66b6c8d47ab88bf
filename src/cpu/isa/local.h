#pragma once
// Layers of splines, of which only a few are not zero at any input: a row's products leave the
// others out, and cost the same whatever their number.

#include "cpu/isa/input.h"
#include "kanbench/math/basis/bspline.h"

namespace kanbench::cpu::KB_ISA {
namespace {

/// What is there of one input over a tile, in a layer's room.
struct LocalInput {
  int rows, size, columns, count;
  /// Weights [size][columns] of the input, and sums [rows][columns].
  float *weights, *sums;
  /// [count][rows] each, and the place of the first of them [rows].
  float *values, *slopes, *cells;
};

LocalInput place_local(const LayerTile& t) {
  const LayerPlan& plan = *t.plan;
  LocalInput l{t.rows,  plan.size, plan.columns, plan.local, nullptr,
               nullptr, nullptr,   nullptr,      nullptr};
  l.weights = t.room + std::int64_t{plan.in} * t.rows;
  l.sums = l.weights + std::int64_t{plan.size + 8} * plan.columns;
  l.values = l.sums + std::int64_t{t.rows} * plan.columns;
  l.slopes = l.values + std::int64_t{plan.local} * t.rows;
  l.cells = l.slopes + std::int64_t{plan.local} * t.rows;
  return l;
}

/// weights[size][columns] of input i.
void gather_weights(const LayerTile& t, int i, const LocalInput& l) {
  const std::int64_t ld = std::int64_t{t.plan->in} * l.size;
  const float* from = t.parameters + t.plan->weight + std::int64_t{i} * l.size;
  // A square at the end reads on into the next input's, and writes beyond the last row.
  for (int o = 0; o < l.columns; o += 8)
    for (int k = 0; k < l.size; k += 8)
      transpose_square(from + o * ld + k, ld, t.plan->out - o, l.weights + k * l.columns + o,
                       l.columns);
}

void locate(const basis::BSpline& basis, const float* x, const LocalInput& l) {
  for (int s = 0; s < l.rows; s += kWidth) {
    Pack cell, weights[basis::BSpline::kMostOrder + 1];
    basis.local(load(x + s), cell, weights);
    store(l.cells + s, cell);
    for (int m = 0; m < l.count; ++m) store(l.values + m * l.rows + s, weights[m]);
  }
}

void locate_slopes(const basis::BSpline& basis, const float* x, const LocalInput& l) {
  for (int s = 0; s < l.rows; s += kWidth) {
    Dual<Pack> cell, weights[basis::BSpline::kMostOrder + 1];
    basis.local(Dual<Pack>(load(x + s), Pack(1.0f)), cell, weights);
    store(l.cells + s, cell.v);
    for (int m = 0; m < l.count; ++m) {
      store(l.values + m * l.rows + s, weights[m].v);
      store(l.slopes + m * l.rows + s, weights[m].d);
    }
  }
}

/// Adds to y[out][rows].
void forward_local(const LayerTile& t, const basis::BSpline& basis, const float* v) {
  const LocalInput l = place_local(t);
  for (std::int64_t i = 0; i < std::int64_t{l.rows} * l.columns; i += kWidth)
    store(l.sums + i, Pack(0.0f));
  for (int i = 0; i < t.plan->in; ++i) {
    gather_weights(t, i, l);
    locate(basis, v + i * l.rows, l);
    for (int s = 0; s < l.rows; ++s) {
      const int cell = static_cast<int>(l.cells[s]);
      float* sums = l.sums + std::int64_t{s} * l.columns;
      for (int m = 0; m < l.count; ++m) {
        if (static_cast<unsigned>(cell + m) >= static_cast<unsigned>(l.size)) continue;
        const float* weights = l.weights + std::int64_t{cell + m} * l.columns;
        const Pack value(l.values[m * l.rows + s]);
        for (int o = 0; o < l.columns; o += kWidth)
          store(sums + o, load(sums + o) + value * load(weights + o));
      }
    }
  }
  for (int o = 0; o < t.plan->out; ++o)
    for (int s = 0; s < l.rows; ++s) t.y[o * l.rows + s] += l.sums[s * l.columns + o];
}

/// Adds to the weights' gradient and writes dv[in][rows] unless null.
void backward_local(const LayerTile& t, const basis::BSpline& basis, const OutputSlopes& d,
                    const float* v, float* sums, float* dv) {
  const LocalInput l = place_local(t);
  for (int i = 0; i < t.plan->in; ++i) {
    gather_weights(t, i, l);
    locate_slopes(basis, v + i * l.rows, l);
    float* dweights = sums + t.plan->dweight + std::int64_t{i} * l.size * l.columns;
    for (int s = 0; s < l.rows; ++s) {
      const int cell = static_cast<int>(l.cells[s]);
      const float* dy = d.dyt + std::int64_t{s} * l.columns;
      Pack pulled(0.0f);
      for (int m = 0; m < l.count; ++m) {
        if (static_cast<unsigned>(cell + m) >= static_cast<unsigned>(l.size)) continue;
        const std::int64_t at = std::int64_t{cell + m} * l.columns;
        const Pack value(l.values[m * l.rows + s]), slope(l.slopes[m * l.rows + s]);
        for (int o = 0; o < l.columns; o += kWidth) {
          const Pack dout = load(dy + o);
          pulled = pulled + slope * (load(l.weights + at + o) * dout);
          store(dweights + at + o, load(dweights + at + o) + value * dout);
        }
      }
      if (dv) dv[i * l.rows + s] = sum_halves(pulled);
    }
  }
}

}  // namespace
}  // namespace kanbench::cpu::KB_ISA
