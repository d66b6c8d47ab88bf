// Variables by libnetcdf. Axes are the file's, the last one x; their places come from coordinate
// variables.

#include "io/netcdf.h"

#include <netcdf.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "io/body.h"
#include "io/classic_netcdf.h"
#include "io/quote.h"
#include "io/variables.h"
#include "kanbench/error.h"
#include "mapping.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxDepth = 32;

struct Variable {
  int group, id;
  Dtype dtype;
  std::vector<int> dims;
};

bool dtype_of(nc_type type, Dtype& dtype) {
  constexpr std::pair<nc_type, Dtype> known[] = {
      {NC_BYTE, Dtype::int8},     {NC_UBYTE, Dtype::uint8},   {NC_SHORT, Dtype::int16},
      {NC_USHORT, Dtype::uint16}, {NC_INT, Dtype::int32},     {NC_UINT, Dtype::uint32},
      {NC_INT64, Dtype::int64},   {NC_UINT64, Dtype::uint64}, {NC_FLOAT, Dtype::float32},
      {NC_DOUBLE, Dtype::float64}};
  for (const auto& [code, its] : known)
    if (code == type) return dtype = its, true;
  return false;
}

struct OpenFile {
  OpenFile() = default;
  OpenFile(const OpenFile&) = delete;
  ~OpenFile() {
    if (id >= 0) ::nc_close(id);
  }
  int id = -1;
};

class NetcdfFile {
 public:
  explicit NetcdfFile(const fs::path& path) : source_(path.string()) {
    const std::uint64_t size = size_of_file(path, source_);
    if (size > 0) {
      const auto bytes = map_file(path, size);
      check_classic_netcdf({static_cast<const std::byte*>(bytes.get()), size}, source_);
    }
    // An absolute path is no address on a network.
    require(::nc_open(fs::absolute(path).c_str(), NC_NOWRITE, &file_.id),
            "cannot be read as NetCDF");
    visit_group(file_.id, "", 0);
  }

  const std::vector<Candidate>& candidates() const { return candidates_; }

  StoredVolume read(const Chosen& chosen) const {
    const Candidate& candidate = candidates_[chosen.candidate];
    const Variable& variable = variables_[chosen.candidate];
    StoredVolume volume;
    volume.header.shape = shape_of(candidate, chosen, source_);
    volume.header.dtype = variable.dtype;
    const auto voxels = allocate_voxels(bytes_of(volume.header), source_);
    std::vector<std::size_t> start(chosen.index.begin(), chosen.index.end());
    std::vector<std::size_t> count(start.size(), 1);
    start.resize(candidate.extents.size(), 0);
    count.insert(count.end(), candidate.extents.begin() + static_cast<std::ptrdiff_t>(count.size()),
                 candidate.extents.end());
    require(::nc_get_vara(variable.group, variable.id, start.data(), count.data(), voxels.get()),
            quote(candidate.name) + " cannot be read");
    volume.voxels = {voxels, voxels.get()};
    if (is_true(variable, "_Unsigned")) make_unsigned(volume.header.dtype);
    volume.fills = fills(variable, volume.header.dtype);
    for (std::size_t d = 0; d < std::min<std::size_t>(3, variable.dims.size()); ++d)
      place(variable, variable.dims[variable.dims.size() - 1 - d], d, volume.header);
    unpack(volume, packing(variable), source_ + ": " + quote(candidate.name));
    return volume;
  }

 private:
  void require(int status, const std::string& what) const {
    if (status != NC_NOERR) throw Error(source_ + ": " + what + ": " + ::nc_strerror(status));
  }

  // Every array of numbers, in its group and those below.
  void visit_group(int group, const std::string& prefix, int depth) {
    int count = 0;
    require(::nc_inq_varids(group, &count, nullptr), "its variables cannot be listed");
    std::vector<int> ids(static_cast<std::size_t>(count));
    require(::nc_inq_varids(group, &count, ids.data()), "its variables cannot be listed");
    for (const int id : ids) visit_variable(group, id, prefix);
    require(::nc_inq_grps(group, &count, nullptr), "its groups cannot be listed");
    std::vector<int> groups(static_cast<std::size_t>(count));
    require(::nc_inq_grps(group, &count, groups.data()), "its groups cannot be listed");
    for (const int below : groups) {
      char name[NC_MAX_NAME + 1] = "";
      if (::nc_inq_grpname(below, name) == NC_NOERR && depth < kMaxDepth)
        visit_group(below, prefix + name + "/", depth + 1);
    }
  }

  void visit_variable(int group, int id, const std::string& prefix) {
    char name[NC_MAX_NAME + 1] = "";
    nc_type type;
    int axes = 0;
    require(::nc_inq_var(group, id, name, &type, &axes, nullptr, nullptr),
            "a variable cannot be read");
    Variable variable{group, id, Dtype::uint8, std::vector<int>(static_cast<std::size_t>(axes))};
    if (axes < 2 || !dtype_of(type, variable.dtype)) return;
    require(::nc_inq_vardimid(group, id, variable.dims.data()), "a variable cannot be read");
    Candidate candidate{prefix + name, {}, axes > 2};
    for (const int dim : variable.dims) {
      std::size_t extent = 0;
      require(::nc_inq_dimlen(group, dim, &extent), "a dimension cannot be read");
      candidate.extents.push_back(static_cast<std::int64_t>(extent));
    }
    variables_.push_back(std::move(variable));
    candidates_.push_back(std::move(candidate));
  }

  std::string text_of(const Variable& variable, const char* name) const {
    nc_type type;
    std::size_t length = 0;
    if (::nc_inq_att(variable.group, variable.id, name, &type, &length) != NC_NOERR ||
        type != NC_CHAR || length > 64)
      return "";
    std::string text(length, '\0');
    return ::nc_get_att_text(variable.group, variable.id, name, text.data()) == NC_NOERR ? text
                                                                                         : "";
  }
  bool is_true(const Variable& variable, const char* name) const {
    return text_of(variable, name).substr(0, 4) == "true";
  }
  static void make_unsigned(Dtype& dtype) {
    if (dtype == Dtype::int8) dtype = Dtype::uint8;
    if (dtype == Dtype::int16) dtype = Dtype::uint16;
    if (dtype == Dtype::int32) dtype = Dtype::uint32;
    if (dtype == Dtype::int64) dtype = Dtype::uint64;
  }

  // The numbers of an attribute; none where it has none.
  template <class T, class Get>
  std::vector<T> numbers(const Variable& variable, const char* name, Get get) const {
    nc_type type;
    std::size_t length = 0;
    if (::nc_inq_att(variable.group, variable.id, name, &type, &length) != NC_NOERR ||
        type == NC_CHAR || type > NC_UINT64 || length > 64)
      return {};
    std::vector<T> values(length);
    if (get(variable.group, variable.id, name, values.data()) != NC_NOERR) return {};
    return values;
  }

  std::vector<VoxelBytes> fills(const Variable& variable, Dtype dtype) const {
    std::vector<VoxelBytes> all;
    visit(dtype, [&](auto zero) {
      using T = decltype(zero);
      const auto add = [&](T value) {
        all.emplace_back();
        std::memcpy(all.back().data(), &value, sizeof value);
      };
      for (const char* name : {"_FillValue", "missing_value"}) {
        if constexpr (std::is_floating_point_v<T>)
          for (const double v : numbers<double>(variable, name, ::nc_get_att_double))
            add(static_cast<T>(v));
        else if constexpr (std::is_same_v<T, std::uint64_t>)
          for (const unsigned long long v :
               numbers<unsigned long long>(variable, name, ::nc_get_att_ulonglong))
            add(v);
        else
          for (const long long v : numbers<long long>(variable, name, ::nc_get_att_longlong))
            if (std::in_range<T>(v) || is_true(variable, "_Unsigned")) add(static_cast<T>(v));
      }
      // What was never written, where the file does not say.
      if constexpr (std::is_floating_point_v<T>)
        add(sizeof(T) == 4 ? static_cast<T>(NC_FILL_FLOAT) : static_cast<T>(NC_FILL_DOUBLE));
    });
    return all;
  }

  Packing packing(const Variable& variable) const {
    Packing packing;
    const std::pair<const char*, double*> known[] = {{"scale_factor", &packing.scale},
                                                     {"add_offset", &packing.offset}};
    for (const auto& [name, value] : known) {
      const auto stated = numbers<double>(variable, name, ::nc_get_att_double);
      if (stated.size() != 1) continue;
      if (!std::isfinite(stated[0]) || (name[0] == 's' && stated[0] == 0))
        throw Error(source_ + ": " + name + " is no finite number that divides");
      nc_type type = NC_FLOAT;
      ::nc_inq_atttype(variable.group, variable.id, name, &type);
      *value = stated[0];
      packing.stated = true;
      packing.wide |= type == NC_DOUBLE;
    }
    return packing;
  }

  // Spacing and origin along axis d, where its coordinate variable is regular.
  void place(const Variable& variable, int dim, std::size_t d, VolumeHeader& header) const {
    constexpr std::size_t most = std::size_t{1} << 24;
    char name[NC_MAX_NAME + 1] = "";
    std::size_t extent = 0;
    if (::nc_inq_dim(variable.group, dim, name, &extent) != NC_NOERR || extent > most) return;
    int group = variable.group, id = -1, axes = 0, own = -1;
    while (::nc_inq_varid(group, name, &id) != NC_NOERR)
      if (::nc_inq_grp_parent(group, &group) != NC_NOERR) return;
    Dtype ignored;
    nc_type type;
    if (::nc_inq_varndims(group, id, &axes) != NC_NOERR || axes != 1 ||
        ::nc_inq_vardimid(group, id, &own) != NC_NOERR || own != dim ||
        ::nc_inq_vartype(group, id, &type) != NC_NOERR || !dtype_of(type, ignored))
      return;
    std::vector<double> at(extent);
    if (::nc_get_var_double(group, id, at.data()) == NC_NOERR)
      place_axis(at, type == NC_FLOAT ? 0x1p-22 : 0x1p-50, header.spacing[d], header.origin[d]);
  }

  // `rounding` is the share of a number that its type may have lost.
  static void place_axis(const std::vector<double>& at, double rounding, double& spacing,
                         double& origin) {
    if (at.empty() || !std::isfinite(at[0])) return;
    const double last = static_cast<double>(at.size() - 1);
    const double step = at.size() > 1 ? (at.back() - at[0]) / last : 1;
    for (std::size_t i = 0; i < at.size(); ++i)
      if (!(std::abs(at[i] - at[0] - step * static_cast<double>(i)) <=
            1e-3 * std::abs(step) + rounding * std::abs(at[i])))
        return;
    if (!std::isfinite(step) || std::abs(step) <= rounding * std::abs(at[0])) return;
    spacing = std::abs(step);
    origin = at[0];
  }

  const std::string source_;
  OpenFile file_;
  std::vector<Variable> variables_;
  std::vector<Candidate> candidates_;
};

}  // namespace

StoredVolume read_netcdf(const fs::path& path, const std::string& variable) {
  return read_chosen(NetcdfFile(path), variable, path.string());
}

}  // namespace kanbench
