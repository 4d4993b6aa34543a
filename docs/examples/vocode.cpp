// Mel to speech in C++, by PyTorch's native runtime (2.11 or newer) and a program of `flowvocoder export`:
//   flowvocoder export bundled voice.pt2 --format pt2
//   c++ -std=c++17 -O2 vocode.cpp -o vocode -I$T/include -I$T/include/torch/csrc/api/include \
//       -L$T/lib -ltorch -ltorch_cpu -lc10 -Wl,-rpath,$T/lib        # T: the folder of the Python package torch, or libtorch
//   ./vocode voice.pt2 mel.npy out.wav 22050 0.95
// The mel is float32, (n_mels, frames), as `flowvocoder mel` writes it. The last numbers are the voice's sample rate and
// temperature, which `flowvocoder info` prints.

// Instead of <torch/torch.h>, which takes a compiler three times as long.
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/randn.h>
#include <torch/library.h>
#include <torch/nativert/ModelRunnerHandle.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

// The one operator that is not PyTorch's own: x[n] = e[n] + what x before it predicts, around a lag for each 16 samples.
// Every sample is a cross-fade of the predictions of the two nodes around it.
at::Tensor pitch_recursion(
    const at::Tensor& e, const at::Tensor& lag, const at::Tensor& taps, const at::Tensor& past, int64_t) {
  constexpr int64_t group = 16, reach = 10;
  const int64_t before = past.size(1), length = e.size(1), nodes = lag.size(1), width = taps.size(2);
  const at::Tensor x = at::cat({past, e}, 1).contiguous(), lags = lag.contiguous(), weights = taps.contiguous();
  for (int64_t item = 0; item < e.size(0); ++item) {
    float* now = x.data_ptr<float>() + item * (before + length) + before;
    for (int64_t n = 0; n < length; ++n) {
      const float share = (static_cast<float>(n % group) + 0.5f) / group;
      for (int64_t side = 0; side < 2; ++side) {
        const int64_t node = item * nodes + n / group + side;
        const float* tap = weights.data_ptr<float>() + node * width + reach;
        const float* around = now + n - lags.data_ptr<int64_t>()[node];
        float sum = 0.0f;
        for (int64_t j = -reach; j <= reach; ++j) sum += tap[j] * around[-j];
        now[n] += (side ? share : 1.0f - share) * sum;
      }
    }
  }
  return x.slice(1, before).contiguous();
}

TORCH_LIBRARY(flowvocoder, library) {
  library.def("pitch_recursion(Tensor e, Tensor lag, Tensor taps, Tensor past, SymInt stride) -> Tensor");
}
TORCH_LIBRARY_IMPL(flowvocoder, CPU, library) { library.impl("pitch_recursion", pitch_recursion); }

// (1, n_mels, frames) of a .npy file.
at::Tensor read_mel(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), {});
  if (bytes.size() < 10 || bytes.compare(1, 5, "NUMPY") != 0) throw std::runtime_error(path + ": is no .npy file");
  const size_t begin = 10 + static_cast<uint8_t>(bytes[8]) + 256 * static_cast<uint8_t>(bytes[9]);
  const std::string header = bytes.substr(0, begin);
  const size_t shape = header.find("'shape': (");
  if (header.find("'<f4'") == std::string::npos || header.find("'fortran_order': False") == std::string::npos ||
      shape == std::string::npos)
    throw std::runtime_error(path + ": must hold float32 in C order");
  size_t used = 0;
  const std::string sizes = header.substr(shape + 10);
  const int64_t bands = std::stoll(sizes, &used), frames = std::stoll(sizes.substr(used + 1));
  if (bytes.size() - begin != static_cast<size_t>(bands * frames) * sizeof(float))
    throw std::runtime_error(path + ": must be (n_mels, frames)");
  return at::from_blob(const_cast<char*>(bytes.data()) + begin, {1, bands, frames}).clone();
}

template <typename T>
void put(std::ostream& file, T value) {
  file.write(reinterpret_cast<const char*>(&value), sizeof value);
}

void write_wav(const std::string& path, const at::Tensor& audio, uint32_t rate) {
  std::ofstream file(path, std::ios::binary);
  const uint32_t size = 2 * static_cast<uint32_t>(audio.numel());
  file << "RIFF", put(file, 36 + size), file << "WAVEfmt ";
  put<uint32_t>(file, 16), put<uint16_t>(file, 1), put<uint16_t>(file, 1), put(file, rate), put(file, 2 * rate);
  put<uint16_t>(file, 2), put<uint16_t>(file, 16), file << "data", put(file, size);
  const at::Tensor samples = audio.clamp(-1.0, 1.0).mul(32767.0).round().to(at::kShort).contiguous();
  file.write(reinterpret_cast<const char*>(samples.data_ptr<int16_t>()), size);
  if (!file.flush()) throw std::runtime_error(path + ": cannot be written");
}

int main(int count, char** given) try {
  if (count != 6) throw std::runtime_error("usage: vocode VOICE.pt2 MEL.npy OUT.wav RATE TEMPERATURE");
  const at::NoGradGuard inference;
  at::set_num_threads(1);
  at::manual_seed(0);
  at::Tensor mel = read_mel(given[2]);
  const int64_t frames = mel.size(2);
  if (frames % 2) mel = at::cat({mel, mel.slice(2, frames - 1)}, 2);  // the program wants an even number of them
  // 256 samples of noise a block: a voice whose block is not its hop needs another shape, which its program asks for.
  const at::Tensor noise = at::randn({1, 256, mel.size(2)}).mul(std::stof(given[5]));
  torch::nativert::ModelRunnerHandle voice(given[1], "model");
  const at::Tensor audio = voice.run({mel, noise}, {}).toTensor();
  const int64_t hop = audio.size(1) / mel.size(2);
  write_wav(given[3], audio[0].slice(0, 0, frames * hop), static_cast<uint32_t>(std::stoul(given[4])));
} catch (const std::exception& error) {
  std::cerr << error.what() << "\n";
  return 2;
}
