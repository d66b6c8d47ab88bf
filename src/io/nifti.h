#pragma once
// NIfTI-1 and NIfTI-2 in one file, .nii and .nii.gz: a row of the table of formats.
// https://nifti.nimh.nih.gov/nifti-1, https://nifti.nimh.nih.gov/nifti-2

#include <filesystem>
#include <string>

#include "io/stored.h"

namespace kanbench {

StoredVolume read_nifti(const std::filesystem::path& path, const std::string& variable);

/// NIfTI-1, or NIfTI-2 where an axis is longer than that can say.
WrittenForm nifti_form(const std::filesystem::path& path, const VolumeHeader& header);

}  // namespace kanbench
