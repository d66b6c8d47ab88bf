// A volume into one file by all ranks: what its format puts before and after the voxels is written
// by the first.

#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

#include "io/body.h"
#include "io/stored.h"
#include "kanbench/error.h"
#include "kanbench/file.h"
#include "kanbench/io.h"

namespace kanbench {
namespace {

WrittenForm form_of(const std::filesystem::path& path, const VolumeHeader& header) {
  std::vector<std::string> known;
  const std::string name = path.filename().string();
  const Format* written = nullptr;
  for (const Format& format : formats()) {
    if (!format.write) continue;
    if (is_of(format, path)) written = &format;
    known.push_back(format.endings[0]);
  }
  if (!written)
    throw Error(path.string() + ": no format that is written has such a name: " + join(known) +
                " are");
  return written->write(path, header);
}

void interleave(std::span<const void* const> components, std::int64_t count, std::size_t size,
                std::byte* out) {
  for (std::int64_t i = 0; i < count; ++i)
    for (const void* component : components) {
      std::memcpy(out, static_cast<const std::byte*>(component) + i * std::int64_t(size), size);
      out += size;
    }
}

}  // namespace

std::vector<std::filesystem::path> files_written(const std::filesystem::path& path) {
  const WrittenForm form = form_of(path, {});
  std::vector<std::filesystem::path> files{form.body};
  if (!form.beside.empty()) files.push_back(form.beside);
  return files;
}

struct VolumeWriter::State {
  Communicator& communicator;
  VolumeHeader header;
  WrittenForm form;
  std::unique_ptr<ParallelFile> file;
  // Voxels that this rank has written.
  std::int64_t written = 0;

  std::int64_t body_begin() const { return static_cast<std::int64_t>(form.before.size()); }
  std::int64_t voxel_bytes() const { return static_cast<std::int64_t>(size_of(header.dtype)); }
  std::int64_t written_by_all() const {
    std::vector<std::int64_t> each(static_cast<std::size_t>(communicator.size()));
    communicator.all_gather(&written, sizeof written, each.data());
    std::int64_t all = 0;
    for (const std::int64_t count : each) all += count;
    return all;
  }
};

VolumeWriter::VolumeWriter(Communicator& communicator, const std::filesystem::path& path,
                           const VolumeHeader& header)
    : state_(new State{communicator, header, {}, nullptr, 0}) {
  State& s = *state_;
  together(communicator, [&] {
    s.form = form_of(path, header);
    // A raw file that no such header describes is someone else's.
    if (communicator.rank() == 0 && path != s.form.body && s.form.beside == path &&
        std::filesystem::exists(s.form.body) && !std::filesystem::exists(path))
      throw Error(path.string() + ": would overwrite " + s.form.body.string() +
                  ", which it does not describe yet: name another file");
  });
  const auto bytes = static_cast<std::int64_t>(bytes_of(header));
  s.file = communicator.create_file(
      s.form.body, s.body_begin() + bytes + static_cast<std::int64_t>(s.form.after.size()));
  together(communicator, [&] {
    if (communicator.rank() != 0) return;
    s.file->write(0, s.form.before.data(), s.form.before.size());
    s.file->write(s.body_begin() + bytes, s.form.after.data(), s.form.after.size());
  });
}
VolumeWriter::~VolumeWriter() = default;
VolumeWriter::VolumeWriter(VolumeWriter&&) noexcept = default;

void VolumeWriter::write(std::int64_t first, std::int64_t count,
                         std::span<const void* const> components) {
  State& s = *state_;
  const std::int64_t all = s.header.shape.count(), size = s.voxel_bytes();
  const auto parts = static_cast<std::int64_t>(components.size());
  check(parts == s.header.components, "voxels of another number of components");
  check(first >= 0 && count >= 0 && first <= all && count <= all - std::max(first, s.written),
        "more voxels than the file has");
  if (parts > 1 && s.form.interleaved) {
    constexpr std::int64_t most = std::int64_t{1} << 20;
    std::vector<std::byte> mixed(static_cast<std::size_t>(std::min(count, most) * parts * size));
    std::vector<const void*> from(components.begin(), components.end());
    for (std::int64_t done = 0; done < count; done += most) {
      const std::int64_t now = std::min(most, count - done);
      interleave(from, now, static_cast<std::size_t>(size), mixed.data());
      s.file->write(s.body_begin() + (first + done) * parts * size, mixed.data(),
                    static_cast<std::size_t>(now * parts * size));
      for (const void*& part : from) part = static_cast<const std::byte*>(part) + now * size;
    }
  } else {
    for (std::int64_t c = 0; c < parts; ++c)
      s.file->write(s.body_begin() + (c * all + first) * size,
                    components[static_cast<std::size_t>(c)],
                    static_cast<std::size_t>(count * size));
  }
  s.written += count;
}

void VolumeWriter::commit() {
  State& s = *state_;
  check(s.written_by_all() == s.header.shape.count(), "fewer voxels than the file has");
  std::optional<AtomicFile> beside;
  together(s.communicator, [&] {
    if (s.communicator.rank() != 0 || s.form.beside.empty()) return;
    beside.emplace(s.form.beside);
    beside->write(s.form.text);
  });
  s.file->commit();
  together(s.communicator, [&] {
    if (beside) beside->commit();
  });
}

}  // namespace kanbench
