"""What is done to a model of somebody else's before a method trains it: adapters, checkpointing, freezing."""

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

from torch import nn

from common.encoders.names import OwnEncoder
from common.errors import UserError


def optional(module: str, extra: str) -> ModuleType:
    """Imports a library that an extra of this package brings.

    Raises:
        UserError: it is not installed; says what to install.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(
            f"{error.name or module} is not installed; `pip install 'contrastive-papers[{extra}]'` brings {module}"
        ) from None


@contextmanager
def one_line(own: OwnEncoder) -> Iterator[None]:
    """Turns the errors of a library into one line about the encoder."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise UserError(f"encoder {own['name']} cannot be built: {reason}") from None


def adapted(own: OwnEncoder, body: nn.Module) -> nn.Module:
    """The body, checkpointed, frozen or with low-rank updates, as `own` says.

    Raises:
        UserError: the model cannot recompute its activations, or there is nothing to update.
    """
    if own.get("gradient_checkpointing"):
        _checkpointing(own, body)
    if rank := own.get("lora_rank", 0):
        if own.get("frozen"):
            raise UserError("encoder.frozen is true; with encoder.lora_rank it must be false")
        peft = optional("peft", "peft")
        # Those of attention are no modules of their own, and get none: nn.MultiheadAttention reads its weights.
        linear = [name for name, part in body.named_modules() if type(part) is nn.Linear]
        if not linear:
            raise UserError(f"encoder.lora_rank is {rank}; {own['name']} has no linear layer to update")
        config = peft.LoraConfig(r=rank, lora_alpha=own.get("lora_alpha", rank), target_modules=linear)
        with one_line(own):
            peft.inject_adapter_in_model(config, body)
    elif "lora_alpha" in own:
        raise UserError(f"encoder.lora_alpha is {own['lora_alpha']}; it needs a lora_rank of at least 1")
    if own.get("frozen"):
        body.requires_grad_(False)
    return body


def _checkpointing(own: OwnEncoder, body: nn.Module) -> None:
    # Not reentrant, whose gradient `autograd.grad` cannot ask for: the gradient cache does.
    ways: dict[str, Callable[[Callable[..., None]], None]] = {
        "activation_checkpointing_enable": lambda enable: enable({"use_reentrant": False}),
        "gradient_checkpointing_enable": lambda enable: enable({"use_reentrant": False}),
        "set_grad_checkpointing": lambda enable: enable(True),
    }
    # A wrapper of a transformers model has it inside.
    for part in body.modules():
        for name, call in ways.items():
            if hasattr(part, name):
                with one_line(own):
                    call(getattr(part, name))
                return
    raise UserError(
        f"encoder.gradient_checkpointing is true; {own['name']} has neither {' nor '.join(ways)}, so it must be false"
    )
