"""The command line that the example's programs have in common."""

import argparse

import torch


def parser(description: str | None) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    made.add_argument("--socket", help="the daemon's socket (else as the SDK)")
    made.add_argument("--model", choices=("llama", "gpt-oss"), default="llama")
    made.add_argument("--prompt-tokens", type=int, default=300)
    made.add_argument("--prompt-seed", type=int, default=1)
    made.add_argument("--chunk", type=int, default=128, help="tokens a forward")
    made.add_argument("--block-tokens", type=int, default=16)
    made.add_argument("--new-tokens", type=int, default=24)
    made.add_argument(
        "--ranks",
        type=int,
        default=1,
        help="processes that share the prefill's heads",
    )
    made.add_argument("--device", default="cpu")
    made.add_argument(
        "--dtype",
        default="float64",
        choices=("float64", "float32", "bfloat16", "float16"),
    )
    made.add_argument(
        "--json", action="store_true", help="one JSON object a process"
    )
    return made


def names(options: argparse.Namespace) -> dict[str, str]:
    """Of the namespace and the weights. What one namespace cannot have both of
    is in its name, so that runs of all kinds share a daemon."""
    return {
        "name": f"example-{options.model}-{options.dtype}-"
                f"{options.block_tokens}-{options.ranks}",
        "model": f"tiny-{options.model}",
    }  # fmt: skip


def dtype_of(options: argparse.Namespace) -> torch.dtype:
    return getattr(torch, options.dtype)


def say_line(line: str) -> None:
    """Writes a line at once: ranks write to one pipe."""
    print(f"{line}\n", end="", flush=True)


def say(who: str, text: str) -> None:
    say_line(f"{who:<9}{text}")


def size_text(count: int) -> str:
    if count < 1 << 20:
        return f"{count / 1024:.0f} KiB"
    return f"{count / (1 << 20):.1f} MiB"
