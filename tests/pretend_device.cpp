// A CUDA device that is none: its memory is the CPU's, and the CPU computes what it is told to.
//
// Every operator that has a CUDA kernel gets one that makes CPU tensors of the same memory, calls the operator on them,
// and makes CUDA tensors of what that gives. All above the kernels is PyTorch's own: dispatch, autograd with its thread
// for the device, autocast, views, versions, and the errors of what is done to a tensor on a GPU. The kernels add what
// CUDA's would refuse: tensors of two devices, and the generator of another one.

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <mutex>
#include <set>

namespace {

using at::Tensor;
using c10::DispatchKey;
using c10::IValue;
using c10::Storage;
using Stack = torch::jit::Stack;

const c10::Device HERE(c10::kCUDA, 0);
const c10::DispatchKey KEPT[] = {DispatchKey::Conjugate, DispatchKey::Negative, DispatchKey::ZeroTensor};

// A generator of the device. A seed gives other numbers than on the CPU, as on a GPU.
struct Generator final : c10::GeneratorImpl {
  at::CPUGeneratorImpl* inner;
  at::Generator on_cpu;

  explicit Generator(at::Generator source)
      : GeneratorImpl(HERE, c10::DispatchKeySet(DispatchKey::CUDA)),
        inner(source.get<at::CPUGeneratorImpl>()), on_cpu(source) {}
  static at::Generator make() { return at::make_generator<Generator>(at::make_generator<at::CPUGeneratorImpl>(OTHER)); }

  static constexpr uint64_t OTHER = 0x5DEECE66DULL;
  void set_current_seed(uint64_t seed) override { inner->set_current_seed(seed ^ OTHER); }
  uint64_t current_seed() const override { return inner->current_seed() ^ OTHER; }
  uint64_t seed() override { return inner->seed() ^ OTHER; }
  void set_offset(uint64_t) override { TORCH_CHECK(false, "the pretended device knows no offset"); }
  uint64_t get_offset() const override { return 0; }
  void set_state(const c10::TensorImpl& state) override { inner->set_state(state); }
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override { return inner->get_state(); }
  Generator* clone_impl() const override { return new Generator(at::Generator(on_cpu.clone())); }
};

// Memory of the CPU that says it is the device's; `owner` is freed with it.
c10::DataPtr on_device(c10::DataPtr owner) {
  void* data = owner.get();
  auto* kept = new c10::DataPtr(std::move(owner));
  return {data, kept, [](void* gone) { delete static_cast<c10::DataPtr*>(gone); }, HERE};
}

struct Allocator final : c10::Allocator {
  c10::DataPtr allocate(size_t n) override { return on_device(c10::GetCPUAllocator()->allocate(n)); }
  c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
  void copy_data(void* to, const void* from, std::size_t n) const override { default_copy_data(to, from, n); }
} device_memory;

std::mutex pinned_lock;
std::set<const void*> pinned;

// Memory of the CPU that a copy to the device need not wait for; it is remembered by its beginning.
struct PinnedAllocator final : c10::Allocator {
  c10::DataPtr allocate(size_t n) override {
    auto memory = c10::GetCPUAllocator()->allocate(n);
    std::lock_guard<std::mutex> lock(pinned_lock);
    pinned.insert(memory.get());
    auto* kept = new c10::DataPtr(std::move(memory));
    return {kept->get(), kept, &release, c10::kCPU};
  }
  static void release(void* gone) {
    auto* kept = static_cast<c10::DataPtr*>(gone);
    {
      std::lock_guard<std::mutex> lock(pinned_lock);
      pinned.erase(kept->get());
    }
    delete kept;
  }
  c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
  void copy_data(void* to, const void* from, std::size_t n) const override { default_copy_data(to, from, n); }
} pinned_memory;

struct Hooks final : at::CUDAHooksInterface {
  explicit Hooks(at::CUDAHooksArgs = {}) {}
  void init() const override {}
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasCUDA() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  int getNumGPUs() const override { return 1; }
  c10::DeviceIndex current_device() const override { return 0; }
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
  void setCurrentDevice(c10::DeviceIndex) const override {}
  c10::Device getDeviceFromPtr(void*) const override { return HERE; }
  c10::Allocator* getCUDADeviceAllocator() const override { return &device_memory; }
  c10::Allocator* getPinnedMemoryAllocator() const override { return &pinned_memory; }
  bool isPinnedPtr(const void* data) const override {
    std::lock_guard<std::mutex> lock(pinned_lock);
    return pinned.count(data) > 0;
  }
  at::Generator getNewGenerator(c10::DeviceIndex) const override { return Generator::make(); }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex) const override {
    static at::Generator made = Generator::make();
    return made;
  }
  void deviceSynchronize(c10::DeviceIndex) const override {}
};
struct Guard final : c10::impl::NoOpDeviceGuardImpl<c10::kCUDA> {
  c10::Device exchangeDevice(c10::Device) const override { return HERE; }
  c10::Device getDevice() const override { return HERE; }
  c10::Stream getStream(c10::Device) const noexcept override { return c10::Stream(c10::Stream::DEFAULT, HERE); }
  c10::Stream exchangeStream(c10::Stream) const noexcept override { return c10::Stream(c10::Stream::DEFAULT, HERE); }
} guard;

// Where a tensor of the CPU may stand beside those of the device.
bool may_be_on_cpu(const c10::OperatorHandle& op, const c10::Argument& argument, const Tensor& tensor) {
  const std::string& name = op.schema().name();
  if (name == "aten::copy_" || tensor.unsafeGetTensorImpl()->is_wrapped_number()) return true;
  if (argument.name() == "indices" && name.find("index") != std::string::npos)
    return tensor.scalar_type() == c10::kLong || tensor.scalar_type() == c10::kBool;
  if (tensor.dim() != 0 || (argument.alias_info() && argument.alias_info()->isWrite())) return false;
  if (name.rfind("aten::_foreach_", 0) == 0 || name.rfind("aten::fill", 0) == 0 || argument.name() == "values")
    return true;
  return op.hasTag(at::Tag::pointwise);
}

// One call of an operator, on tensors of the CPU that share memory with those of the device.
class Call {
 public:
  explicit Call(const c10::OperatorHandle& op) : op_(op) {}

  void run(Stack* stack) {
    const auto& schema = op_.schema();
    const size_t first = stack->size() - schema.arguments().size();
    for (size_t i = 0; i < schema.arguments().size(); ++i) {
      IValue& value = (*stack)[first + i];
      value = to_cpu(value, schema.arguments()[i]);
    }
    at::AutoDispatchBelowADInplaceOrView below;
    op_.callBoxed(stack);
    for (auto& pair : tensors_) write_back(pair.first, pair.second);
    for (size_t i = first; i < stack->size(); ++i) (*stack)[i] = to_device((*stack)[i]);
  }

 private:
  IValue to_cpu(const IValue& value, const c10::Argument& argument) {
    if (value.isTensor()) return to_cpu(value.toTensor(), argument);
    if (value.isStorage()) return share(value.toStorage());
    if (value.isDevice()) {
      gives_ = value.toDevice().type();
      return c10::Device(c10::kCPU);
    }
    if (value.isGenerator()) {
      const auto generator = value.toGenerator();
      TORCH_CHECK(
          generator.device().type() == c10::kCUDA, "Expected a 'cuda' device type for generator but found '",
          generator.device().type(), "'");
      return generator.get<Generator>()->on_cpu;
    }
    if (value.isTensorList()) {
      c10::List<Tensor> list;
      for (const Tensor& tensor : value.toTensorVector()) list.push_back(to_cpu(tensor, argument));
      return list;
    }
    if (value.isOptionalTensorList()) {
      c10::List<std::optional<Tensor>> list;
      for (const std::optional<Tensor>& tensor : value.toOptionalTensorVector())
        list.push_back(tensor ? std::optional<Tensor>(to_cpu(*tensor, argument)) : std::nullopt);
      return list;
    }
    return value;
  }

  Tensor to_cpu(const Tensor& tensor, const c10::Argument& argument) {
    if (!tensor.defined() || tensor.device().type() == c10::kMeta) return tensor;
    if (tensor.is_cpu()) {
      TORCH_CHECK(
          may_be_on_cpu(op_, argument, tensor),
          "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! (",
          op_.schema().name(), ", argument ", argument.name(), ")");
      return tensor;
    }
    for (auto& pair : tensors_)
      if (pair.first.is_same(tensor)) return pair.second;
    const bool empty = tensor.key_set().has(DispatchKey::ZeroTensor);
    Tensor on_cpu = made(empty ? Storage(new_storage(0)) : share(tensor.storage()), DispatchKey::CPU, tensor);
    tensors_.emplace_back(tensor, on_cpu);
    return on_cpu;
  }

  static c10::intrusive_ptr<c10::StorageImpl> new_storage(size_t size) {
    return c10::make_intrusive<c10::StorageImpl>(
        c10::StorageImpl::use_byte_size_t(), size, c10::GetCPUAllocator(), true);
  }

  Storage share(const Storage& storage) {
    for (auto& pair : storages_)
      if (pair.first.is_alias_of(storage)) return pair.second;
    auto made = c10::make_intrusive<c10::StorageImpl>(
        c10::StorageImpl::use_byte_size_t(), storage.nbytes(),
        c10::DataPtr(const_cast<void*>(storage.data()), c10::kCPU), c10::GetCPUAllocator(), true);
    storages_.emplace_back(storage, Storage(made));
    return storages_.back().second;
  }

  Storage device_storage(const Storage& storage) {
    for (auto& pair : storages_)
      if (pair.second.is_alias_of(storage)) return pair.first;
    auto* kept = new Storage(storage);
    c10::DataPtr memory(
        const_cast<void*>(storage.data()), kept, [](void* gone) { delete static_cast<Storage*>(gone); }, HERE);
    Storage made(c10::make_intrusive<c10::StorageImpl>(
        c10::StorageImpl::use_byte_size_t(), storage.nbytes(), std::move(memory), &device_memory, true));
    storages_.emplace_back(made, storage);
    return made;
  }

  static Tensor made(Storage storage, DispatchKey key, const Tensor& like) {
    c10::DispatchKeySet keys(key);
    for (DispatchKey kept : KEPT)
      if (like.key_set().has(kept)) keys = keys.add(kept);
    return shaped(at::detail::make_tensor<c10::TensorImpl>(std::move(storage), keys, like.dtype()), like);
  }

  // In inference mode a view of an ordinary tensor is an ordinary tensor.
  static Tensor view_of(const Tensor& base, const Tensor& like) {
    c10::DispatchKeySet keys = base.key_set();
    for (DispatchKey kept : KEPT) keys = like.key_set().has(kept) ? keys.add(kept) : keys.remove(kept);
    return shaped(at::detail::make_tensor<c10::TensorImpl>(
        c10::TensorImpl::VIEW, Storage(base.storage()), keys, like.dtype()), like);
  }

  static Tensor shaped(Tensor made, const Tensor& like) {
    made.unsafeGetTensorImpl()->set_sizes_and_strides(like.sizes(), like.strides(), like.storage_offset());
    return made;
  }

  // What the operator did to its arguments beside writing to their memory.
  void write_back(const Tensor& tensor, const Tensor& on_cpu) {
    auto* impl = tensor.unsafeGetTensorImpl();
    if (tensor.key_set().has(DispatchKey::ZeroTensor)) return;
    if (!device_storage(on_cpu.storage()).is_alias_of(tensor.storage())) impl->set_storage_keep_dtype(device_storage(on_cpu.storage()));
    auto* before = tensor.storage().unsafeGetStorageImpl();
    auto* after = on_cpu.storage().unsafeGetStorageImpl();
    if (before->data() != after->data()) {
      before->set_data_ptr_noswap(on_device(std::move(after->_mutable_data_ptr_no_checks())));
      before->set_nbytes(after->nbytes());
    }
    if (tensor.sizes() != on_cpu.sizes() || tensor.strides() != on_cpu.strides() ||
        tensor.storage_offset() != on_cpu.storage_offset())
      impl->set_sizes_and_strides(on_cpu.sizes(), on_cpu.strides(), on_cpu.storage_offset());
  }

  IValue to_device(const IValue& value) {
    if (value.isTensor()) return to_device(value.toTensor());
    if (value.isTensorList()) {
      c10::List<Tensor> list;
      for (const Tensor& tensor : value.toTensorVector()) list.push_back(to_device(tensor));
      return list;
    }
    return value;
  }

  Tensor to_device(const Tensor& tensor) {
    if (!tensor.defined() || !tensor.is_cpu()) return tensor;
    for (auto& pair : tensors_)
      if (pair.second.is_same(tensor)) return pair.first;
    if (gives_ == c10::kCPU || op_.schema().name() == "aten::copy_") return tensor;
    Storage storage = device_storage(tensor.storage());
    for (auto& pair : tensors_)
      if (pair.first.has_storage() && pair.first.storage().is_alias_of(storage)) return view_of(pair.first, tensor);
    return made(std::move(storage), DispatchKey::CUDA, tensor);
  }

  const c10::OperatorHandle& op_;
  c10::DeviceType gives_ = c10::kCUDA;
  std::vector<std::pair<Tensor, Tensor>> tensors_;    // of the device, of the CPU
  std::vector<std::pair<Storage, Storage>> storages_;  // the same
};

void pretend(const c10::OperatorHandle& op, Stack* stack) { Call(op).run(stack); }

// PyTorch's own would do: they allocate and copy, and ask about memory of the CPU.
const std::set<std::string> OWN = {"aten::_to_copy", "aten::is_pinned", "aten::_pin_memory"};

bool is_mine(const c10::OperatorHandle& op) {
  for (auto key : {DispatchKey::CUDA, DispatchKey::CompositeExplicitAutograd,
                   DispatchKey::CompositeExplicitAutogradNonFunctional})
    if (op.hasKernelForDispatchKey(key)) return OWN.count(op.schema().name()) == 0;
  return false;
}

struct Quiet final : c10::WarningHandler {
  void process(const c10::Warning&) override {}
};

}  // namespace

extern "C" void pretend_cuda() {
  Quiet quiet;  // that kernels are replaced
  c10::WarningUtils::WarningHandlerGuard until_the_end(&quiet);
  // PyTorch may have made its own already, and asks no more. They are an interface without a state.
  static_assert(sizeof(Hooks) == sizeof(at::CUDAHooksInterface));
  new (const_cast<at::CUDAHooksInterface*>(&at::detail::getCUDAHooks())) Hooks();
  c10::impl::device_guard_impl_registry[static_cast<size_t>(c10::kCUDA)].store(&guard);
  c10::SetAllocator(c10::kCUDA, &device_memory, 255);
  static torch::Library all(torch::Library::IMPL, "_", DispatchKey::CUDA, __FILE__, __LINE__);
  all.fallback(torch::CppFunction::makeFromBoxedFunction<&pretend>());
  static torch::Library aten(torch::Library::IMPL, "aten", DispatchKey::CUDA, __FILE__, __LINE__);
  for (const auto& name : c10::Dispatcher::singleton().getAllOpNames()) {
    if (name.name.rfind("aten::", 0) != 0) continue;
    auto op = c10::Dispatcher::singleton().findOp(name);
    if (!op || !op->hasSchema() || !is_mine(*op)) continue;
    const std::string full = name.overload_name.empty() ? name.name : name.name + "." + name.overload_name;
    aten.impl(full.c_str() + 6, torch::CppFunction::makeFromBoxedFunction<&pretend>());
  }
}
