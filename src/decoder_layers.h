#pragma once
// What each decoder is made of: the placement of norm, activation, squash and base branch that its
// paper or reference program has. LayerNorm and activation at the end of a layer stand at the
// beginning of the next; behind the last there is nothing to normalise, for it makes one number.

#include <string>
#include <vector>

#include "kanbench/math/layer.h"
#include "kanbench/run.h"

namespace kanbench {

std::vector<Layer> layers_of_mlp(const Run& run, int in);
std::vector<Layer> layers_of_fastkan(const Run& run, int in);
/// Sines behind a linear layer, and a linear end (Sitzmann et al., NeurIPS 2020).
std::vector<Layer> layers_of_siren(const Run& run, int in);
std::vector<Layer> layers_of_fasterkan(const Run& run, int in);
/// B-splines and a SiLU base branch, no norm (efficient-kan).
std::vector<Layer> layers_of_efficientkan(const Run& run, int in);
/// B-splines, a GELU base branch, LayerNorm and PReLU between layers (torch-conv-kan).
std::vector<Layer> layers_of_kan(const Run& run, int in);
/// A Fourier layer, then a norm, and FKAN's activation from there on.
std::vector<Layer> layers_of_fourierkan(const Run& run, int in);
/// kaln, kacn, kagn, kajn, kabn: polynomials of the squashed input; all but kacn have a SiLU base
/// branch, and LayerNorm and SiLU between layers.
std::vector<Layer> layers_of_polynomials(const Run& run, int in);
std::vector<Layer> layers_of_relukan(const Run& run, int in);
/// A wavelet an edge, a SiLU base branch, a norm between layers.
std::vector<Layer> layers_of_wavkan(const Run& run, int in);
/// Each layer down to a few numbers, Gram's polynomials of them, and up again beside a base branch.
std::vector<Layer> layers_of_bottleneck(const Run& run, int in);
/// The basis that is the network type's name.
std::vector<Layer> layers_of_basis(const Run& run, int in);
/// run.kan.layers.
std::vector<Layer> layers_of_custom(const Run& run, int in);

/// Whether the basis of that name has one coefficient.
bool is_activation(const std::string& basis);

}  // namespace kanbench
