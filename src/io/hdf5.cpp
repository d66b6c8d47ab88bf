// Data sets by libhdf5. The last axis is x; one that lies in one piece is mapped.

#include "io/hdf5.h"

#include <hdf5.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>

#include "io/body.h"
#include "io/quote.h"
#include "io/variables.h"
#include "kanbench/error.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;

/// An identifier of the library's, closed with the object.
class Handle {
 public:
  Handle(hid_t id, herr_t (*close)(hid_t)) : id_(id), close_(close) {}
  ~Handle() {
    if (id_ >= 0) close_(id_);
  }
  Handle(Handle&& other) noexcept : id_(other.id_), close_(other.close_) { other.id_ = -1; }
  hid_t id() const { return id_; }
  bool valid() const { return id_ >= 0; }

 private:
  hid_t id_;
  herr_t (*close_)(hid_t);
};

// Whole and real numbers of up to 8 bytes; half floats become float32.
std::optional<Dtype> dtype_of(hid_t type) {
  const std::size_t size = H5Tget_size(type);
  if (H5Tget_class(type) == H5T_FLOAT) {
    if (size <= 4) return Dtype::float32;
    return size == 8 ? std::optional(Dtype::float64) : std::nullopt;
  }
  if (H5Tget_class(type) != H5T_INTEGER) return std::nullopt;
  const bool has_sign = H5Tget_sign(type) == H5T_SGN_2;
  if (size == 1) return has_sign ? Dtype::int8 : Dtype::uint8;
  if (size == 2) return has_sign ? Dtype::int16 : Dtype::uint16;
  if (size == 4) return has_sign ? Dtype::int32 : Dtype::uint32;
  if (size == 8) return has_sign ? Dtype::int64 : Dtype::uint64;
  return std::nullopt;
}

hid_t native(Dtype dtype) {
  switch (dtype) {
    case Dtype::uint8:
      return H5T_NATIVE_UINT8;
    case Dtype::int8:
      return H5T_NATIVE_INT8;
    case Dtype::uint16:
      return H5T_NATIVE_UINT16;
    case Dtype::int16:
      return H5T_NATIVE_INT16;
    case Dtype::uint32:
      return H5T_NATIVE_UINT32;
    case Dtype::int32:
      return H5T_NATIVE_INT32;
    case Dtype::uint64:
      return H5T_NATIVE_UINT64;
    case Dtype::int64:
      return H5T_NATIVE_INT64;
    case Dtype::float32:
      return H5T_NATIVE_FLOAT;
    case Dtype::float64:
      break;
  }
  return H5T_NATIVE_DOUBLE;
}

class Hdf5File {
 public:
  explicit Hdf5File(const fs::path& path)
      : path_(path), source_(path.string()), file_(open(path), H5Fclose) {
    if (!file_.valid())
      throw Error(source_ + ": cannot be read as HDF5: it is of another kind, or damaged");
    if (H5Ovisit(file_.id(), H5_INDEX_NAME, H5_ITER_INC, visit_object, this) < 0)
      throw Error(source_ + ": its objects cannot be listed: it is damaged");
  }

  const std::vector<Candidate>& candidates() const { return candidates_; }

  StoredVolume read(const Chosen& chosen) const {
    const Candidate& candidate = candidates_[chosen.candidate];
    const std::string what = source_ + ":" + candidate.name;
    const Handle set(H5Dopen2(file_.id(), candidate.name.c_str(), H5P_DEFAULT), H5Dclose);
    if (!set.valid()) throw Error(what + ": cannot be opened");
    const Handle type(H5Dget_type(set.id()), H5Tclose);
    StoredVolume volume;
    volume.header.shape = shape_of(candidate, chosen, source_);
    volume.header.dtype = dtype_of(type.id()).value();
    element_size(set.id(), volume.header);
    volume.fills = fills(set.id(), volume.header.dtype);
    const std::optional<std::uint64_t> offset = place_of(set.id(), type.id(), volume, chosen);
    volume.voxels = offset
                        ? read_body(volume.header, {path_, *offset, false, 0, false, false}, what)
                        : read_voxels(set.id(), volume.header, candidate, chosen, what);
    unpack(volume, packing(set.id(), what), what);
    return volume;
  }

 private:
  static hid_t open(const fs::path& path) {
    size_of_file(path, path.string());
    // What goes wrong is said in our words.
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
    return H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  }

  static herr_t visit_object(hid_t root, const char* name, const H5O_info_t* info, void* self) {
    auto& file = *static_cast<Hdf5File*>(self);
    if (info->type == H5O_TYPE_DATASET) file.visit_set(root, name);
    return 0;
  }

  void visit_set(hid_t root, const char* name) {
    const Handle set(H5Dopen2(root, name, H5P_DEFAULT), H5Dclose);
    if (!set.valid()) return;
    const Handle type(H5Dget_type(set.id()), H5Tclose), space(H5Dget_space(set.id()), H5Sclose);
    const int axes = H5Sget_simple_extent_ndims(space.id());
    if (axes < 2 || !dtype_of(type.id())) return;
    std::vector<hsize_t> extents(static_cast<std::size_t>(axes));
    H5Sget_simple_extent_dims(space.id(), extents.data(), nullptr);
    candidates_.push_back({"/" + std::string(name), {extents.begin(), extents.end()}, axes > 2});
  }

  // Where the voxels lie in the file, if they do as they are wanted.
  std::optional<std::uint64_t> place_of(hid_t set, hid_t type, const StoredVolume& volume,
                                        const Chosen& chosen) const {
    const Handle list(H5Dget_create_plist(set), H5Pclose);
    const Handle of_file(H5Fget_create_plist(file_.id()), H5Pclose);
    hsize_t user_block = 1;
    H5Pget_userblock(of_file.id(), &user_block);
    if (H5Pget_layout(list.id()) != H5D_CONTIGUOUS || H5Pget_external_count(list.id()) != 0 ||
        user_block != 0 || H5Tequal(type, native(volume.header.dtype)) <= 0)
      return std::nullopt;
    const haddr_t offset = H5Dget_offset(set);
    if (offset == HADDR_UNDEF) return std::nullopt;
    const Candidate& candidate = candidates_[chosen.candidate];
    std::uint64_t number = 0;
    for (std::size_t a = 0; a < chosen.index.size(); ++a)
      number = number * static_cast<std::uint64_t>(candidate.extents[a]) +
               static_cast<std::uint64_t>(chosen.index[a]);
    return offset + number * bytes_of(volume.header);
  }

  static std::shared_ptr<const void> read_voxels(hid_t set, const VolumeHeader& header,
                                                 const Candidate& candidate, const Chosen& chosen,
                                                 const std::string& what) {
    std::vector<hsize_t> start(chosen.index.begin(), chosen.index.end());
    std::vector<hsize_t> count(start.size(), 1);
    start.resize(candidate.extents.size(), 0);
    count.insert(count.end(), candidate.extents.begin() + static_cast<std::ptrdiff_t>(count.size()),
                 candidate.extents.end());
    const auto voxels = allocate_voxels(bytes_of(header), what);
    const Handle file_space(H5Dget_space(set), H5Sclose);
    const Handle memory_space(
        H5Screate_simple(static_cast<int>(count.size()), count.data(), nullptr), H5Sclose);
    if (H5Sselect_hyperslab(file_space.id(), H5S_SELECT_SET, start.data(), nullptr, count.data(),
                            nullptr) < 0 ||
        H5Dread(set, native(header.dtype), memory_space.id(), file_space.id(), H5P_DEFAULT,
                voxels.get()) < 0)
      throw Error(what +
                  ": cannot be read: it is cut short, damaged, or stored by a filter that "
                  "libhdf5 lacks");
    return {voxels, voxels.get()};
  }

  // Numbers of an attribute as `type`; none where it has none.
  template <class T>
  static std::vector<T> numbers(hid_t set, const char* name, hid_t type) {
    if (H5Aexists(set, name) <= 0) return {};
    const Handle attribute(H5Aopen(set, name, H5P_DEFAULT), H5Aclose);
    const Handle own(H5Aget_type(attribute.id()), H5Tclose);
    const Handle space(H5Aget_space(attribute.id()), H5Sclose);
    const hssize_t count = H5Sget_simple_extent_npoints(space.id());
    if (!dtype_of(own.id()) || count < 1 || count > 64) return {};
    std::vector<T> values(static_cast<std::size_t>(count));
    if (H5Aread(attribute.id(), type, values.data()) < 0) return {};
    return values;
  }
  static std::vector<double> reals(hid_t set, const char* name) {
    return numbers<double>(set, name, H5T_NATIVE_DOUBLE);
  }

  static std::vector<VoxelBytes> fills(hid_t set, Dtype dtype) {
    std::vector<VoxelBytes> all;
    visit(dtype, [&](auto zero) {
      using T = decltype(zero);
      for (const char* name : {"_FillValue", "missing_value"})
        for (const T value : numbers<T>(set, name, native(dtype))) {
          all.emplace_back();
          std::memcpy(all.back().data(), &value, sizeof value);
        }
    });
    return all;
  }

  // What Fiji and ilastik write: micrometres, z first.
  static void element_size(hid_t set, VolumeHeader& header) {
    const std::vector<double> size = reals(set, "element_size_um");
    if (size.size() != 3) return;
    for (std::size_t d = 0; d < 3; ++d) header.spacing[d] = spacing_of(size[2 - d]);
  }

  static Packing packing(hid_t set, const std::string& what) {
    Packing packing;
    const std::pair<const char*, double*> known[] = {{"scale_factor", &packing.scale},
                                                     {"add_offset", &packing.offset}};
    for (const auto& [name, value] : known) {
      const std::vector<double> stated = reals(set, name);
      if (stated.size() != 1) continue;
      if (!std::isfinite(stated[0]) || (name[0] == 's' && stated[0] == 0))
        throw Error(what + ": " + name + " is no finite number that divides");
      const Handle attribute(H5Aopen(set, name, H5P_DEFAULT), H5Aclose);
      const Handle type(H5Aget_type(attribute.id()), H5Tclose);
      *value = stated[0];
      packing.stated = true;
      packing.wide |= H5Tget_size(type.id()) == 8;
    }
    return packing;
  }

  const fs::path path_;
  const std::string source_;
  Handle file_;
  std::vector<Candidate> candidates_;
};

}  // namespace

StoredVolume read_hdf5(const fs::path& path, const std::string& variable) {
  return read_chosen(Hdf5File(path), variable, path.string());
}

}  // namespace kanbench
