"""Low-rank adapters by peft, and frozen weights in 8 or 4 bits by bitsandbytes."""

from __future__ import annotations

import importlib.util
import warnings
from typing import Any

from oversight.errors import InputError
from oversight.models.finetune.recipe import Lora


def add_adapters(model: Any, recipe: Lora, *, name: str, seed: int) -> None:
    """Freeze a network and put adapters, in float32, beside its linear layers.

    Args:
        model: changed in place.
        recipe: rank, alpha and targets.
        name: of the model, for messages.
        seed: of the adapters' initial weights.

    Raises:
        InputError: see `check_targets`.
    """
    import torch

    check_targets(model, recipe, name=name)
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=2 * recipe.rank if recipe.alpha is None else recipe.alpha,  # pyright: ignore[reportArgumentType]
        target_modules="all-linear" if recipe.targets is None else list(recipe.targets),
        lora_dropout=0.0,
    )
    model.requires_grad_(False)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # peft sees by itself that the layers of GPT-2 are transposed, but says so.
        warnings.filterwarnings("ignore", message="fan_in_fan_out", category=UserWarning)
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def check_targets(model: Any, recipe: Lora, *, name: str) -> None:
    """Refuse a target that names no layer, or any adapter without peft.

    Raises:
        InputError: which one, and what there is.
    """
    if importlib.util.find_spec("peft") is None:
        raise InputError("train lora: peft is not installed; expected: pip install 'oversight[lora]'")
    layers = sorted({path.rpartition(".")[2] for path, one in model.named_modules() if _is_linear(one)})
    known = [path for path, one in model.named_modules() if _is_linear(one)]
    if recipe.targets == ():
        raise InputError(f"{name}: found no LoRA target, expected one of {', '.join(layers)}")
    for target in recipe.targets or ():
        if not any(path == target or path.endswith(f".{target}") for path in known):
            raise InputError(
                f"{name}: found the LoRA target '{target}', which matches no linear layer; "
                f"expected one of {', '.join(layers)}"
            )
    if not known:
        raise InputError(f"{name}: found no linear layer, so there is nothing to put an adapter beside")


def _is_linear(module: Any) -> bool:
    import torch

    return isinstance(module, torch.nn.Linear) or type(module).__name__ in {"Conv1D", "Linear8bitLt", "Linear4bit"}


def quantization(recipe: Lora, *, name: str, device: str) -> dict[str, Any]:
    """Arguments of `from_pretrained` that hold frozen weights in 8 or 4 bits.

    Raises:
        InputError: bitsandbytes is missing, or there is no GPU.
    """
    if recipe.quantize is None:
        return {}
    if importlib.util.find_spec("bitsandbytes") is None:
        raise InputError(
            f"{name}: {recipe.quantize} weights need bitsandbytes; expected: pip install 'oversight[lora,quantize]'"
        )
    if not device.startswith("cuda"):
        raise InputError(f"{name}: {recipe.quantize} weights need a GPU, found {device}")
    import torch
    from transformers import BitsAndBytesConfig

    config = (
        BitsAndBytesConfig(load_in_8bit=True)
        if recipe.quantize == "8bit"
        else BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    )
    return {"quantization_config": config, "device_map": {"": device}}
