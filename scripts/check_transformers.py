#!/usr/bin/env python3
"""Proves that language models go both ways between reglab and Python's `transformers` and `peft`.

    scripts/setup.sh --peers
    python3 -m pip install --target .interop --no-deps transformers peft accelerate     # --no-deps: torch is that of .peers
    python3 -m pip install --target .interop tokenizers huggingface-hub regex pyyaml requests tqdm packaging psutil typer
    PYTHONPATH=.interop .peers/bin/python scripts/check_transformers.py [target/release/reglab]

Out: decoders that `reglab train lm` trains, and a LoRA adapter it trains on one, load in transformers and peft; their logits on
random tokens become oracle cases that `reglab selftest` compares with its own, and the test loss that reglab reports is computed
again. In: random checkpoints that transformers and peft write, with every option of their families, become cases too.
"""
import gzip, json, math, os, subprocess, sys, tempfile

import peft
import torch
import transformers as hf
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file

hf.utils.logging.set_verbosity_error()
hf.utils.logging.disable_progress_bar()
PROGRAM = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "target/release/reglab")
TEXT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../src/text/shakespeare.txt.gz")
ARMS = {
    "llama": ["model.num_key_value_heads=2", "model.rope_scaling={rope_type=\"linear\", factor=2.0}"],
    "qwen2": ["model.family=qwen2", "model.tie_word_embeddings=true"],
    "olmoe": ["model.family=olmoe", "model.num_experts=4", "model.num_experts_per_tok=2", "model.num_key_value_heads=4",
              "model.intermediate_size=24", "model.moe_intermediate_size=24", "model.router_aux_loss_coef=0.01"],
    "qwen3_moe": ["model.family=qwen3_moe", "model.num_experts=4", "model.num_experts_per_tok=2", "model.head_dim=12",
                  "model.moe_intermediate_size=24", "model.mlp_only_layers=[0]", "model.norm_topk_prob=true"],
}


def reglab(*args, cwd):
    done = subprocess.run([PROGRAM, *args], cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"reglab {' '.join(args)}\n{done.stdout}{done.stderr}")
    return done.stdout


def batch(vocabulary, seed, left=False):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, vocabulary, (3, 9), generator=generator)
    mask = torch.ones_like(ids)
    for row, pads in [(1, 2), (2, 4)]:
        mask[row, :pads] = 0 if left else 1
        mask[row, 9 - pads:] = 1 if left else 0
    return ids, mask


def case(folder, name, op, params, inputs, outputs, atol=2e-5, rtol=1e-4):
    tensors = {f"in.{k}": v.contiguous().clone() for k, v in inputs.items()}
    tensors |= {f"out.{k}": v.detach().contiguous().clone() for k, v in outputs.items()}
    metadata = {"op": f"_llm-common.{op}", "params": json.dumps(params), "atol": str(atol), "rtol": str(rtol), "note": name}
    save_file(tensors, f"{folder}/{name}.safetensors", metadata=metadata)


@torch.no_grad()
def forward_case(folder, name, model, left=False):
    ids, mask = batch(model.config.vocab_size, len(name), left)
    positions = (mask.cumsum(1) - 1).clamp_min(0)
    labels = ids.masked_fill(mask == 0, -100)
    labels[:, 1:] = labels[:, 1:].masked_fill(mask[:, :-1] == 0, -100)
    out = model(input_ids=ids, attention_mask=mask, position_ids=positions, labels=labels, output_hidden_states=True)
    outputs = {"logits": out.logits, "hidden_states": torch.stack(out.hidden_states)}
    # With experts, transformers may add the balance loss to it.
    if not getattr(model.config, "num_experts_per_tok", None):
        outputs["loss"] = out.loss.double()
    case(folder, f"forward-{name}", "forward", {"checkpoint": name},
         {"input_ids": ids, "attention_mask": mask.to(torch.uint8), "labels": labels}, outputs)
    tokens = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=6, do_sample=False, pad_token_id=1,
                            eos_token_id=[5, 7]) if left else None
    if tokens is not None:
        case(folder, f"generate-{name}", "generate",
             {"checkpoint": name, "max_new_tokens": 6, "eos_token_id": [5, 7], "pad_token_id": 1},
             {"input_ids": ids, "attention_mask": mask.to(torch.uint8)}, {"tokens": tokens}, 0, 0)


@torch.no_grad()
def lora_case(folder, name, base, model):
    ids, mask = batch(model.config.vocab_size, len(name))
    logits = model(input_ids=ids, attention_mask=mask).logits
    with model.disable_adapter():
        if torch.allclose(model(input_ids=ids, attention_mask=mask).logits, logits, atol=1e-2):
            sys.exit(f"{name}: the adapter changes nothing, so it proves nothing")
    case(folder, f"lora-{name}", "lora", {"checkpoint": base, "adapter": name},
         {"input_ids": ids, "attention_mask": mask.to(torch.uint8)}, {"logits": logits}, 1e-4, 1e-3)


@torch.no_grad()
def loss_again(model, folder):
    """The test loss of `reglab train lm`: the last part of the text in windows side by side."""
    text = gzip.open(TEXT, "rt").read()
    cut = lambda share: text.index("\n", len(text) * share // 100) + 1
    tokenizer = hf.PreTrainedTokenizerFast(tokenizer_file=f"{folder}/tokenizer.json")
    stream = torch.tensor(tokenizer(text[cut(95):], add_special_tokens=False)["input_ids"])
    windows = (len(stream) - 1) // 64
    x, y = stream[:64 * windows].view(-1, 64), stream[1:64 * windows + 1].view(-1, 64)
    return torch.nn.functional.cross_entropy(model(input_ids=x).logits.flatten(0, 1), y.flatten()).item()


def out_of_reglab(top, cases):
    quick = ["train", "lm", "--arm", "llama", "-q", "train.steps=60", "model.hidden_size=32", "model.intermediate_size=48",
             "model.num_key_value_heads=0"]
    for name, more in ARMS.items():
        reglab(*quick, "--name", name, *more, cwd=top)
        run = f"{top}/results/train/lm/{name}"
        model = hf.AutoModelForCausalLM.from_pretrained(f"{run}/model", attn_implementation="eager").float().eval()
        os.rename(f"{run}/model", f"{cases}/{name}")
        forward_case(cases, name, model)
        ours, theirs = json.load(open(f"{run}/summary.json"))["test_loss"], loss_again(model, f"{cases}/{name}")
        print(f"{name}: test loss {ours:.6f} in reglab, {theirs:.6f} in transformers")
        if not math.isclose(ours, theirs, abs_tol=1e-4):
            sys.exit(f"{name}: the losses differ")
    for base, targets in [("llama", []), ("qwen2", ["q_proj", "down_proj"])]:
        name = f"{base}-adapter"
        more = [f"method.lora_targets={json.dumps(targets)}"] if targets else []
        reglab(*quick, "--name", name, f"method.start={cases}/{base}", "method.lora_r=4", "method.lora_dropout=0.1", *more,
               "train.optimizer.lr=0.02", cwd=top)
        os.rename(f"{top}/results/train/lm/{name}/adapter", f"{cases}/{name}")
        plain = hf.AutoModelForCausalLM.from_pretrained(f"{cases}/{base}", attn_implementation="eager").float().eval()
        lora_case(cases, name, base, PeftModel.from_pretrained(plain, f"{cases}/{name}").eval())


def into_reglab(cases):
    size = dict(vocab_size=53, hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=4,
                max_position_embeddings=64, initializer_range=0.3, pad_token_id=None, bos_token_id=None, eos_token_id=None)
    experts = dict(num_experts=6, num_experts_per_tok=3)
    llama3 = dict(rope_type="llama3", rope_theta=5e5, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                  original_max_position_embeddings=32)
    decoders = {
        "in-llama": hf.LlamaConfig(**size, num_key_value_heads=2, attention_bias=True, mlp_bias=True),
        "in-llama3": hf.LlamaConfig(**size, num_key_value_heads=1, head_dim=8, rope_parameters=llama3, tie_word_embeddings=True),
        "in-linear": hf.LlamaConfig(**size, rope_parameters=dict(rope_type="linear", rope_theta=1e4, factor=4.0)),
        "in-qwen2": hf.Qwen2Config(**size, num_key_value_heads=2, tie_word_embeddings=False),
        "in-olmoe": hf.OlmoeConfig(**size, **experts, num_key_value_heads=2, clip_qkv=0.7, norm_topk_prob=True),
        "in-qwen3_moe": hf.Qwen3MoeConfig(**size, **experts, num_key_value_heads=2, head_dim=10, moe_intermediate_size=12,
                                          decoder_sparse_step=2, norm_topk_prob=True),
        "in-qwen3_moe-only": hf.Qwen3MoeConfig(**size, **experts, num_key_value_heads=2, moe_intermediate_size=12,
                                               mlp_only_layers=[1], attention_bias=True, norm_topk_prob=False),
    }
    for seed, (name, config) in enumerate(decoders.items()):
        torch.manual_seed(seed)
        config._attn_implementation = "eager"
        model = hf.AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
        for parameter in [p for n, p in model.named_parameters() if "norm" in n or "bias" in n]:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
        model.save_pretrained(f"{cases}/{name}", max_shard_size="20KB")
        forward_case(cases, name, model, left=seed % 2 == 0)
        adapters = [
            dict(r=3, lora_alpha=5, target_modules="all-linear", use_rslora=True),
            dict(r=2, lora_alpha=6, target_modules=["q_proj", "v_proj"], rank_pattern={"layers.1.self_attn.q_proj": 5},
                 alpha_pattern={"v_proj": 1}),
            dict(r=2, lora_alpha=6, target_modules=r".*\.(0|2)\.self_attn\.(k|o)_proj"),
        ] if seed < 4 else []
        for i, adapter in enumerate(adapters):
            plain = hf.AutoModelForCausalLM.from_pretrained(f"{cases}/{name}", attn_implementation="eager").float().eval()
            torch.manual_seed(seed)
            adapted = get_peft_model(plain, LoraConfig(**adapter, task_type="CAUSAL_LM")).eval()
            for parameter in [p for n, p in adapted.named_parameters() if "lora_B" in n]:
                torch.nn.init.normal_(parameter, std=0.2)
            adapted.save_pretrained(f"{cases}/{name}-{i}")
            lora_case(cases, f"{name}-{i}", name, adapted)
    encoder = dict(vocab_size=53, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
                   max_position_embeddings=24, initializer_range=0.3, num_labels=3)
    for family, config in [("Bert", hf.BertConfig(**encoder, pad_token_id=0)),
                           ("Roberta", hf.RobertaConfig(**encoder, type_vocab_size=1, pad_token_id=1))]:
        for head in ["Model", "ForSequenceClassification", "ForMaskedLM"]:
            encoder_case(cases, f"in-{family}{head}", getattr(hf, family + head), config)


@torch.no_grad()
def encoder_case(cases, name, kind, config):
    torch.manual_seed(len(name))
    model = kind(config).eval()
    for parameter in [p for n, p in model.named_parameters() if "LayerNorm" in n or "bias" in n]:
        torch.nn.init.uniform_(parameter, 0.5, 1.5)
    model.save_pretrained(f"{cases}/{name}")
    ids, mask = batch(config.vocab_size, len(name))
    ids = ids.masked_fill(mask == 0, config.pad_token_id)
    types = torch.zeros_like(ids)
    types[:, 3:] = config.type_vocab_size - 1
    out = model(input_ids=ids, attention_mask=mask, token_type_ids=types, output_hidden_states=True)
    outputs = {"last_hidden_state": out.hidden_states[-1]}
    if name.endswith("Model"):
        outputs["pooler_output"] = out.pooler_output
        mean = (out.last_hidden_state * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        outputs |= {"mean_pooled": mean, "embedding": torch.nn.functional.normalize(mean, dim=-1)}
    else:
        outputs["logits"] = out.logits
    case(cases, name, "encode", {"checkpoint": name, "head": type(model).__name__},
         {"input_ids": ids, "attention_mask": mask.to(torch.uint8), "token_type_ids": types}, outputs)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as top:
        print(f"torch {torch.__version__}, transformers {hf.__version__}, peft {peft.__version__}")
        os.mkdir(f"{top}/cases")
        out_of_reglab(top, f"{top}/cases")
        into_reglab(f"{top}/cases")
        print(reglab("selftest", "--cases", f"{top}/cases", cwd=top).strip())
