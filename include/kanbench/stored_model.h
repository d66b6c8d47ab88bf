#pragma once
// A model's file in the form that was asked for.

#include <string>

#include "kanbench/judge.h"
#include "kanbench/model_file.h"
#include "kanbench/run.h"
#include "kanbench/storage.h"

namespace kanbench {

/// The file, and in words what its numbers take.
struct StoredBytes {
  std::string bytes;
  /// "encoder 4.9 bits, decoder 7.1 bits, loses 0.098 dB"; of fp32 and zfp empty.
  std::string note;
};

/// encode_model() of `file`, stored so. Its tolerances are those of fp32, and else are left aside.
/// `judge`, which an automatic storage asks, is of the same model; the choice is the same on all of
/// its ranks, which all call this. Throws Error where this build lacks what the storage takes.
StoredBytes encode_stored(ModelFile file, const Storage& storage, Judge* judge = nullptr);

/// The file of `run`'s model, trained on the volume in its range, of which it stands for `box`.
/// Called by all ranks of `communicator`, which have the same parameters.
StoredBytes encode_on(const Run& run, const Model& model, const Volume& volume, const Box& box,
                      Communicator& communicator);

/// The codings of least bytes that lose `decibels` of PSNR at most, by judge.error(). Tensors, or
/// where there are very many of them groups of neighbours, get each its own step: a first trial of
/// each alone says how much a step costs, then all are widened together as far as the loss goes.
std::vector<Coding> find_codings(const ModelFile& file, double decibels, Judge& judge);

/// The parameters as the codings keep them.
std::vector<float> rounded(const ModelFile& file, const std::vector<Coding>& codings);

}  // namespace kanbench
