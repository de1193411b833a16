"""What every comparison with another implementation needs: loud weights, copied weights, outputs layer by layer."""

import os

import pytest
import torch


@pytest.fixture
def loud():
    """Fill a module with weights of std 0.3 in float64, so that no part of it can be left out unnoticed."""

    def fill(module, seed=0):
        generator = torch.Generator().manual_seed(seed)
        module = module.double().eval()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.normal_(std=0.3, generator=generator)
                if parameter.ndim == 1:  # norms and biases: around 1, else every norm would kill the signal
                    parameter.add_(1.0)
        return module

    return fill


@pytest.fixture
def randn():
    """Normal float64 numbers, the same in every run, other ones in every call."""
    generator = torch.Generator().manual_seed(1)
    return lambda *shape: torch.randn(*shape, dtype=torch.float64, generator=generator)


@pytest.fixture
def trace():
    """Run a call and collect what each of the layers puts out."""

    def run(layers, call):
        outputs = []

        def keep(module, args, output):
            outputs.append(output if isinstance(output, torch.Tensor) else output[0])

        hooks = [layer.register_forward_hook(keep) for layer in layers]
        with torch.no_grad():
            result = call()
        for hook in hooks:
            hook.remove()
        return result, outputs

    return run


DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU"))]


@pytest.fixture(params=DEVICES)
def device(request):
    return torch.device(request.param)


@pytest.fixture
def compiled():
    """Compile a function or module as one graph: whatever breaks the graph is an error."""
    if os.environ.get("LMBOOK_TYPECHECK") == "1":
        pytest.skip("checks of shapes at run time, which LMBOOK_TYPECHECK=1 adds, cannot be compiled")
    return lambda call, backend="eager": torch.compile(call, fullgraph=True, backend=backend)


@pytest.fixture
def copy_block():
    return _copy_block


@torch.no_grad()
def _copy_block(ours, reference):
    """The weights of nn.TransformerEncoderLayer or nn.TransformerDecoderLayer."""
    pairs = [(ours.self_attention, reference.self_attn, reference.norm1)]
    if ours.cross_attention is not None:
        pairs.append((ours.cross_attention, reference.multihead_attn, reference.norm2))
    for mine, theirs, norm in pairs:
        attention = mine.sublayer
        for i, layer in enumerate((attention.w_q, attention.w_k, attention.w_v)):
            layer.weight.copy_(theirs.in_proj_weight.chunk(3)[i])
            layer.bias.copy_(theirs.in_proj_bias.chunk(3)[i])
        attention.w_o.load_state_dict(theirs.out_proj.state_dict())
        mine.norm.load_state_dict(norm.state_dict())
    ours.feed_forward.sublayer.w_in.load_state_dict(reference.linear1.state_dict())
    ours.feed_forward.sublayer.w_out.load_state_dict(reference.linear2.state_dict())
    last = reference.norm2 if ours.cross_attention is None else reference.norm3
    ours.feed_forward.norm.load_state_dict(last.state_dict())


@pytest.fixture
def exact():
    """Lift what transformers' Llama and T5 bind to float32, norms and rotary angles, to float64."""

    def lift(model):
        for module in list(model.modules()):
            for name, child in list(module.named_children()):
                if type(child).__name__ in ("LlamaRMSNorm", "T5LayerNorm"):
                    norm = torch.nn.RMSNorm(len(child.weight), eps=child.variance_epsilon)
                    norm.weight = child.weight
                    setattr(module, name, norm)
                elif type(child).__name__ == "LlamaRotaryEmbedding":
                    child.forward = _angles_in_float64(model.config)
        return model

    return lift


def _angles_in_float64(config):
    def angles(x, position_ids):
        width = config.hidden_size // config.num_attention_heads
        pairs = torch.arange(0, width, 2, dtype=torch.float64) / width
        angles = position_ids[..., None].double() * config.rope_parameters["rope_theta"] ** -pairs
        angles = torch.cat([angles, angles], dim=-1)
        return angles.cos().to(x.dtype), angles.sin().to(x.dtype)

    return angles


@pytest.fixture(scope="session")
def count():
    """Number of parameters of a model made on the meta device, which needs no memory."""

    def parameters(make):
        with torch.device("meta"):
            return sum(parameter.numel() for parameter in make().parameters())

    return parameters
