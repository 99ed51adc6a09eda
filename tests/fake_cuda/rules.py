"""What a real GPU refuses, and what makes the host wait for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from fake_cuda.ledger import place

# Operators that only make or describe tensors.
FREE = {
    "aten.empty", "aten.empty_like", "aten.empty_strided", "aten.new_empty",
    "aten.new_empty_strided", "aten.detach", "aten.alias", "aten.set_", "aten.resize_",
    "aten.view_as_real", "aten._unsafe_view", "aten.is_pinned", "aten._pin_memory",
    "aten.record_stream", "prim.device",
}  # fmt: skip
# Operators that wait, since their result is on the host or has a size that depends on the values:
# those that torch tags so, and these, which read how a solver ended or how many boxes are left.
WAITING_TAGS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
WAITING = {"aten._linalg_eigh", "aten._linalg_svd", "torchvision.nms"}
COPIES = {"aten._to_copy", "aten.copy_"}
# Operators that take indices of either device; those of the host are uploaded.
INDEXING = {
    "aten.index", "aten.index_put", "aten.index_put_", "aten._index_put_impl_",
    "aten._unsafe_index", "aten._unsafe_index_put",
}  # fmt: skip


def is_asynchronous(source: Tensor, target: Tensor, non_blocking: bool) -> bool:
    """Whether the host goes on before a copy between host and device has ended.

    The rules of torch's `copy_kernel_cuda`: the memory of the host must be pinned, and where the
    type or the order of memory changes, which happens on the device, it must be contiguous:
    otherwise it is first made so in memory that is not pinned.
    """
    if not source.numel():
        return True
    host = target if source.is_cuda else source
    same = source.dtype == target.dtype and _same_layout(source, target) and _is_dense(host)
    return non_blocking and host.is_pinned() and (same or host.is_contiguous())


def _same_layout(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors have one shape, and strides that differ at most in sides of one."""
    strides = zip(a.shape, a.stride(), b.stride(), strict=True) if a.shape == b.shape else ()
    return a.shape == b.shape and all(side == 1 or x == y for side, x, y in strides)


def _is_dense(tensor: Tensor) -> bool:
    """Whether the elements lie side by side in memory, in whatever order."""
    last = sum((side - 1) * step for side, step in zip(tensor.shape, tensor.stride(), strict=True))
    return last + 1 == tensor.numel()


@dataclass(frozen=True)
class Call:
    """A call of an operator."""

    operator: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @cached_property
    def name(self) -> str:
        """Without its overload, as in aten.add."""
        return self.operator._schema.name.replace("::", ".")

    @cached_property
    def leaves(self) -> list[Any]:
        return tree_leaves((self.args, self.kwargs))

    @cached_property
    def tensors(self) -> list[Tensor]:
        return [leaf for leaf in self.leaves if isinstance(leaf, Tensor)]

    @cached_property
    def target(self) -> str | None:
        """The type of the device that the result is asked for on."""
        device = self.kwargs.get("device")
        return None if device is None else torch.device(device).type

    @cached_property
    def is_on_device(self) -> bool:
        return self.target == "cuda" or any(tensor.is_cuda for tensor in self.tensors)

    @cached_property
    def indices(self) -> list[Tensor]:
        """The index tensors of an operator of INDEXING."""
        if self.name not in INDEXING:
            return []
        return [index for index in self.args[1] if index is not None]

    def check(self) -> None:
        """Raise what the real device raises."""
        for leaf in self.leaves:
            if isinstance(leaf, torch.Generator) and leaf.device.type != "cuda":
                raise RuntimeError(
                    f"Expected a 'cuda' device type for generator but found '{leaf.device.type}' "
                    f"in {self.name} at {place()}"
                )
        allowed = {id(index) for index in self.indices if self.args[0].is_cuda}
        stray = [each for each in self.tensors if each.is_cpu and each.ndim]
        if self.name not in COPIES and any(id(each) not in allowed for each in stray):
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices, "
                f"cuda:0 and cpu, in {self.name} at {place()}"
            )
        if self.name.startswith("aten._fused_"):
            self._check_layouts()

    def _check_layouts(self) -> None:
        """Fused optimisers take a parameter, its gradient and its state in one order of memory."""
        parameters, *others = (
            arg for arg in self.args if isinstance(arg, list | tuple) and len(arg)
        )
        for other in others:
            for parameter, tensor in zip(parameters, other, strict=True):
                if tensor.ndim and not _same_layout(parameter, tensor):
                    raise RuntimeError(
                        f"{self.name}: a parameter has strides {parameter.stride()}, and its "
                        f"gradient or state {tensor.stride()}"
                    )

    def waits(self) -> bool:
        """Whether the host has to wait for the result, or uploads an index for it."""
        if self.name == "aten.repeat_interleave" and self.kwargs.get("output_size") is not None:
            return False
        if self.indices:
            number = self.name == "aten.index_put_" and self.args[2].is_cpu
            masks = () if number else (torch.bool, torch.uint8)  # to put a number needs no count
            return any(index.is_cpu or index.dtype in masks for index in self.indices)
        return self.name in WAITING or not WAITING_TAGS.isdisjoint(self.operator.tags)
