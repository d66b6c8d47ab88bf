#include <bit>

#include "kernels/fixed_point.h"
#include "kernels/level.h"

namespace kanbench::cuda {

/// Where a level's numbers stand: its first among the features, how many, and where its rows begin.
struct LevelPlace {
  int first, features;
  std::int64_t offset;
};

/// Rows and weights of the corners around a point.
template <int N>
struct Weights {
  std::uint32_t row[N];
  float weight[N];

  template <class G>
  KB_DEVICE Weights(const G& geometry, const Point& p) {
    const float x[3] = {p.x, p.y, p.z};
    int c = 0;
    geometry.gather(x, [&](std::uint32_t r, float w) {
      row[c] = r;
      weight[c] = w;
      ++c;
    });
  }
};

/// Numbers f ... f + N - 1 of the weighted rows.
template <int N, int C, class T>
KB_DEVICE void sum_rows(const Weights<C>& corners, const T* table, int features, int f,
                        float (&sum)[N]) {
#pragma unroll
  for (int i = 0; i < N; ++i) sum[i] = 0;
#pragma unroll
  for (int c = 0; c < C; ++c) {
    float numbers[N];
    load_row(table + std::int64_t{corners.row[c]} * features + f, numbers);
#pragma unroll
    for (int i = 0; i < N; ++i) sum[i] += corners.weight[c] * numbers[i];
  }
}

template <int N, int C, class T, class Out>
KB_DEVICE void write_rows(const Weights<C>& corners, const LevelPlace& at, const T* table,
                          std::int64_t row, const Out& out) {
  for (int f = 0; f < at.features; f += N) {
    float sum[N];
    sum_rows(corners, table + at.offset, at.features, f, sum);
#pragma unroll
    for (int i = 0; i < N; ++i) out.set(at.first + f + i, row, sum[i]);
  }
}

/// One level of features; then zeros from number `end` up to `padded`.
template <class G, class T, class Out>
KB_KERNEL(kGridThreads)
make_level_kernel(G geometry, LevelPlace at, const T* table, ConstRows points, Out out, int end,
                  int padded) {
  const std::int64_t row = batch_row();
  if (row >= points.rows) return;
  const Point p = load_point(points, row);
  if constexpr (G::kCorners == 0) {
    const float x[3] = {p.x, p.y, p.z};
    geometry.evaluate(x, [&](int f, float value) { out.set(at.first + f, row, value); });
  } else {
    const Weights<G::kCorners> corners(geometry, p);
    if (at.features % 4 == 0)
      write_rows<4>(corners, at, table, row, out);
    else if (at.features % 2 == 0)
      write_rows<2>(corners, at, table, row, out);
    else
      write_rows<1>(corners, at, table, row, out);
  }
  for (int j = end; j < padded; ++j) out.set(j, row, 0.0f);
}

template <int N, int C, class In>
KB_DEVICE void add_rows(const Weights<C>& corners, const LevelPlace& at, float* gradient,
                        float factor, std::int64_t row, const In& dfeatures) {
  for (int f = 0; f < at.features; f += N) {
    float d[N];
#pragma unroll
    for (int i = 0; i < N; ++i) d[i] = dfeatures.get(at.first + f + i, row) * factor;
#pragma unroll
    for (int c = 0; c < C; ++c)
      add_row(gradient + at.offset + std::int64_t{corners.row[c]} * at.features + f,
              corners.weight[c], d);
  }
}

/// One table's gradient.
template <class G, class In>
KB_KERNEL(kGridThreads)
return_level_kernel(G geometry, LevelPlace at, float* gradient, Factor factor, ConstRows points,
                    In dfeatures) {
  const std::int64_t row = batch_row();
  if (row >= points.rows) return;
  const Weights<G::kCorners> corners(geometry, load_point(points, row));
  const float scale = factor.get();
  if (at.features % 4 == 0)
    add_rows<4>(corners, at, gradient, scale, row, dfeatures);
  else if (at.features % 2 == 0)
    add_rows<2>(corners, at, gradient, scale, row, dfeatures);
  else
    add_rows<1>(corners, at, gradient, scale, row, dfeatures);
}

/// The same in fixed point.
template <class G, class In>
KB_KERNEL(kGridThreads)
return_level_fixed_kernel(G geometry, LevelPlace at, FixedPoint fixed, int rows_bits,
                          ConstRows points, In dfeatures) {
  const std::int64_t row = batch_row();
  if (row >= points.rows || *fixed.largest >= kInfinity) return;
  const Weights<G::kCorners> corners(geometry, load_point(points, row));
  const float scale = ldexpf(1.0f, fixed_exponent(*fixed.largest, rows_bits));
  for (int f = 0; f < at.features; ++f) {
    const float d = dfeatures.get(at.first + f, row) * scale;
#pragma unroll
    for (int c = 0; c < G::kCorners; ++c)
      add_fixed(fixed, at.offset + std::int64_t{corners.row[c]} * at.features + f,
                corners.weight[c] * d);
  }
}

namespace {

const Slice* slice_of(const Layout& layout, const Level& level) {
  return level.has_table() ? &layout.slices[static_cast<std::size_t>(level.slice)] : nullptr;
}

template <class T, class Out>
void make_levels(const Layout& layout, const T* table, ConstRows points, Out out, int width,
                 cudaStream_t stream) {
  const int padded = Out::chunked ? static_cast<int>(round_up(width, 16)) : width;
  for (const Level& level : layout.levels) {
    const Slice* slice = slice_of(layout, level);
    const LevelPlace at{level.first, level.features, slice ? slice->offset : 0};
    const int end = level.first + level.features == width ? width : padded;
    std::visit(
        [&]<class G>(const G& geometry) {
          // Grids that move go together, by kernels/moving.h.
          if constexpr (!std::is_same_v<G, encoder::AdaptiveLevel>)
            launch(make_level_kernel<G, T, Out>, shape_grid(points.rows, 1, stream), geometry, at,
                   table, points, out, end, padded);
        },
        level.geometry);
  }
}

/// One call of scatter_table().
struct Return {
  LevelPlace at;
  const Slice& slice;
  const ScatterTarget& target;
  ConstRows points;
  cudaStream_t stream;

  template <class G, class In>
  void run(const G& geometry, In dfeatures) const {
    const Factor factor{target.factor, target.state};
    const Grid shape = shape_grid(points.rows, 1, stream);
    const FixedPoint& fixed = target.fixed;
    if (!fixed.sums)
      return launch(return_level_kernel<G, In>, shape, geometry, at, target.gradient, factor,
                    points, dfeatures);
    const int rows_bits = std::bit_width(static_cast<std::uint64_t>(points.rows));
    find_unit(fixed, points.rows, at.first, at.first + at.features, dfeatures, stream);
    launch(return_level_fixed_kernel<G, In>, shape, geometry, at, fixed, rows_bits, points,
           dfeatures);
    move_fixed(fixed, rows_bits, slice.offset, slice.offset + slice.size(), factor, target.gradient,
               stream);
  }
};

template <class In>
void return_table(const Level& level, const Return& call, In dfeatures) {
  std::visit(
      [&]<class G>(const G& geometry) {
        if constexpr (G::kCorners > 0 && !std::is_same_v<G, encoder::AdaptiveLevel>)
          call.run(geometry, dfeatures);
      },
      level.geometry);
}

}  // namespace

bool is_grid(const Encoder& encoder) {
  return std::holds_alternative<encoder::HashGrid>(encoder) ||
         std::holds_alternative<encoder::Identity>(encoder);
}

void encode_levels(const Layout& layout, Precision table_type, const void* table, ConstRows points,
                   const FeatureRows& out, cudaStream_t stream) {
  if (points.rows == 0) return;
  const Level& last = layout.levels.back();
  const int width = last.first + last.features;
  if (!out.chunked) {
    check(same_element(table_type, Precision::fp32), "plain features of a table in 16 bits");
    const RowsAt<float, false> rows{static_cast<float*>(out.data), out.stride};
    return make_levels(layout, static_cast<const float*>(table), points, rows, width, stream);
  }
  visit_element(table_type, [&]<class T>(T) {
    check(same_element(out.element, table_type),
          "chunks of features in another type than the table's");
    const RowsAt<T, true> rows{static_cast<T*>(out.data), out.stride};
    make_levels(layout, static_cast<const T*>(table), points, rows, width, stream);
  });
}

void scatter_table(const Layout& layout, int table, const ScatterTarget& target, ConstRows points,
                   const FeatureRows& dfeatures, cudaStream_t stream) {
  if (points.rows == 0) return;
  const Level& level = table_level(layout, static_cast<std::size_t>(table));
  const Slice& slice = *slice_of(layout, level);
  const Return call{{level.first, level.features, slice.offset}, slice, target, points, stream};
  if (!dfeatures.chunked) {
    const auto* data = static_cast<const float*>(dfeatures.data);
    return return_table(level, call, RowsAt<const float, false>{data, dfeatures.stride});
  }
  visit_element(dfeatures.element, [&]<class E>(E) {
    const auto* data = static_cast<const E*>(dfeatures.data);
    return_table(level, call, RowsAt<const E, true>{data, dfeatures.stride});
  });
}

}  // namespace kanbench::cuda
