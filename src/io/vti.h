#pragma once
// VTK's ImageData in XML: a row of the table of formats.
// https://docs.vtk.org/en/latest/design_documents/VTKFileFormats.html

#include <filesystem>
#include <string>

#include "io/stored.h"

namespace kanbench {

/// Error where this build has no expat, as by src/absent/vti_header.cpp.
StoredVolume read_vti(const std::filesystem::path& path, const std::string& variable);

/// Voxels as they are behind the XML, as values at points.
WrittenForm vti_form(const std::filesystem::path& path, const VolumeHeader& header);

}  // namespace kanbench
